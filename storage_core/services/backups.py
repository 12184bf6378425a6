"""Backups: taken as durable jobs, proven by a real restore, restored into new databases."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from ..domain.backup import RESTORABLE, SETTLED, Backup, BackupStatus, standing
from ..domain.context import Context
from ..domain.database import Database
from ..domain.errors import Conflict, StorageError, revive
from ..domain.job import Job, Progress
from ..domain.page import Clause, Page, Test, clause
from ..domain.permission import Permission
from ..domain.retention import SOFT_FOR
from ..ports.catalog import UnitOfWork
from .collector import needed_backups
from .databases import Databases, NewDatabase
from .encryptions import carry_encryptions
from .handle import JobHandle
from .holds import refuse_kept
from .kernel import Kernel, Service, found, missing, raced
from .operation import Accepted, Effect, durable, operation
from .pipeline import Pipeline
from .request import LINES, ById, Confirmed, ListRequest, Request
from .targets import a_list, backup, database


class CreateBackup(Request):
    """Back up a database now, and prove the backup by restoring it into a throw-away target."""

    database_id: str = Field(max_length=64)
    """The database to back up."""
    note: Annotated[str, LINES] = Field("", max_length=500, examples=["before the migration"])
    """Why, for people."""


class ListBackups(ListRequest):
    """List backups, newest first; with `deleted`, those that can still be taken back."""

    database_id: str | None = None
    """Filter: the database."""
    provider_id: str | None = None
    """Filter: the provider."""
    tenant_id: str | None = None
    """Filter: the tenant."""
    status: str | None = Field(None, examples=["proven"])
    """Filter: queued, running, stored, proving, proven, failed."""
    schedule_id: str | None = None
    """Filter: the schedule that made them."""
    deleted: bool = False
    """Those that were deleted within 7 days, instead of the others."""

    def filters(self) -> tuple[tuple[Clause, ...], ...]:
        names = ("database_id", "provider_id", "tenant_id", "status", "schedule_id")
        return tuple(clause(name, getattr(self, name)) for name in names)


class GetBackup(ById):
    """Show one backup with its manifest and proof."""


class BackupStatusRequest(ById):
    """Show how far a backup is: its stage, percent and bytes."""


class DeleteBackup(Confirmed):
    """Delete a backup. For 7 days it can be taken back; then its artifact goes. Confirm with its database's name."""


class UndeleteBackup(ById):
    """Take a deleted backup back, within 7 days. It is pinned then, so that no retention collects it again."""


class VerifyBackup(ById):
    """Prove a stored backup again: restore it, count, hash, compare."""


class RestoreBackup(ById):
    """Restore a backup into a new database beside the old one."""

    target: Literal["new"] = "new"
    """Where to: a new database."""
    name: str | None = Field(None, max_length=48, examples=["orders-restored"])
    """The new database's name; made of the old one's and the time, if left out."""
    provider_id: str | None = Field(None, max_length=64)
    """Another provider of the same kind; the backup's own, if left out."""


