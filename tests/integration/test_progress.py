"""How far a job is: percent follows the bytes on every engine, and totals are told where they are known."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from storage_core.bootstrap import Core, open_worker
from storage_core.domain.backup import Backup
from storage_core.domain.database import Database
from storage_core.domain.job import JobStatus, Progress
from storage_core.ports.backup import OnProgress
from storage_core.services.backups import RestoreBackup
from storage_core.services.handle import JobHandle
from tests.integration.homes import (
    a_backup,
    a_database,
    a_provider,
    ended,
    opened,
    settings_of,
    somebody,
)
from tests.integration.servers import Server, on_mongodb, on_postgresql


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as core:
        yield core


@dataclass
class Trail:
    """Everything jobs said of how far they are, in order."""

    said: list[Progress]

    def of(self, stage: str) -> list[Progress]:
        return [one for one in self.said if one.stage == stage]


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trail]:
    said: list[Progress] = []
    real = JobHandle.meter

    def meter(self: JobHandle, *args: object, **named: object) -> OnProgress:
        report = real(self, *args, **named)  # type: ignore[arg-type]

        def told(done: int, total: int | None) -> None:
            report(done, total)
            said.append(self.state)

        return told

    monkeypatch.setattr(JobHandle, "meter", meter)
    yield Trail(said)


def follows(stage: list[Progress], begin: float, end: float) -> None:
    """Within a stage, percent goes from its begin to its end, and stands still over no tenth of the bytes."""
    percents = [one.percent or 0 for one in stage]
    assert percents == sorted(percents) and begin <= percents[0], percents
    assert abs(percents[-1] - end) < 1, percents
    all_bytes = stage[-1].bytes_done
    marks = [one for i, one in enumerate(stage) if not i or one.bytes_done - stage[i - 1].bytes_done]
    for before, after in pairwise(marks[:: max(1, len(marks) // 8)]):
        if after.bytes_done - before.bytes_done >= all_bytes / 10:
            assert (after.percent or 0) - (before.percent or 0) > 0, (before, after)


async def followed(core: Core, database: Database, trail: Trail) -> None:
    async with open_worker(core):
        _, backup = await a_backup(core, database)
        follows(trail.of("dump"), 0, 55)
        _known(trail, backup, 55, 85)
        trail.said.clear()
        ticket = await core.backups.restore(somebody(), RestoreBackup(id=backup.id, name="again"))
        assert (await ended(core, ticket.job_id)).status is JobStatus.SUCCEEDED
        _known(trail, backup, 0, 80)
        trail.said.clear()
        await a_backup(core, database)
        follows(trail.of("dump"), 0, 55)


def _known(trail: Trail, backup: Backup, begin: float, end: float) -> None:
    """What is read back has a size that is written down: the artifact's, then the dump's."""
    middle = begin + (end - begin) * 0.15
    follows(trail.of("check"), begin, middle)
    follows(trail.of("restore"), middle, end)
    assert {one.bytes_total for one in trail.of("check")} == {backup.size_stored}
    assert {one.bytes_total for one in trail.of("restore")} == {backup.size_raw}


async def test_progress_follows_the_bytes_on_sqlite(core: Core, tmp_path: Path, trail: Trail) -> None:
    await followed(core, await a_database(core, await a_provider(core, tmp_path / "data"), rows=2000), trail)


async def test_progress_follows_the_bytes_on_postgresql(
    core: Core, postgresql_server: Server, trail: Trail
) -> None:
    async with on_postgresql(core, postgresql_server) as (database, _):
        await followed(core, database, trail)


async def test_progress_follows_the_bytes_on_mongodb(
    core: Core, mongodb_server: Server, trail: Trail
) -> None:
    async with on_mongodb(core, mongodb_server) as (database, _):
        await followed(core, database, trail)
