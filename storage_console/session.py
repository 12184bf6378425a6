"""Who is asking: every event's session, looked up anew, and what it may do.

A page's State marks each handler and asks for the caller's context::

    class Tenants(ListState, rx.State):
        @rx.event
        @requires(Permission.TENANT_ADMIN)
        async def suspend(self, id: str):
            ctx = await asking(self)
            await core().tenants.suspend(ctx, SuspendTenant(id=id))
            return toast("success", "Suspended")

A handler without `requires` is refused: any websocket client can call any public method by name.
"""

import hashlib
import http.cookies
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import reflex as rx
from pydantic import ValidationError
from reflex.state import BaseState, StateUpdate
from reflex_base.event import Event
from reflex_base.registry import RegistrationContext

from storage_console.core import changed, core, is_open
from storage_console.personal import Look, look_of
from storage_core.domain.context import ActorKind, Context, Door
from storage_core.domain.errors import Internal, StorageError, Unauthenticated
from storage_core.domain.event import Event as News
from storage_core.domain.permission import MATRIX, Permission, Role, Rule
from storage_core.domain.tenant import Tenant
from storage_core.services.tenants import ListTenants

__all__ = [
    "NO_PROBLEM", "WITHDRAWN", "AuthMiddleware", "Context", "Permission", "Problem", "Session", "StorageError", "allowed_roles", "asking",
    "attempt",
    "changed",
    "context_of", "cookie_in", "goto", "is_open", "on_error", "problem_of", "public", "redact_logs", "redacted", "refused", "requires", "signed_in", "switchable_tenants", "toast",
]  # fmt: skip

COOKIES = ("__Host-sc_session", "sc_session")
MARK = "__console_permission__"
PUBLIC = "public"
#: The correlation id of the last call this handler made, so that a failure can name it.
_asked: ContextVar[str] = ContextVar("asked", default="")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger(__name__)


def requires(permission: Permission) -> Callable[[F], F]:
    """Marks a handler with what its caller's role must hold somewhere; stands below `@rx.event`.

    It is the first gate only: the operation decides again, for the very target.
    """
    return _mark(permission)


def public() -> Callable[[F], F]:
    """Marks a handler anybody may call, signed in or not."""
    return _mark(PUBLIC)


def _mark(value: str) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        setattr(function, MARK, value)
        return function

    return decorate


def toast(kind: str, message: str, **options: Any) -> Event:
    """Shows a message in the corner; kind: success, info, warning or error. Works without `eval`."""
    return Event(name="_sc_toast", payload={"kind": kind, "message": message, "options": options})


def goto(path: str) -> Event:
    """Loads a page anew, with a new websocket, so that cookies are read again."""
    return Event(name="_sc_goto", payload={"path": path})


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal or failure as pages show it; an empty code means there is none."""

    code: str = ""
    title: str = ""
    detail: str = ""
    hint: str = ""
    field: str = ""
    correlation_id: str = ""


NO_PROBLEM = Problem()

#: Refusals after which nothing that was read before may stay on the page; other failures leave it, and say so.
WITHDRAWN = frozenset({"tenant_suspended", "forbidden"})


def problem_of(error: Exception, correlation_id: str = "") -> Problem:
    """What people are told of an error; the unexpected goes to the log and stays unnamed."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return Problem(
            code="invalid_request",
            title="The request has a wrong value",
            detail=first["msg"].removeprefix("Value error, "),
            field=".".join(str(part) for part in first["loc"]),
            correlation_id=correlation_id,
        )
    if not isinstance(error, StorageError):
        log.error("unexpected error in the console", exc_info=error)
        error = Internal("The console met something it did not expect.")
    return Problem(error.code, error.title, error.detail, error.hint, error.field or "", correlation_id)


async def attempt(work: Awaitable[T]) -> tuple[T | None, Problem]:
    """The console's error map: what the work gives and NO_PROBLEM, or None and what people are told."""
    try:
        return await work, NO_PROBLEM
    except Exception as error:  # noqa: BLE001 - the one place of this door that catches
        return None, problem_of(error, _asked.get())


