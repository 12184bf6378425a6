"""Live engines by provider: opened once per revision, bounded, closed when nobody uses them any more."""

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ..domain.errors import Gone
from ..domain.provider import Endpoint, EngineKind, Provider
from ..ports.engine import Engine
from .breaker import Breaker
from .guard import Guarded, Retrying
from .patience import Patience
from .registry import kinds

Build = Callable[[EngineKind, Endpoint, str | None], Engine]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the directory.

    `engines` that stay open at once; `failures` in a row that open a circuit and seconds until it is probed;
    `linger`: seconds an outdated engine stays usable after its last call, for work between two calls.
    """

    engines: int = 64
    failures: int = 5
    cooldown: float = 10.0
    linger: float = 30.0
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class _Entry:
    revision: int
    engine: Guarded
    breaker: Breaker
    idle_since: float | None = None
    told: set["weakref.WeakMethod[Callable[[], None]]"] = field(default_factory=set)

    def outdate(self) -> None:
        """Tell those who hold the engine."""
        for ref in list(self.told):
            if (tell := ref()) is not None:
                tell()
        self.told.clear()


class EngineDirectory:
    """The engines port. `clock` answers monotonic seconds; outdated engines are looked after on every call.

    `build_own` builds the engines of private local servers, which may be where others may not.
    """

    def __init__(
        self,
        build: Build,
        clock: Callable[[], float],
        limits: Limits | None = None,
        build_own: Build | None = None,
    ) -> None:
        self._build, self._build_own = build, build_own or build
        self._clock = clock
        self._limits = limits or Limits()
        self._lock = asyncio.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._outdated: list[tuple[str, _Entry]] = []
        self._closed = False

    def kinds(self) -> tuple[EngineKind, ...]:
        return kinds()

    async def engine(self, provider: Provider, password: str | None) -> Engine:
        """The live engine of this revision; Gone when the directory is closed.

        A caller that still holds an older revision than the open one gets the open one.
        """
        async with self._lock:
            if self._closed:
                raise Gone("The engines are closed: the process is ending.")
            entry = self._entries.get(provider.id)
            if entry is None or entry.revision < provider.revision:
                if entry is not None:
                    self._retire(provider.id)
                entry = self._entries[provider.id] = self._open(provider, password)
            self._entries.move_to_end(provider.id)
            while len(self._entries) > self._limits.engines:
                self._retire(next(iter(self._entries)))
            await self._close_unused()
            return entry.engine

    def watch(self, engine: Engine, told: Callable[[], None]) -> None:
        entry = next((entry for entry in self._entries.values() if entry.engine is engine), None)
        if entry is None:
            told()
            return
        entry.told.add(weakref.WeakMethod(told, entry.told.discard))

    def trial(
        self, kind: EngineKind, endpoint: Endpoint, password: str | None, *, own: bool = False
    ) -> Engine:
        return (self._build_own if own else self._build)(kind, endpoint, password)

    async def retire(self, provider_id: str) -> None:
        """Use what is open for a provider no more: those who watch it are told, it is closed once unused. Idempotent."""
        async with self._lock:
            if provider_id in self._entries:
                self._retire(provider_id)

    async def drain(self, provider_id: str) -> int:
        """Close outdated engines of a provider that no call uses now; answers how many are still in use."""
        async with self._lock:
            mine = [entry for id, entry in self._outdated if id == provider_id]
            idle = [entry for entry in mine if not entry.breaker.active]
            self._outdated = [(id, entry) for id, entry in self._outdated if entry not in idle]
            await _close_all(idle)
            return len(mine) - len(idle)

    async def forget(self, provider_id: str) -> None:
        """Close what is open for a provider, outdated revisions too, whoever uses them; idempotent."""
        async with self._lock:
            doomed = [entry for id, entry in self._outdated if id == provider_id]
            self._outdated = [(id, entry) for id, entry in self._outdated if id != provider_id]
            if entry := self._entries.pop(provider_id, None):
                entry.outdate()
                doomed.append(entry)
            await _close_all(doomed)

    async def close(self) -> None:
        """Close every engine; idempotent."""
        async with self._lock:
            self._closed = True
            doomed = [*self._entries.values(), *(entry for _, entry in self._outdated)]
            self._entries.clear()
            self._outdated.clear()
            await _close_all(doomed)

    def _open(self, provider: Provider, password: str | None) -> _Entry:
        limits = self._limits
        breaker = Breaker(self._clock, limits.failures, limits.cooldown)
        build = self._build if provider.server is None else self._build_own
        engine = build(provider.kind, provider.endpoint, password)
        return _Entry(
            provider.revision, Guarded(Retrying(engine, limits.patience), breaker, limits.patience), breaker
        )

    def _retire(self, provider_id: str) -> None:
        entry = self._entries.pop(provider_id)
        self._outdated.append((provider_id, entry))
        entry.outdate()

    async def _close_unused(self) -> None:
        now = self._clock()
        unused: list[_Entry] = []
        kept: list[tuple[str, _Entry]] = []
        for id, entry in self._outdated:
            if entry.breaker.active:
                entry.idle_since = None
            elif entry.idle_since is None:
                entry.idle_since = now
            done = entry.idle_since is not None and now - entry.idle_since >= self._limits.linger
            if done:
                unused.append(entry)
            else:
                kept.append((id, entry))
        self._outdated = kept
        await _close_all(unused)


async def _close_all(entries: list[_Entry]) -> None:
    """Close all, whatever becomes of one; then the first error leaves."""
    outcomes = await asyncio.gather(*(entry.engine.close() for entry in entries), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
