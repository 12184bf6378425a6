"""A small object store that speaks enough of S3 for a real client: put, in parts too, get, list. Requests unchecked."""

import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape


class Store:
    """What was put, and how the next requests are answered when `broken`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, datetime] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        """Uploads in parts that are neither complete nor given up."""
        self.posted: list[bytes] = []
        self.broken = False
        self.url = ""


@contextmanager
def object_server() -> Iterator[Store]:
    """Runs until the block ends. Below /bucket/ it is an object store, at /hook a web hook."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None: ...

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            for name, value in {"Content-Length": str(len(body)), **sent}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))

        @property
        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).removeprefix("/bucket").removeprefix("/")

        @property
        def _asked(self) -> dict[str, str]:
            return {k: v[0] for k, v in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

        def _keep(self, body: bytes) -> None:
            store.written[self._key] = datetime.now(UTC)
            store.objects[self._key] = body

        def do_POST(self) -> None:
            body = self._body()
            if store.broken:
                self._answer(403 if self.path.startswith("/bucket") else 500)
            elif self.path.startswith("/hook"):
                store.posted.append(body)
                self._answer(204)
            elif "delete" in self._asked:
                keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]
                for key in keys:
                    store.objects.pop(key, None)
                gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
                self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())
            elif "uploads" in self._asked:
                store.uploads[upload := uuid.uuid4().hex] = {}
                self._answer(200, self._xml("InitiateMultipartUploadResult", "UploadId", upload))
            elif "uploadId" in self._asked:
                parts = store.uploads.pop(self._asked["uploadId"])
                self._keep(b"".join(parts[number] for number in sorted(parts)))
                self._answer(200, self._xml("CompleteMultipartUploadResult", "ETag", "1"))
            else:
                self._answer(307, Location="/hook")

        def _xml(self, name: str, field: str, value: str) -> bytes:
            inside = f"<Bucket>bucket</Bucket><Key>{escape(self._key)}</Key><{field}>{value}</{field}>"
            return f"<{name}>{inside}</{name}>".encode()

        def do_PUT(self) -> None:
            body = self._body()
            if store.broken:
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
                return
            if "uploadId" in self._asked:
                store.uploads[self._asked["uploadId"]][int(self._asked["partNumber"])] = body
            else:
                self._keep(body)
            self._answer(200, ETag='"1"')

        def do_DELETE(self) -> None:
            """Give an upload in parts up."""
            store.uploads.pop(self._asked["uploadId"])
            self._answer(204)

        def do_HEAD(self) -> None:
            self._answer_object(body=False)

        def do_GET(self) -> None:
            if store.broken:
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            elif "list-type" in self.path:
                self._answer(200, self._listed(), Content_Type="application/xml")
            else:
                self._answer_object(body=True)

        def _answer_object(self, *, body: bool) -> None:
            data = store.objects.get(self._key)
            if data is None:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if body else b"")
                return
            headers = {"ETag": '"1"', "Last_Modified": format_datetime(store.written[self._key], usegmt=True)}
            if body:
                self._answer(200, data, **headers)
            else:
                self._answer(200, Content_Length=str(len(data)), **headers)

        def _listed(self) -> bytes:
            asked = self._asked
            prefix, rest = asked.get("prefix", ""), asked.get("delimiter")
            keys = sorted(k for k in store.objects if k.startswith(prefix))
            folders = (
                {prefix + k.removeprefix(prefix).partition("/")[0] + "/" for k in keys} if rest else set()
            )
            found = [] if rest else keys
            items = "".join(
                f"<Contents><Key>{escape(k)}</Key>"
                f"<LastModified>{store.written[k]:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
                f'<ETag>"1"</ETag><Size>{len(store.objects[k])}</Size></Contents>'
                for k in found
            )
            common = "".join(
                f"<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>" for f in sorted(folders)
            )
            text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}{common}</ListBucketResult>"
            return text.encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
