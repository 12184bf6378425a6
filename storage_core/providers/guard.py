"""What wraps every registered engine: reading calls are repeated, and a failing server is left alone.

`Guarded(Retrying(engine), breaker)`: the breaker sees a call and its repetitions as one.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import stamina

from ..domain.backup import Manifest, ManifestObject
from ..domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from ..domain.errors import CircuitOpen, StorageError, Unavailable
from ..domain.health import Health
from ..domain.provider import CheckStep, EngineInfo
from ..ports.backup import Backup, Dump, OnProgress, Piece, RestoreReport
from ..ports.collection import Collections
from ..ports.engine import Databases, Engine
from ..ports.logins import Logins
from .probe import offline

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reading call is repeated: attempts in all, seconds between them (growing, with jitter)."""

    attempts: int = 3
    first_wait: float = 0.1
    longest_wait: float = 1.0
    jitter: float = 0.2
    at_most: float = 15.0


def _is_transient(error: Exception) -> bool:
    return isinstance(error, StorageError) and error.transient


class Retrying:
    """An engine whose reading calls are repeated after transient errors; what changes anything runs once."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self.kind = engine.kind
        self.backup: Backup | None = engine.backup
        self.collections: Collections | None = engine.collections
        self.logins: Logins | None = engine.logins
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


async def repeated(call: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """Run until it works, a lasting error comes, or patience ends: then the last error leaves."""
    caller = stamina.AsyncRetryingCaller(
        attempts=patience.attempts,
        timeout=patience.at_most,
        wait_initial=patience.first_wait,
        wait_max=patience.longest_wait,
        wait_jitter=patience.jitter,
    )
    return await caller(_is_transient, call)


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after `threshold` consecutive Unavailable errors; `cooldown` seconds later exactly one call may probe.

    Any other outcome, an error of the request included, shows that the server answers and closes it.
    `active` counts calls under way. `clock` answers monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], threshold: int, cooldown: float) -> None:
        self._clock = clock
        self._threshold = threshold
        self._cooldown = cooldown
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self.active = 0

    @property
    def state(self) -> CircuitState:
        if self._opened_at is None:
            return CircuitState.CLOSED
        if self._probing or self._clock() - self._opened_at >= self._cooldown:
            return CircuitState.HALF_OPEN
        return CircuitState.OPEN

    async def call(
        self, work: Callable[[], Awaitable[T]], failed: Callable[[T], bool] = lambda _: False
    ) -> T:
        """Run through the breaker; CircuitOpen, without running, while it is open or another call probes.

        :param failed: whether an answer, too, means that the server is not available.
        """
        async with self.passage() as passage:
            answer = await work()
            passage.failed = failed(answer)
            return answer

    @asynccontextmanager
    async def passage(self) -> AsyncGenerator["Passage"]:
        """One call's way through; an Unavailable that leaves it counts against the server."""
        probe = self._enter()
        passage = Passage()
        try:
            with self.busy():
                yield passage
        except Unavailable:
            self._note_failure(probe)
            raise
        except StorageError:
            self._note_answer()
            raise
        else:
            if passage.failed:
                self._note_failure(probe)
            else:
                self._note_answer()
        finally:
            if probe:
                self._probing = False  # cancelled or broken off: the next call probes

    @contextmanager
    def busy(self) -> Generator[None]:
        """Count as active meanwhile."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def _enter(self) -> bool:
        """Let a call in; answers whether it is the probe."""
        state = self.state
        if state is CircuitState.CLOSED:
            return False
        if state is CircuitState.OPEN or self._probing:
            raise CircuitOpen(f"{self._failures} calls in a row found the server unavailable.")
        self._probing = True
        return True

    def _note_answer(self) -> None:
        self._failures = 0
        self._opened_at = None

    def _note_failure(self, probe: bool) -> None:
        self._failures += 1
        if probe or (self._opened_at is None and self._failures >= self._threshold):
            self._opened_at = self._clock()


@dataclass(slots=True)
class Passage:
    """One call inside the breaker; `failed` marks an answer that shows the server unavailable."""

    failed: bool = False


class Guarded:
    """An engine behind a circuit breaker. `check` always goes through: it is what people run to see the cause."""

    def __init__(self, engine: Engine, breaker: Breaker) -> None:
        self.kind = engine.kind
        self.databases: Databases = GuardedDatabases(engine.databases, breaker)
        self.backup: Backup | None = engine.backup and GuardedBackup(engine.backup, engine, breaker)
        self.collections: Collections | None = engine.collections
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
