"""Jobs where catalog and job store are PostgreSQL, or two databases of their own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from storage_core.bootstrap import Core, open_worker, utc_now
from storage_core.domain.backup import BackupStatus
from storage_core.domain.job import Job, JobStatus
from storage_core.domain.provider import Endpoint
from storage_core.services.audits import VerifyAudit
from storage_core.services.backups import CreateBackup
from storage_core.services.jobs import CancelJob
from storage_core.services.reconcile import Reconciler
from storage_core.services.runner import JobRunner
from tests.integration.homes import (
    a_backup,
    a_database,
    a_postgresql_database,
    a_provider,
    backup_of,
    ended,
    job_of,
    opened,
    settings_of,
    somebody,
)


@pytest.fixture
async def url(postgresql_server: tuple[Endpoint, str]) -> AsyncIterator[str]:
    async with a_postgresql_database(postgresql_server) as url:
        yield url


@pytest.fixture(params=["shared", "sqlite jobs", "sqlite catalog", "two databases"])
async def core(
    request: pytest.FixtureRequest, tmp_path: Path, url: str, postgresql_server: tuple[Endpoint, str]
) -> AsyncIterator[Core]:
    home, file = tmp_path / "home", f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    async with a_postgresql_database(postgresql_server) as other:
        addresses = {
            "shared": {"catalog_url": url},
            "sqlite jobs": {"catalog_url": url, "jobs_url": file},
            "sqlite catalog": {"jobs_url": url},
            "two databases": {"catalog_url": url, "jobs_url": other},
        }[request.param]
        async with opened(settings_of(home, **addresses)) as core:
            yield core


async def test_a_backup_is_taken_proven_and_its_history_is_whole(core: Core, tmp_path: Path) -> None:
    provider = await a_provider(core, tmp_path / "data")
    databases = [await a_database(core, provider, rows=50) for _ in range(3)]
    async with open_worker(core):
        outcomes = await asyncio.gather(*(a_backup(core, d) for d in databases))
    assert {(j.status, b.status) for j, b in outcomes} == {(JobStatus.SUCCEEDED, BackupStatus.PROVEN)}
    assert {j.attempts for j, _ in outcomes} == {1}
    assert (await core.audit.verify(somebody(), VerifyAudit())).ok


async def test_a_unit_that_fails_leaves_neither_row_nor_job(core: Core) -> None:
    job = Job("11111111-1111-4111-8111-111111111111", "backups.create", utc_now(), utc_now(), "u", "u")
    with pytest.raises(ZeroDivisionError):
        async with core.kernel.catalog.write() as uow:
            await uow.jobs.add(job)
            await uow.enqueue(job)
            raise ZeroDivisionError
    assert await core.kernel.queue.known(job.id) is None
    async with core.kernel.catalog.write() as uow:
        assert await uow.jobs.get(job.id) is None
        await uow.jobs.add(job)
        await uow.enqueue(job)
    assert await core.kernel.queue.known(job.id) == "ENQUEUED"
    await core.kernel.queue.enqueue(job.id)
    assert await core.kernel.queue.known(job.id) == "ENQUEUED", "the same id is the same job"


async def test_a_job_that_never_reached_the_store_is_handed_over_again(core: Core, tmp_path: Path) -> None:
    """A crash between the row's commit and the queue's, as it can happen with two databases."""
    database = await a_database(core, await a_provider(core, tmp_path / "data"), rows=5)
    catalog = core.kernel.catalog
    real = catalog._queue  # type: ignore[attr-defined]
    catalog._queue = Deaf()  # type: ignore[attr-defined]
    try:
        ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
    finally:
        catalog._queue = real  # type: ignore[attr-defined]
    assert await core.kernel.queue.known(ticket.job_id) is None
    kernel = replace(core.kernel, now=lambda: utc_now() + timedelta(minutes=1))
    await Reconciler(kernel, JobRunner(kernel, lambda: core.operations, "test")).settle()
    async with open_worker(core):
        assert (await ended(core, ticket.job_id)).status is JobStatus.SUCCEEDED
    assert (await backup_of(core, ticket.id)).status is BackupStatus.PROVEN


class Deaf:
    """A queue that hears nothing: the process died before it spoke."""

    def enqueue_in(self, connection: object, job_id: str) -> None:
        return

    async def enqueue(self, job_id: str) -> None:
        return


async def test_progress_and_cancellation_meet_without_a_loss(core: Core, tmp_path: Path) -> None:
    """Row versions clash on PostgreSQL: whoever must not lose tries again."""
    database = await a_database(core, await a_provider(core, tmp_path / "data"), rows=5)
    ticket = await core.backups.create(somebody(), CreateBackup(database_id=database.id))
    runner = JobRunner(core.kernel, lambda: core.operations, "test")
    running = await runner._begin(ticket.job_id)
    assert running is not None
    from storage_core.domain.errors import Cancelled
    from storage_core.services.handle import JobHandle

    handle = JobHandle(running, None, utc_now)  # type: ignore[arg-type]

    async def progress() -> None:
        for percent in range(10):
            handle.progress("dump", percent)
            await runner._tell(handle, due=True)

    await asyncio.gather(
        progress(),
        progress(),
        core.jobs.cancel(somebody(), CancelJob(id=ticket.job_id)),
        runner.end(ticket.job_id, JobStatus.CANCELLED, error=Cancelled("stopped")),
        return_exceptions=True,
    )
    job = await job_of(core, ticket.job_id)
    assert job.status is JobStatus.CANCELLED
    assert (await backup_of(core, ticket.id)).status is BackupStatus.FAILED
