"""A job's steps: run once, answers and errors alike, and replayed after a crash."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from storage_core.domain.errors import (
    Internal,
    NameTaken,
    StorageError,
    StorageFull,
    Unreachable,
    VersionConflict,
    revive,
)
from storage_core.domain.job import Job
from storage_core.services.handle import LOG_LINES, JobHandle
from storage_core.services.kernel import raced

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Recorded:
    """Steps that remember what came out, as JSON, like the job store."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.runs = 0

    async def step(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if name not in self.kept:
            self.runs += 1
            self.kept[name] = json.dumps(await work())
        return json.loads(self.kept[name])


def a_handle(steps: Recorded) -> JobHandle:
    return JobHandle(Job("j1", "backups.create", NOW, NOW, "u", "u", "b1"), steps, lambda: NOW)


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1, None]}, "x"])
async def test_a_finished_step_answers_what_it_answered(value: Any) -> None:
    steps = Recorded()

    async def work() -> Any:
        return value

    for _ in range(2):
        assert await a_handle(steps).step("one", work) == value
    assert steps.runs == 1


@pytest.mark.parametrize(
    "error", [NameTaken("taken", hint="other"), StorageFull("full"), Unreachable("away")]
)
async def test_a_failed_step_fails_the_same_way_again(error: StorageError) -> None:
    steps = Recorded()

    async def work() -> None:
        raise error

    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            await a_handle(steps).step("one", work)
        assert (caught.value.code, caught.value.detail, caught.value.hint) == (
            error.code,
            error.detail,
            error.hint,
        )
    assert steps.runs == 1


async def test_the_unexpected_becomes_an_internal_error_without_its_text() -> None:
    async def work() -> None:
        raise ValueError("password=hunter2")

    with pytest.raises(Internal) as caught:
        await a_handle(Recorded()).step("one", work)
    assert "hunter2" not in caught.value.detail and "ValueError" in caught.value.detail


async def test_a_cut_off_step_is_not_recorded() -> None:
    steps, begun = Recorded(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(a_handle(steps).step("one", work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps.kept == {}


def test_the_log_keeps_the_last_lines_and_a_stage_is_told_once() -> None:
    handle = a_handle(Recorded())
    report = handle.meter("dump", 10, 60)
    report(50, 100)
    assert (handle.state.percent, handle.state.bytes_done) == (35.0, 50)
    report(500, 100)
    assert handle.state.percent == 60.0
    report(7, None)
    assert handle.state.percent == 10
    assert [line.text for line in handle.lines] == ["dump"]
    for n in range(LOG_LINES + 10):
        handle.log(str(n))
    assert len(handle.lines) == LOG_LINES and handle.lines[-1].text == str(LOG_LINES + 9)


def _kinds(kind: type[StorageError]) -> list[type[StorageError]]:
    return [kind, *(k for sub in kind.__subclasses__() for k in _kinds(sub))]


def test_every_error_has_a_code_of_its_own_and_comes_back_by_it() -> None:
    kinds = _kinds(StorageError)
    assert len({k.code for k in kinds}) == len(kinds)
    for kind in kinds:
        assert type(revive(kind.code, "detail", "hint")) is kind
    assert type(revive("no_such_code", "detail")) is Internal


async def test_who_lost_a_race_tries_again_but_not_for_ever() -> None:
    tries = 0

    async def work() -> int:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise VersionConflict("somebody was faster")
        return tries

    assert await raced(work) == 4