class Backups(Service):
    """The backups' operations."""

    def __init__(self, kernel: Kernel, databases: Databases) -> None:
        super().__init__(kernel)
        self._databases = databases
        self._pipeline = Pipeline(databases.claims)

    async def _accept_create(
        self, ctx: Context, request: CreateBackup, uow: UnitOfWork, job_id: str
    ) -> Accepted:
        source = await found(uow.databases.get(request.database_id), "database", request.database_id)
        if source.status != "ready":
            raise Conflict(f"The database {source.name!r} is {source.status}, not ready.")
        row = self.new_row(source, job_id, request.note)
        await uow.backups.add(row)
        return self.accepted(row)

    def new_row(self, source: Database, job_id: str, note: str) -> Backup:
        """A backup to be made by this job."""
        now = self.kernel.now()
        return Backup(
            self.kernel.new_id(),
            source.id,
            source.provider_id,
            now,
            now,
            tenant_id=source.tenant_id,
            database_name=source.name,
            job_id=job_id,
            note=note,
        )

    def accepted(self, row: Backup) -> Accepted:
        """What the job of a new backup is about."""
        return Accepted(row.id, row.database_name, row.tenant_id, row.provider_id)

    async def _settle(self, uow: UnitOfWork, job: Job, error: StorageError) -> None:
        """A job that ended badly leaves its backup failed, or stored where the artifact was complete."""
        row = await uow.backups.get(job.target_id or "")
        if row is None or row.status in SETTLED:
            return
        now = self.kernel.now()
        reason = f"{error.detail} {error.hint}".strip()
        await uow.backups.save(
            replace(row, status=standing(row), reason=reason, finished_at=now, updated_at=now)
        )

    @durable(
        "backups.create",
        needs=Permission.BACKUP_RUN,
        on=database("database_id"),
        accept=_accept_create,
        settle=_settle,
    )
    async def create(self, ctx: Context, request: CreateBackup, job: JobHandle) -> Backup:
        await job.step("dump", lambda: self._pipeline.dump(job))
        await job.step("prove", lambda: self._pipeline.prove(job))
        return await self.settled(job.target_id)

    async def _accept_verify(
        self, ctx: Context, request: VerifyBackup, uow: UnitOfWork, job_id: str
    ) -> Accepted:
        row = await self._kept(uow, request.id)
        if row.status not in SETTLED:
            raise Conflict(f"The backup is {row.status}.", hint="Wait until its job has ended.")
        if row.manifest is None:
            raise Conflict("There is no complete artifact to prove.", hint=row.reason or "")
        now = self.kernel.now()
        await uow.backups.save(
            replace(row, status=BackupStatus.PROVING, reason=None, job_id=job_id, updated_at=now)
        )
        return Accepted(row.id, row.database_name, row.tenant_id, row.provider_id)

    @durable(
        "backups.verify",
        needs=Permission.BACKUP_RUN,
        on=backup(),
        accept=_accept_verify,
        settle=_settle,
    )
    async def verify(self, ctx: Context, request: VerifyBackup, job: JobHandle) -> Backup:
        not_proven = await job.step("prove", lambda: self._pipeline.prove(job))
        if not_proven is not None:
            raise revive(*not_proven)
        return await self.settled(request.id)

    async def _accept_restore(
        self, ctx: Context, request: RestoreBackup, uow: UnitOfWork, job_id: str
    ) -> Accepted:
        row = await self._restorable(uow, request.id)
        provider_id = request.provider_id or row.provider_id
        wanted = NewDatabase(
            provider_id=provider_id,
            name=request.name or _restored_name(row.database_name, self.kernel.now()),
            tenant_id=row.tenant_id,
        )
        target, provider = await self._databases.reserve(uow, ctx, wanted)
        if provider.kind != row.engine:
            raise Conflict(
                f"A {row.engine} backup cannot be restored on {provider.name!r} ({provider.kind}).",
                field="provider_id",
                hint=f"Name a provider of kind {row.engine}.",
            )
        await uow.databases.add(target)
        return Accepted(target.id, target.name, target.tenant_id, target.provider_id)

    async def _settle_restore(self, uow: UnitOfWork, job: Job, error: StorageError) -> None:
        await self._databases.claims.give_up(uow, job)

    @durable(
        "backups.restore",
        needs=Permission.RESTORE_NEW,
        on=backup(),
        accept=_accept_restore,
        settle=_settle_restore,
    )
    async def restore(self, ctx: Context, request: RestoreBackup, job: JobHandle) -> Database:
        try:
            await job.step("reserve", lambda: self._pipeline.reserve(job))
            await job.step("restore", lambda: self._pipeline.restore(request.id, job))
            await raced(lambda: self._carried(request.id, job.target_id))
            return await self._databases.claims.ready(job.target_id)
        except StorageError:
            await self._databases.claims.put_away(job.target_id)
            raise

    async def _carried(self, backup_id: str, target_id: str) -> None:
        """Let the restored copy's encrypted collections open as those of the database it is a copy of."""
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.backups.get(backup_id), "backup", backup_id)
            await carry_encryptions(uow, row.database_id, target_id, self.kernel.new_id)

    @operation("backups.list", needs=Permission.INVENTORY_READ, on=a_list("backup"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListBackups) -> Page[Backup]:
        since = (self.kernel.now() - SOFT_FOR).isoformat()
        deleted = Clause("deleted_at", Test.FROM, (since,))
        kept = (deleted if request.deleted else Clause("deleted_at", Test.ANY_OF, (None,)),)
        async with self.kernel.catalog.read() as uow:
            return await uow.backups.find(request.query(self.reach(ctx, Permission.INVENTORY_READ), kept))

    @operation("backups.get", needs=Permission.INVENTORY_READ, on=backup(), effect=Effect.READ)
    async def get(self, ctx: Context, request: GetBackup) -> Backup:
        return await self.settled(request.id)

    @operation("backups.status", needs=Permission.INVENTORY_READ, on=backup(), effect=Effect.READ)
    async def status(self, ctx: Context, request: BackupStatusRequest) -> Progress:
        async with self.kernel.catalog.read() as uow:
            row = await self._kept(uow, request.id)
            job = await uow.jobs.get(row.job_id or "")
        return job.progress if job is not None else Progress(row.status, 100.0, row.size_raw, row.size_raw)

    @operation("backups.delete", needs=Permission.BACKUP_DELETE, on=backup())
    async def delete(self, ctx: Context, request: DeleteBackup) -> Backup:
        async with self.kernel.catalog.write() as uow:
            row = await self._kept(uow, request.id)
            if row.status not in SETTLED:
                raise Conflict(f"The backup is {row.status}.", hint="Cancel its job first, or wait.")
            refuse_kept(row)
            if row.id in await needed_backups(uow):
                raise Conflict("A running job needs the backup.", hint="Cancel the job first, or wait.")
            now = self.kernel.now()
            row = replace(row, deleted_at=now, updated_at=now)
            await uow.backups.save(row)
        return row

    @operation("backups.undelete", needs=Permission.BACKUP_RUN, on=backup())
    async def undelete(self, ctx: Context, request: UndeleteBackup) -> Backup:
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.backups.get(request.id), "backup", request.id)
            now = self.kernel.now()
            if row.deleted_at is None:
                raise Conflict("The backup is not deleted.")
            if row.deleted_at <= now - SOFT_FOR:
                raise missing("backup", request.id)
            row = replace(row, deleted_at=None, pinned=True, updated_at=now)
            await uow.backups.save(row)
        return row

    async def settled(self, id: str) -> Backup:
        async with self.kernel.catalog.read() as uow:
            return await self._kept(uow, id)

    async def _kept(self, uow: UnitOfWork, id: str) -> Backup:
        row = await found(uow.backups.get(id), "backup", id)
        if row.deleted_at is not None:
            raise missing("backup", id)
        return row

    async def _restorable(self, uow: UnitOfWork, id: str) -> Backup:
        row = await self._kept(uow, id)
        if row.status not in RESTORABLE or standing(row) is BackupStatus.FAILED:
            raise Conflict(
                f"The backup is {row.status}: it is no source for a restore.",
                hint=row.reason or "Wait until it is stored.",
            )
        return row


def _restored_name(name: str, now: datetime) -> str:
    return f"{name[:31]}-{now:%Y%m%d-%H%M%S}"
