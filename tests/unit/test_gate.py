"""The gate before collections: what is repeated, what never is, deadlines, the breaker, counting."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from storage_core.domain.errors import (
    CircuitOpen,
    Conflict,
    NameTaken,
    NotFound,
    TimedOut,
    Unreachable,
    VersionConflict,
)
from storage_core.domain.provider import EngineKind
from storage_core.domain.record import Find, Write
from storage_core.providers.breaker import Breaker, CircuitState
from storage_core.providers.gate import Gate
from storage_core.providers.guarded_collections import GuardedCollection, GuardedCollections
from storage_core.providers.patience import Patience
from storage_core.telemetry.meters import METERS
from tests.unit.memory_port import MemoryCollections

QUICK = Patience(attempts=3, first_wait=0.001, longest_wait=0.002, jitter=0.001)
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


class Stage:
    def __init__(self, deadline: float = 30.0) -> None:
        self.port = MemoryCollections()
        self.faults = self.port.faults
        self.now = 0.0
        self.breaker = Breaker(lambda: self.now, 3, 10.0)
        self.gate = Gate(self.breaker, QUICK, EngineKind.SQLITE, deadline)
        self.guarded = GuardedCollections(self.port, self.gate)
        self.orders = self.guarded.collection("db", "orders")

    def calls(self, name: str) -> int:
        return self.faults.calls.count(name)


@pytest.fixture
def stage() -> Stage:
    return Stage()


Call = Callable[[Any], Any]
READS: dict[str, Call] = {
    "get": lambda c: c.get("a"),
    "find": lambda c: c.find(Find()),
    "count": lambda c: c.count(None),
}
WRITES: dict[str, Call] = {
    "replace": lambda c: c.replace("a", {"n": 2}, LATER),
    "patch": lambda c: c.patch("a", {("n",): 2}, LATER),
    "delete": lambda c: c.delete("a"),
    "insert_many": lambda c: c.insert_many([Write("b", {})], LATER),
    "change_many": lambda c: c.change_many([Write("a", {"n": 2})], LATER),
}


@pytest.mark.parametrize("name", READS)
async def test_reads_are_repeated_after_errors_that_pass(stage: Stage, name: str) -> None:
    await stage.orders.insert("a", {"n": 1}, AT)
    stage.faults.before = [Unreachable("away"), Unreachable("away")]
    assert await READS[name](stage.orders)
    assert stage.calls(name) == 3
    assert stage.breaker.calm


@pytest.mark.parametrize("name", WRITES)
async def test_writes_that_may_have_been_done_are_not_repeated(stage: Stage, name: str) -> None:
    await stage.orders.insert("a", {"n": 1}, AT)
    stage.faults.before = [Unreachable("away")]
    with pytest.raises(Unreachable):
        await WRITES[name](stage.orders)
    assert stage.calls(name) == 1


@pytest.mark.parametrize("name", WRITES)
async def test_writes_that_were_surely_not_done_are_repeated(stage: Stage, name: str) -> None:
    await stage.orders.insert("a", {"n": 1}, AT)
    stage.faults.before = [Unreachable("away").undone()]
    await WRITES[name](stage.orders)
    assert stage.calls(name) == 2


async def test_lasting_errors_are_not_repeated(stage: Stage) -> None:
    with pytest.raises(NotFound):
        await stage.orders.delete("nobody")
    assert stage.calls("delete") == 1
    assert stage.breaker.calm


async def test_an_insertion_whose_answer_was_lost_is_found_done(stage: Stage) -> None:
    stage.faults.after = [Unreachable("lost")]
    await stage.orders.insert("a", {"n": 1}, AT)
    assert stage.calls("insert") == 2


async def test_an_id_that_somebody_else_has_stays_taken_after_a_repetition(stage: Stage) -> None:
    await stage.orders.insert("a", {"n": 1}, AT)
    stage.faults.before = [Unreachable("away")]
    with pytest.raises(NameTaken):
        await stage.orders.insert("a", {"n": 1}, LATER)


async def test_changes_by_version_whose_answer_was_lost_are_found_done(stage: Stage) -> None:
    await stage.orders.insert("a", {"n": 1}, AT)
    stage.faults.after = [Unreachable("lost")]
    row = await stage.orders.patch("a", {("n",): 2}, LATER, version=1)
    assert (row.version, row.body) == (2, {"n": 2})
    stage.faults.after = [Unreachable("lost")]
    row = await stage.orders.replace("a", {"n": 3}, LATER, version=2)
    assert (row.version, row.body) == (3, {"n": 3})
    stage.faults.after = [Unreachable("lost")]
    await stage.orders.delete("a", version=3)
    assert await stage.orders.get("a") is None


async def test_a_version_that_somebody_else_took_is_a_conflict_after_a_repetition(stage: Stage) -> None:
    await stage.orders.insert("a", {"n": 1}, AT)
    await stage.orders.patch("a", {("n",): 9}, AT)
    stage.faults.before = [Unreachable("away")]
    with pytest.raises(VersionConflict):
        await stage.orders.patch("a", {("n",): 2}, LATER, version=1)


async def test_nothing_inside_a_transaction_is_repeated(stage: Stage) -> None:
    async with stage.guarded.transaction("db") as session:
        stage.faults.before = [Unreachable("away")]
        with pytest.raises(Unreachable):
            await session.collection("orders").get("a")
    assert stage.calls("get") == 1


async def test_a_server_that_fails_again_and_again_is_left_alone_and_probed_once(stage: Stage) -> None:
    away = Unreachable("away")
    for _ in range(3):
        stage.faults.before = [away]
        with pytest.raises(Unreachable):
            await stage.orders.delete("a")
    assert stage.breaker.state is CircuitState.OPEN
    with pytest.raises(CircuitOpen) as refused:
        await stage.orders.get("a")
    assert refused.value.not_done
    assert stage.calls("get") == 0
    stage.now = 11.0
    assert await stage.orders.get("a") is None
    assert stage.breaker.calm


async def test_a_call_beyond_its_deadline_ends_and_leaves_its_task_alone() -> None:
    stage = Stage(deadline=0.02)
    stage.faults.held = asyncio.Event()
    with pytest.raises(TimedOut):
        await stage.orders.get("a")
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    assert stage.calls("get") == 1
    stage.faults.held = None
    assert await stage.orders.get("a") is None


async def test_a_cancelled_call_is_cancelled_and_nothing_is_left_of_it(stage: Stage) -> None:
    stage.faults.held = asyncio.Event()
    call = asyncio.create_task(stage.orders.get("a"))
    await stage.faults.waiting.wait()
    assert stage.breaker.active == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not stage.breaker.active
    assert stage.calls("get") == 1


async def test_an_outer_timeout_keeps_its_own_meaning() -> None:
    stage = Stage(deadline=0.05)
    stage.faults.held = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stage.orders.get("a")


async def test_mistakes_of_ours_pass_and_leave_nothing_behind(stage: Stage) -> None:
    stage.faults.before = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        await stage.orders.get("a")
    assert not stage.breaker.active


async def test_calls_repetitions_and_errors_are_counted(stage: Stage) -> None:
    meter = METERS.of("sqlite", "get")
    calls, repeated, errors = meter.calls, meter.repeated, meter.errors.get("conflict", 0)
    await stage.orders.get("a")
    stage.faults.before = [Unreachable("away")]
    await stage.orders.get("a")
    stage.faults.before = [Conflict("no")]
    with pytest.raises(Conflict):
        await stage.orders.get("a")
    assert (meter.calls - calls, meter.repeated - repeated) == (2, 1)
    assert meter.errors["conflict"] - errors == 1
    names = {metric.name: metric for metric in METERS.collect()}
    assert any(s.labels["operation"] == "get" and s.value >= 2 for s in names["storage_calls"].samples)


async def test_ways_beside_the_breaker_are_as_careful(stage: Stage) -> None:
    """With one failure on the breaker calls take the careful way: the same rules hold there."""
    await stage.orders.insert("a", {"n": 1}, AT)
    stage.breaker.failed()
    stage.faults.after = [Unreachable("lost")]
    await stage.orders.insert("b", {"n": 1}, AT)
    assert isinstance(stage.orders, GuardedCollection)
    assert stage.breaker.calm
    stage.breaker.failed()
    stage.faults.before = [Unreachable("away")]
    with pytest.raises(Unreachable):
        await stage.orders.delete("a")
