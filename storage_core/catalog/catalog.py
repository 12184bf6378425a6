"""The catalog over SQLAlchemy: SQLite (WAL) below the home, or PostgreSQL by URL."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, event, func, make_url, select, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..domain.errors import InvalidRequest, Unavailable, VersionConflict
from ..domain.event import Event
from ..domain.provider import postmaster_mark
from ..ports.catalog import UnitOfWork
from ..ports.queue import Queue
from .envelopes import SqlEnvelopes
from .keys import SqlKeys, hold
from .mapping import Mapper
from .tables import EventRow
from .unit import CHANNEL, Unit

log = logging.getLogger(__name__)

_EVENTS: Any = EventRow.__table__  # type: ignore[attr-defined]

MARK = "select pg_postmaster_start_time(), oid::int8 from pg_database where datname = current_database()"
#: Seconds to wait for a turn, a connection, a lock.
PATIENCE = 15
#: Of PostgreSQL's connections so many write at once at most; SQLite has one writer anyway.
WRITERS = 6
EVENTS_KEPT = timedelta(hours=24)
#: PostgreSQL's codes for a transaction that must be begun again: serialization failure, deadlock.
_AGAIN = frozenset({"40001", "40P01"})
#: Classes of codes that say the server is not there for us: connection, resources, shutdown, sign-in,
#: no database; and one that may only be read.
_AWAY = ("08", "25006", "53", "57P", "28", "3D")


def open_engine(url: str) -> AsyncEngine:
    """An async engine for the catalog. SQLite begins every writing transaction IMMEDIATE (see below)."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return create_async_engine(
            parsed.set(drivername="postgresql+asyncpg"),
            pool_size=10,  # one of them listens for news
            max_overflow=0,
            pool_timeout=PATIENCE,
            pool_pre_ping=True,
            pool_recycle=1800,
        )
    engine = create_async_engine(
        parsed.set(drivername="sqlite+aiosqlite"),
        pool_size=6,
        max_overflow=0,
        pool_timeout=PATIENCE,
        pool_pre_ping=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("busy_timeout=15000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute("PRAGMA " + pragma)
        cursor.close()

    # A deferred transaction that reads and then writes fails at once when another one wrote meanwhile,
    # whatever busy_timeout says: so writers take the lock at the start.
    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        readonly = connection.get_execution_options().get("readonly")
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


class SqlCatalog:
    """The catalog. `queue` receives jobs inside the same transaction when `shared` (both live in one database)."""

    def __init__(
        self, engine: AsyncEngine, queue: Queue, now: Callable[[], datetime], *, shared: bool
    ) -> None:
        self.engine, self._queue, self._now, self._shared = engine, queue, now, shared
        self._postgresql = engine.dialect.name == "postgresql"
        self._writers = asyncio.Semaphore(WRITERS if self._postgresql else 1)
        self.keys = SqlKeys(self._begin, now)
        self.envelopes = SqlEnvelopes(self._begin, hold)
        self._event = Mapper(Event, _EVENTS)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[UnitOfWork]:
        async with self._begin(readonly=False) as connection:
            unit = Unit(connection, self._now, self._hand_over)
            yield unit
            await unit.flush_news()
        unit.record()
        if not self._shared:
            # Row first, then the job under the same id: the reconciler repeats this after a crash in between.
            for job_id in unit.enqueued:
                try:
                    await self._queue.enqueue(job_id)
                except Unavailable as error:
                    log.warning("job %s waits for the reconciler: %s", job_id, error.detail)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        async with self._begin(readonly=True) as connection:
            yield Unit(connection, self._now, self._hand_over)

    async def _hand_over(self, connection: AsyncConnection, job_id: str) -> None:
        if self._shared:
            await connection.run_sync(self._queue.enqueue_in, job_id)

    @asynccontextmanager
    async def _begin(self, *, readonly: bool) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._turn(readonly=readonly), self.engine.connect() as connection:
                await self._prepare(connection, readonly=readonly)
                async with connection.begin():
                    yield connection
        except (OperationalError, InterfaceError, PoolTimeout, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        except IntegrityError:
            raise
        except DataError as error:
            raise InvalidRequest("The catalog cannot keep one of these values.") from error
        except DBAPIError as error:
            code = getattr(error.orig, "sqlstate", None)
            if (code or "").startswith("22"):  # PostgreSQL's data exceptions, e.g. a NUL in a text
                raise InvalidRequest("The catalog cannot keep one of these values.") from error
            if code in _AGAIN:
                raise VersionConflict("Somebody else changed the same rows at the same time.") from error
            broken_file = code is None and not isinstance(error, ProgrammingError)
            if error.connection_invalidated or broken_file or (code or "").startswith(_AWAY):
                raise _unavailable(error) from error
            raise

    @asynccontextmanager
    async def _turn(self, *, readonly: bool) -> AsyncIterator[None]:
        """Writers wait for each other before they take a connection: readers must find one meanwhile."""
        if readonly:
            yield
            return
        async with asyncio.timeout(PATIENCE):
            await self._writers.acquire()
        try:
            yield
        finally:
            self._writers.release()

    async def _prepare(self, connection: AsyncConnection, *, readonly: bool) -> None:
        """A reading unit sees one moment on both databases: a list and its count, a chain and its head, agree."""
        if readonly and self._postgresql:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            await connection.execution_options(readonly=readonly)

    async def events(self, after: int, limit: int) -> tuple[Event, ...]:
        query = select(_EVENTS).where(_EVENTS.c.sequence > after).order_by(_EVENTS.c.sequence).limit(limit)
        async with self._begin(readonly=True) as connection:
            return tuple(self._event.value(row) for row in (await connection.execute(query)).mappings())

    async def last_event(self) -> int:
        async with self._begin(readonly=True) as connection:
            found = (await connection.execute(select(func.max(_EVENTS.c.sequence)))).scalar()
        return found or 0

    async def forget_events(self) -> None:
        """Drop events nobody can still be waiting for; the newest stays, so that numbers never start again."""
        async with self._begin(readonly=False) as connection:
            newest = select(func.max(_EVENTS.c.sequence)).scalar_subquery()
            old = _EVENTS.c.at < self._now() - EVENTS_KEPT
            await connection.execute(delete(_EVENTS).where(old, _EVENTS.c.sequence < newest))

    async def news(self) -> AsyncGenerator[None]:
        """Yield whenever events were committed, from the moment of the first step; ends where only polling helps."""
        if not self._postgresql:
            return
        heard = asyncio.Event()
        async with self.engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection

            def told(*_: Any) -> None:
                heard.set()

            raw.add_termination_listener(told)
            await raw.add_listener(CHANNEL, told)
            try:
                while not raw.is_closed():
                    yield
                    await heard.wait()
                    heard.clear()
            finally:
                # It listens: not a connection to give back.
                await connection.invalidate()

    async def ping(self) -> None:
        async with self._begin(readonly=True) as connection:
            await connection.execute(text("select 1"))

    async def mark(self) -> str | None:
        """What tells the database on PostgreSQL that this is from every other; none on SQLite."""
        if not self._postgresql:
            return None
        async with self._begin(readonly=True) as connection:
            started, oid = (await connection.execute(text(MARK))).one()
        return postmaster_mark(started, oid)

    async def close(self) -> None:
        await self.engine.dispose()


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable(
        f"The catalog cannot be used: {type(error).__name__}.",
        hint="Check STORAGE_CATALOG_URL and free disk space.",
    )
