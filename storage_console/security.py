"""The outermost ASGI layer: who may connect, which doors answer, what the browser is told to refuse."""

import base64
import hashlib
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from storage_core.domain.errors import TooManyRequests
from storage_core.domain.origin import same_origin
from storage_core.domain.sizes import MAX_QUERY, headers_too_large
from storage_core.tenancy.middleware import TRUSTED_PROXY

if TYPE_CHECKING:
    from storage_core.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
#: Counts what comes from an address; TooManyRequests when it is one too many.
Arrive = Callable[[str | None], Awaitable[None]]

INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
#: What the core's API answers; everything else is the console's.
CORE_PATHS = ("/api/", "/metrics", "/admin", "/embed/", "/health/live", "/health/ready")
OWN_FRAMING = ("/embed/",)
PROBES = ("/health/live", "/health/ready")  # asked by address, from outside any browser


def _client_root() -> Path:
    return Path(os.environ.get("REFLEX_WEB_WORKDIR", ".web")) / "build" / "client"


def pages(root: Path) -> frozenset[str]:
    """The paths of the built pages, without the slash the static files want at their end."""
    found = {
        "/" + p.parent.relative_to(root).as_posix() for p in root.rglob("index.html") if p.parent != root
    }
    return frozenset(found)


def policy(root: Path) -> str:
    """The content security policy, with the hashes of the built pages' own inline scripts."""
    inline = {body for page in root.rglob("*.html") for body in INLINE.findall(page.read_text("utf-8"))}
    hashes = sorted(
        f"'sha256-{base64.b64encode(hashlib.sha256(b.encode()).digest()).decode()}'" for b in inline
    )
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self'", *hashes)),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """The host names answered to (lower case, without ports) and the proxies whose word on https counts."""

    hosts: frozenset[str] = frozenset()
    proxies: frozenset[str] = frozenset()


def trust_of(settings: "Settings") -> Trust:
    """What the settings say about names and proxies."""
    names = (settings.host, urlsplit(settings.address).hostname or "", *settings.allowed_hosts.split(","))
    return Trust(_words(names), _words(settings.trusted_proxies.split(",")))


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(text.strip().lower() for text in texts if text.strip())


def forwarded(scope: Scope, headers: dict[str, str], proxies: frozenset[str]) -> Scope:
    """The scope as the visitor's browser sees it, when a trusted proxy hands the request on."""
    client = scope.get("client")
    if not client or client[0] not in proxies:
        return scope
    hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    visitor = next((hop for hop in reversed(hops) if hop not in proxies), client[0])
    secure = headers.get("x-forwarded-proto", "").strip().lower() == "https"
    kind = "ws" if scope["type"] == "websocket" else "http"
    return {**scope, "client": (visitor, 0), "scheme": f"{kind}s" if secure else kind, TRUSTED_PROXY: True}


class Outer:
    """Checks Host and Origin, believes trusted proxies, rewrites page paths and adds the security headers.

    Literal loopback addresses and `localhost` are always answered: no other site can have those names.
    """

    def __init__(self, app: App, trust: Callable[[], Trust], arrive: Arrive) -> None:
        self.app = app
        self.trust = trust
        self.arrive = arrive
        root = _client_root()
        self.pages = pages(root)
        self.headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        ]
        self.unframed = [(b"content-security-policy", policy(root).encode()), (b"x-frame-options", b"DENY")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        trust = self.trust()
        scope = forwarded(scope, headers, trust.proxies)
        if scope["type"] == "http":
            send = self._dressed(scope, send)
        if len(scope.get("query_string", b"")) + len(scope["path"]) > MAX_QUERY:
            return await _refuse(scope, receive, send, 414, b"The address is too long.\n")
        if headers_too_large(scope["headers"]):
            return await _refuse(scope, receive, send, 431, b"The headers are too large.\n")
        if not _host_allowed(headers.get("host", ""), trust.hosts) and not scope["path"].startswith(PROBES):
            return await _refuse(scope, receive, send, 421, b"This host name is not served here.\n")
        if scope["path"].startswith("/_event"):
            secure = scope.get("scheme") in ("https", "wss")
            same = same_origin(headers.get("origin"), headers.get("host"), secure=secure)
            if scope["type"] != "websocket" or not same:
                return await _refuse(
                    scope, receive, send, 403, b"Only the console's own pages connect here.\n"
                )
            try:
                await self.arrive(scope["client"][0] if scope.get("client") else None)
            except TooManyRequests:
                return await _refuse(scope, receive, send, 429, b"Too many requests.\n")
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await _refuse(scope, receive, send, 403, b"")
        if scope["path"].startswith("/_upload"):
            return await _refuse(scope, receive, send, 404, b"Not found.\n")
        if scope["path"] in self.pages:
            scope = {**scope, "path": scope["path"] + "/", "raw_path": (scope["path"] + "/").encode()}
        await self.app(scope, receive, send)

    def _dressed(self, scope: Scope, send: Send) -> Send:
        path: str = scope["path"]
        framed = path.startswith(OWN_FRAMING)
        immutable = path.startswith("/assets/")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {k.lower() for k, _ in message.get("headers", ())}
                extra = [(k, v) for k, v in self.headers if k not in given]
                if not framed:
                    extra += [p for p in self.unframed if p[0] not in given]
                if immutable and message["status"] == 200 and b"cache-control" not in given:
                    extra.append((b"cache-control", b"public, max-age=31536000, immutable"))
                if scope.get("scheme") == "https" and b"strict-transport-security" not in given:
                    extra.append((b"strict-transport-security", b"max-age=31536000"))
                # Reflex speaks of sharing with other origins even where it shares with none.
                own = [
                    h for h in message.get("headers", ()) if not h[0].lower().startswith(b"access-control-")
                ]
                message = {**message, "headers": [*own, *extra]}
            await send(message)

        return dressed


def _host_allowed(host: str, names: frozenset[str]) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    return name in names or name == "localhost" or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, body: bytes) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Doors:
    """Sends what belongs to the core's API there once it is open, everything else to the pages.

    The API is built when the core opens, long after Reflex wants its ASGI app; hence a switch instead of a
    mount. The outer router is taken out of the scope, so that the API builds addresses of its own routes.
    """

    def __init__(self, inner: App, api: Callable[[], App | None], own: App) -> None:
        self.inner = inner
        self.api = api
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return await self.inner(scope, receive, send)
        path: str = scope["path"]
        if path.startswith("/export/"):
            return await self.own(_apart(scope), receive, send)
        if not path.startswith(CORE_PATHS):
            return await self.inner(scope, receive, send)
        if (api := self.api()) is None:
            return await _refuse(scope, receive, send, 503, b"The console is starting.\n")
        await api(_apart(scope), receive, send)


def _apart(scope: Scope) -> Scope:
    return {key: value for key, value in scope.items() if key not in ("router", "endpoint", "path_params")}
