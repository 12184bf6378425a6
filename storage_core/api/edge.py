"""The outermost layer of the API: a correlation id for each request, and no body that announces itself too large."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from ..domain.errors import TooLarge
from ..telemetry import correlation
from .errors import answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"x-correlation-id"


class Edge:
    """Gives every request an id of our own making, for its log lines, its answer and its problems.

    One that a caller sends is not believed. A body longer than `max_body` bytes is refused before it is read, or
    while it is where it did not say its length.
    """

    def __init__(self, app: App, new_id: Callable[[], str], max_body: int) -> None:
        self.app, self.new_id, self.max_body = app, new_id, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        id = self.new_id()
        scope["state"] = {**scope.get("state", {}), "correlation_id": id}

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, id.encode())]}
            await send(message)

        read = 0

        async def measured() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_body:
                raise HTTPException(413)
            return message

        token = correlation.set(id)
        try:
            if scope["type"] == "http" and _announced(scope) > self.max_body:
                refused = answer(TooLarge("The body of the request is too large."), id)
                await refused(scope, receive, tagged)
            else:
                await self.app(scope, measured, tagged)
        finally:
            correlation.reset(token)


def _announced(scope: Scope) -> int:
    lengths = [int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit()]
    return max(lengths, default=0)
