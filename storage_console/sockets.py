"""Open pages whose sign-in is over are hung up on, in every web process, as soon as the news arrives.

Each event is refused then anyway; this ends what a page holds without asking: its connection and live refresh.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import reflex as rx
from reflex.state import StateUpdate

from storage_console.core import core
from storage_console.security import App, Message, Receive, Scope, Send
from storage_console.session import goto, held_sockets
from storage_core.domain.context import Door
from storage_core.domain.errors import StorageError
from storage_core.domain.event import Event

log = logging.getLogger(__name__)

#: Sessions also end by the clock, which tells nobody: so often all are looked at.
SWEEP_SECONDS = 60.0
#: How long a browser gets to take its last message.
FAREWELL_SECONDS = 5.0


ENDING = "console.ending"


def endable(app: App) -> App:
    """The application, with websockets that can be closed from elsewhere: by the event in their scope."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return await app(scope, receive, send)
        ending = asyncio.Event()
        ended = asyncio.create_task(ending.wait(), name="websocket's end")

        async def until_the_end() -> Message:
            heard = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({heard, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    return heard.result()
            finally:
                heard.cancel()
            await send({"type": "websocket.close", "code": 1008})
            return {"type": "websocket.disconnect", "code": 1008}

        try:
            await app({**scope, ENDING: ending}, until_the_end, send)
        finally:
            ended.cancel()

    return answer


@dataclass(frozen=True, slots=True)
class Sockets:
    """The app's websockets, each known by the sign-in its last event came with."""

    app: rx.App

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Hang up on who is out, until the block ends."""
        task = asyncio.create_task(self._watch(), name="sockets")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        news = core().bus.subscribe()
        pending: asyncio.Task[Event] | None = None
        try:
            while True:
                pending = pending or asyncio.create_task(anext(news))
                done, _ = await asyncio.wait({pending}, timeout=SWEEP_SECONDS)
                event = pending.result() if done else None
                if done:
                    pending = None
                try:
                    await self._hang_up(event)
                except StorageError as error:  # the catalog is away: nothing is served either
                    log.warning("sockets: %s", error.detail)
        finally:
            if pending is not None:
                pending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pending
            await news.aclose()

    async def _hang_up(self, event: Event | None) -> None:
        """Look again at whom the event concerns; without one, at everybody."""
        concerned = {sid: held for sid, held in held_sockets.items() if event is None or held.hears(event)}
        if not concerned:
            return
        over = {cookie for cookie in {h.cookie for h in concerned.values()} if await _is_over(cookie)}
        gone = {sid for sid, held in concerned.items() if held.cookie in over}
        open_ones = self._open()
        for sid in {sid for sid in held_sockets if sid not in open_ones} | gone:
            held_sockets.pop(sid, None)
        async with asyncio.TaskGroup() as group:
            for sid in gone & open_ones.keys():
                group.create_task(self._part(sid, open_ones[sid]))

    def _open(self) -> dict[str, str]:
        """The open sockets: their Socket.IO ids, with those of the connections that carry them."""
        namespace = self.app.event_namespace
        if namespace is None or self.app.sio is None:
            return {}
        return dict(self.app.sio.manager.get_participants(namespace.namespace, None))

    async def _part(self, sid: str, connection: str) -> None:
        """Send the browser to the sign-in page, then close its connection, whether or not it listens."""
        namespace, sio = self.app.event_namespace, self.app.sio
        if namespace is None or sio is None:
            return
        token = namespace.sid_to_token.get(sid)
        scope = (sio.get_environ(sid, namespace.namespace) or {}).get("asgi.scope", {})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                if token is not None:
                    await namespace.emit_update(StateUpdate(events=[goto("/login")]), token)
                await sio.eio.disconnect(connection)  # waits until all was sent
        # Engine.IO only asks the other side to close; this closes.
        if (ending := scope.get(ENDING)) is not None:
            ending.set()


async def _is_over(cookie: str) -> bool:
    return await core().auth.by_cookie(cookie, Door.CONSOLE, None, core().correlation(), touch=False) is None
