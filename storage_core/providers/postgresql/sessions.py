"""SQLAlchemy's connections to PostgreSQL databases, made the house's way: address, TLS and credentials are its own."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ...domain.errors import Unavailable
from ...ports.sessions import Access
from ..sessions import Bounds, SessionPools
from .dial import Connection, Dialer
from .pool import RECYCLE_SECONDS
from .sql import checked_database

#: A server takes a hundred by default, and has other users.
BOUNDS = Bounds(all=40, each=4)


class PostgresSessions:
    """See the port. `refuse` raises for databases that are nobody's to open."""

    schema: str | None = "public"
    locking: str | None = "select pg_advisory_xact_lock(7230419)"

    def __init__(
        self, dialer: Dialer, refuse: Callable[[str], Awaitable[None]], bounds: Bounds = BOUNDS
    ) -> None:
        self._dialer, self._refuse = dialer, refuse
        self.pools = SessionPools(self._build, bounds)

    @asynccontextmanager
    async def connection(
        self, database: str, access: Access = Access.WRITE
    ) -> AsyncGenerator[AsyncConnection]:
        async with self.pools.connection(checked_database(database)) as connection:
            if access is Access.READ:
                await connection.execution_options(postgresql_readonly=True)
            yield connection

    async def close(self) -> None:
        await self.pools.close()

    def _build(self, database: str) -> AsyncEngine:
        async def dial() -> Connection:
            await self._refuse(database)
            return await self._dialer.connect(database)

        def connect() -> Any:
            dbapi: Any = engine.sync_engine.dialect.dbapi
            return dbapi.connect(async_creator_fn=dial, **self._dialer.statements)

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
                self._raise(context.original_exception, database)

        event.listen(engine.sync_engine, "handle_error", broken)
        return engine

    def _raise(self, error: BaseException, database: str) -> NoReturn:
        ours = self._dialer.errors.translate(error, database)
        if not isinstance(
            ours, Unavailable
        ):  # what the driver calls a connection that broke while it was used
            ours = self._dialer.errors.translate(EOFError())
        raise ours from error
