"""Schedules at work: each turn once whatever dies in between, and nothing collected that must stay."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage_core.bootstrap import Core, open_worker
from storage_core.domain.backup import Backup, BackupStatus
from storage_core.domain.database import Database
from storage_core.domain.errors import Conflict, InvalidRequest, NotFound, Protected
from storage_core.domain.job import JobStatus
from storage_core.domain.page import Clause, Query, Test
from storage_core.domain.schedule import RunStatus, Schedule, ScheduleRun
from storage_core.services import scheduler as scheduling
from storage_core.services.audits import VerifyAudit
from storage_core.services.backups import Backups
from storage_core.services.collector import Collector
from storage_core.services.databases import Databases
from storage_core.services.kernel import Kernel
from storage_core.services.reconcile import Reconciler
from storage_core.services.runner import JobRunner
from storage_core.services.scheduler import Scheduler
from tests.integration.doors import Doors
from tests.integration.homes import (
    a_backup,
    a_database,
    a_provider,
    artifacts_in,
    backup_of,
    ended,
    opened,
    settings_of,
    somebody,
    until,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def database(doors: Doors, tmp_path: Path) -> Database:
    return await a_database(doors.core, await a_provider(doors.core, tmp_path / "data"), rows=5)


def scheduler(kernel: Kernel) -> Scheduler:
    return Scheduler(kernel, Backups(kernel, Databases(kernel)))


def seen(core: Core, doors: Doors) -> Kernel:
    """The core's kernel by the clock that the test moves."""
    return replace(core.kernel, now=doors.clock)


async def scheduled(doors: Doors, **more: Any) -> Schedule:
    return await doors.call("backups.schedule", **{"name": "hourly", "cron": "0 * * * *", **more})


async def rows(core: Core, noun: str, **where: str) -> tuple[Any, ...]:
    clauses = tuple(Clause(name, Test.ANY_OF, (value,)) for name, value in where.items())
    async with core.kernel.catalog.read() as uow:
        return (await getattr(uow, noun).find(Query(clauses, sort="created_at", limit=500))).items


async def saved(core: Core, backup: Backup, **changes: Any) -> None:
    async with core.kernel.catalog.write() as uow:
        await uow.backups.get(backup.id)
        await uow.backups.save(replace(backup, **changes))


async def test_what_is_due_is_backed_up_and_proven_and_what_was_missed_is_caught_up_with_once(
    doors: Doors, database: Database
) -> None:
    made = await scheduled(doors, database_id=database.id, time_zone="Asia/Kathmandu")
    assert made.next_at is not None
    assert made.next_at.minute == 15, "the hour of that zone"
    upkeep = scheduler(seen(doors.core, doors))
    await upkeep.tick()
    assert await rows(doors.core, "runs") == ()
    doors.clock.ahead = timedelta(hours=30)
    for _ in range(3):
        await upkeep.tick()
    [run] = await rows(doors.core, "runs")
    [row] = await rows(doors.core, "backups")
    assert run.status is RunStatus.STARTED
    assert (row.id, row.schedule_id, row.due_at) == (run.backup_id, made.id, run.due_at)
    assert timedelta() <= doors.clock() - run.due_at < HOUR, "of thirty missed ones the last"
    [later] = (await doors.call("backups.schedules")).items
    assert (later.last_at, later.next_at) == (run.due_at, run.due_at + HOUR)
    doors.clock.ahead = timedelta()
    async with open_worker(doors.core):
        job = await ended(doors.core, run.job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert (await backup_of(doors.core, row.id)).status is BackupStatus.PROVEN
    entries = (await doors.call("audit.list", operation="backups.create")).items
    assert {e.actor_name for e in entries} == {"system"}
    assert all(e.reason.startswith("the schedule 'hourly' was due at ") for e in entries)
    assert (await doors.core.audit.verify(somebody(), VerifyAudit())).ok


class Dying:
    """A catalog whose process dies at its n-th transaction: before it is committed, or right after."""

    def __init__(self, catalog: Any, at: int, *, committed: bool) -> None:
        self._catalog, self._left, self._committed = catalog, at, committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Any]:
        if self._left < 0:
            raise KeyboardInterrupt
        async with self._catalog.write() as uow:
            yield uow
            self._left -= 1
            if self._left < 0 and not self._committed:
                raise KeyboardInterrupt
        if self._left < 0:
            raise KeyboardInterrupt


