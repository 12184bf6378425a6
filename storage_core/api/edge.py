"""The outermost layer of the API: what a request may be, and what every answer carries."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from ..domain.errors import AddressTooLong, HeadersTooLarge, Internal, StorageError, TooLarge
from ..domain.sizes import MAX_BODY, MAX_QUERY, headers_too_large, json_too_deep
from ..telemetry import correlation, log
from .errors import DEEP, answer
from .rates import Rates

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"x-correlation-id"
#: What an answer carries unless it says otherwise itself.
ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)
#: Data is no page: whoever opens it in a browser gets nothing to run, load or frame.
DATA_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    b"default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
#: Signed links that other sites may frame; they bring policies of their own.
FRAMED = "/embed/"


class Edge:
    """Gives every request an id of our own making, for its log lines, its answer and its problems.

    One that a caller sends is not believed. What is too long, too large, too deep or too often is refused before it
    is read, or while it is where it did not say its length. What nobody expected becomes an answer here.
    """

    def __init__(self, app: App, new_id: Callable[[], str], rates: Rates) -> None:
        self.app, self.new_id, self.rates = app, new_id, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        id = self.new_id()
        scope["state"] = {**scope.get("state", {}), "correlation_id": id}
        token = correlation.set(id)
        try:
            if scope["type"] == "http":
                await self._answer(scope, receive, send, id)
            else:
                await self.app(scope, receive, send)
        finally:
            correlation.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, id: str) -> None:
        begun = False

        async def dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": _dressed(scope, message.get("headers", ()), id)}
            await send(message)

        try:
            _check_size(scope)
            client = scope.get("client")
            await self.rates.arrive(client[0] if client else None, scope["method"], scope["path"])
            await self.app(scope, _measured(scope, receive), dressed)
        except StorageError as error:
            await answer(error, id)(scope, receive, dressed)
        except Exception as error:
            if begun:
                raise
            log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            await answer(Internal(f"Unexpected: {type(error).__name__}."), id)(scope, receive, dressed)


def _check_size(scope: Scope) -> None:
    if len(scope.get("query_string", b"")) + len(scope["path"]) > MAX_QUERY:
        raise AddressTooLong(f"The address is longer than {MAX_QUERY} bytes.")
    if headers_too_large(scope["headers"]):
        raise HeadersTooLarge("The headers of the request are too large.")
    if _announced(scope) > MAX_BODY:
        raise TooLarge("The body of the request is too large.")


def _announced(scope: Scope) -> int:
    lengths = [int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit() and len(v) < 20]
    return max(lengths, default=0)


def _measured(scope: Scope, receive: Receive) -> Receive:
    """Hands the body on, as far as it is not too large; a JSON body's end only when it is not too deep."""
    types = [v.lower() for k, v in scope["headers"] if k == b"content-type"]
    kept: bytearray | None = bytearray() if any(b"json" in t for t in types) or not types else None
    read = 0

    async def measured() -> Message:
        nonlocal read
        message = await receive()
        body = message.get("body", b"")
        read += len(body)
        if read > MAX_BODY:
            raise HTTPException(413)
        if kept is not None:
            kept.extend(body)
            if (
                message["type"] == "http.request"
                and not message.get("more_body")
                and json_too_deep(bytes(kept))
            ):
                raise HTTPException(400, DEEP)
        return message

    return measured


def _dressed(scope: Scope, headers: Any, id: str) -> list[tuple[bytes, bytes]]:
    own = [(name.lower(), value) for name, value in headers]
    given = {name for name, _ in own}
    out = [*own, (HEADER, id.encode()), *((name, value) for name, value in ALWAYS if name not in given)]
    if scope["path"].startswith(FRAMED):
        out = [(name, value) for name, value in out if name != b"x-frame-options"]
    elif b"content-security-policy" not in given:
        is_page = any(n == b"content-type" and v.startswith(b"text/html") for n, v in own)
        out.append((b"content-security-policy", PAGE_POLICY if is_page else DATA_POLICY))
    if scope.get("scheme") == "https" and b"strict-transport-security" not in given:
        out.append((b"strict-transport-security", b"max-age=31536000"))
    return out
