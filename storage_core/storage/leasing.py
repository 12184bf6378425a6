"""Leased logins of the databases in use: taken when needed, renewed in time, given back at the end.

Each login has an engine of its own. The next login is there before the present one ends; what is under way on the
present one comes to its end there, then its connections are closed and it is given back.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..bootstrap import leased_engines, utc_now
from ..domain.errors import StorageError, Unavailable
from ..domain.lease import LeasedLogin
from ..domain.provider import Endpoint, EngineKind, Provider, TlsMode
from ..ports.engine import Engine
from ..ports.engines import Engines
from ..services.kernel import to_its_end
from ..services.leases import LeaseLogin, ReleaseLogin
from ..services.programs import OpenedDatabase, PrepareCollections
from ..services.request import Request
from ..telemetry import log

#: How long a login is asked for, and after which part of that the next one is taken.
SECONDS, DUE = 3600, 2 / 3
#: How long the one before stays usable for work between two calls; and for models, whose calls nobody sees.
LINGER, UNSEEN = 30.0, 300.0
#: Seconds between two looks whether a login is still in use, or the console can be heard again.
LOOK = 1.0
#: At the end: so many are given back at once, and so long the console is waited for.
AT_ONCE, CLOSING = 8, 10.0

Call = Callable[[str, Request], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class Held:
    """A login in use, and how its engine is known. `ends` and `due` are the loop's time."""

    login: LeasedLogin
    provider: Provider
    database_id: str
    place: tuple[str, int, str]
    due: float
    ends: float


