"""A small object store that speaks enough of S3 for a real client: put, get, list by prefix. Requests unchecked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Store:
    """What was put, and how the next requests are answered when `broken`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
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
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))

        @property
        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).removeprefix("/bucket").removeprefix("/")

        def do_POST(self) -> None:
            body = self._body()
            if store.broken:
                self._answer(500)
            elif self.path.startswith("/hook"):
                store.posted.append(body)
                self._answer(204)
            else:
                self._answer(307, Location="/hook")

        def do_PUT(self) -> None:
            body = self._body()
            if store.broken:
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            else:
                store.objects[self._key] = body
                self._answer(200, ETag='"1"')

        def do_GET(self) -> None:
            if store.broken:
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            elif "list-type" in self.path:
                self._answer(200, self._listed(), Content_Type="application/xml")
            elif self._key in store.objects:
                modified = "Wed, 25 Nov 2026 10:00:00 GMT"
                self._answer(200, store.objects[self._key], ETag='"1"', Last_Modified=modified)
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _listed(self) -> bytes:
            asked = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            prefix, rest = asked.get("prefix", ""), asked.get("delimiter")
            keys = sorted(k for k in store.objects if k.startswith(prefix))
            folders = (
                {prefix + k.removeprefix(prefix).partition("/")[0] + "/" for k in keys} if rest else set()
            )
            found = [] if rest else keys
            items = "".join(
                f"<Contents><Key>{escape(k)}</Key><LastModified>2026-11-25T10:00:00.000Z</LastModified>"
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
