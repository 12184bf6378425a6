"""What wraps every registered engine: reading calls are repeated, and a failing server is left alone.

`Guarded(Retrying(engine), breaker)`: the breaker sees a call and its repetitions as one.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from ..domain.backup import Manifest, ManifestObject
from ..domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from ..domain.errors import CircuitOpen
from ..domain.health import Health
from ..domain.provider import CheckStep, EngineInfo
from ..ports.backup import Backup, Dump, OnProgress, Piece, RestoreReport
from ..ports.collection import Collections
from ..ports.documents import Documents
from ..ports.engine import Databases, Engine
from ..ports.logins import Logins
from ..ports.sessions import Sessions
from ..ports.tables import Tables
from .breaker import Breaker, CircuitState
from .gate import Gate
from .guarded_collections import GuardedCollections
from .guarded_sessions import GuardedSessions, RetryingSessions
from .patience import Patience, repeated
from .probe import offline


class Retrying:
    """An engine whose reading calls are repeated after transient errors; what changes anything runs once."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self.kind = engine.kind
        self.backup: Backup | None = engine.backup
        self.collections: Collections | None = engine.collections
        self.tables: Tables | None = engine.tables
        self.logins: Logins | None = engine.logins
        self.sessions: Sessions | None = engine.sessions and RetryingSessions(engine.sessions, patience)
        self.documents: Documents | None = engine.documents
        self.databases: Databases = RetryingDatabases(engine.databases, patience)
        self._engine = engine
        self._patience = patience

    async def check(self) -> tuple[CheckStep, ...]:
        return await self._engine.check()

    async def health(self) -> Health:
        return await self._engine.health()  # answers, whatever happens, within a bounded time: once

    async def info(self) -> EngineInfo:
        return await repeated(self._engine.info, self._patience)

    def location(self, name: str) -> str:
        return self._engine.location(name)

    async def marks(self, name: str | None = None) -> frozenset[str]:
        return await repeated(lambda: self._engine.marks(name), self._patience)

    def bound(self, database: str, connections: int | None) -> None:
        self._engine.bound(database, connections)

    async def close(self) -> None:
        await self._engine.close()


class RetryingDatabases:
    """Databases whose reading calls are repeated."""

    def __init__(self, databases: Databases, patience: Patience) -> None:
        self._databases = databases
        self._patience = patience

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        return await self._databases.create(name, settings)

    async def drop(self, name: str) -> None:
        await self._databases.drop(name)

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        return await repeated(self._databases.existing, self._patience)

    async def stats(self, name: str) -> DatabaseStats:
        return await repeated(lambda: self._databases.stats(name), self._patience)

    async def schema(self, name: str) -> DatabaseSchema:
        return await repeated(lambda: self._databases.schema(name), self._patience)

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        await self._databases.configure(name, settings)

    async def optimize(self, name: str) -> OptimizeReport:
        return await self._databases.optimize(name)


class Guarded:
    """An engine behind a circuit breaker. `check` always goes through: it is what people run to see the cause."""

    def __init__(self, engine: Engine, breaker: Breaker, patience: Patience | None = None) -> None:
        """:param patience: how long reading calls of its collections are repeated; what wraps them does not."""
        self.kind = engine.kind
        self.databases: Databases = GuardedDatabases(engine.databases, breaker)
        self.backup: Backup | None = engine.backup and GuardedBackup(engine.backup, engine, breaker)
        self.tables: Tables | None = engine.tables  # short visits that people wait for: no repetition
        self.collections: Collections | None = engine.collections and GuardedCollections(
            engine.collections, Gate(breaker, patience or Patience(), engine.kind)
        )
        self.sessions: Sessions | None = engine.sessions and GuardedSessions(engine.sessions, breaker)
        self.documents: Documents | None = engine.documents
        self.logins: Logins | None = engine.logins  # rare, and only after the engine has answered
        self._engine = engine
        self._breaker = breaker

    async def check(self) -> tuple[CheckStep, ...]:
        return await self._engine.check()

    async def health(self) -> Health:
        try:
            return await self._breaker.call(self._engine.health, failed=lambda health: not health.online)
        except CircuitOpen as error:
            return offline(error)

    async def info(self) -> EngineInfo:
        return await self._breaker.call(self._engine.info)

    def location(self, name: str) -> str:
        return self._engine.location(name)

    async def marks(self, name: str | None = None) -> frozenset[str]:
        return await self._breaker.call(lambda: self._engine.marks(name))

    def bound(self, database: str, connections: int | None) -> None:
        self._engine.bound(database, connections)

    async def close(self) -> None:
        await self._engine.close()


class GuardedDatabases:
    """Databases behind the breaker of their engine."""

    def __init__(self, databases: Databases, breaker: Breaker) -> None:
        self._databases = databases
        self._breaker = breaker

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        return await self._breaker.call(lambda: self._databases.create(name, settings))

    async def drop(self, name: str) -> None:
        await self._breaker.call(lambda: self._databases.drop(name))

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        return await self._breaker.call(self._databases.existing)

    async def stats(self, name: str) -> DatabaseStats:
        return await self._breaker.call(lambda: self._databases.stats(name))

    async def schema(self, name: str) -> DatabaseSchema:
        return await self._breaker.call(lambda: self._databases.schema(name))

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        await self._breaker.call(lambda: self._databases.configure(name, settings))

    async def optimize(self, name: str) -> OptimizeReport:
        return await self._breaker.call(lambda: self._databases.optimize(name))


class GuardedBackup:
    """A backup facet behind the breaker. Its calls take long, so none of them is the probe: a health call is."""

    def __init__(self, backup: Backup, engine: Engine, breaker: Breaker) -> None:
        self._backup = backup
        self._engine = engine
        self._breaker = breaker

    def dump(self, name: str, on_progress: OnProgress) -> AbstractAsyncContextManager[Dump]:
        return self._dump(name, on_progress)

    @asynccontextmanager
    async def _dump(self, name: str, on_progress: OnProgress) -> AsyncGenerator[Dump]:
        """Only opening counts: what breaks a stream later may be the consumer's trouble."""
        await self._probe()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._breaker.busy())
            yield await self._breaker.call(
                lambda: stack.enter_async_context(self._backup.dump(name, on_progress))
            )

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        await self._probe()
        return await self._breaker.call(lambda: self._backup.restore(pieces, name, manifest, on_progress))

    async def finish(self, name: str) -> tuple[str, ...]:
        await self._probe()
        return await self._breaker.call(lambda: self._backup.finish(name))

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        await self._probe()
        return await self._breaker.call(lambda: self._backup.measure(name, like))

    async def _probe(self) -> None:
        if self._breaker.state is not CircuitState.CLOSED:
            await self._breaker.call(self._engine.health, failed=lambda health: not health.online)
