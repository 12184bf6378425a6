"""Runs one job to its end in the worker, and writes down how it ended."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from ..domain.audit import AuditEntry, Change, Phase
from ..domain.context import Context, Door, system_context
from ..domain.errors import Cancelled, Internal, Interrupted, StorageError
from ..domain.job import ENDED, Job, JobError, JobOrder, JobStatus
from ..domain.notification import of_job
from ..domain.permission import Target
from ..ports.catalog import UnitOfWork
from ..ports.queue import Steps
from ..ports.recording import recording
from ..telemetry import correlation
from .auditing import audit_entry, changed
from .handle import JobHandle
from .kernel import Kernel, insisted
from .notices import tell
from .operation import Operation, read_order

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.4
HEARTBEAT_SECONDS = 5.0

Registry = Mapping[str, tuple[Operation, Any]]


class JobRunner:
    """The worker's side of durable operations. `worker` names this process in the job's row."""

    def __init__(self, kernel: Kernel, registry: Callable[[], Registry], worker: str) -> None:
        self.kernel, self._registry, self.worker = kernel, registry, worker
        self.active: set[str] = set()

    async def run(self, job_id: str, steps: Steps) -> None:
        """Run a job from wherever it stands; answers only when its row says how it ended."""
        self.active.add(job_id)
        try:
            job = await insisted(lambda: self._begin(job_id))
            if job is not None:
                await self._work(job, steps)
        finally:
            self.active.discard(job_id)

    async def _work(self, job: Job, steps: Steps) -> None:
        """Work, with progress written beside it. A cut-off (CancelledError) leaves the job as it stands."""
        handle = JobHandle(job, steps, self.kernel.now)
        over = asyncio.Event()
        following = asyncio.create_task(self._follow(handle, over), name=f"job {job.id}")
        try:
            error, result = await self._outcome(job, handle)
        finally:
            over.set()
            await following
        status = JobStatus.SUCCEEDED
        if error is not None:
            status = JobStatus.CANCELLED if isinstance(error, Cancelled) else JobStatus.FAILED
        await self.end(job.id, status, handle=handle, error=error, result=result)

    async def _outcome(self, job: Job, handle: JobHandle) -> tuple[StorageError | None, Any]:
        """Run the operation's work; answers what went wrong, or the answer as JSON values."""
        async with self.kernel.catalog.read() as uow:
            order = await uow.orders.get(job.id)
        known = self._registry().get(job.operation)
        if order is None or known is None or known[0].work is None:
            return Interrupted(f"This version cannot run {job.operation}, or the job's order is gone."), None
        token, recorder = correlation.set(job.id), recording.set(handle.recorded)
        try:
            ctx, request = read_order(known[0], order)
            correlation.set(ctx.correlation_id)
            answer = await known[0].work(known[1].__self__, ctx.through(Door.WORKER), request, handle)
            return None, TypeAdapter(known[0].answer).dump_python(answer, mode="json")
        except StorageError as error:
            return error, None
        except Exception as error:
            log.exception("job %s (%s)", job.id, job.operation)
            return Internal(f"{job.operation} failed unexpectedly ({type(error).__name__})."), None
        finally:
            recording.reset(recorder)
            correlation.reset(token)

    async def _begin(self, job_id: str) -> Job | None:
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            job = await uow.jobs.get(job_id)
            if job is None or job.status in ENDED:
                return None
            job = replace(
                job,
                status=JobStatus.RUNNING,
                attempts=job.attempts + 1,
                started_at=job.started_at or now,
                heartbeat_at=now,
                updated_at=now,
                worker=self.worker,
            )
            await uow.jobs.save(job)
            return job

    async def _follow(self, handle: JobHandle, over: asyncio.Event) -> None:
        """Until the work is over: write progress while it changes and a heartbeat while not, hear of a cancellation."""
        told = asyncio.get_running_loop().time()
        while not over.is_set():
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await over.wait()
            except TimeoutError:
                now = asyncio.get_running_loop().time()
                due = handle.changed or now - told >= HEARTBEAT_SECONDS
                if due:
                    handle.changed, told = False, now
                await self._tell(handle, due)

    async def _tell(self, handle: JobHandle, due: bool) -> None:
        """Write progress where it is due, and hear whether the job was cancelled."""
        try:
            job = await (self._flush(handle) if due else self._seen(handle.id))
        except Exception:
            # Progress is news, not truth: the next one will do, and the job goes on.
            log.debug("progress of %s was not written", handle.id, exc_info=True)
            return
        if job is not None and job.cancel_requested:
            handle.cancel()

    async def _seen(self, job_id: str) -> Job | None:
        async with self.kernel.catalog.read() as uow:
            return await uow.jobs.get(job_id)

    async def _flush(self, handle: JobHandle) -> Job | None:
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            job = await uow.jobs.get(handle.id)
            if job is not None and job.status is JobStatus.RUNNING:
                await uow.jobs.save(
                    replace(job, progress=handle.state, log=handle.lines, heartbeat_at=now, updated_at=now)
                )
            return job

    async def end(
        self,
        job_id: str,
        status: JobStatus,
        *,
        handle: JobHandle | None = None,
        error: StorageError | None = None,
        result: Any = None,
    ) -> None:
        """Settle a job, its operation's rows and its audit in one transaction; nothing for one that has ended."""

        async def write() -> None:
            # Before the transaction: the keys of the log may have to be read for it.
            changes = () if handle is None else await changed(self.kernel.notary, handle.recorded)
            async with self.kernel.catalog.write() as uow:
                job = await uow.jobs.get(job_id)
                if job is None or job.status in ENDED:
                    return
                job = self._ended(job, status, handle, error, result)
                await uow.jobs.save(job)
                await self._settle(uow, job, error, changes)

        await insisted(write)

    def _ended(
        self, job: Job, status: JobStatus, handle: JobHandle | None, error: StorageError | None, result: Any
    ) -> Job:
        now = self.kernel.now()
        state, lines = (handle.state, handle.lines) if handle else (job.progress, job.log)
        return replace(
            job,
            status=status,
            progress=replace(state, percent=100.0) if status is JobStatus.SUCCEEDED else state,
            log=lines,
            finished_at=now,
            updated_at=now,
            error=None if error is None else JobError(error.code, error.detail, error.hint),
            result=result if isinstance(result, dict) else None,
        )

    async def _settle(
        self, uow: UnitOfWork, job: Job, error: StorageError | None, changes: tuple[Change, ...]
    ) -> None:
        known = self._registry().get(job.operation)
        if error is not None and known is not None and known[0].settle is not None:
            await known[0].settle(known[1].__self__, uow, job, error)
        order = await uow.orders.get(job.id)
        if order is not None:
            await uow.audit.append(self._entry(job, order, error, changes))
        backup = await uow.backups.get(job.target_id or "") if job.operation.startswith("backups.") else None
        notice = of_job(job, None if backup is None else backup.status)
        if notice is not None:
            await tell(uow, notice, self.kernel.now())

    def _entry(
        self, job: Job, order: JobOrder, error: StorageError | None, changes: tuple[Change, ...]
    ) -> AuditEntry:
        return audit_entry(
            self.kernel,
            job.operation,
            _caller(order),
            Target("job", job.id, job.target_name, job.tenant_id, job.provider_id),
            hashlib.sha256(order.request.encode()).hexdigest(),
            Phase.OUTCOME,
            "ok" if error is None else error.code,
            "" if error is None else error.detail,
            changes,
        )


_CONTEXT: TypeAdapter[Context] = TypeAdapter(Context)


def _caller(order: JobOrder) -> Context:
    """Who asked for the job; the system, where that cannot be read any more."""
    try:
        return _CONTEXT.validate_json(order.context).through(Door.WORKER)
    except ValueError:
        return system_context("the job's order cannot be read", order.id)
