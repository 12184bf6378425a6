"""What comes over a websocket and is no event that a page sends: answered before Reflex looks for its handler.

Reflex looks before any middleware runs, answers nothing, and writes a trace to the log each time.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import reflex as rx
from reflex.state import StateUpdate
from reflex_base.registry import RegistrationContext

from storage_console.session import cookie_in, refused, toast
from storage_core.domain.errors import TooManyRequests

#: Counts an event by its connection's address and session cookie; TooManyRequests when it is one too many.
Count = Callable[[str | None, str], Awaitable[None]]


def askable(asked: Any) -> bool:
    """Whether a page may send this: an event, of the shape of one, to a handler there is."""
    if not isinstance(asked, dict) or not isinstance(name := asked.get("name"), str):
        return False
    if any(not isinstance(asked.get(part) or {}, dict) for part in ("payload", "router_data")):
        return False
    # Reflex asks this of itself, when a page has loaded; it comes by no websocket.
    inner = name.endswith(".set_is_hydrated")
    return not inner and name in RegistrationContext.get().event_handlers


def refuse_unaskable(app: rx.App, count: Count) -> None:
    """Let the app's websockets through with events that pages send, and refuse what else they bring, or too much."""
    namespace = app.event_namespace
    if namespace is None:
        return
    take = namespace.on_event

    async def on_event(sid: str, data: Any) -> None:
        answer = refused()
        try:
            await count(*_whose(app, sid))
            if askable(data):
                return await take(sid, data)
        except TooManyRequests as error:
            answer = StateUpdate(events=[toast("error", error.title, description=error.hint)])
        if (token := namespace.sid_to_token.get(sid)) is not None:
            await namespace.emit_update(answer, token)

    namespace.on_event = on_event  # type: ignore[method-assign] - Socket.IO looks its handlers up by name, on the object


def _whose(app: rx.App, sid: str) -> tuple[str | None, str]:
    """The address and the session cookie of a connection, as its handshake carried them."""
    namespace = app.event_namespace
    environ = app.sio.get_environ(sid, namespace.namespace) if app.sio and namespace else None
    if environ is None:
        return None, ""
    client = environ["asgi.scope"].get("client")
    return client[0] if client else None, cookie_in(environ.get("HTTP_COOKIE", ""))