class Session(rx.State):
    """Who is signed in, for display only: decisions are made by the middleware and the core."""

    user: str = ""
    role: str = ""
    can: list[str] = []
    tenant_id: str = ""
    tenant_name: str = ""
    look: Look = Look()
    _key: str = ""


def cookie_of(state: BaseState) -> str:
    """The session cookie's value as the websocket's handshake carried it; empty without one."""
    return cookie_in(state.router.headers.cookie or "")


def cookie_in(header: str) -> str:
    """The session cookie's value in a Cookie header; empty without one."""
    try:
        jar = http.cookies.SimpleCookie(header)
    except http.cookies.CookieError:
        return ""
    return next((jar[name].value for name in COOKIES if name in jar), "")


async def signed_in(state: BaseState, *, acting: bool = False) -> Context | None:
    """The caller's live session as a context, None when there is none (any more).

    Only a person `acting` keeps the session from idling out; a page that refreshes itself does not.
    """
    root = state._get_root_state()
    return await _context(cookie_of(root), root.router.session.client_ip or None, acting=acting)


async def context_of(cookies: Mapping[str, str], address: str | None) -> Context | None:
    """The same for a plain HTTP request's cookies."""
    value = next((cookies[name] for name in COOKIES if name in cookies), "")
    return await _context(value, address, acting=True)


async def _context(value: str, address: str | None, *, acting: bool) -> Context | None:
    if not value or not is_open():
        return None
    return await core().auth.by_cookie(value, Door.CONSOLE, address, core().correlation(), touch=acting)


async def asking(state: BaseState) -> Context:
    """The context of the call being handled, narrowed to the tenant chosen in the header.

    Raises Unauthenticated when the session ended meanwhile. Background handlers call it inside
    ``async with self``.
    """
    found = await signed_in(state)
    if found is None:
        raise Unauthenticated("Your session has ended.")
    _asked.set(found.correlation_id)
    chosen = (await state.get_state(Session)).tenant_id
    return replace(found, tenant_id=chosen) if chosen and found.tenant_id is None else found


def held(ctx: Context) -> list[str]:
    """The permissions any of the caller's grants holds, wherever."""
    roles = {grant.role for grant in ctx.grants}
    return [p.value for p, row in MATRIX.items() if any(row[role] >= Rule.OWN for role in roles)]


def allowed_roles(permission: str) -> str:
    """Who may, in words: the lowest role that holds the permission; empty for one nobody holds."""
    able = [role for role, rule in MATRIX[Permission(permission)].items() if rule >= Rule.OWN]
    return "" if not able else able[0].value if len(able) == 1 else f"{able[-1].value} or above"


def highest(ctx: Context) -> Role | None:
    """The caller's highest role in any scope."""
    return max((grant.role for grant in ctx.grants), key=lambda role: role.rank, default=None)


async def switchable_tenants(ctx: Context) -> list[Tenant]:
    """The tenants the header offers to switch to: the first hundred in the caller's scope, by name."""
    wide = replace(ctx, tenant_id=None) if ctx.actor.kind is ActorKind.USER else ctx
    found = await core().tenants.list(wide, ListTenants(limit=100, sort="name", status="!deleted"))
    return list(found.items)


@dataclass(frozen=True, slots=True)
class Held:
    """The sign-in a websocket's last event came with."""

    cookie: str
    session_id: str
    user_id: str

    def __repr__(self) -> str:
        return f"Held(***, {self.session_id})"

    def hears(self, event: News) -> bool:
        """Whether the event may be the end of this sign-in."""
        return event.id == {"sessions": self.session_id, "users": self.user_id}.get(event.topic)


#: Every websocket that somebody signed in has spoken through, by its id; see `sockets`.
held_sockets: dict[str, Held] = {}


