"""The backups page's state: the list, one new backup, deletion."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.form import FormState, Option
from storage_console.parts.listing import Filter, ListState
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain.backup import Backup
from storage_core.domain.page import Page
from storage_core.services.backups import (
    CreateBackup,
    DeleteBackup,
    GetBackup,
    ListBackups,
    VerifyBackup,
)
from storage_core.services.databases import ListDatabases
from storage_core.services.providers import ListProviders


@dataclass(frozen=True, slots=True)
class BackupRow:
    """A backup in the list; `settled` means that nobody works on it."""

    id: str
    database: str
    status: str
    reason: str
    created: float
    proven: float
    rows: str
    raw: str
    stored: str
    took: str
    where: str
    settled: bool
    restorable: bool
    job: str


def took(b: Backup) -> str:
    """How long the dump and the last proof took together."""
    if b.started_at is None or b.stored_at is None:
        return "—"
    return words.span((b.stored_at - b.started_at).total_seconds() + (b.proof.seconds if b.proof else 0))


def backup_row(b: Backup, where: str) -> BackupRow:
    """A backup as displayed."""
    known = b.manifest is not None
    return BackupRow(
        b.id,
        b.database_name,
        b.status.value,
        b.reason or "",
        words.epoch(b.created_at),
        words.epoch(b.proven_at),
        words.number(b.manifest.rows) if b.manifest else "—",
        words.size(b.size_raw if known else None),
        words.size(b.size_stored if known else None),
        took(b),
        where,
        b.status.value in ("stored", "proven", "failed"),
        known and b.status.value != "proving",
        b.job_id or "",
    )


def loss(b: Backup, others: int) -> list[str]:
    """What deleting a backup takes away."""
    left = f"{words.count(others, 'other backup')} of {b.database_name} " + (
        "stays." if others == 1 else "stay."
    )
    return [
        "For 7 days it can be taken back; then its artifact is removed and its key is destroyed.",
        left if others else f"It is the only backup of {b.database_name}.",
    ]


async def others_of(ctx: Context, b: Backup) -> int:
    """How many other backups of the same database could be restored."""
    wanted = ListBackups(limit=50, database_id=b.database_id, status="stored,proven")
    found = await core().backups.list(ctx, wanted)
    return found.total - sum(o.id == b.id for o in found.items)


class Backups(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[BackupRow] = []

    _acts: ClassVar[dict[str, str]] = {"verify": "Prove backups again"}
    _route: ClassVar[str] = "/backups"
    _noun: ClassVar[str] = "backup"
    _sorts: ClassVar[tuple[str, ...]] = (
        "database_name", "status", "proven_at", "size_raw", "size_stored", "created_at",
    )  # fmt: skip
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("status", "Status", ("queued", "running", "stored", "proving", "proven", "failed")),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "database_id", "database_name", "status", "engine", "created_at", "finished_at", "size_raw",
        "size_stored", "manifest.rows", "manifest.hash", "proven_at", "proof.rows", "proof.seconds", "note",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Backup]:
        return await core().backups.list(ctx, ListBackups(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Backup, ...]) -> list[BackupRow]:
        providers = await core().providers.list(ctx, ListProviders(limit=500, sort="name"))
        names = {p.id: p.name for p in providers.items}
        return [backup_row(b, names.get(b.provider_id, "—")) for b in items]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().backups.verify(ctx, VerifyBackup(id=id))
        return "Proof started"

    @staticmethod
    def _label(item: Any) -> str:
        name = item.database if isinstance(item, BackupRow) else item.database_name
        return f"{name} ({item.id[:8]})"

    def _open(self, id: str) -> Any:
        return rx.redirect(f"/backups/{id}")

    @rx.event
    @requires(Permission.BACKUP_RUN)
    async def verify(self, id: str):
        """Proves a stored backup again."""
        ticket = await core().backups.verify(await asking(self), VerifyBackup(id=str(id)))
        return [toast("success", "Proof started"), rx.redirect(f"/jobs/{ticket.job_id}")]

    @rx.event
    @requires(Permission.BACKUP_DELETE)
    async def ask_delete(self, id: str):
        """Asks before a backup is deleted."""
        ctx = await asking(self)
        b = await core().backups.get(ctx, GetBackup(id=str(id)))
        effects = loss(b, await others_of(ctx, b))
        title = f"Delete the backup of {b.created_at:%Y-%m-%d %H:%M} UTC"
        self._ask("delete", title, effects, label="Delete backup", ids=[b.id], name=b.database_name)

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        await core().backups.delete(ctx, DeleteBackup(id=ids[0], confirm=typed))
        await self._reload()
        return toast("success", "Backup deleted")


class NewBackup(FormState, rx.State):
    """The form that backs up a database now."""

    databases: list[Option] = []

    @rx.event
    @requires(Permission.BACKUP_RUN)
    async def begin(self):
        """Opens the form."""
        found = await core().databases.list(
            await asking(self), ListDatabases(limit=500, sort="name", status="ready")
        )
        self.databases = [Option(d.id, d.name) for d in found.items]
        self._form_reset(shown=True)

    async def _save(self, data: dict[str, Any]) -> Any:
        wanted = CreateBackup(
            database_id=str(data.get("database_id") or ""), note=str(data.get("note") or "").strip()
        )
        ticket = await core().backups.create(await asking(self), wanted)
        return [toast("success", "Backup started"), rx.redirect(f"/jobs/{ticket.job_id}")]
