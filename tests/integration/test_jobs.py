"""Jobs with real worker processes: killed, stopped, cancelled, two at once. Whatever happens, everything is settled."""

# ruff: noqa: ASYNC240 - a test looks at small files of its own

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from storage_core.bootstrap import Core, WorkerLock, open_worker, utc_now
from storage_core.domain.audit import Phase
from storage_core.domain.backup import BackupStatus
from storage_core.domain.database import Database, DatabaseStatus
from storage_core.domain.errors import Conflict
from storage_core.domain.job import JobStatus
from storage_core.domain.naming import scratch_name
from storage_core.domain.page import Query
from storage_core.services.audits import VerifyAudit
from storage_core.services.backups import CreateBackup, RestoreBackup, VerifyBackup
from storage_core.services.jobs import CancelJob, RetryJob
from storage_core.services.reconcile import Reconciler
from storage_core.services.runner import JobRunner
from tests.integration.held import Held
from tests.integration.homes import (
    PATIENCE,
    a_backup,
    a_database,
    a_provider,
    artifacts_in,
    backup_of,
    databases_in,
    ended,
    job_of,
    opened,
    settings_of,
    somebody,
    until,
)

BIG = {"rows": 6000, "size": 10_000}  # 60 MB: long enough to be met in the middle


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def core(home: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(home)) as core:
        yield core


def command(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "storage_console.cli", *words]


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STORAGE_")}
    return {**kept, "STORAGE_HOME": str(home), "PYTHONPATH": str(Path.cwd())}


