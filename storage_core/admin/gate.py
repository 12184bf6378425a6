"""Who may enter: the console's session, our own pages, a role that holds the admin views; everybody else is refused."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from ..bootstrap import Core
from ..domain.context import ActorKind, Context, Door
from ..domain.errors import CrossSite, Forbidden, InvalidRequest, StorageError, Unauthenticated
from ..domain.permission import MATRIX, Permission, Rule, Target
from ..services.auditing import write_refusal
from ..services.kernel import Service
from ..services.operation import Effect, Operation, operation, operations_of
from ..services.request import Request as OperationRequest
from ..services.targets import LIST, TargetOf
from ..sheets import Format

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

STATICS = "/statics/"
SAFE = ("GET", "HEAD")


class Callers(Protocol):
    """How the other doors find out who calls."""

    async def __call__(self, connection: HTTPConnection) -> Context:
        """The caller; Unauthenticated, or CrossSite for what does not come from our own pages."""
        ...

    async def behind(self, connection: HTTPConnection) -> Context | None:
        """Whose session a refused request carries, for the audit; the session does not count as used."""
        ...


class Look(OperationRequest):
    """Open an admin page."""

    path: str = ""
    """Which page."""


class Take(OperationRequest):
    """Export the rows of an admin view."""

    view: str
    """Whose rows."""
    format: Format
    """As what."""
    filters: str = ""
    """The filters they were taken with, as in the address."""


def _page() -> TargetOf:
    async def find(_uow: object, _ctx: Context, request: Look) -> Target:
        return Target("admin page", name=request.path[:200], tenant_id=LIST)

    return find


def _export() -> TargetOf:
    async def find(_uow: object, _ctx: Context, request: Take) -> Target:
        return Target("admin export", name=f"{request.view}.{request.format}", tenant_id=LIST)

    return find


class AdminDoor(Service):
    """What this door alone asks for. Not among the operations of the other doors."""

    @operation("admin.open", needs=Permission.ADMIN_VIEWS, on=_page(), effect=Effect.READ)
    async def open(self, ctx: Context, request: Look) -> Context:
        """Answers the caller as the views see them: with the grants that hold the views, and no other."""
        able = tuple(g for g in ctx.grants if MATRIX[Permission.ADMIN_VIEWS][g.role] > Rule.DENY)
        return replace(ctx, grants=able)

    @operation("admin.export", needs=Permission.ADMIN_VIEWS, on=_export(), effect=Effect.READ, sensitive=True)
    async def export(self, ctx: Context, request: Take) -> None:
        """Leaves the entry; the rows come from the lists' own operations."""

    async def refuse(self, ctx: Context, path: str, target: Target, error: StorageError) -> None:
        """Leave an entry of what was refused before any operation saw it."""
        op: Operation = operations_of(self)["admin.open"][0]
        await write_refusal(self.kernel, op, ctx, target, Look(path=path), error)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who may be here: the core, and the caller with their admin grants only."""

    core: Core
    ctx: Context
    door: AdminDoor

    def knows(self, name: str | None) -> Operation | None:
        """The operation of this name, if there is one."""
        known = self.core.operations.get(name or "")
        return None if known is None else known[0]

    async def do(self, name: str, /, **fields: Any) -> Any:
        """Call an operation as the visitor; InvalidRequest when the fields do not make a request."""
        op, method = self.core.operations[name]
        try:
            request = op.request.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(p) for p in first["loc"])
            raise InvalidRequest(f"{where}: {first['msg']}.", field=where or None) from None
        return await method(self.ctx, request)


def visit_of(request: Request) -> Visit:
    """The visit the gate let in; a request that did not pass it has none."""
    return request.state.visit


class Gate:
    """In front of every admin page, asked anew with every request. The library's own static files pass."""

    def __init__(
        self,
        app: App,
        core: Callable[[], Core],
        callers: Callers,
        told: Callable[[Request, StorageError], Awaitable[Response]],
    ) -> None:
        self.app, self._core, self._callers, self._told = app, core, callers, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith(STATICS) and request.method in SAFE:
            return await self.app(scope, receive, _kept(send, b"public, max-age=86400"))
        try:
            visit = await self._admitted(request)
        except Unauthenticated as error:
            answer = _to_sign_in(request) if request.method in SAFE else await self._told(request, error)
            return await answer(scope, receive, _kept(send, b"no-store"))
        except StorageError as error:
            answer = await self._told(request, error)
            return await answer(scope, receive, _kept(send, b"no-store"))
        scope.setdefault("state", {})["visit"] = visit
        await self.app(scope, receive, _kept(send, b"no-store"))

    async def _admitted(self, request: Request) -> Visit:
        core = self._core()
        door = AdminDoor(core.kernel)
        page = Target("admin page", name=request.url.path[:200], tenant_id=LIST)
        try:
            ctx = (await self._callers(request)).through(Door.ADMIN)
        except CrossSite as error:
            if (owner := await self._callers.behind(request)) is not None:
                await door.refuse(owner.through(Door.ADMIN), request.url.path, page, error)
            raise
        if ctx.actor.kind is not ActorKind.USER:
            error = Forbidden("API tokens open no pages.", hint="Sign in to the console.")
            await door.refuse(ctx, request.url.path, page, error)
            raise error
        return Visit(core, await door.open(ctx, Look(path=request.url.path[:200])), door)


def _to_sign_in(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/login?next={quote(request.url.path + query, safe='/')}", 303)


def _kept(send: Send, how: bytes) -> Send:
    """The answer, saying who may keep it."""

    async def kept(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"cache-control", how)]}
        await send(message)

    return kept