class AuthMiddleware(rx.Middleware):
    """Runs before every event: looks the session up, binds the tab to it, refuses what is not allowed."""

    async def preprocess(self, app: rx.App, state: BaseState, event: Event) -> StateUpdate | None:
        """Lets the event pass with None, or answers it with a refusal."""
        root = state._get_root_state()
        ctx = await signed_in(root, acting=True)
        await _bind(root, ctx)
        if event.name.endswith(".hydrate_and_load") and event.payload.get("hashes"):
            _begin(root)
        if ctx is not None and ctx.session_id is not None:
            held_sockets[root.router.session.session_id] = Held(cookie_of(root), ctx.session_id, ctx.actor.id)
        return _gate(event, ctx)


def _begin(state: BaseState) -> None:
    """A page that was loaded anew begins with nothing open; one whose connection came back goes on where it was.

    Only the first message of a page carries `hashes`.
    """
    if callable(close := getattr(state, "_closed", None)):
        close()
    for inner in state.substates.values():
        _begin(inner)


async def _bind(root: BaseState, ctx: Context | None) -> None:
    session = await root.get_state(Session)
    role, can = highest(ctx) if ctx else None, held(ctx) if ctx else []
    key = hashlib.sha256(cookie_of(root).encode()).hexdigest() if ctx else ""
    if session._key == key:
        if session.can != can:  # a grant came or went while the page was open
            session.role, session.can = role.value if role else "", can
        return
    if session._key:
        root.reset()  # this tab's state belonged to another sign-in
    session._key = key
    session.user = ctx.actor.name if ctx else ""
    session.role = role.value if role else ""
    session.can = can
    session.look = await look_of(ctx) if ctx else Look()


def _gate(event: Event, ctx: Context | None) -> StateUpdate | None:
    registered = RegistrationContext.get().event_handlers.get(event.name)
    if registered is None or event.name.endswith(".setvar"):
        return refused()
    module = registered.states[0].__module__ if registered.states else ""
    if module.startswith("reflex.") and module != "reflex.istate.dynamic":
        return None  # hydrate, on_load_internal and the like; dynamic holds states made inside functions: not Reflex's
    need = getattr(registered.handler.fn, MARK, None)
    if need == PUBLIC:
        return None
    if need and ctx is None:
        return StateUpdate(events=[goto("/login")])
    if need and ctx and need in held(ctx):
        return None
    return refused()


def refused() -> StateUpdate:
    """The answer to what is not allowed, or does not exist."""
    return StateUpdate(events=[toast("error", "Not allowed", description="Your role does not allow this.")])


COOKIE = re.compile(r"(sc_session=)[^;\s'\"\\]+|('cookie'|\"cookie\"): *('[^']*'|\"[^\"]*\")", re.IGNORECASE)


#: What somebody typed, under whatever name: an event as Reflex writes it ends with it.
PAYLOAD = re.compile(r"(payload['\"]?[=:] ?)(?=[{\[]).*[}\]]", re.IGNORECASE | re.DOTALL)


def redacted(text: str) -> str:
    """The text without the values of session cookies, of cookie headers and of what an event carries."""
    return COOKIE.sub(lambda m: (m[1] or f"{m[2]}: ") + "***", PAYLOAD.sub(r"\1***", text))


def redact_logs() -> None:
    """Blanks cookies in what Reflex logs, wherever it goes: it prints whole events, headers included.

    At the making of a record, since Reflex brings handlers of its own, some of them late.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def clean(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if (record.name or "").startswith(("reflex", "engineio", "socketio")):
            record.msg, record.args = redacted(record.getMessage()), ()
        return record

    clean.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(clean)


def on_error(exception: Exception):  # no return annotation: Reflex compares it with its own types
    """Reflex's handler for what an event handler did not catch: a toast with cause and fix."""
    if isinstance(exception, Unauthenticated):
        return goto("/login")
    problem = problem_of(exception)
    return toast("error", problem.title, description=f"{problem.detail} {problem.hint}".strip())