class Leasing:
    """The logins of one program. `running` must be entered."""

    def __init__(
        self, call: Call, told: Callable[[str], None], *, seconds: int = SECONDS, linger: float = LINGER
    ) -> None:
        """:param told: hears which database's login is due to be renewed."""
        self._call, self._told, self._seconds, self._linger = call, told, seconds, linger
        self._engines: Engines
        self._held: dict[str, Held] = {}
        #: Every login that may still work, by its name on the engine.
        self._live: dict[str, Held] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._going: set[asyncio.Task[None]] = set()
        #: Databases that models are bound to.
        self.bound: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Leasing"]:
        """Give back every login at the end, after the last connection is closed."""
        try:
            async with leased_engines(self._prepare) as self._engines:
                yield self
        finally:
            await to_its_end(self._close())

    @property
    def live(self) -> int:
        """How many logins may still work."""
        return len(self._live)

    def login(self, database_id: str) -> LeasedLogin | None:
        """The login a database is reached with."""
        held = self._held.get(database_id)
        return None if held is None else held.login

    async def engine(self, opened: OpenedDatabase) -> Engine:
        """The live engine of a database, with a login that works for a while yet."""
        async with self._locks.setdefault(opened.database.id, asyncio.Lock()):
            held = self._held.get(opened.database.id)
            if held is None or self._over(held, opened):
                held = await self._next(opened, held)
            return await self._engines.engine(held.provider, held.login.password)

    def watch(self, engine: Engine, told: Callable[[], None]) -> None:
        self._engines.watch(engine, told)

    def later(self, database_id: str) -> None:
        """Ask for the renewal again in a while: it cannot be done now."""
        if database_id in self._held:
            loop = asyncio.get_running_loop()
            self._timers[database_id] = loop.call_later(LOOK, self._told, database_id)

    def lasts(self, database_id: str) -> bool:
        """Whether the login a database is reached with still works."""
        held = self._held.get(database_id)
        return held is not None and held.ends > asyncio.get_running_loop().time()

    def ended(self, lease_id: str) -> str | None:
        """Forget a login that was ended elsewhere; answers its database."""
        held = next((h for h in self._live.values() if h.login.id == lease_id), None)
        if held is None:
            return None
        self._live.pop(held.login.user)
        if self._held.get(held.database_id) is not held:
            return None
        self._drop(held)
        return held.database_id

    async def refuse(self, database_id: str) -> None:
        """Cut off a database that may not be used any more."""
        async with self._locks.setdefault(database_id, asyncio.Lock()):
            if (held := self._held.get(database_id)) is not None:
                self._drop(held)
                await self._engines.forget(held.provider.id)
                await self._release(held)

    def _over(self, held: Held, opened: OpenedDatabase) -> bool:
        now = asyncio.get_running_loop().time()
        return held.place != _place(opened) or held.due <= now or opened.tenant.policy.encryption

    async def _next(self, opened: OpenedDatabase, held: Held | None) -> Held:
        """Take the next login, and let the present one go."""
        try:
            made = await to_its_end(self._lease(opened))
        except Unavailable:
            if held is None or held.ends <= asyncio.get_running_loop().time() or held.place != _place(opened):
                raise
            return held  # the console does not answer for now, and the login still works
        if held is not None:
            self._drop(held)
            task = asyncio.create_task(self._let_go(held), name="leased login")
            self._going.add(task)
            task.add_done_callback(self._going.discard)
        self._held[made.database_id] = made
        loop = asyncio.get_running_loop()
        self._timers[made.database_id] = loop.call_at(made.due, self._told, made.database_id)
        return made

    async def _lease(self, opened: OpenedDatabase) -> Held:
        row, kind = opened.database, opened.provider.kind
        if kind is EngineKind.POSTGRESQL:  # rights are given in schemas that are there
            await self._call("collections.prepare", PrepareCollections(database_id=row.id))
        asked = asyncio.get_running_loop().time()
        login: LeasedLogin = await self._call(
            "databases.lease", LeaseLogin(id=row.id, seconds=self._seconds, write=True)
        )
        # The console may give less than was asked for; its clock and this one may differ.
        lasts = min(self._seconds, max(0.0, (login.expires_at - utc_now()).total_seconds()))
        provider = replace(opened.provider, id=login.id, endpoint=_endpoint(login))
        held = Held(login, provider, row.id, _place(opened), asked + max(lasts * DUE, LOOK), asked + lasts)
        self._live[login.user] = held
        return held

    def _drop(self, held: Held) -> None:
        self._held.pop(held.database_id, None)
        if (timer := self._timers.pop(held.database_id, None)) is not None:
            timer.cancel()

    async def _let_go(self, held: Held) -> None:
        """Give a login back as soon as nothing goes on with it, at the latest when it ends."""
        left = held.ends - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await asyncio.sleep(UNSEEN if held.database_id in self.bound else self._linger)
                await self._engines.retire(held.provider.id)
                busy = await self._engines.drain(held.provider.id)
                while busy:
                    await asyncio.sleep(LOOK)
                    busy = await self._engines.drain(held.provider.id)
        except TimeoutError:
            await self._engines.forget(held.provider.id)
        await self._release(held)

    async def _release(self, held: Held) -> None:
        if self._live.pop(held.login.user, None) is None:
            return
        try:
            await self._call("databases.release", ReleaseLogin(id=held.database_id, lease_id=held.login.id))
        except StorageError as error:  # the console ends it when its time is over
            log.info("the leased login %s is not given back: %s", held.login.user, error.detail)

    async def _close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._going:
            task.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)
        turns = asyncio.Semaphore(AT_ONCE)

        async def give_back(held: Held) -> None:
            async with turns:
                await self._release(held)

        try:
            async with asyncio.timeout(CLOSING), asyncio.TaskGroup() as group:
                for held in list(self._live.values()):
                    group.create_task(give_back(held))
        except TimeoutError:
            log.info("the console does not take leased logins back: they end by themselves")

    async def _prepare(self, endpoint: Endpoint, name: str | None) -> None:
        """What a login may not make itself, the console makes."""
        held = self._live.get(endpoint.user or "")
        if held is not None:
            request = PrepareCollections(database_id=held.database_id, collection=name)
            await self._call("collections.prepare", request)


def _place(opened: OpenedDatabase) -> tuple[str, int, str]:
    return opened.provider.id, opened.provider.revision, opened.database.physical_name


def _endpoint(login: LeasedLogin) -> Endpoint:
    return Endpoint(
        login.host, login.port, login.user, login.sign_in, TlsMode(login.tls), login.tls_ca, login.replica_set
    )
