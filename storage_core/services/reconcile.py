"""After a crash: catalog, jobs, audit, engines and artifacts settled against each other.

The order of writes is intent, job, effect, outcome; whatever a crash left between two of them is found here, when a
worker starts and every minute. Everything is idempotent.
"""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from ..domain.approval import ApprovalStatus
from ..domain.audit import VERSION, AuditEntry, Phase
from ..domain.backup import SETTLED, BackupStatus, standing
from ..domain.context import system_context
from ..domain.errors import Cancelled, Interrupted, NotFound, StorageError
from ..domain.federation import FLOW_LIFE
from ..domain.idempotency import KEPT
from ..domain.job import ENDED, Job, JobStatus
from ..domain.naming import scratch_job
from ..domain.page import Clause, Query, Test
from ..domain.permission import Target
from ..domain.provider import Provider
from ..domain.retention import SOFT_FOR
from .backoff import WINDOW
from .claims import UNFINISHED, Claims
from .credentials import Credentials
from .kernel import Kernel, Service, every, raced
from .lease_ends import LeaseEnds
from .pipeline import Pipeline
from .runner import JobRunner
from .sessions import EndedSessions
from .system import acting
from .targets import database_target

log = logging.getLogger(__name__)

T = TypeVar("T")

LOST_AFTER = timedelta(seconds=30)
#: A running job's owner says every few seconds that it lives; after so long without a word it is dead.
DEAD_AFTER = timedelta(minutes=2)
STALE_AFTER = timedelta(minutes=5)
LEFTOVER_AFTER = timedelta(minutes=10)
#: How long after a failure its remains are still looked for.
FRESH_FOR = timedelta(days=1)
#: Engines are asked for leftovers only every so many rounds.
SCRATCH_ROUNDS = 5

