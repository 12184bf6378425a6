"""The databases page's state: the list, sizes measured beside it, creation, deletion."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core, is_open
from storage_console.databases import doings
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import Filter, ListState
from storage_console.session import Context, Permission, asking, attempt, requires, signed_in, toast
from storage_core.domain.database import Database, DatabaseStats
from storage_core.domain.errors import TenantSuspended
from storage_core.domain.page import Page
from storage_core.services.databases import DatabaseStatsRequest, GetDatabase, ListDatabases

FRESH = 60.0  # seconds a measured size is believed
PATIENCE = 8.0  # seconds an engine may take to answer for one size


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """A database in the list."""

    id: str
    name: str
    engine: str
    provider: str
    tenant: str
    status: str
    problem: str
    is_default: bool
    protected: bool
    proven: float
    created: float


class Databases(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[DatabaseRow] = []
    sizes: dict[str, str] = {}
    deleting: str = ""
    _measured: dict[str, float] = {}

    _acts: ClassVar[dict[str, str]] = {"back_up": "Back up databases"}
    _route: ClassVar[str] = "/databases"
    _noun: ClassVar[str] = "database"
    _sorts: ClassVar[tuple[str, ...]] = ("name", "status", "last_proven_at", "created_at")
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("status", "Status", ("creating", "ready", "deleting", "failed")),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "name", "provider_id", "tenant_id", "namespace", "physical_name", "location", "status", "is_default",
        "protected", "adopted", "last_proven_at", "created_at",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Database]:
        return await core().databases.list(ctx, ListDatabases(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Database, ...]) -> list[DatabaseRow]:
        names = await doings.names(ctx)
        return [
            DatabaseRow(
                d.id,
                d.name,
                names.engine(d.provider_id),
                names.provider(d.provider_id),
                names.tenant(d.tenant_id),
                d.status.value,
                d.problem or "",
                d.is_default,
                d.protected,
                words.epoch(d.last_proven_at),
                words.epoch(d.created_at),
            )
            for d in items
        ]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await doings.back_up(ctx, id)
        return "Backup started"

    def _open(self, id: str) -> Any:
        return rx.redirect(f"/databases/{id}")

    @rx.event(background=True)
    @requires(Permission.STATUS_READ)
    async def measure(self):
        """Asks the engines how large the shown databases are, a few at a time, for as long as the page is open."""
        while is_open():
            async with self:
                if await signed_in(self) is None:
                    return
                ctx, now = await asking(self), time.monotonic()
                stale = [
                    row.id
                    for row in self.rows
                    if row.status == "ready" and now - self._measured.get(row.id, -FRESH) >= FRESH
                ][:8]
                for id in stale:
                    self._measured[id] = now
            found = await asyncio.gather(*(_size(ctx, id) for id in stale))
            if stale:
                async with self:
                    self.sizes = {**self.sizes, **dict(zip(stale, found, strict=True))}
            await asyncio.sleep(0.2 if stale else 2.0)

    @rx.event
    @requires(Permission.BACKUP_RUN)
    async def back_up(self, id: str):
        """Starts a backup and its proof."""
        ticket = await doings.back_up(await asking(self), str(id))
        return [toast("success", "Backup started"), rx.redirect(f"/jobs/{ticket.job_id}")]

    @rx.event
    @requires(Permission.DATABASE_WRITE)
    async def optimize(self, id: str):
        """Starts reclaiming space."""
        ticket = await doings.optimize(await asking(self), str(id))
        return [toast("success", "Optimizing started"), rx.redirect(f"/jobs/{ticket.job_id}")]

    @rx.event
    @requires(Permission.DATABASE_DELETE)
    async def ask_delete(self, id: str):
        """Asks before a database is dropped; says which backups survive."""
        ctx = await asking(self)
        row = await core().databases.get(ctx, GetDatabase(id=str(id)))
        effects = await doings.loss(ctx, row)
        self.deleting = row.id if row.status == "ready" else ""
        self._ask(
            "delete", f"Delete {row.name}", effects, label="Delete database", ids=[row.id], name=row.name
        )

    @rx.event
    @requires(Permission.BACKUP_RUN)
    def back_up_first(self):
        """Takes a last backup instead of deleting right away."""
        self.confirm_open = False
        return Databases.back_up(self.deleting)

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        await doings.delete(await asking(self), ids[0], typed, reason)
        await self._reload()
        return toast("success", f"{typed} deleted", description="Its backups stay.")


async def _size(ctx: Context, id: str) -> str:
    async def answered() -> DatabaseStats:
        async with asyncio.timeout(PATIENCE):
            return await core().databases.stats(ctx, DatabaseStatsRequest(id=id))

    stats, failed = await attempt(answered())
    if stats is None:
        return "suspended" if failed.code == TenantSuspended.code else "no answer"
    return words.size(stats.size_bytes)