async def test_a_turn_is_neither_lost_nor_doubled_wherever_its_scheduler_dies(
    doors: Doors, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_database(doors.core, await a_provider(doors.core, tmp_path / "more"), rows=1)
    made = await scheduled(doors)
    deaths = 0
    monkeypatch.setattr(scheduling, "AT_ONCE", 1)
    for at in range(6):
        for committed in (False, True):
            doors.clock.ahead += HOUR
            kernel = seen(doors.core, doors)
            dying = Dying(kernel.catalog, at, committed=committed)
            with pytest.raises(KeyboardInterrupt):
                await scheduler(replace(kernel, catalog=dying)).tick()  # type: ignore[arg-type]
            deaths += 1
            both = scheduler(kernel), scheduler(kernel)
            await asyncio.gather(*(one.tick() for one in both))
            async with doors.core.kernel.catalog.write() as uow:  # as if their jobs had ended
                for row in await rows(doors.core, "backups", status="queued"):
                    await uow.backups.save(replace(row, status=BackupStatus.FAILED))
    turns: tuple[ScheduleRun, ...] = await rows(doors.core, "runs")
    backups = await rows(doors.core, "backups", schedule_id=made.id)
    assert len(turns) == len(backups) == 2 * deaths
    assert {t.status for t in turns} == {RunStatus.STARTED}
    assert {(t.backup_id, t.job_id) for t in turns} == {(b.id, b.job_id) for b in backups}
    assert len({(b.database_id, b.due_at) for b in backups}) == 2 * deaths
    for backup in backups:
        assert await doors.core.kernel.queue.known(backup.job_id) is not None


async def test_a_worker_that_is_killed_leaves_each_turn_to_the_next_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with opened(settings_of(home)) as core:
        database = await a_database(core, await a_provider(core, tmp_path / "data"), rows=1000)
        op, method = core.operations["backups.schedule"]
        made = await method(somebody(), op.request(database_id=database.id, name="n", cron="@yearly"))
        past = core.kernel.now() - timedelta(days=500)
        async with core.kernel.catalog.write() as uow:
            await uow.schedules.save(replace(made, next_at=past))
        command = [sys.executable, "-P", "-m", "storage_console.cli", "worker"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STORAGE_")}
        environment = {**kept, "STORAGE_HOME": str(home), "PYTHONPATH": str(Path.cwd())}

        async def begun() -> bool:
            return any(b.status is not BackupStatus.QUEUED for b in await rows(core, "backups"))

        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
            try:
                await until(core, begun)
            finally:
                process.send_signal(signal.SIGKILL)
        async with open_worker(core):
            await scheduler(core.kernel).tick()
            [run] = await rows(core, "runs")
            assert (await ended(core, run.job_id)).status is JobStatus.SUCCEEDED
        [backup] = await rows(core, "backups")
        assert (backup.id, backup.status) == (run.backup_id, BackupStatus.PROVEN)


async def test_what_stands_in_the_way_of_a_turn_is_said(doors: Doors, database: Database) -> None:
    await scheduled(doors, database_id=database.id)
    upkeep = scheduler(seen(doors.core, doors))
    doors.clock.ahead = HOUR
    await upkeep.tick()
    doors.clock.ahead = 2 * HOUR
    await upkeep.tick()
    states = [(r.status, r.reason) for r in await rows(doors.core, "runs")]
    assert states == [(RunStatus.STARTED, None), (RunStatus.SKIPPED, "The backup before was not over.")]


async def test_a_suspended_tenant_and_a_paused_schedule_have_no_turns(doors: Doors, tmp_path: Path) -> None:
    tenant = await doors.tenant("acme")
    provider = await a_provider(doors.core, tmp_path / "data")
    await doors.call(
        "databases.create", provider_id=provider.id, name="a", tenant_id=tenant.id, labels=["gold"]
    )
    await doors.call("databases.create", provider_id=provider.id, name="b", tenant_id=tenant.id)
    await scheduled(doors, tenant_id=tenant.id, label="gold", name="of gold")
    paused = await scheduled(doors, tenant_id=tenant.id, name="paused", paused=True)
    await scheduled(doors, tenant_id=tenant.id, only_new=True, name="of new ones")
    await doors.call("tenants.suspend", id=tenant.id, confirm="acme", reason="unpaid")
    upkeep = scheduler(seen(doors.core, doors))
    doors.clock.ahead = HOUR
    await upkeep.tick()
    [run] = await rows(doors.core, "runs")
    assert (run.status, run.reason) == (RunStatus.SKIPPED, "The tenant was suspended.")
    await doors.call("tenants.resume", id=tenant.id)
    resumed = await doors.call("backups.schedule", schedule_id=paused.id, paused=False)
    assert resumed.next_at > doors.clock(), "what a pause misses is not caught up with"
    doors.clock.ahead = 2 * HOUR
    await upkeep.tick()
    assert len(await rows(doors.core, "runs", status="started")) == 3


async def test_jitter_lets_a_turn_wait_for_its_moment(doors: Doors, database: Database) -> None:
    await scheduled(doors, database_id=database.id, jitter_minutes=50)
    upkeep = scheduler(seen(doors.core, doors))
    doors.clock.ahead = HOUR
    await upkeep.tick()
    [run] = await rows(doors.core, "runs")
    assert timedelta() <= run.start_at - run.due_at < timedelta(minutes=50)
    doors.clock.ahead = run.start_at - doors.clock() + timedelta(hours=1, seconds=1)
    await upkeep.tick()
    assert (await rows(doors.core, "runs"))[0].status is RunStatus.STARTED


async def test_a_dry_run_names_exactly_what_the_run_collects(doors: Doors, database: Database) -> None:
    core, now = doors.core, doors.clock()
    made = await scheduled(doors, database_id=database.id, keep_daily=3)
    async with open_worker(core):
        _, first = await a_backup(core, database)
    mine = []
    async with core.kernel.catalog.write() as uow:
        for days in range(10):
            at = now - days * DAY
            mine.append(replace(first, id=f"b{days}", created_at=at, schedule_id=made.id, due_at=at))
            await uow.backups.add(mine[-1])
    await doors.call("backups.pin", id="b7")
    await doors.call("backups.hold", id="b8", reason="case 7")
    restoring = await doors.call("backups.restore", id="b9", name="again")
    told = await doors.call("backups.forecast", schedule_id=made.id)
    named = {j.backup_id for j in told.judgements if j.goes}
    assert named == {"b3", "b4", "b5", "b6"}
    assert (told.goes, told.stays, told.covers) == (4, 6, 1)
    reasons = {j.backup_id: j.reasons for j in told.judgements}
    assert [reasons[f"b{n}"] for n in (7, 8, 9)] == [
        ("pinned",),
        ("on legal hold",),
        ("needed by a running job",),
    ]
    less = await doors.call("backups.forecast", schedule_id=made.id, keep_daily=1)
    assert less.goes == 6
    await doors.call("backups.schedule", schedule_id=made.id, paused=True)
    await Collector(core.kernel).collect()
    assert not await gone(core), "while it is paused nothing goes"
    await doors.call("backups.schedule", schedule_id=made.id, paused=False)
    await Collector(core.kernel).collect()
    assert await gone(core) == named
    await doors.call("jobs.cancel", id=restoring.job_id)
    await Collector(core.kernel).collect()
    assert await gone(core) == {*named, "b9"}
    assert {b.id for b in (await doors.call("backups.list", deleted=True)).items} == {*named, "b9"}
    [entry, *_] = (await doors.call("audit.list", operation="backups.delete")).items
    assert (entry.actor_name, entry.reason) == ("system", "the retention of the schedule 'hourly'")


async def gone(core: Core) -> set[str]:
    return {b.id for b in await rows(core, "backups") if b.deleted_at is not None}


async def test_a_deleted_backup_can_be_taken_back_for_seven_days(
    doors: Doors, database: Database, tmp_path: Path
) -> None:
    core, kernel = doors.core, seen(doors.core, doors)
    async with open_worker(core):
        _, backup = await a_backup(core, database)
        _, other = await a_backup(core, database)
    upkeep = Reconciler(kernel, JobRunner(kernel, lambda: core.operations, "test"))
    deleting = {"id": backup.id, "confirm": database.name}
    await doors.call("backups.delete", **deleting)
    await doors.call("backups.delete", id=other.id, confirm=database.name)
    with pytest.raises(NotFound):
        await doors.call("backups.restore", id=backup.id)
    doors.clock.ahead = 6 * DAY
    await upkeep.settle()
    assert len(artifacts_in(tmp_path / "home")) == 2
    undelete = core.operations["backups.undelete"][0].request
    later = Backups(kernel, Databases(kernel))
    back = await later.undelete(doors.root, undelete(id=backup.id))
    assert (back.deleted_at, back.pinned) == (None, True)
    doors.clock.ahead = 7 * DAY + HOUR
    await upkeep.settle()
    assert len(artifacts_in(tmp_path / "home")) == 1
    async with core.kernel.catalog.read() as uow:
        assert await uow.data_keys.get(other.id) is None
    with pytest.raises(NotFound):
        await later.undelete(doors.root, undelete(id=other.id))
    async with open_worker(core):
        ticket = await doors.call("backups.verify", id=backup.id)
        assert (await ended(core, ticket.job_id)).status is JobStatus.SUCCEEDED


async def test_what_is_pinned_held_or_at_work_is_not_deleted(doors: Doors, database: Database) -> None:
    async with open_worker(doors.core):
        _, backup = await a_backup(doors.core, database)
    deleting = {"id": backup.id, "confirm": database.name}
    await doors.call("backups.pin", id=backup.id)
    await doors.call("backups.hold", id=backup.id, reason="case 7")
    with pytest.raises(Conflict):
        await doors.call("backups.hold", id=backup.id, reason="case 8")
    await doors.call("backups.unpin", **deleting)
    with pytest.raises(Protected, match="case 7"):
        await doors.call("backups.delete", **deleting)
    await doors.call("backups.release", **deleting)
    restoring = await doors.call("backups.restore", id=backup.id, name="again")
    with pytest.raises(Conflict, match="running job"):
        await doors.call("backups.delete", **deleting)
    await doors.call("jobs.cancel", id=restoring.job_id)
    await doors.call("backups.pin", id=backup.id)
    with pytest.raises(Protected, match="pinned"):
        await doors.call("backups.delete", **deleting)
    await doors.call("backups.unpin", **deleting)
    await doors.call("backups.delete", **deleting)


async def test_bad_schedules_are_refused_naming_the_field(doors: Doors, database: Database) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("cron", {"cron": "61 * * * *"}),
        ("cron", {"cron": None}),
        ("name", {"name": "  "}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("label", {"label": "Not A Label"}),
        ("database_id", {"database_id": database.id, "label": "gold"}),
    ]
    for field, given in cases:
        with pytest.raises(InvalidRequest) as caught:
            await scheduled(doors, **given)
        assert caught.value.field == field


async def test_keeping_less_needs_the_word_and_the_name(doors: Doors, database: Database) -> None:
    made = await scheduled(doors, database_id=database.id, keep_daily=7)
    with pytest.raises(InvalidRequest) as caught:
        await doors.call("backups.schedule", schedule_id=made.id, keep_daily=3)
    assert caught.value.field == "shorten"
    with pytest.raises(InvalidRequest, match="exact name"):
        await doors.call("backups.schedule", schedule_id=made.id, keep_daily=3, shorten=True)
    less = await doors.call(
        "backups.schedule", schedule_id=made.id, keep_daily=3, shorten=True, confirm="hourly"
    )
    assert (less.retention.daily, less.next_at) == (3, made.next_at)
    with pytest.raises(InvalidRequest) as caught:  # more often: so many backups reach less far back
        await doors.call("backups.schedule", schedule_id=made.id, cron="* * * * *")
    assert caught.value.field == "shorten"
    more = await doors.call("backups.schedule", schedule_id=made.id, keep_daily=9, keep_weekly=2)
    assert (more.retention.daily, more.retention.weekly) == (9, 2)
    with pytest.raises(InvalidRequest, match="goes on with what it covers"):
        await doors.call("backups.schedule", schedule_id=made.id, label="gold")


async def test_a_schedule_that_is_removed_leaves_its_backups(doors: Doors, database: Database) -> None:
    made = await scheduled(doors, database_id=database.id, keep_last=1, jitter_minutes=59)
    async with open_worker(doors.core):
        _, backup = await a_backup(doors.core, database)
    await saved(doors.core, backup, schedule_id=made.id)
    doors.clock.ahead = HOUR
    await scheduler(seen(doors.core, doors)).tick()
    await doors.call("backups.unschedule", schedule_id=made.id)
    assert await rows(doors.core, "runs", status="waiting") == ()
    await Collector(doors.core.kernel).collect()
    assert not await gone(doors.core)
    assert (await doors.call("backups.schedules")).total == 0
