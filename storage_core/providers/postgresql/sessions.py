"""SQLAlchemy's connections to PostgreSQL databases, made the house's way: address, TLS and credentials are its own."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from asyncpg import exceptions as pg
from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ...domain.errors import NotFound, Unavailable
from ...domain.naming import said, schema_in
from ...ports.sessions import Access
from ..sessions import Bounds, SessionPools
from .dial import STATEMENTS, Connection, Dialer
from .pool import RECYCLE_SECONDS
from .pooler import UNPREPARED
from .sql import checked_database, ident, literal

#: A server takes a hundred by default, and has other users.
BOUNDS = Bounds(all=40, each=4)
#: Before a database's name: which way its connections go.
DIRECT, POOLED = "d:", "p:"


class PostgresSessions:
    """See the port. `refuse` raises for databases that are nobody's to open.

    With a `pooler` rows are read and written through it; tables are shaped on the server itself.
    """

    locking: str | None = "select pg_advisory_xact_lock(7230419)"

    def __init__(
        self,
        dialer: Dialer,
        refuse: Callable[[str], Awaitable[None]],
        pooler: Dialer | None = None,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self._dialer, self._refuse, self._pooler = dialer, refuse, pooler
        self.pools = SessionPools(self._build, bounds)

    def schema(self, database: str) -> str | None:
        return schema_in(database) or "public"

    @asynccontextmanager
    async def connection(
        self, database: str, access: Access = Access.WRITE
    ) -> AsyncGenerator[AsyncConnection]:
        way = DIRECT if self._pooler is None or access is Access.SHAPE else POOLED
        async with self.pools.connection(way + checked_database(database)) as connection:
            await self._refuse_missing(connection, database)
            if access is Access.READ:
                await connection.execution_options(postgresql_readonly=True)
            yield connection

    async def _refuse_missing(self, connection: AsyncConnection, database: str) -> None:
        """NotFound for a database that is a schema, and gone: the connection itself does not tell."""
        schema = schema_in(database)
        if schema is None:
            return
        driver: Any = (await connection.get_raw_connection()).driver_connection
        with self._dialer.errors.speaking(database):
            try:
                await driver.execute(f"select {literal(ident(schema))}::regnamespace")
            except pg.InvalidSchemaNameError as error:
                raise NotFound(f"The schema {said(schema, 200)} is not there.") from error

    def bound(self, database: str, connections: int | None) -> None:
        for way in (DIRECT, POOLED):
            self.pools.bound(way + database, connections)

    async def close(self) -> None:
        await self.pools.close()

    def _build(self, key: str) -> AsyncEngine:
        way, database = key[: len(DIRECT)], key[len(DIRECT) :]
        dialer = self._dialer if way == DIRECT or self._pooler is None else self._pooler
        direct = dialer is self._dialer

        async def dial() -> Connection:
            await self._refuse(database)
            return await dialer.connect(database, cached=STATEMENTS if direct else 0)

        def connect() -> Any:
            dbapi: Any = engine.sync_engine.dialect.dbapi
            return dbapi.connect(async_creator_fn=dial, **({} if direct else UNPREPARED))

        engine = create_async_engine(
            "postgresql+asyncpg://",
            creator=connect,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_SECONDS,
        )

        def broken(context: ExceptionContext) -> None:
            if context.is_disconnect and not context.is_pre_ping:
                _raise(dialer, context.original_exception, database)

        event.listen(engine.sync_engine, "handle_error", broken)
        schema = schema_in(database)
        if schema is not None and not direct:

            def found(connection: Any) -> None:
                # of a pooler's connections the next transaction may be somebody else's
                connection.exec_driver_sql(f"set local search_path to {ident(schema)}")

            event.listen(engine.sync_engine, "begin", found)
        return engine


def _raise(dialer: Dialer, error: BaseException, database: str) -> NoReturn:
    ours = dialer.errors.translate(error, database)
    if not isinstance(ours, Unavailable):
        ours = dialer.errors.translate(EOFError())  # what became of a connection that broke while it was used
    raise ours from error
