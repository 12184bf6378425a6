"""Pins and legal holds: backups that neither retention nor people delete."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ..domain.backup import Backup
from ..domain.context import Context
from ..domain.errors import Conflict, Protected
from ..domain.permission import Permission
from .kernel import Service, found, missing, raced
from .operation import operation
from .request import LINES, ById, Confirmed
from .targets import backup


class PinBackup(ById):
    """Pin a backup: no retention collects it, and nobody deletes it before it is unpinned."""


class UnpinBackup(Confirmed):
    """Unpin a backup: its schedule's retention may collect it. Confirm with the name of its database."""


class HoldBackup(ById):
    """Put a backup on legal hold: it stays, pinned or not, until the hold is released."""

    reason: Annotated[str, LINES] = Field(min_length=1, max_length=500, examples=["case 2026-114"])
    """What it is held for."""


class ReleaseBackup(Confirmed):
    """End a backup's legal hold. Confirm with the name of its database."""


class Holds(Service):
    """The operations of pins and holds."""

    @operation("backups.pin", needs=Permission.BACKUP_RUN, on=backup())
    async def pin(self, ctx: Context, request: PinBackup) -> Backup:
        return await self._changed(request.id, lambda row: replace(row, pinned=True))

    @operation("backups.unpin", needs=Permission.BACKUP_DELETE, on=backup())
    async def unpin(self, ctx: Context, request: UnpinBackup) -> Backup:
        return await self._changed(request.id, lambda row: replace(row, pinned=False))

    @operation("backups.hold", needs=Permission.BACKUP_PLAN, on=backup())
    async def hold(self, ctx: Context, request: HoldBackup) -> Backup:
        def held(row: Backup) -> Backup:
            if row.hold is not None:
                raise Conflict(f"The backup is held already: {row.hold}", hint="Release that hold first.")
            return replace(row, hold=request.reason)

        return await self._changed(request.id, held)

    @operation("backups.release", needs=Permission.BACKUP_DELETE, on=backup())
    async def release(self, ctx: Context, request: ReleaseBackup) -> Backup:
        return await self._changed(request.id, lambda row: replace(row, hold=None))

    async def _changed(self, id: str, change: Callable[[Backup], Backup]) -> Backup:
        async def write() -> Backup:
            async with self.kernel.catalog.write() as uow:
                before = await found(uow.backups.get(id), "backup", id)
                if before.deleted_at is not None:
                    raise missing("backup", id)
                row = change(before)
                if row != before:
                    row = replace(row, updated_at=self.kernel.now())
                    await uow.backups.save(row)
            return row

        return await raced(write)


def refuse_kept(row: Backup) -> None:
    """Refuse to delete what is pinned or held."""
    if row.hold is not None:
        raise Protected(f"The backup is on legal hold: {row.hold}", hint="Release the hold first.")
    if row.pinned:
        raise Protected("The backup is pinned.", hint="Unpin it first.")