@contextmanager
def worker(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process of its own, as `up` starts it; ended with the block."""
    process = subprocess.Popen(
        command(home, "worker"), env=environment(home), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stderr):
            assert pipe is not None
            pipe.close()


async def caught(process: subprocess.Popen[bytes], there: Callable[[], bool]) -> None:
    """Stop the process at once when something is seen on the disk."""
    async with asyncio.timeout(PATIENCE):
        while not there():
            assert process.poll() is None, "the worker ended by itself"
            await asyncio.sleep(0.002)
    process.send_signal(signal.SIGSTOP)


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def half_written(home: Path) -> bool:
    """An artifact is being written and some of it is there."""
    return any(
        p.name.startswith(".") and p.stat().st_size > 1 << 20
        for p in (home / "store").rglob("*")
        if p.is_file()
    )


def more_than(root: Path, before: set[str]) -> Callable[[], bool]:
    return lambda: bool(databases_in(root) - before)


async def order_backup(core: Core, database: Database) -> tuple[str, str]:
    ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
    return ticket.job_id, ticket.id


async def whole(core: Core, home: Path, root: Path, databases: set[str]) -> None:
    """Nothing lost, nothing half, nothing left: what must hold after any crash and recovery."""
    async with core.kernel.catalog.read() as uow:
        rows = (await uow.backups.find(Query(limit=500))).items
        jobs = (await uow.jobs.find(Query(limit=500))).items
    assert all(j.finished_at for j in jobs)
    listed = {Path(a).name for row in rows for a in row.artifacts}
    assert artifacts_in(home) == listed
    assert {n for n in databases_in(root) if not n.startswith(".")} == databases
    assert (await core.audit.verify(somebody(), VerifyAudit())).ok


def reconciler(core: Core, ahead: timedelta) -> Reconciler:
    """The reconciler as it sees the world some time from now."""
    kernel = replace(core.kernel, now=lambda: utc_now() + ahead)
    return Reconciler(kernel, JobRunner(kernel, lambda: core.operations, "test"))


# kill -9


async def test_a_worker_killed_in_the_middle_of_a_dump_is_taken_over(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), **BIG)
    job_id, backup_id = await order_backup(core, database)
    before = databases_in(root)
    with worker(home) as first:
        await caught(first, lambda: half_written(home))
        assert (await backup_of(core, backup_id)).artifacts == ()
        assert (await backup_of(core, backup_id)).status is BackupStatus.RUNNING
        killed(first)
    assert await core.kernel.artifacts.list("") == (), "half an artifact is not listed"
    with worker(home):
        job = await ended(core, job_id)
    backup = await backup_of(core, backup_id)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN), job.error
    assert job.attempts == 2
    await reconciler(core, timedelta(minutes=20)).settle()
    await whole(core, home, root, before)


async def test_a_worker_killed_in_the_middle_of_a_proof_does_not_dump_again(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), **BIG)
    before = databases_in(root)
    job_id, backup_id = await order_backup(core, database)

    with worker(home) as first:

        async def proving() -> bool:
            return (await backup_of(core, backup_id)).status is BackupStatus.PROVING

        await until(core, proving)
        await caught(first, more_than(root, before))
        stored = await backup_of(core, backup_id)
        killed(first)
    with worker(home):
        job = await ended(core, job_id)
    backup = await backup_of(core, backup_id)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN), job.error
    assert backup.stored_at == stored.stored_at, "the dump had come to its end: it was not run again"
    await reconciler(core, timedelta(minutes=20)).settle()
    await whole(core, home, root, before)


async def test_a_worker_killed_in_the_middle_of_a_restore_ends_with_the_whole_database(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), **BIG)
    job_id, backup_id = await order_backup(core, database)
    with worker(home) as first:
        assert (await ended(core, job_id)).status is JobStatus.SUCCEEDED
        before = databases_in(root)
        request = RestoreBackup(id=backup_id, name="again")
        ticket = await core.backups.restore(somebody(), request)
        await caught(first, more_than(root, before))
        killed(first)
    with worker(home):
        job = await ended(core, ticket.job_id)
    assert job.status is JobStatus.SUCCEEDED and job.result is not None, job.error
    await whole(core, home, root, before | {Path(job.result["location"]).name})


async def test_a_restore_whose_worker_died_can_be_cancelled_and_leaves_nothing(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), **BIG)
    job_id, backup_id = await order_backup(core, database)
    with worker(home) as first:
        assert (await ended(core, job_id)).status is JobStatus.SUCCEEDED
        before = databases_in(root)
        ticket = await core.backups.restore(somebody(), RestoreBackup(id=backup_id, name="again"))
        await caught(first, more_than(root, before))
        killed(first)
    cancelled = await core.jobs.cancel(somebody(), CancelJob(id=ticket.job_id))
    assert cancelled.cancel_requested
    with worker(home):
        assert (await ended(core, ticket.job_id)).status is JobStatus.CANCELLED
    await reconciler(core, timedelta(minutes=20)).settle()
    async with core.kernel.catalog.read() as uow:
        assert await uow.databases.get(ticket.id) is None
    await whole(core, home, root, before)


# SIGTERM, and two at once


async def test_a_worker_told_to_stop_leaves_its_job_to_the_next_one(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), **BIG)
    before = databases_in(root)
    job_id, backup_id = await order_backup(core, database)
    with worker(home) as first:
        await caught(first, lambda: half_written(home))
        first.send_signal(signal.SIGTERM)
        first.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(first.wait, PATIENCE) == 0
    assert artifacts_in(home) == set(), "it cleaned up before it went"
    assert await core.kernel.queue.known(job_id) == "PENDING"
    assert (await job_of(core, job_id)).status is JobStatus.RUNNING
    with worker(home):
        job = await ended(core, job_id)
    assert (job.status, (await backup_of(core, backup_id)).status) == (
        JobStatus.SUCCEEDED,
        BackupStatus.PROVEN,
    )
    await whole(core, home, root, before)


async def test_a_second_worker_refuses_and_the_first_goes_on(core: Core, home: Path, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    with worker(home):
        job_id, _ = await order_backup(core, database)
        await ended(core, job_id)
        with worker(home) as second:
            assert await asyncio.to_thread(second.wait, PATIENCE) == 1
            assert second.stderr is not None
            assert b"Another worker serves this home" in second.stderr.read()
        job_id, _ = await order_backup(core, database)
        job = await ended(core, job_id)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)


# cancel


async def test_a_queued_job_is_cancelled_at_once(core: Core, home: Path, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    job_id, backup_id = await order_backup(core, database)
    await core.jobs.cancel(somebody(), CancelJob(id=job_id))
    assert (await job_of(core, job_id)).status is JobStatus.CANCELLED
    backup = await backup_of(core, backup_id)
    assert backup.status is BackupStatus.FAILED and "Cancelled by" in (backup.reason or "")
    with pytest.raises(Conflict):
        await core.jobs.cancel(somebody(), CancelJob(id=job_id))
    async with open_worker(core):
        next_id, _ = await order_backup(core, database)
        await ended(core, next_id)
    assert (await job_of(core, job_id)).attempts == 0, "it was never run"


@pytest.mark.parametrize(
    ("where", "status"),
    [("dump", BackupStatus.FAILED), ("restore", BackupStatus.STORED), ("measure", BackupStatus.STORED)],
)
async def test_a_running_job_is_cancelled_inside_its_step_and_puts_away_what_it_made(
    core: Core, home: Path, root: Path, where: str, status: BackupStatus
) -> None:
    database = await a_database(core, await a_provider(core, root))
    before = databases_in(root)
    held = Held(core)
    held.where = where
    async with open_worker(core):
        job_id, backup_id = await order_backup(core, database)
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
        await core.jobs.cancel(somebody(), CancelJob(id=job_id))
        job = await ended(core, job_id)
        backup = await backup_of(core, backup_id)
        assert (job.status, backup.status) == (JobStatus.CANCELLED, status)
        assert job.error is not None and job.error.code == "cancelled"
        held.where = ""
        await whole(core, home, root, before)
        # the worker is well: the next one runs
        again, repeated = await a_backup(core, database)
        assert (again.status, repeated.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN)


async def test_a_cancelled_restore_leaves_neither_row_nor_file(core: Core, home: Path, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root))
    held = Held(core)
    async with open_worker(core):
        _, backup = await a_backup(core, database)
        before = databases_in(root)
        held.where = "measure"
        ticket = await core.backups.restore(somebody(), RestoreBackup(id=backup.id, name="soon-gone"))
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
        assert databases_in(root) > before
        await core.jobs.cancel(somebody(), CancelJob(id=ticket.job_id))
        assert (await ended(core, ticket.job_id)).status is JobStatus.CANCELLED
        async with core.kernel.catalog.read() as uow:
            assert await uow.databases.get(ticket.id) is None
        assert databases_in(root) == before
        assert (await backup_of(core, backup.id)).status is BackupStatus.PROVEN


async def test_a_cancelled_verification_leaves_the_earlier_proof_standing(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root))
    held = Held(core)
    async with open_worker(core):
        _, backup = await a_backup(core, database)
        held.where = "restore"
        ticket = await core.backups.verify(somebody(), VerifyBackup(id=backup.id))
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
        assert (await backup_of(core, backup.id)).status is BackupStatus.PROVING
        with pytest.raises(Conflict):
            await core.backups.verify(somebody(), VerifyBackup(id=backup.id))
        await core.jobs.cancel(somebody(), CancelJob(id=ticket.job_id))
        assert (await ended(core, ticket.job_id)).status is JobStatus.CANCELLED
    after = await backup_of(core, backup.id)
    assert (after.status, after.proof) == (BackupStatus.PROVEN, backup.proof)


async def test_a_worker_that_closes_cuts_its_job_off_and_the_next_one_resumes(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root))
    before = databases_in(root)
    held = Held(core)
    held.where = "measure"
    async with open_worker(core):
        job_id, backup_id = await order_backup(core, database)
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
    assert databases_in(root) == before, "the throw-away database went with the worker"
    assert (await job_of(core, job_id)).status is JobStatus.RUNNING
    stored = (await backup_of(core, backup_id)).stored_at
    held.where = ""
    async with open_worker(core):
        job = await ended(core, job_id)
    backup = await backup_of(core, backup_id)
    assert (job.status, backup.status, job.attempts) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN, 2)
    assert backup.stored_at == stored, "the finished dump was not repeated"


# retry


async def test_a_failed_job_is_repeated_as_a_new_one(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    file = Path(str(database.location))
    away = file.with_suffix(".away")
    async with open_worker(core):
        file.rename(away)
        job, backup = await a_backup(core, database)
        assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
        away.rename(file)
        ticket = await core.jobs.retry(somebody(), RetryJob(id=job.id))
        repeated = await ended(core, ticket.job_id)
        assert repeated.status is JobStatus.SUCCEEDED
        assert repeated.retry_of == job.id
        assert (await backup_of(core, ticket.id)).status is BackupStatus.PROVEN
        with pytest.raises(Conflict):
            await core.jobs.retry(somebody(), RetryJob(id=repeated.id))


# the command line


async def run_command(home: Path, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command(home, *words),
        env=environment(home),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    out, error = await asyncio.gather(process.stdout.read(), process.stderr.read())
    return await process.wait(), out.decode(), error.decode()


async def test_wait_works_with_and_without_a_worker(core: Core, home: Path, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root))
    words = ("backups", "create", "--database-id", database.id, "--wait", "--json")
    status, out, error = await run_command(home, *words)
    assert (status, json.loads(out)["status"]) == (0, "proven"), error
    with worker(home) as process:
        await until(core, lambda: asyncio.to_thread(_served, home))
        status, out, error = await run_command(home, *words)
        assert (status, json.loads(out)["status"]) == (0, "proven"), error
        assert process.poll() is None
    async with core.kernel.catalog.read() as uow:
        jobs = (await uow.jobs.find(Query())).items
    assert len({j.worker for j in jobs}) == 2, "each was run by whoever was there"
    Path(str(database.location)).unlink()
    status, _, error = await run_command(home, *words)
    assert status == 1 and "Traceback" not in error and error.strip()


def _served(home: Path) -> bool:
    lock = WorkerLock(home)
    free = lock.acquire()
    lock.release()
    return not free


async def test_a_worker_waits_for_a_command_that_has_borrowed_its_place(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    lock = WorkerLock(home)
    assert lock.acquire(borrowed=True)
    async with open_worker(core):
        with worker(home) as process:
            job, _ = await a_backup(core, database)
            with pytest.raises(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 8)
            lock.release()
            await until(core, lambda: asyncio.to_thread(_served, home))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert job.status is JobStatus.SUCCEEDED


# what the reconciler finds


async def test_a_job_whose_queue_entry_is_gone_is_settled(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    lost_id, lost_backup = await order_backup(core, database)
    queued_id, _ = await order_backup(core, database)
    _forget_in_queue(core, lost_id, queued_id)
    async with core.kernel.catalog.write() as uow:
        job = await uow.jobs.get(lost_id)
        assert job is not None
        await uow.jobs.save(replace(job, status=JobStatus.RUNNING))
    await reconciler(core, timedelta()).settle()
    assert (await job_of(core, lost_id)).status is JobStatus.RUNNING, "not yet: it may be on its way"
    await reconciler(core, timedelta(minutes=1)).settle()
    lost = await job_of(core, lost_id)
    assert lost.status is JobStatus.FAILED and lost.error is not None and lost.error.code == "interrupted"
    assert (await backup_of(core, lost_backup)).status is BackupStatus.FAILED
    assert await core.kernel.queue.known(queued_id) == "ENQUEUED", "one that never began is handed over again"


async def test_a_job_cancelled_while_no_worker_ran_it_ends_before_it_does_anything(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    job_id, backup_id = await order_backup(core, database)
    async with core.kernel.catalog.write() as uow:
        job = await uow.jobs.get(job_id)
        assert job is not None
        await uow.jobs.save(replace(job, status=JobStatus.RUNNING))
    assert (await core.jobs.cancel(somebody(), CancelJob(id=job_id))).status is JobStatus.RUNNING
    await reconciler(core, timedelta(minutes=1)).settle()
    assert await core.kernel.queue.known(job_id) == "ENQUEUED", "whoever runs it next settles it"
    async with open_worker(core):
        assert (await ended(core, job_id)).status is JobStatus.CANCELLED
    backup = await backup_of(core, backup_id)
    assert (backup.status, backup.started_at) == (BackupStatus.FAILED, None)
    assert artifacts_in(home) == set()


async def test_a_cancelled_job_that_the_job_store_lost_is_cancelled(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    job_id, _ = await order_backup(core, database)
    _forget_in_queue(core, job_id)
    async with core.kernel.catalog.write() as uow:
        job = await uow.jobs.get(job_id)
        assert job is not None
        await uow.jobs.save(replace(job, status=JobStatus.RUNNING, cancel_requested=True))
    await reconciler(core, timedelta(minutes=1)).settle()
    assert (await job_of(core, job_id)).status is JobStatus.CANCELLED


async def test_a_silent_workers_job_is_taken_by_another_one(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    job_id, backup_id = await order_backup(core, database)
    async with core.kernel.catalog.write() as uow:
        job = await uow.jobs.get(job_id)
        assert job is not None
        await uow.jobs.save(replace(job, status=JobStatus.RUNNING, worker="elsewhere:1"))
    _in_queue(core, "update workflow_status set status = 'PENDING', executor_id = 'elsewhere'", job_id)
    await reconciler(core, timedelta(minutes=1)).settle()
    assert await core.kernel.queue.known(job_id) == "PENDING"
    await reconciler(core, timedelta(minutes=5)).settle()
    async with open_worker(core):
        assert (await ended(core, job_id)).status is JobStatus.SUCCEEDED
    assert (await backup_of(core, backup_id)).status is BackupStatus.PROVEN


async def test_an_ended_job_is_neither_ended_again_nor_brought_back_by_progress(
    core: Core, root: Path
) -> None:
    from storage_core.domain.errors import Interrupted
    from storage_core.services.handle import JobHandle

    database = await a_database(core, await a_provider(core, root), rows=5)
    job_id, _ = await order_backup(core, database)
    runner = JobRunner(core.kernel, lambda: core.operations, "test")
    running = await runner._begin(job_id)
    assert running is not None
    handle = JobHandle(running, None, utc_now)  # type: ignore[arg-type]
    await asyncio.gather(
        *(runner.end(job_id, JobStatus.FAILED, error=Interrupted(f"number {n}")) for n in range(4))
    )
    first = await job_of(core, job_id)
    handle.progress("dump", 50)
    await runner._flush(handle)
    await runner.end(job_id, JobStatus.SUCCEEDED, handle=handle, result={})
    assert await runner._begin(job_id) is None
    assert await job_of(core, job_id) == first
    async with core.kernel.catalog.read() as uow:
        entries = (await uow.audit.find(Query(sort="-at", limit=500))).items
    assert sum(e.target_kind == "job" and e.target_id == job_id for e in entries) == 1


async def test_an_intent_without_outcome_gets_one_and_the_chain_stays_whole(core: Core, root: Path) -> None:
    await a_database(core, await a_provider(core, root), rows=5)
    async with core.kernel.catalog.write() as uow:
        entries = (await uow.audit.find(Query(sort="at"))).items
        intent = next(e for e in entries if e.phase is Phase.INTENT)
        await uow.audit.append(replace(intent, correlation_id="cut-off", at=utc_now()))
    settling = reconciler(core, timedelta(minutes=20))
    for _ in range(2):
        await settling.settle()
    async with core.kernel.catalog.read() as uow:
        entries = (await uow.audit.find(Query(sort="at", limit=500))).items
    settled = [e for e in entries if e.correlation_id == "cut-off" and e.phase is Phase.OUTCOME]
    assert [e.result for e in settled] == ["interrupted"]
    assert (await core.audit.verify(somebody(), VerifyAudit())).ok


@pytest.mark.parametrize("status", [DatabaseStatus.CREATING, DatabaseStatus.DELETING])
async def test_an_unfinished_database_is_put_away(core: Core, root: Path, status: DatabaseStatus) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    async with core.kernel.catalog.write() as uow:
        row = await uow.databases.get(database.id)
        assert row is not None
        await uow.databases.save(replace(row, status=status))
    await reconciler(core, timedelta(minutes=1)).settle()
    assert Path(str(database.location)).exists(), "not yet: somebody may be at it"
    await reconciler(core, timedelta(minutes=20)).settle()
    async with core.kernel.catalog.read() as uow:
        assert await uow.databases.get(database.id) is None
        [said, *_] = (await uow.audit.find(Query(sort="-at", limit=1))).items
    assert databases_in(root) == set()
    assert (said.operation, said.actor_name, said.door, said.target_id) == (
        "databases.settle", "system", "system", database.id,
    )  # fmt: skip
    assert said.reason == f"it stayed {status}, and nobody works on it"
    assert any(c.field == "databases.name" and c.after is None for c in said.changes)


async def test_a_name_that_was_never_claimed_is_not_dropped(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    async with core.kernel.catalog.write() as uow:
        row = await uow.databases.get(database.id)
        assert row is not None
        await uow.databases.save(replace(row, status=DatabaseStatus.CREATING, location=None))
    await reconciler(core, timedelta(minutes=20)).settle()
    async with core.kernel.catalog.read() as uow:
        assert await uow.databases.get(database.id) is None
    assert Path(str(database.location)).exists(), "whose it is nobody knows"


async def test_the_artifact_of_a_deleted_backup_goes_once_it_cannot_be_taken_back(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    async with open_worker(core):
        _, backup = await a_backup(core, database)
        _, kept = await a_backup(core, database)
    async with core.kernel.catalog.write() as uow:
        row = await uow.backups.get(backup.id)
        assert row is not None
        await uow.backups.save(replace(row, deleted_at=utc_now()))
    await reconciler(core, timedelta(days=7)).settle()
    assert len(artifacts_in(home)) == 2, "not yet: it can be taken back"
    await reconciler(core, timedelta(days=7, hours=1)).settle()
    assert artifacts_in(home) == {Path(kept.artifacts[0]).name}
    assert (await backup_of(core, backup.id)).artifacts == ()


async def test_an_artifact_whose_backup_failed_before_it_was_written_down_goes(
    core: Core, home: Path, root: Path
) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    async with open_worker(core):
        _, backup = await a_backup(core, database)
    failed = replace(
        await backup_of(core, backup.id),
        status=BackupStatus.FAILED,
        manifest=None,
        proof=None,
        stored_at=None,
        artifacts=(),
    )
    async with core.kernel.catalog.write() as uow:
        await uow.backups.save(failed)
    assert artifacts_in(home)
    settling = reconciler(core, timedelta(minutes=1))
    for _ in range(2):
        await settling.settle()
    assert artifacts_in(home) == set()


async def test_leftover_throw_away_databases_go_but_nobody_elses(core: Core, root: Path) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    async with open_worker(core):
        job, _ = await a_backup(core, database)
    running_id, _ = await order_backup(core, database)
    ours, running, theirs = (
        Path(str(database.location)).with_name(f"{scratch_name(id)}.sqlite3")
        for id in (job.id, running_id, "99999999-9999-4999-8999-999999999999")
    )
    for file in (ours, running, theirs):
        file.write_bytes(Path(str(database.location)).read_bytes())
    await reconciler(core, timedelta(minutes=20)).settle()
    assert [f.exists() for f in (ours, running, theirs)] == [False, True, True]


async def test_one_part_that_fails_does_not_keep_the_reconciler_from_the_others(
    core: Core, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await a_database(core, await a_provider(core, root), rows=5)
    job_id, _ = await order_backup(core, database)
    _forget_in_queue(core, job_id)

    async def broken() -> None:
        raise RuntimeError("nobody thought of this")

    settling = reconciler(core, timedelta(minutes=1))
    for name in ("_backups", "_store", "_scratch"):
        monkeypatch.setattr(settling, name, broken)
    broken.__name__ = "broken"
    await settling.settle()
    assert await core.kernel.queue.known(job_id) == "ENQUEUED"


def _forget_in_queue(core: Core, *job_ids: str) -> None:
    for id in job_ids:
        _in_queue(core, "delete from workflow_status", id)


def _in_queue(core: Core, statement: str, job_id: str) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(core.settings.home / "catalog.sqlite3", timeout=30)) as db:
        db.execute(f"{statement} where workflow_uuid = ?", (job_id,))
        db.commit()
