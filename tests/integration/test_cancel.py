"""Cancelling jobs on real servers: the worker itself stops, takes back what was half made, and says how it ended."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_core.bootstrap import Core, open_worker
from storage_core.domain.backup import BackupStatus
from storage_core.domain.database import Database
from storage_core.domain.job import Job, JobStatus
from storage_core.domain.naming import scratch_name
from storage_core.ports.engine import Engine
from storage_core.services.backups import CreateBackup, RestoreBackup
from storage_core.services.jobs import CancelJob
from tests.integration.held import Held
from tests.integration.homes import (
    PATIENCE,
    a_backup,
    a_database,
    a_provider,
    artifacts_in,
    backup_of,
    ended,
    opened,
    settings_of,
    somebody,
)
from tests.integration.servers import Server, connected, on_mongodb, on_postgresql


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def core(home: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(home)) as core:
        yield core


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What warns in the terminal: a cancellation is no trouble, and leaves nothing for the reconciler."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # One worker after the other in one process is the tests' own doing.
            if "Duplicate registration" not in record.getMessage():
                said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("dbos", "storage_core", "asyncio")]
    for logger in loggers:
        logger.addHandler(listener)
    yield said
    for logger in loggers:
        logger.removeHandler(listener)


async def came(true: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a server shows something; it tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not await true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


async def names_on(engine: Engine) -> set[str]:
    return {one.physical_name for one in await engine.databases.existing()}


async def test_postgresql_jobs_are_stopped_at_any_stage_and_leave_nothing(
    core: Core, home: Path, postgresql_server: Server, heard: list[str]
) -> None:
    async with on_postgresql(core, postgresql_server) as (database, engine), open_worker(core):
        admin = await connected(postgresql_server, "postgres")

        async def idle() -> bool:
            query = "select count(*) from pg_stat_activity where datname = $1"
            return not await admin.fetchval(query, database.physical_name)

        await stopped_everywhere(core, home, database, engine, idle)
        await admin.close()
    assert heard == []


async def test_mongodb_jobs_are_stopped_at_any_stage_and_leave_nothing(
    core: Core, home: Path, mongodb_server: Server, heard: list[str]
) -> None:
    async with on_mongodb(core, mongodb_server) as (database, engine), open_worker(core):

        async def idle() -> bool:
            return True

        await stopped_everywhere(core, home, database, engine, idle)
    assert heard == []


async def stopped_everywhere(
    core: Core, home: Path, database: Database, engine: Engine, idle: Callable[[], Awaitable[bool]]
) -> None:
    before, held = await names_on(engine), Held(core)
    for where, status in (
        ("dump", BackupStatus.FAILED),
        ("restore", BackupStatus.STORED),
        ("measure", BackupStatus.STORED),
    ):
        held.reached, held.where = asyncio.Event(), where
        artifacts = artifacts_in(home)
        ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
        job = await _cancelled(core, ticket.job_id)
        backup = await backup_of(core, ticket.id)
        assert (job.status, backup.status) == (JobStatus.CANCELLED, status), (where, job.error)
        assert job.error is not None and job.error.code == "cancelled"
        assert await names_on(engine) == before, where
        assert (artifacts_in(home) == artifacts) == (where == "dump"), "half an artifact goes"
        await came(idle)
    await _cancel_a_restore(core, held, database, before, engine)
    held.where = ""
    assert (await a_backup(core, database))[1].status is BackupStatus.PROVEN, "the worker is well"


async def _cancelled(core: Core, job_id: str) -> Job:
    await core.jobs.cancel(somebody(), CancelJob(id=job_id))
    return await ended(core, job_id)


async def _cancel_a_restore(
    core: Core, held: Held, database: Database, before: set[str], engine: Engine
) -> None:
    held.where = ""
    _, backup = await a_backup(core, database)
    held.reached, held.where = asyncio.Event(), "measure"
    ticket = await core.backups.restore(somebody(), RestoreBackup(id=backup.id, name="soon-gone"))
    await asyncio.wait_for(held.reached.wait(), PATIENCE)
    assert await names_on(engine) != before
    assert (await _cancelled(core, ticket.job_id)).status is JobStatus.CANCELLED
    assert await names_on(engine) == before
    async with core.kernel.catalog.read() as uow:
        assert await uow.databases.get(ticket.id) is None


async def test_a_proof_whose_query_runs_is_stopped_and_its_database_dropped(
    core: Core,
    postgresql_server: Server,
    heard: list[str],
) -> None:
    async with on_postgresql(core, postgresql_server) as (database, engine), open_worker(core):
        before, held = await names_on(engine), Held(core)
        held.where = "measure"
        ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
        other = await connected(postgresql_server, scratch_name(ticket.job_id))
        await other.execute("begin; lock table orders in access exclusive mode")
        held.where = ""
        held.go.set()
        admin = await connected(postgresql_server, "postgres")

        async def waits() -> bool:
            query = "select count(*) from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'"
            return bool(await admin.fetchval(query, scratch_name(ticket.job_id)))

        await came(waits)
        await admin.close()
        job = await _cancelled(core, ticket.job_id)
        assert job.status is JobStatus.CANCELLED, job.error
        assert await names_on(engine) == before
        assert (await backup_of(core, ticket.id)).status is BackupStatus.STORED
        other.terminate()
    assert heard == []


@pytest.mark.parametrize("where", ["dump", "restore", "measure"])
async def test_a_step_that_ends_while_it_is_cancelled_is_settled_by_the_worker(
    core: Core,
    tmp_path: Path,
    where: str,
    heard: list[str],
) -> None:
    database = await a_database(core, await a_provider(core, tmp_path / "data"))
    held = Held(core)
    async with open_worker(core):
        held.where = where
        ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
        await asyncio.wait_for(held.reached.wait(), PATIENCE)
        await core.jobs.cancel(somebody(), CancelJob(id=ticket.job_id))
        held.where = ""
        held.go.set()
        job = await ended(core, ticket.job_id)
        backup = await backup_of(core, ticket.id)
    if job.status is JobStatus.SUCCEEDED:  # the work was faster
        assert backup.status is BackupStatus.PROVEN
    else:
        assert (job.status, backup.finished_at is not None) == (JobStatus.CANCELLED, True)
    assert heard == []
