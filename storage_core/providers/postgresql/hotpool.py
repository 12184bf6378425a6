"""Connections for single statements: kept open, bounded, given on without a round trip.

Statements run in autocommit and leave nothing behind in the session, so a connection is handed on as it is. One whose
state is unknown (its call was cancelled, or the wire broke) is thrown away.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from .dial import Connection

#: Connections to one database, and to all databases of a server together.
PER_DATABASE, PER_SERVER = 4, 48
#: Every so often, connections are closed of databases that nobody used since the last time.
SWEEP_SECONDS = 30.0
#: How often a connection goes to the next who waits for its database while another database has none.
TURNS = 32

#: What says that a connection was lost, idle or in the middle of a statement.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    ConnectionResetError,
)

Connect = Callable[[str], Awaitable[Connection]]


class HotPool:
    """The connections to one database."""

    __slots__ = ("_all", "_waiting", "database", "free", "open", "size", "turns", "used")

    def __init__(self, pools: "HotPools", database: str, size: int) -> None:
        self._all, self.database, self.size = pools, database, size
        self.free: list[Connection] = []
        self.open = 0
        self.used = False
        self.turns = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    async def run(self, method: str, *args: Any, **more: Any) -> Any:
        """One statement by one of asyncpg's methods; the driver's errors."""
        free = self.free
        connection = free.pop() if free and not free[-1].is_closed() else await self.acquire()
        try:
            answer = await getattr(connection, method)(*args, **more)
        except LOST:
            self.discard(connection)
            self.close_idle()  # what ended one has most likely ended all
            raise
        except asyncpg.PostgresError:
            self.release(connection)  # the server answered: the connection is clean
            raise
        except asyncpg.InternalClientError as error:
            # the server's farewell is being read: the statement was not sent
            self.discard(connection)
            self.close_idle()
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost") from error
        except BaseException:
            self.discard(connection)
            raise
        if self._waiting or self._all.busy or self.open > self.size:
            self.release(connection)
        else:  # as `release` does, on the way that all calls take
            free.append(connection)
            self.used = True
        return answer

    async def acquire(self) -> Connection:
        while self.free:
            connection = self.free.pop()
            if not connection.is_closed():
                return connection
            self._lost()
        if self.open < self.size:
            self.open += 1
            return await self._connect()
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            given = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                passed = waiter.result()
                self._hand_on(passed, counted=passed is not None)
            raise
        return given if given is not None else await self._connect()

    def release(self, connection: Connection) -> None:
        if connection.is_closed():
            self._hand_on(None)
        else:
            self._hand_on(connection)

    def discard(self, connection: Connection) -> None:
        """Throw a connection away whose state is unknown."""
        connection.terminate()
        self._hand_on(None)

    def close_idle(self) -> int:
        """Close what nobody uses; answers how many."""
        closed = len(self.free)
        for connection in self.free:
            connection.terminate()
            self._lost()
        self.free.clear()
        return closed

    @property
    def idle(self) -> bool:
        return self.open == len(self.free)

    async def _connect(self) -> Connection:
        """Open a connection in a slot that is counted already."""
        try:
            await self._all.room(self)
        except BaseException:
            self._hand_on(None, counted=False)
            raise
        try:
            return await self._all.connect(self.database)
        except BaseException:
            self._hand_on(None)
            raise

    def _hand_on(self, connection: Connection | None, *, counted: bool = True) -> None:
        """To whoever waits longest; none is a slot in which they may open their own."""
        if connection is not None and not self._keeps():
            connection.terminate()
            connection = None
        if connection is None and counted:
            self._all.left()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is None:
            self.open -= 1
        else:
            self.used = True
            self.free.append(connection)

    def _keeps(self) -> bool:
        """Whether a connection stays with this database, now that it is free."""
        if self._all.closed or self.open > self.size:
            return False
        if not self._all.busy:
            self.turns = 0
            return True
        self.turns += 1
        return bool(self._waiting) and self.turns % TURNS != 0

    def _lost(self) -> None:
        self.open -= 1
        self._all.left()


class HotPools:
    """A pool for each database in use, bounded together; the least used give way."""

    def __init__(self, connect: Connect, per_database: int = PER_DATABASE, most: int = PER_SERVER) -> None:
        self.connect, self._size, self._most = connect, per_database, most
        self._pools: OrderedDict[str, HotPool] = OrderedDict()
        self._bounds: dict[str, int] = {}
        self._live = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        #: Whether somebody waits for room on the server, or all is closed: connections do not just stay.
        self.busy = self.closed = False

    def of(self, database: str) -> HotPool:
        """The pool of a database, for one call."""
        pool = self._pools.get(database)
        if pool is None:
            pool = self._pools[database] = HotPool(self, database, self._bounds.get(database, self._size))
        self._pools.move_to_end(database)
        if self._sweeper is None and not self.closed:
            self._sweep_later()
        return pool

    def bound(self, database: str, connections: int | None) -> None:
        """Keep at most so many connections to a database; none is the usual measure."""
        if connections is None:
            self._bounds.pop(database, None)
        else:
            self._bounds[database] = connections
        if (pool := self._pools.get(database)) is not None:
            pool.size = self._size if connections is None else connections

    def close_idle(self, database: str) -> None:
        """Close what nobody uses of one database."""
        if (pool := self._pools.get(database)) is not None:
            pool.close_idle()

    @property
    def live(self) -> int:
        """Connections that are open or being opened."""
        return self._live

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(self._pools)

    async def room(self, pool: HotPool) -> None:
        """Wait until one connection more may be open; idle ones of databases unused for longest are closed for it."""
        if not self._waiting:
            for other in list(self._pools.values()) if self._live >= self._most else ():
                if other is not pool and other.close_idle() and self._live < self._most:
                    break
            if self._live < self._most:
                self._live += 1
                return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.busy = True
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.left()
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise
        finally:
            self.busy = self.closed or bool(self._waiting)

    def left(self) -> None:
        """One connection fewer: its room goes to who waits longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._live -= 1

    def close(self) -> None:
        """Close every idle connection; those in use are closed when they come back. Idempotent."""
        self.closed = self.busy = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in self._pools.values():
            pool.close_idle()
            pool.size = 0
        self._pools.clear()

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        for pool in list(self._pools.values()):
            if not pool.used:
                pool.close_idle()
            pool.used = False
            if not pool.open:
                del self._pools[pool.database]
        if self._pools and not self.closed:
            self._sweep_later()
