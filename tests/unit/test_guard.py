"""Retrying repeats only what may be repeated; the breaker leaves a failing server alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from storage_core.domain.backup import Manifest, ManifestObject
from storage_core.domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from storage_core.domain.errors import CircuitOpen, NotFound, SignInRejected, StorageError, Unreachable
from storage_core.domain.health import Health
from storage_core.domain.provider import CheckStep, EngineInfo, EngineKind
from storage_core.ports.backup import OnProgress, Piece, RestoreReport
from storage_core.providers.breaker import Breaker, CircuitState
from storage_core.providers.guard import Guarded, Retrying
from storage_core.providers.patience import Patience

QUICK = Patience(attempts=3, first_wait=0.001, longest_wait=0.002, jitter=0.001)


class Server:
    """A fake engine, facets included: every call is counted, answers or raises what `trouble` says."""

    kind = EngineKind.POSTGRESQL

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.trouble: list[StorageError] = []
        self.online = True
        self.held: asyncio.Event | None = None
        self.databases = self
        self.backup: Server | None = self
        self.logins = None
        self.collections = None
        self.tables = None
        self.sessions = None
        self.documents = None

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.held:
            await self.held.wait()
        if self.trouble:
            raise self.trouble.pop(0)

    async def check(self) -> tuple[CheckStep, ...]:
        await self._call("check")
        return ()

    async def health(self) -> Health:
        await self._call("health")
        return Health(self.online, 1.0)

    async def info(self) -> EngineInfo:
        await self._call("info")
        return EngineInfo("1", ())

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        await self._call("create")
        return name

    async def drop(self, name: str) -> None:
        await self._call("drop")

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        await self._call("existing")
        return ()

    async def stats(self, name: str) -> DatabaseStats:
        await self._call("stats")
        return DatabaseStats(0, 0, 0, None)

    async def schema(self, name: str) -> DatabaseSchema:
        await self._call("schema")
        return DatabaseSchema(())

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        await self._call("configure")

    async def optimize(self, name: str) -> OptimizeReport:
        await self._call("optimize")
        return OptimizeReport((), 0, 0)

    @asynccontextmanager
    async def dump(self, name: str, on_progress: OnProgress) -> AsyncIterator["Server"]:
        await self._call("dump")
        yield self

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        await self._call("restore")
        return RestoreReport()

    async def finish(self, name: str) -> tuple[str, ...]:
        await self._call("finish")
        return ()

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        await self._call("measure")
        return ()

    async def pieces(self) -> AsyncIterator[Piece]:
        yield Piece("m", b"")

    @property
    def manifest(self) -> Manifest:
        return Manifest("fake", "1", "none", ())

    def location(self, name: str) -> str:
        return name

    def bound(self, database: str, connections: int | None) -> None: ...

    async def close(self) -> None:
        self.calls.append("close")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    def __init__(self, threshold: int = 3, cooldown: float = 10.0) -> None:
        self.server, self.clock = Server(), Clock()
        self.breaker = Breaker(self.clock, threshold, cooldown)
        self.engine = Guarded(self.server, self.breaker)

    async def fail(self, times: int) -> None:
        self.server.trouble = [Unreachable("down") for _ in range(times)]
        for _ in range(times):
            with pytest.raises(Unreachable):
                await self.engine.info()


READING = {
    "info": lambda e: e.info(),
    "existing": lambda e: e.databases.existing(),
    "stats": lambda e: e.databases.stats("x"),
    "schema": lambda e: e.databases.schema("x"),
}
ONCE = {
    "check": lambda e: e.check(),
    "create": lambda e: e.databases.create("x", {}),
    "drop": lambda e: e.databases.drop("x"),
    "configure": lambda e: e.databases.configure("x", {}),
    "optimize": lambda e: e.databases.optimize("x"),
    "finish": lambda e: e.backup.finish("x"),
    "measure": lambda e: e.backup.measure("x", None),
    "restore": lambda e: e.backup.restore(None, "x", None, None),
}


@pytest.mark.parametrize("name", READING)
async def test_reading_calls_outlive_two_transient_errors(name: str) -> None:
    server = Server()
    server.trouble = [Unreachable("1"), Unreachable("2")]
    await READING[name](Retrying(server, QUICK))
    assert server.calls == [name] * 3


@pytest.mark.parametrize("name", ONCE)
async def test_everything_else_runs_once(name: str) -> None:
    server = Server()
    server.trouble = [Unreachable("1")]
    with pytest.raises(Unreachable):
        await ONCE[name](Retrying(server, QUICK))
    assert server.calls == [name]


async def test_lasting_errors_are_not_repeated() -> None:
    server = Server()
    server.trouble = [SignInRejected("no")]
    with pytest.raises(SignInRejected):
        await Retrying(server, QUICK).info()
    assert server.calls == ["info"]


async def test_patience_ends_with_the_last_error() -> None:
    server = Server()
    server.trouble = [Unreachable(str(n)) for n in range(9)]
    with pytest.raises(Unreachable, match="2"):
        await Retrying(server, QUICK).info()
    assert len(server.calls) == 3


async def test_the_circuit_opens_after_consecutive_failures_and_spares_the_server() -> None:
    scene = Scene()
    await scene.fail(3)
    assert scene.breaker.state is CircuitState.OPEN
    before = len(scene.server.calls)
    for call in (*READING.values(), *ONCE.values()):
        if call is not ONCE["check"]:
            with pytest.raises(CircuitOpen):
                await call(scene.engine)
    assert len(scene.server.calls) == before


async def test_an_answer_between_failures_starts_the_count_again() -> None:
    scene = Scene()
    await scene.fail(2)
    scene.server.trouble = [NotFound("there is none, says the server")]
    with pytest.raises(NotFound):
        await scene.engine.databases.stats("x")
    await scene.fail(2)
    assert scene.breaker.state is CircuitState.CLOSED


async def test_check_goes_through_an_open_circuit() -> None:
    scene = Scene()
    await scene.fail(3)
    await scene.engine.check()
    assert scene.server.calls[-1] == "check"


async def test_an_offline_answer_counts_as_failure() -> None:
    scene = Scene()
    scene.server.online = False
    for _ in range(3):
        assert not (await scene.engine.health()).online
    assert scene.breaker.state is CircuitState.OPEN


async def test_health_behind_an_open_circuit_is_an_answer_and_spares_the_server() -> None:
    scene = Scene()
    await scene.fail(3)
    before = len(scene.server.calls)
    health = await scene.engine.health()
    assert not health.online
    assert "left alone" in CircuitOpen.title and "test the provider" in (health.problem or "")
    assert len(scene.server.calls) == before
    scene.clock.now += 10
    assert (await scene.engine.health()).online
    assert scene.breaker.state is CircuitState.CLOSED


async def test_health_is_asked_once() -> None:
    server = Server()
    server.online = False
    assert not (await Retrying(server, QUICK).health()).online
    assert server.calls == ["health"]


async def test_exactly_one_call_probes() -> None:
    scene = Scene()
    await scene.fail(3)
    scene.clock.now += 9.9
    with pytest.raises(CircuitOpen):
        await scene.engine.info()
    scene.clock.now += 0.2
    before = len(scene.server.calls)
    scene.server.held = asyncio.Event()
    calls = [asyncio.create_task(scene.engine.info()) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert len(scene.server.calls) == before + 1
    assert scene.breaker.state is CircuitState.HALF_OPEN
    scene.server.held.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, CircuitOpen) for outcome in outcomes) == 19
    assert scene.breaker.state is CircuitState.CLOSED
    await scene.engine.info()


async def test_a_failed_probe_opens_it_again_for_the_whole_time() -> None:
    scene = Scene()
    await scene.fail(3)
    scene.clock.now += 10
    await scene.fail(1)
    scene.clock.now += 9.9
    assert scene.breaker.state is CircuitState.OPEN
    scene.clock.now += 0.2
    await scene.engine.info()
    assert scene.breaker.state is CircuitState.CLOSED


async def test_a_cancelled_probe_leaves_room_for_the_next() -> None:
    scene = Scene()
    await scene.fail(3)
    scene.clock.now += 10
    scene.server.held = asyncio.Event()
    probe = asyncio.create_task(scene.engine.info())
    await asyncio.sleep(0.01)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert scene.breaker.active == 0
    scene.server.held = None
    await scene.engine.info()
    assert scene.breaker.state is CircuitState.CLOSED


async def test_long_calls_never_probe_but_ask_first() -> None:
    scene = Scene()
    await scene.fail(3)
    scene.clock.now += 10
    scene.server.calls.clear()
    assert scene.engine.backup is not None
    async with scene.engine.backup.dump("x", lambda done, total: None) as dump:
        assert scene.breaker.active == 1
        assert [piece.member async for piece in dump.pieces()] == ["m"]
    assert scene.server.calls == ["health", "dump"]
    assert scene.breaker.active == 0


async def test_an_error_of_the_consumer_of_a_dump_does_not_count() -> None:
    scene = Scene(threshold=1)
    assert scene.engine.backup is not None
    with pytest.raises(Unreachable):
        async with scene.engine.backup.dump("x", lambda done, total: None):
            raise Unreachable("the store, not the engine")
    assert scene.breaker.state is CircuitState.CLOSED


async def test_an_absent_facet_stays_absent() -> None:
    server = Server()
    server.backup = None
    assert Guarded(Retrying(server, QUICK), Breaker(Clock(), 1, 1)).backup is None


def test_every_call_of_the_lists_is_a_port_call() -> None:
    assert {*READING, *ONCE} <= set(dir(Server))
    assert all(isinstance(call, Callable) for call in (*READING.values(), *ONCE.values()))
