"""The engine directory: one live engine per provider and revision, bounded, closed once unused."""

import asyncio
from datetime import UTC, datetime

import pytest

from storage_core.domain.errors import CircuitOpen, Gone, Unreachable
from storage_core.domain.provider import Endpoint, EngineKind, Provider
from storage_core.providers.directory import EngineDirectory, Limits
from storage_core.providers.patience import Patience
from storage_core.providers.registry import builder, kinds
from tests.unit.test_guard import Clock, Server

MOMENT = datetime(2026, 11, 22, tzinfo=UTC)


def provider(id: str, revision: int = 1) -> Provider:
    return Provider(id, id, EngineKind.SQLITE, Endpoint(path=f"/{id}"), MOMENT, MOMENT, revision)


class Scene:
    def __init__(self, **limits: float) -> None:
        self.built: list[tuple[Endpoint, str | None, Server]] = []
        self.clock = Clock()
        quick = Patience(attempts=1)
        self.directory = EngineDirectory(self._build, self.clock, Limits(patience=quick, **limits))  # type: ignore[arg-type]

    def _build(self, kind: EngineKind, endpoint: Endpoint, password: str | None) -> Server:
        self.built.append((endpoint, password, Server()))
        return self.built[-1][2]

    def closed(self) -> list[int]:
        return [n for n, (_, _, server) in enumerate(self.built) if "close" in server.calls]


async def test_the_same_revision_is_the_same_engine() -> None:
    scene = Scene()
    engines = await asyncio.gather(*(scene.directory.engine(provider("a"), "pw") for _ in range(20)))
    assert len(set(map(id, engines))) == 1
    assert [(endpoint.path, password) for endpoint, password, _ in scene.built] == [("/a", "pw")]


async def test_a_new_revision_replaces_the_engine_and_the_old_one_closes_once_unused() -> None:
    scene = Scene(linger=5)
    old = await scene.directory.engine(provider("a"), "old")
    server = scene.built[0][2]
    server.held = asyncio.Event()
    running = asyncio.create_task(old.info())
    await asyncio.sleep(0)
    new = await scene.directory.engine(provider("a", 2), "new")
    assert new is not old
    scene.clock.now += 100
    await scene.directory.engine(provider("a", 2), "new")
    assert scene.closed() == [], "a call is under way"
    server.held.set()
    await running
    await scene.directory.engine(provider("a", 2), "new")
    scene.clock.now += 4
    await scene.directory.engine(provider("a", 2), "new")
    assert scene.closed() == [], "somebody may be between two calls"
    scene.clock.now += 1
    await scene.directory.engine(provider("a", 2), "new")
    assert scene.closed() == [0]


async def test_an_outdated_caller_gets_the_open_engine() -> None:
    scene = Scene()
    new = await scene.directory.engine(provider("a", 2), None)
    assert await scene.directory.engine(provider("a", 1), None) is new


async def test_the_least_recently_used_engine_leaves_first() -> None:
    scene = Scene(engines=2, linger=0)
    for name in ("a", "b", "a", "c"):
        await scene.directory.engine(provider(name), None)
    assert scene.closed() == [1]
    assert len(scene.built) == 3


async def test_forget_closes_every_revision_and_is_idempotent() -> None:
    scene = Scene()
    await scene.directory.engine(provider("a"), None)
    await scene.directory.engine(provider("a", 2), None)
    await scene.directory.engine(provider("b"), None)
    await scene.directory.forget("a")
    await scene.directory.forget("a")
    assert scene.closed() == [0, 1]


async def test_close_closes_all_and_nothing_opens_afterwards() -> None:
    scene = Scene()
    await scene.directory.engine(provider("a"), None)
    await scene.directory.engine(provider("b"), None)
    await scene.directory.close()
    await scene.directory.close()
    assert scene.closed() == [0, 1]
    with pytest.raises(Gone):
        await scene.directory.engine(provider("a"), None)


async def test_engines_are_guarded_and_trials_are_not() -> None:
    scene = Scene(failures=2)
    engine = await scene.directory.engine(provider("a"), None)
    scene.built[0][2].trouble = [Unreachable("down"), Unreachable("down")]
    for _ in range(2):
        with pytest.raises(Unreachable):
            await engine.info()
    with pytest.raises(CircuitOpen):
        await engine.info()
    trial = scene.directory.trial(EngineKind.SQLITE, Endpoint(path="/t"), None)
    assert trial is scene.built[1][2]
    await scene.directory.close()
    assert scene.closed() == [0]


def test_the_registry_knows_every_kind_and_builds_without_io() -> None:
    assert set(kinds()) == set(EngineKind)
    engine = builder({})(EngineKind.SQLITE, Endpoint(path="/does/not/exist"), None)
    assert engine.kind is EngineKind.SQLITE
    with pytest.raises(TypeError):
        builder({EngineKind.SQLITE: {"no_such_option": 1}})(EngineKind.SQLITE, Endpoint(path="/x"), None)


class Holder:
    """Somebody who keeps an engine beyond one call."""

    def __init__(self) -> None:
        self.told = 0

    def outdated(self) -> None:
        self.told += 1


async def test_who_holds_an_engine_is_told_when_it_is_to_be_used_no_more() -> None:
    scene = Scene(engines=2)
    holder = Holder()
    for revision in (1, 2):
        scene.directory.watch(await scene.directory.engine(provider("a", revision), None), holder.outdated)
        assert holder.told == revision - 1
    await scene.directory.engine(provider("b"), None)
    await scene.directory.engine(provider("c"), None)
    assert holder.told == 2, "another one took its place"
    engine = await scene.directory.engine(provider("a", 2), None)
    for _ in range(3):
        scene.directory.watch(engine, holder.outdated)
    await scene.directory.forget("a")
    assert holder.told == 3
    scene.directory.watch(engine, holder.outdated)
    assert holder.told == 4, "at once, where it is so already"


async def test_who_is_gone_is_not_told() -> None:
    scene = Scene()
    engine = await scene.directory.engine(provider("a"), None)
    scene.directory.watch(engine, Holder().outdated)
    await scene.directory.forget("a")
