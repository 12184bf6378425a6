"""What wraps sessions: connections are opened again after transient errors, and a failing server is left alone."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from ..ports.sessions import Access, Sessions
from .breaker import Breaker
from .patience import Patience, repeated

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class RetryingSessions:
    """Sessions whose connections are opened again after transient errors; what is done with them runs once."""

    def __init__(self, sessions: Sessions, patience: Patience) -> None:
        self.locking = sessions.locking
        self._sessions, self._patience = sessions, patience

    def schema(self, database: str) -> str | None:
        return self._sessions.schema(database)

    @asynccontextmanager
    async def connection(
        self, database: str, access: Access = Access.WRITE
    ) -> AsyncGenerator["AsyncConnection"]:
        async with AsyncExitStack() as stack:
            yield await repeated(
                lambda: stack.enter_async_context(self._sessions.connection(database, access)), self._patience
            )


class GuardedSessions:
    """Sessions behind the breaker. Only opening counts: what breaks later may be the application's own trouble."""

    def __init__(self, sessions: Sessions, breaker: Breaker) -> None:
        self.locking = sessions.locking
        self._sessions, self._breaker = sessions, breaker

    def schema(self, database: str) -> str | None:
        return self._sessions.schema(database)

    @asynccontextmanager
    async def connection(
        self, database: str, access: Access = Access.WRITE
    ) -> AsyncGenerator["AsyncConnection"]:
        async with AsyncExitStack() as stack:
            stack.enter_context(self._breaker.busy())
            yield await self._breaker.call(
                lambda: stack.enter_async_context(self._sessions.connection(database, access))
            )
