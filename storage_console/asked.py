"""What comes over a websocket and is no event that a page sends: answered before Reflex looks for its handler.

Reflex looks before any middleware runs, answers nothing, and writes a trace to the log each time.
"""

from typing import Any

import reflex as rx
from reflex_base.registry import RegistrationContext

from storage_console.session import refused


def askable(asked: Any) -> bool:
    """Whether a page may send this: an event, of the shape of one, to a handler there is."""
    if not isinstance(asked, dict) or not isinstance(name := asked.get("name"), str):
        return False
    if any(not isinstance(asked.get(part) or {}, dict) for part in ("payload", "router_data")):
        return False
    # Reflex asks this of itself, when a page has loaded; it comes by no websocket.
    inner = name.endswith(".set_is_hydrated")
    return not inner and name in RegistrationContext.get().event_handlers


def refuse_unaskable(app: rx.App) -> None:
    """Let the app's websockets through with events that pages send, and refuse what else they bring."""
    namespace = app.event_namespace
    if namespace is None:
        return
    take = namespace.on_event

    async def on_event(sid: str, data: Any) -> None:
        if askable(data):
            await take(sid, data)
        elif (token := namespace.sid_to_token.get(sid)) is not None:
            await namespace.emit_update(refused(), token)

    namespace.on_event = on_event  # type: ignore[method-assign] - Socket.IO looks its handlers up by name, on the object
