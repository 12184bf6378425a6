"""Jobs: follow, cancel and repeat long work."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import Field

from ..domain.context import Context
from ..domain.errors import Cancelled, Conflict
from ..domain.job import ENDED, Job, JobError, JobStatus, Ticket
from ..domain.page import Page
from ..domain.permission import Permission
from .kernel import Kernel, Service, found, raced
from .operation import Effect, operation, read_order
from .request import ById, ListRequest
from .runner import Registry
from .targets import a_list, job, job_target, may_inspect


class ListJobs(ListRequest):
    """List jobs, newest first."""

    status: str | None = Field(None, examples=["running"])
    """Filter: queued, running, succeeded, failed, cancelled."""
    operation: str | None = Field(None, examples=["backups.create"])
    """Filter: the operation."""
    target_id: str | None = None
    """Filter: what the job is about."""
    tenant_id: str | None = None
    """Filter: the tenant."""
    provider_id: str | None = None
    """Filter: the provider."""


class GetJob(ById):
    """Show one job: stage, percent, bytes, log, and how it ended."""


class CancelJob(ById):
    """Stop a job. What it had half made is taken back."""


class RetryJob(ById):
    """Run a failed or cancelled job's operation again, as a new job."""


class Jobs(Service):
    """The jobs' operations."""

    def __init__(self, kernel: Kernel, registry: Callable[[], Registry]) -> None:
        super().__init__(kernel)
        self._registry = registry

    @operation("jobs.list", needs=Permission.INVENTORY_READ, on=a_list("job"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListJobs) -> Page[Job]:
        async with self.kernel.catalog.read() as uow:
            page = await uow.jobs.find(request.query(self.reach(ctx, Permission.INVENTORY_READ)))
        # Results can be whole manifests; a list carries none.
        return replace(page, items=tuple(replace(j, result=None, log=()) for j in page.items))

    @operation("jobs.get", needs=Permission.INVENTORY_READ, on=job(), effect=Effect.READ)
    async def get(self, ctx: Context, request: GetJob) -> Job:
        async with self.kernel.catalog.read() as uow:
            return _shown(ctx, await found(uow.jobs.get(request.id), "job", request.id))

    @operation("jobs.cancel", needs=Permission.JOB_CONTROL, on=job())
    async def cancel(self, ctx: Context, request: CancelJob) -> Job:
        # Its worker looks at the row, stops inside the step and writes down how the job ended. The queue is not told:
        # it would take the job away from the worker in the middle of that.
        return await raced(lambda: self._mark_cancelled(ctx, request.id))

    async def _mark_cancelled(self, ctx: Context, id: str) -> Job:
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.jobs.get(id), "job", id)
            if row.status in ENDED:
                raise Conflict(f"The job has ended already: {row.status}.")
            now = self.kernel.now()
            row = replace(row, cancel_requested=True, updated_at=now)
            if row.status is JobStatus.QUEUED:
                error = Cancelled(f"Cancelled by {ctx.actor.name} before it began.")
                told = JobError(error.code, error.detail)
                row = replace(row, status=JobStatus.CANCELLED, finished_at=now, error=told)
                op, method = self._registry()[row.operation]
                if op.settle is not None:
                    await op.settle(method.__self__, uow, row, error)
            await uow.jobs.save(row)
        return row

    @operation("jobs.retry", needs=Permission.JOB_CONTROL, on=job())
    async def retry(self, ctx: Context, request: RetryJob) -> Ticket:
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.jobs.get(request.id), "job", request.id)
            order = await found(uow.orders.get(request.id), "job", request.id)
        if row.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise Conflict(f"The job is {row.status}; only a failed or cancelled one can be repeated.")
        op, method = self._registry()[row.operation]
        _, wanted = read_order(op, order)
        # The caller's own rights decide, as if they had asked for it themselves.
        ticket: Ticket = await method(ctx, wanted)
        await raced(lambda: self._note_retry(ticket.job_id, row.id))
        return ticket

    async def _note_retry(self, id: str, before: str) -> None:
        async with self.kernel.catalog.write() as uow:
            job = await uow.jobs.get(id)
            if job is not None:
                await uow.jobs.save(replace(job, retry_of=before))


def _shown(ctx: Context, row: Job) -> Job:
    """The job as this caller may see it: log and places only with the right to inspect its provider."""
    if may_inspect(ctx, job_target(row)):
        return row
    result = row.result
    if result and "location" in result:
        result = {**result, "location": None}
    return replace(row, log=(), result=result)
