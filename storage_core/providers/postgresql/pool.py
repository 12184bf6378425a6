"""Two bounded ways to the server: a small pool for administration, short visits to single databases."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .dial import Connection, Dialer

ADMIN_CONNECTIONS = 2
VISITS = 6
RECYCLE_SECONDS = 900
CHECKOUT_SECONDS = 30


class Pool:
    """`admin` hands out pooled connections to the maintenance database, `visit` fresh ones to any database.

    A database is never held by an idle pooled connection, so that it can be dropped at any time.
    """

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._visits = asyncio.Semaphore(VISITS)
        self._engine: AsyncEngine | None = None

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Connection]:
        """A connection in autocommit; given back clean, or thrown away when its state is unknown."""
        with self._dialer.errors.speaking():
            async with self._started().connect() as pooled:
                raw = await pooled.get_raw_connection()
                connection: Connection = raw.driver_connection  # type: ignore[assignment]  # ours: see _started
                try:
                    yield connection
                except asyncpg.PostgresError:
                    if connection.is_in_transaction():
                        await pooled.invalidate()
                    raise
                except BaseException:
                    await pooled.invalidate()
                    raise

    @asynccontextmanager
    async def visit(
        self, database: str, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[Connection]:
        """A connection to one database for a short while; the server's errors come out translated."""
        async with self._visits:
            connection = await self._dialer.connect(database, settings)
            try:
                with self._dialer.errors.speaking(database):
                    yield connection
            except BaseException:
                connection.terminate()
                raise
            await connection.close(timeout=5)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    def _started(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=self._creator,
                isolation_level="AUTOCOMMIT",
                poolclass=AsyncAdaptedQueuePool,
                pool_size=ADMIN_CONNECTIONS,
                max_overflow=0,
                pool_timeout=CHECKOUT_SECONDS,
                pool_pre_ping=True,
                pool_recycle=RECYCLE_SECONDS,
            )
        return self._engine

    async def _creator(self) -> Connection:
        return (await self._dialer.dial())[0]
