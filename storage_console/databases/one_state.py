"""One database's state: overview, schema, backups, jobs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.databases import doings
from storage_console.databases.records_state import RecordsTab
from storage_console.databases.schema import ObjectRow, object_row
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.live import LiveState
from storage_console.parts.work import JobLine, line
from storage_console.session import (
    NO_PROBLEM,
    Context,
    Permission,
    Problem,
    asking,
    attempt,
    requires,
    toast,
)
from storage_core.domain.backup import Backup
from storage_core.services.backups import ListBackups
from storage_core.services.databases import DatabaseSchemaRequest, DatabaseStatsRequest, GetDatabase
from storage_core.services.jobs import ListJobs

TABS = ("overview", "schema", "records", "backups", "jobs")
SHOWN = 25  # backups and jobs of each tab
OBJECTS = 200  # tables or collections of the schema tab


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure with its label."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class BackupLine:
    """A backup of this database."""

    id: str
    status: str
    created: float
    raw: str
    stored: str
    rows: str
    proven: float


def backup_line(b: Backup) -> BackupLine:
    """A backup as displayed."""
    rows = words.number(b.manifest.rows) if b.manifest else "—"
    known = b.manifest is not None
    return BackupLine(
        b.id,
        b.status.value,
        words.epoch(b.created_at),
        words.size(b.size_raw if known else None),
        words.size(b.size_stored if known else None),
        rows,
        words.epoch(b.proven_at),
    )


class DatabasePage(ConfirmState, LiveState, rx.State):
    """One database."""

    tab: str = "overview"
    id: str = ""
    name: str = "Database"
    status: str = ""
    trouble: str = ""
    engine: str = ""
    provider: str = ""
    tenant: str = ""
    namespace: str = ""
    physical: str = ""
    location: str = ""
    is_default: bool = False
    protected: bool = False
    adopted: bool = False
    created: float = 0
    proven: float = 0
    settings: list[Fact] = []
    stats_phase: str = "loading"  # loading, ready, error
    stats_problem: Problem = NO_PROBLEM
    figures: list[Fact] = []
    details: list[Fact] = []
    schema_phase: str = ""  # empty until asked for, then loading, ready, error
    schema_problem: Problem = NO_PROBLEM
    objects: list[ObjectRow] = []
    objects_total: int = 0
    backups: list[BackupLine] = []
    backups_total: int = 0
    jobs: list[JobLine] = []
    deleting: str = ""

    def _clear(self) -> None:
        asked = self.router.url.query_parameters.get("tab", "")
        self.tab, self.name = asked if asked in TABS else "overview", "Database"
        self.stats_phase, self.schema_phase = "loading", ""
        for held in (self.objects, self.figures, self.details):
            held.clear()

    async def _read(self) -> None:
        ctx = await asking(self)
        row = await core().databases.get(ctx, GetDatabase(id=self.database_id))  # pyrefly: ignore
        known = await doings.names(ctx)
        self.id, self.name, self.status, self.trouble = row.id, row.name, row.status.value, row.problem or ""
        self.engine, self.provider = known.engine(row.provider_id), known.provider(row.provider_id)
        self.tenant, self.namespace = known.tenant(row.tenant_id), row.namespace or "—"
        self.physical, self.location = row.physical_name, row.location or "—"
        self.is_default, self.protected, self.adopted = row.is_default, row.protected, row.adopted
        self.created, self.proven = words.epoch(row.created_at), words.epoch(row.last_proven_at)
        self.settings = [Fact(k, v) for k, v in row.settings]
        await self._work(ctx)

    async def _work(self, ctx: Context) -> None:
        found = await core().backups.list(ctx, ListBackups(limit=SHOWN, database_id=self.id))
        about = ",".join((self.id, *(b.id for b in found.items)))
        jobs = await core().jobs.list(ctx, ListJobs(limit=SHOWN, target_id=about))
        now = datetime.now(UTC)
        self.backups, self.backups_total = [backup_line(b) for b in found.items], found.total
        self.jobs = [line(job, now) for job in jobs.items]

    @rx.event(background=True)
    @requires(Permission.STATUS_READ)
    async def measure(self):
        """Asks the engine for size and counts."""
        async with self:
            ctx, id = await asking(self), self.database_id  # pyrefly: ignore
            self.stats_phase = self.stats_phase if self.figures else "loading"
        stats, failed = await attempt(core().databases.stats(ctx, DatabaseStatsRequest(id=id)))
        async with self:
            if id != self.database_id:  # pyrefly: ignore
                return
            self.stats_problem, self.stats_phase = failed, "error" if stats is None else "ready"
            if stats is not None:
                self.figures = [
                    Fact("Size", words.size(stats.size_bytes)),
                    Fact("Objects", words.number(stats.objects)),
                    Fact("Rows, estimated", words.number(stats.rows_estimate)),
                    Fact("Connections", "—" if stats.connections is None else str(stats.connections)),
                ]
                self.details = [Fact(k.replace("_", " ").capitalize(), _said(v)) for k, v in stats.details]

    @rx.event
    @requires(Permission.SIGNED_IN)
    def show_tab(self, name: str):
        """Shows a tab; the schema is read when it is first looked at."""
        if name in TABS:
            self.tab = name
            if name == "records":
                return RecordsTab.look
            if name == "schema" and self.schema_phase != "ready":
                return DatabasePage.read_schema

    @rx.event
    @requires(Permission.SIGNED_IN)
    def begin(self):
        """Reads what the tab named in the address shows."""
        if self.tab == "schema":
            return DatabasePage.read_schema

    @rx.event(background=True)
    @requires(Permission.PROVIDER_INSPECT)
    async def read_schema(self):
        """Asks the engine for tables or collections."""
        async with self:
            ctx, id, self.schema_phase = await asking(self), self.id, "loading"
        found, failed = await attempt(core().databases.schema(ctx, DatabaseSchemaRequest(id=id)))
        async with self:
            if id == self.id:
                self.schema_problem, self.schema_phase = failed, "error" if found is None else "ready"
                objects = found.objects if found else ()
                self.objects, self.objects_total = [object_row(o) for o in objects[:OBJECTS]], len(objects)

    @rx.event
    @requires(Permission.BACKUP_RUN)
    async def back_up(self):
        """Starts a backup and its proof; the strip above the tabs follows it."""
        await doings.back_up(await asking(self), self.id)
        await self._reload()
        return toast("success", "Backup started", description="It is proven by a real restore.")

    @rx.event
    @requires(Permission.DATABASE_WRITE)
    async def optimize(self):
        """Starts reclaiming space."""
        await doings.optimize(await asking(self), self.id)
        await self._reload()
        return toast("success", "Optimizing started")

    @rx.event
    @requires(Permission.DATABASE_DELETE)
    async def ask_delete(self):
        """Asks before the database is dropped; says which backups survive."""
        ctx = await asking(self)
        row = await core().databases.get(ctx, GetDatabase(id=self.id))
        self.deleting = row.id if row.status == "ready" else ""
        effects = await doings.loss(ctx, row)
        self._ask(
            "delete", f"Delete {row.name}", effects, label="Delete database", ids=[row.id], name=row.name
        )

    @rx.event
    @requires(Permission.BACKUP_RUN)
    def back_up_first(self):
        """Takes a last backup instead of deleting right away."""
        self.confirm_open = False
        return DatabasePage.back_up

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        await doings.delete(await asking(self), ids[0], typed, reason)
        return [
            toast("success", f"{typed} deleted", description="Its backups stay."),
            rx.redirect("/databases"),
        ]


def _said(value: str | float | bool | None) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "—"}[value]
    return words.number(value) if isinstance(value, int) else str(value)
