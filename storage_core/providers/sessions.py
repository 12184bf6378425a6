"""SQLAlchemy's connections to the databases in use, all under one bound."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..domain.errors import Gone, TooManyRequests, Unreachable

CHECKOUT_SECONDS = 30.0
#: More than the drivers take to give up by themselves.
OPENING_SECONDS = 15.0
IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Connections in all, connections to one database; seconds: a caller waits for one, opening one may take, and one is
    kept unused."""

    all: int
    each: int
    checkout: float = CHECKOUT_SECONDS
    opening: float = OPENING_SECONDS
    idle: float = IDLE_SECONDS


@dataclass(slots=True, eq=False)
class _Slot:
    """One connection, in an engine of its own: closing it touches no other to the same database."""

    key: str
    engine: AsyncEngine
    used_at: float
    busy: bool = True


class SessionPools:
    """Hands out connections; makes room by closing the one that was unused longest, wherever it leads.

    `build` makes an engine with a pool of one, without I/O. Two keys are two databases. Belongs to one event loop.
    """

    def __init__(self, build: Callable[[str], AsyncEngine], bounds: Bounds) -> None:
        self._build, self._bounds = build, bounds
        #: By the time of their last use, the longest ago first.
        self._slots: list[_Slot] = []
        self._each: dict[str, int] = {}
        self._freed = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    def bound(self, key: str, connections: int | None) -> None:
        """At most so many connections to one database; none is the usual measure."""
        if connections is None:
            self._each.pop(key, None)
        else:
            self._each[key] = connections

    @property
    def connections(self) -> int:
        """How many are open or being opened."""
        return len(self._slots)

    @property
    def busy(self) -> int:
        """How many are in use."""
        return sum(slot.busy for slot in self._slots)

    @asynccontextmanager
    async def connection(self, key: str) -> AsyncGenerator[AsyncConnection]:
        slot = await self._admitted(key)
        entered = False
        try:
            async with AsyncExitStack() as stack:
                connection = await self._opened(stack, slot)
                entered = True
                yield connection
        finally:
            if entered and not self._closed:
                self._give_back(slot)
            else:
                await self._discard(slot)

    async def _opened(self, stack: AsyncExitStack, slot: _Slot) -> AsyncConnection:
        """Also bounds the look whether a kept connection still lives: a pooler may hold that back for minutes."""
        try:
            async with asyncio.timeout(self._bounds.opening):
                return await stack.enter_async_context(slot.engine.connect())
        except TimeoutError:
            raise Unreachable(
                f"The database did not answer within {self._bounds.opening:g} seconds."
            ) from None

    async def close(self) -> None:
        """Close every connection that nobody uses; the others when they are given back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for slot in [slot for slot in self._slots if not slot.busy]:
            await self._discard(slot)

    async def _admitted(self, key: str) -> _Slot:
        try:
            async with asyncio.timeout(self._bounds.checkout):
                while (slot := self._taken(key)) is None:
                    self._freed.clear()
                    if not await self._made_room(key):
                        await self._freed.wait()
                return slot
        except TimeoutError:
            raise TooManyRequests(
                f"Every connection stayed in use for {self._bounds.checkout:g} seconds: {self._each.get(key, self._bounds.each)} to the "
                f"database, {self._bounds.all} in all.",
                hint="End units of work sooner, or run fewer at a time.",
                retry_after=1,
            ) from None

    def _taken(self, key: str) -> _Slot | None:
        """An unused connection to the database, or a place for a new one; none where there is neither."""
        if self._closed:
            raise Gone("The engine is closed.", hint="Get the storage again.")
        mine = [slot for slot in self._slots if slot.key == key]
        for slot in reversed(mine):
            if not slot.busy:
                slot.busy = True
                return slot
        if len(mine) >= self._each.get(key, self._bounds.each) or len(self._slots) >= self._bounds.all:
            return None
        slot = _Slot(key, self._build(key), asyncio.get_running_loop().time())
        self._slots.append(slot)
        return slot

    async def _made_room(self, key: str) -> bool:
        """Close the connection that was unused longest, where that helps; whether it did."""
        if sum(slot.key == key for slot in self._slots) >= self._each.get(key, self._bounds.each):
            return False
        unused = next((slot for slot in self._slots if not slot.busy), None)
        if unused is None:
            return False
        await self._discard(unused)
        return True

    def _give_back(self, slot: _Slot) -> None:
        slot.busy, slot.used_at = False, asyncio.get_running_loop().time()
        self._slots.remove(slot)
        self._slots.append(slot)
        self._freed.set()
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._sweep(), name="unused sessions")

    async def _discard(self, slot: _Slot) -> None:
        """Close it for good; its place is free when it is closed, whatever happens to the caller."""
        slot.busy = True  # nobody takes it
        await asyncio.shield(asyncio.ensure_future(self._dispose(slot)))

    async def _dispose(self, slot: _Slot) -> None:
        try:
            await slot.engine.dispose()
        finally:
            if slot in self._slots:
                self._slots.remove(slot)
            self._freed.set()

    async def _sweep(self) -> None:
        while self._slots:
            await asyncio.sleep(self._bounds.idle / 2)
            line = asyncio.get_running_loop().time() - self._bounds.idle
            for slot in [slot for slot in self._slots if not slot.busy and slot.used_at <= line]:
                if not slot.busy:
                    await self._discard(slot)
