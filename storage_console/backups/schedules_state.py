"""The schedules' state: the list, what became of a schedule's turns, pause and removal."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import Filter, ListState
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain import cron
from storage_core.domain.page import Page
from storage_core.domain.retention import Retention
from storage_core.domain.schedule import RunStatus, Schedule, ScheduleRun
from storage_core.services.backups import ListBackups
from storage_core.services.databases import ListDatabases
from storage_core.services.schedules import ListRuns, ListSchedules, ScheduleBackups, Unschedule
from storage_core.services.tenants import ListTenants

RUNS = 50  # turns shown


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """A schedule in the list; `skipped` says how many of its last turns were."""

    id: str
    name: str
    covers: str
    when: str
    cron: str
    zone: str
    status: str
    next: float
    last: float
    skipped: str
    keeps: str


@dataclass(frozen=True, slots=True)
class RunLine:
    """One database's turn; `status` is its backup's, where there is one."""

    due: float
    database: str
    status: str
    reason: str
    backup: str


@dataclass(frozen=True, slots=True)
class Names:
    """What people call tenants and databases, by id."""

    tenants: dict[str, str]
    databases: dict[str, str]


async def names_for(ctx: Context) -> Names:
    """The names the caller may see."""
    tenants = await core().tenants.list(ctx, ListTenants(limit=500, sort="name"))
    databases = await core().databases.list(ctx, ListDatabases(limit=500, sort="name"))
    return Names({t.id: t.name for t in tenants.items}, {d.id: d.name for d in databases.items})


def covered(s: Schedule, names: Names) -> str:
    """What a schedule covers, in words."""
    if s.database_id is not None:
        return names.databases.get(s.database_id, "a database that is gone")
    what = "New databases" if s.only_new else "Every database"
    labelled = f" labelled {s.label}" if s.label else ""
    owner = f" of {names.tenants.get(s.tenant_id, 'a tenant that is gone')}" if s.tenant_id else ""
    return what + labelled + owner


def kept(r: Retention) -> str:
    """A retention in words."""
    if r.is_forever:
        return "everything"
    parts = [f"the last {r.last}"] if r.last else []
    parts += [words.count(r.days, "day")] if r.days else []
    for name in ("hourly", "daily", "weekly", "monthly", "yearly"):
        if count := getattr(r, name):
            parts.append(f"{words.number(count)} {name}")
    return ", ".join(parts)


def skipped(s: Schedule, runs: tuple[ScheduleRun, ...]) -> str:
    """How many of the last turns were skipped; empty when none was."""
    last = [r for r in runs if r.schedule_id == s.id and r.due_at == s.last_at]
    count = sum(r.status is RunStatus.SKIPPED for r in last)
    return f"{count} of {len(last)} skipped" if count else ""


class Schedules(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[ScheduleLine] = []
    look_open: bool = False
    look_name: str = ""
    runs: list[RunLine] = []

    _acts: ClassVar[dict[str, str]] = {"pause": "Pause schedules", "resume": "Resume schedules"}
    _route: ClassVar[str] = "/backups/schedules"
    _noun: ClassVar[str] = "schedule"
    _sorts: ClassVar[tuple[str, ...]] = ("name", "next_at", "last_at", "paused", "created_at")
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("paused", "Status", ("false=Active", "true=Paused")),
        Filter("label", "Label", kind="text"),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "name", "cron", "time_zone", "database_id", "tenant_id", "label", "only_new", "jitter_minutes",
        "paused", "next_at", "last_at", "retention.last", "retention.days", "retention.hourly", "retention.daily",
        "retention.weekly", "retention.monthly", "retention.yearly", "created_at",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Schedule]:
        return await core().schedules.schedules(ctx, ListSchedules(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Schedule, ...]) -> list[ScheduleLine]:
        if not items:
            return []
        names = await names_for(ctx)
        wanted = ListRuns(schedule_id=",".join(s.id for s in items), limit=500)
        runs = (await core().schedules.runs(ctx, wanted)).items
        return [_line(s, names, skipped(s, runs)) for s in items]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().schedules.schedule(ctx, ScheduleBackups(schedule_id=id, paused=verb == "pause"))
        return "Paused" if verb == "pause" else "Resumed"

    def _row(self, id: str) -> ScheduleLine | None:
        return next((row for row in self.rows if row.id == id), None)

    def _closed(self) -> None:
        self.look_open = False
        super()._closed()

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    async def suspend(self, id: str):
        """Pauses a schedule."""
        done = await self._act(await asking(self), "pause", str(id))
        await self._reload()
        return toast("success", done)

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    async def resume(self, id: str):
        """Lets a schedule go on."""
        done = await self._act(await asking(self), "resume", str(id))
        await self._reload()
        return toast("success", done)

    @rx.event
    @requires(Permission.INVENTORY_READ)
    async def look(self, id: str):
        """Opens what became of a schedule's turns."""
        if (row := self._row(str(id))) is None:
            return
        ctx = await asking(self)
        names = (await names_for(ctx)).databases
        found = await core().schedules.runs(ctx, ListRuns(schedule_id=row.id, limit=RUNS))
        made = await core().backups.list(ctx, ListBackups(schedule_id=row.id, limit=RUNS))
        states = {b.id: b.status.value for b in made.items}
        self.look_name, self.look_open = row.name, True
        self.runs = [
            RunLine(
                words.epoch(r.due_at),
                names.get(r.database_id, "gone"),
                states.get(r.backup_id or "", r.status.value),
                r.reason or "",
                r.backup_id or "",
            )
            for r in found.items
        ]

    @rx.event
    @requires(Permission.SIGNED_IN)
    def look_toggle(self, shown: bool):
        """Closes it."""
        self.look_open = shown is True and self.look_open

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    def ask_remove(self, id: str):
        """Asks before a schedule is removed."""
        if row := self._row(str(id)):
            effects = [
                f"Nothing is backed up by it any more: {row.covers[0].lower()}{row.covers[1:]}.",
                "Its backups stay, and nothing collects them any more.",
            ]
            self._ask("remove", f"Remove {row.name}", effects, label="Remove schedule", ids=[row.id])

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        await core().schedules.unschedule(ctx, Unschedule(schedule_id=ids[0]))
        await self._reload()
        return toast("success", "Schedule removed")


def _line(s: Schedule, names: Names, missed: str) -> ScheduleLine:
    return ScheduleLine(
        s.id,
        s.name,
        covered(s, names),
        cron.words(s.when),
        s.cron,
        s.time_zone,
        "paused" if s.paused else "active",
        0.0 if s.paused else words.epoch(s.next_at),
        words.epoch(s.last_at),
        missed,
        kept(s.retention),
    )