_RUNNING = ("queued", "running")
#: The queue's words for a job that will not run again by itself.
_OVER = {"SUCCESS", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED"}


class Reconciler(Service):
    """Settles leftovers. The worker runs it; two at once do no harm."""

    def __init__(self, kernel: Kernel, runner: JobRunner) -> None:
        super().__init__(kernel)
        self._runner = runner
        self._claims = Claims(kernel)
        self._pipeline = Pipeline(self._claims)
        self._credentials = Credentials(kernel)
        self._leases = LeaseEnds(kernel)
        self._sessions = EndedSessions(kernel)
        self._rounds = 0
        self._audited: datetime | None = None

    async def settle(self) -> None:
        """One round. What cannot be settled now (an engine is away) is left for the next."""
        parts = [
            self._jobs,
            self._backups,
            self._databases,
            self._audit,
            self._artifacts,
            self._store,
            self._approvals,
        ]
        if self._rounds % SCRATCH_ROUNDS == 0:
            parts.append(self._scratch)
        self._rounds += 1
        for part in (
            *parts,
            self._credentials.settle,
            self._leases.settle,
            self._remembered,
            self._forgiven,
            self._sessions.forget,
            self.kernel.catalog.forget_events,
        ):
            try:
                await part()
            except StorageError as error:
                log.warning("reconcile %s: %s", part.__name__, error.detail)
            except Exception:
                # One part that fails in a way nobody thought of must not keep the others from their work.
                log.exception("reconcile %s", part.__name__)

    async def _jobs(self) -> None:
        """No job stays queued or running without somebody who will run it."""
        for job in await self._open_jobs():
            if job.id not in self._runner.active:
                await self._look_after(job, await self.kernel.queue.known(job.id))

    async def _look_after(self, job: Job, word: str | None) -> None:
        silent = self.kernel.now() - job.updated_at
        if word in _OVER:
            if silent > LOST_AFTER:
                await self._fail(job, Interrupted("The worker stopped before it said how the job ended."))
        elif word is None:
            if silent > LOST_AFTER and job.status is JobStatus.QUEUED:
                await self.kernel.queue.enqueue(job.id)
            elif silent > LOST_AFTER:
                await self._fail(job, Interrupted("The job was lost by the job store."))
        elif job.status is JobStatus.RUNNING and word == "PENDING" and silent > DEAD_AFTER:
            log.warning("job %s: its worker %s is silent, another one takes it", job.id, job.worker)
            await self.kernel.queue.resume(job.id)

    async def _open_jobs(self) -> tuple[Job, ...]:
        async with self.kernel.catalog.read() as uow:
            running = (Clause("status", Test.ANY_OF, _RUNNING),)
            return tuple([job async for job in every(uow.jobs, running)])

    async def _fail(self, job: Job, error: StorageError) -> None:
        if job.cancel_requested:
            error = Cancelled("The job was cancelled.")
        status = JobStatus.CANCELLED if job.cancel_requested else JobStatus.FAILED
        log.warning("job %s (%s) settled: %s", job.id, job.operation, error.detail)
        await self._runner.end(job.id, status, error=error)

    async def _backups(self) -> None:
        """A backup that is not settled has a living job, or is what its last proof says."""
        open_ones = Clause("status", Test.NONE_OF, tuple(s.value for s in SETTLED))
        async with self.kernel.catalog.read() as uow:
            rows = [row async for row in every(uow.backups, (open_ones,))]
        for row in rows:
            target = Target("backup", row.id, row.database_name, row.tenant_id, row.provider_id)
            async with acting(self.kernel, "its job ended before it did", "backups.settle", target):
                await raced(lambda row=row: self._settle_backup(row.id))

    async def _settle_backup(self, id: str) -> None:
        async with self.kernel.catalog.write() as uow:
            row = await uow.backups.get(id)
            if row is None or row.status in SETTLED:
                return
            job = await uow.jobs.get(row.job_id or "")
            if job is None or job.status in ENDED:
                now, reason = self.kernel.now(), "Its job ended before it did."
                await uow.backups.save(
                    replace(row, status=standing(row), reason=reason, finished_at=now, updated_at=now)
                )

    async def _databases(self) -> None:
        """A creation nobody was told of is taken back, a deletion that was cut off is finished."""
        before = (self.kernel.now() - STALE_AFTER).isoformat()
        stuck = (
            Clause("status", Test.ANY_OF, tuple(s.value for s in UNFINISHED)),
            Clause("updated_at", Test.BEFORE, (before,)),
        )
        async with self.kernel.catalog.read() as uow:
            rows = [row async for row in every(uow.databases, stuck)]
        busy = {job.target_id for job in await self._open_jobs()}
        for row in rows:
            if row.id not in busy:
                log.info("putting away %s, which stayed %s", row.physical_name, row.status)
                reason = f"it stayed {row.status}, and nobody works on it"
                async with acting(self.kernel, reason, "databases.settle", database_target(row)):
                    await self._claims.put_away(row.id)

    async def _audit(self) -> None:
        """An intent without outcome gets one: the operation was cut off and nobody knows how far it came."""
        before = self.kernel.now() - LEFTOVER_AFTER
        async with self.kernel.catalog.read() as uow:
            intents = await uow.audit.open_intents(self._audited, before)
        for intent in intents:
            async with self.kernel.catalog.write() as uow:
                await uow.audit.append(self._unknown(intent))
        if not intents:
            # What was looked through once is not looked through again, but for those that overtook each other.
            self._audited = before - LEFTOVER_AFTER

    def _unknown(self, intent: AuditEntry) -> AuditEntry:
        by = system_context("reconcile", intent.correlation_id).actor.name
        told = f"Settled by {by}: the process ended before the outcome of #{intent.sequence}."
        return replace(
            intent,
            at=self.kernel.now(),
            phase=Phase.OUTCOME,
            result=Interrupted.code,
            detail=told,
            changes=(),
            version=VERSION,
        )

    async def _artifacts(self) -> None:
        """What failed backups still have in the store goes, and what deleted ones have once nobody can take it back."""
        now, first = self.kernel.now(), self._rounds == 1
        # A while later than the last moment at which it could be taken back.
        over = now - SOFT_FOR - LEFTOVER_AFTER
        deleted: tuple[Clause, ...] = (Clause("deleted_at", Test.BEFORE, (over.isoformat(),)),)
        if not first:
            deleted += (Clause("deleted_at", Test.FROM, ((over - FRESH_FOR).isoformat(),)),)
        since = () if first else ((now - FRESH_FOR).isoformat(),)
        failed = (
            Clause("status", Test.ANY_OF, (BackupStatus.FAILED.value,)),
            Clause("stored_at", Test.ANY_OF, (None,)),
            *((Clause("finished_at", Test.FROM, since),) if since else ()),
        )
        async with self.kernel.catalog.read() as uow:
            rows = [row async for row in every(uow.backups, deleted)]
            rows += [row async for row in every(uow.backups, failed)]
            # The data key goes last, so whatever has one may have an artifact.
            left = [row for row in rows if await uow.data_keys.get(row.id) is not None]
        for row in left:
            await self._pipeline.remove_artifact(row)

    async def _store(self) -> None:
        await self.kernel.artifacts.reap(self.kernel.now() - LEFTOVER_AFTER)

    async def _scratch(self) -> None:
        """Throw-away databases of proofs whose job is over."""
        async with self.kernel.catalog.read() as uow:
            providers = [row async for row in every(uow.providers, ())]
        for provider in providers:
            if provider.server is not None and not await self._runs(provider.server):
                continue
            try:
                await self._drop_scratch(provider)
            except StorageError as error:
                log.info("scratch on %s: %s", provider.name, error.detail)

    async def _drop_scratch(self, provider: Provider) -> None:
        """Only of jobs known here and ended: another console may prove its backups on the same engine."""
        engine = await self.engine_of(provider)
        for one in await engine.databases.existing():
            job_id = scratch_job(one.physical_name)
            if job_id is None:
                continue
            async with self.kernel.catalog.read() as uow:
                job = await uow.jobs.get(job_id)
            if job is not None and job.status in ENDED:
                log.info("dropping the leftover %s on %s", one.physical_name, provider.name)
                await engine.databases.drop(one.physical_name)

    async def _runs(self, server: str) -> bool:
        """Cleaning up is no reason to start a private server that people stopped."""
        try:
            return any(s.name == server and s.running for s in await self.kernel.servers.list())
        except NotFound:
            return False

    async def _approvals(self) -> None:
        """What nobody decided or used in time is over."""
        open_ones = Clause(
            "status", Test.ANY_OF, (ApprovalStatus.PENDING.value, ApprovalStatus.APPROVED.value)
        )
        over = Clause("expires_at", Test.BEFORE, (self.kernel.now().isoformat(),))
        async with self.kernel.catalog.write() as uow:
            for row in [row async for row in every(uow.approvals, (open_ones, over))]:
                await uow.approvals.save(replace(row, status=ApprovalStatus.EXPIRED))

    async def _remembered(self) -> None:
        before = (self.kernel.now() - KEPT).isoformat()
        query = Query((Clause("created_at", Test.BEFORE, (before,)),), limit=500)
        async with self.kernel.catalog.write() as uow:
            for row in (await uow.remembered.find(query)).items:
                await uow.remembered.remove(row.id)

    async def _forgiven(self) -> None:
        before = (self.kernel.now() - WINDOW).isoformat()
        query = Query((Clause("began_at", Test.BEFORE, (before,)),), sort="began_at", limit=500)
        async with self.kernel.catalog.write() as uow:
            for row in (await uow.misses.find(query)).items:
                await uow.misses.remove(row.id)
            before = (self.kernel.now() - FLOW_LIFE).isoformat()
            query = Query((Clause("created_at", Test.BEFORE, (before,)),), limit=500)
            for flow in (await uow.flows.find(query)).items:
                await uow.flows.remove(flow.id)
