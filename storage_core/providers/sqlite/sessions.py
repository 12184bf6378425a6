"""SQLAlchemy's connections to SQLite files, over the one SQLite library of the process."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ...domain.errors import Conflict, NotFound
from ...domain.naming import said
from ...ports.sessions import Access
from ..sessions import Bounds, SessionPools
from .connect import BUSY_SECONDS, in_thread, translate, uri_of
from .place import Place

#: Each is a thread and three open files.
BOUNDS = Bounds(all=64, each=4)
STATEMENTS = 128
ACCESS, BROKEN = "sqlite_access", "sqlite_broken_keys"
#: What people's own statements may be wrong about stays SQLAlchemy's error; these are the file's or the disk's.
NOT_THE_STATEMENTS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
    }
)


class SqliteSessions:
    """See the port. A file that takes another's place under its name is another database."""

    locking: str | None = None

    def __init__(self, place: Place, bounds: Bounds = BOUNDS) -> None:
        self._place = place
        self.pools = SessionPools(self._build, bounds)

    def schema(self, database: str) -> str | None:
        return None

    @asynccontextmanager
    async def connection(
        self, database: str, access: Access = Access.WRITE
    ) -> AsyncGenerator[AsyncConnection]:
        key = await in_thread(lambda: self._key(database))
        async with self.pools.connection(key) as connection:
            await connection.execution_options(**{ACCESS: access})
            yield connection

    async def close(self) -> None:
        await self.pools.close()

    def _key(self, database: str) -> str:
        """Name and number of the file: a connection to one that was removed since would write into nothing."""
        self._place.file(database)
        for mark in self._place.marks(database):
            return f"{mark}/{database}"
        raise NotFound(f"There is no database {said(database, 200)}.", hint="Check its name.")

    def _build(self, key: str) -> AsyncEngine:
        database = key.partition("/")[2]

        def connect() -> Any:
            dbapi: Any = engine.sync_engine.dialect.dbapi
            return dbapi.connect(
                uri_of(self._place.located(database), "mode=rw"),
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_SECONDS,
                cached_statements=STATEMENTS,
                factory=_Guarded,
            )

        engine = create_async_engine(
            "sqlite+aiosqlite://",
            creator=connect,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
        )

        def broken(context: ExceptionContext) -> None:
            error = context.original_exception
            if isinstance(error, sqlite3.Error) and _code(error) in NOT_THE_STATEMENTS:
                raise translate(error, Path(database).name) from error

        event.listen(engine.sync_engine, "begin", _begin)
        event.listen(engine.sync_engine, "commit", _commit)
        event.listen(engine.sync_engine, "handle_error", broken)
        return engine


class _Guarded(sqlite3.Connection):
    """A connection that opens no other file. For what a file's schema may call see `connect`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        for pragma in ("cell_size_check=ON", "foreign_keys=ON"):
            self.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """End the transaction, too: SQLite keeps it, and its lock, for as long as a cursor of it is not yet collected."""
        if self.in_transaction:
            self.rollback()
        super().close()


def _begin(connection: Connection) -> None:
    """Begin as the unit of work wants it. A transaction that reads first and writes later would fail at once where
    another one wrote in between, so writers take their turn at the beginning."""
    options = connection.get_execution_options()
    access = options.get(ACCESS, Access.WRITE)
    info = connection.info
    if info.get(ACCESS, Access.WRITE) is not access:
        # Neither can be changed inside a transaction. Rebuilding a table drops the old one, which would delete the
        # rows that refer to it: https://sqlite.org/lang_altertable.html#otheralter
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if access is Access.READ else 'OFF'}")
        connection.exec_driver_sql(f"PRAGMA foreign_keys={'OFF' if access is Access.SHAPE else 'ON'}")
        info[ACCESS] = access
    if options.get("isolation_level") == "AUTOCOMMIT":
        return  # a revision that asks for it, to VACUUM say
    if access is Access.SHAPE:
        info[BROKEN] = _broken_keys(connection)
    connection.exec_driver_sql("BEGIN" if access is Access.READ else "BEGIN IMMEDIATE")


def _commit(connection: Connection) -> None:
    """Refuse tables whose new shape leaves rows that refer to nothing: nobody looked while they were changed."""
    if BROKEN in connection.info:
        before = connection.info.pop(BROKEN)
        if added := _broken_keys(connection) - before:
            raise Conflict(
                f"Rows of {', '.join(sorted({said(str(table)) for table, *_ in added}))} would refer to rows that are gone.",
                hint="Change or remove them in the same revision.",
            )


def _broken_keys(connection: Connection) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
