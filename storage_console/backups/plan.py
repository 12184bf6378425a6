"""The form that makes or changes a schedule: fields, then what comes of it, then done."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import reflex as rx

from storage_console.backups.schedules_state import Schedules, covered, names_for
from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.form import FormState, Option
from storage_console.session import Context, Permission, asking, attempt, requires, toast
from storage_core.domain.errors import NotFound
from storage_core.domain.retention import FOREVER, Retention, may_lose
from storage_core.domain.schedule import Schedule
from storage_core.services.preferences import ShowPreferences
from storage_core.services.schedules import (
    Forecast,
    ForecastSchedule,
    Judgement,
    ListSchedules,
    ScheduleBackups,
)

#: What a new schedule keeps, unless somebody says otherwise.
PROPOSED = Retention(daily=7, weekly=4, monthly=12)
NUMBERS = ("last", "days", "hourly", "daily", "weekly", "monthly", "yearly")
RUNS, NAMED = 5, 20


class Plan(FormState, rx.State):
    """The fields as they were given last, and the preview of what comes of them."""

    key: int = 0
    name: str = ""
    covers: str = "everything"
    choices: list[Option] = []
    fixed: str = ""  # what an existing schedule covers: it goes on with that
    label: str = ""
    cron: str = ""
    zone: str = ""
    jitter: str = "0"
    numbers: dict[str, str] = {}
    told: str = ""
    runs: list[str] = []
    goes: list[str] = []
    judged: str = ""
    shorter: bool = False
    called: str = ""  # the name an existing schedule has now: what is to be typed
    _id: str = ""
    _before: Retention = FOREVER
    _rhythm: tuple[str, str] = ("", "")

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    async def begin(self):
        """Opens the form for a new schedule."""
        ctx = await asking(self)
        names = await names_for(ctx)
        own = await core().preferences.show(ctx, ShowPreferences())
        self._reset(PROPOSED)
        self.name, self.fixed, self.label, self._id, self.called = "", "", "", "", ""
        self.cron, self.zone, self.jitter, self.covers = (
            "0 2 * * *",
            own.time_zone or "UTC",
            "0",
            "everything",
        )
        self.choices = [
            Option("everything", "Every database, those to come too"),
            Option("new", "Databases made from now on"),
            *[Option(f"tenant:{id}", f"Tenant {name}") for id, name in names.tenants.items()],
            *[Option(f"database:{id}", f"Database {name}") for id, name in names.databases.items()],
        ]

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    async def edit(self, id: str):
        """Opens the form for a schedule there is."""
        ctx = await asking(self)
        row = await _known(ctx, str(id))
        self._reset(row.retention)
        self._id, self.name, self.called = row.id, row.name, row.name
        self.fixed = covered(row, await names_for(ctx))
        self.cron, self.zone, self.jitter = row.cron, row.time_zone, str(row.jitter_minutes)
        self._rhythm = (self.cron, self.zone)

    def _reset(self, retention: Retention) -> None:
        self._form_reset(shown=True)
        self.key += 1
        self._before, self.told = retention, ""
        self.numbers = {name: str(getattr(retention, name)) for name in NUMBERS}

    @rx.event
    @requires(Permission.SIGNED_IN)
    def back(self):
        """From the preview to the fields again."""
        self._form_reset(shown=True)
        self.told = ""

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    async def look_ahead(self, data: dict[str, Any]):
        """Shows when it will run and what will go."""
        if not isinstance(data, dict):
            return
        self._form_reset(shown=True)
        self._take(data)
        found, failed = await attempt(self._forecast())
        if found is None:
            self._form_failed(failed)
            return
        self._show(found)

    def _take(self, data: dict[str, Any]) -> None:
        """Keeps what was given: the fields come back with it."""
        given = {name: str(value).strip()[:200] for name, value in data.items()}
        self.name, self.cron = given.get("name", ""), given.get("cron", "")
        self.zone, self.jitter = given.get("time_zone", ""), given.get("jitter_minutes", "") or "0"
        self.label = given.get("label", "")
        self.covers = given.get("covers", self.covers)
        self.numbers = {name: given.get(f"keep_{name}", "") or "0" for name in NUMBERS}

    def _wanted(self) -> dict[str, Any]:
        return {
            "cron": self.cron,
            "time_zone": self.zone,
            **{f"keep_{n}": v for n, v in self.numbers.items()},
        }

    async def _forecast(self) -> Forecast:
        # Checks the other fields as well: what is wrong is said before anything is shown.
        self._request("")
        wanted = ForecastSchedule.model_validate(
            {**self._wanted(), "schedule_id": self._id or None, "count": RUNS}
        )
        found = await core().schedules.forecast(await asking(self), wanted)
        kept, same = wanted.retention(FOREVER), (self.cron, self.zone) == self._rhythm
        self.shorter = bool(self._id) and may_lose(self._before, kept, same_rhythm=same)
        return found

    def _request(self, confirm: str) -> ScheduleBackups:
        more: dict[str, Any] = {"name": self.name, "jitter_minutes": self.jitter, **self._wanted()}
        if self._id:
            more |= {"schedule_id": self._id, "shorten": self.shorter and bool(confirm), "confirm": confirm}
        else:
            what, _, id = self.covers.partition(":")
            more |= {f"{what}_id": id} if id else {"only_new": what == "new"}
            more |= {"label": self.label} if self.label else {}
        return ScheduleBackups.model_validate(more)

    def _show(self, found: Forecast) -> None:
        zone = ZoneInfo(self.zone)
        self.told = f"{found.words}, {self.zone}"
        self.runs = [_moment(at, zone) for at in found.runs]
        self.goes = [_named(j, zone) for j in found.judgements if j.goes][:NAMED]
        if not self._id:
            self.judged = ""
        elif not found.goes:
            self.judged = f"Of its {words.count(found.stays, 'backup')} none goes now."
        else:
            more = f", the first {NAMED} of them:" if found.goes > NAMED else ":"
            self.judged = (
                f"{words.count(found.goes, 'backup')} would go now, {words.number(found.stays)} stay{more}"
            )

    @rx.event
    @requires(Permission.BACKUP_PLAN)
    async def start(self, data: dict[str, Any]):
        """Makes or changes the schedule that was previewed."""
        if self.form_busy or not self.told or not isinstance(data, dict):
            return
        self.form_busy = True
        yield
        made, failed = await attempt(self._made(str(data.get("confirm") or "")))
        self.form_busy = False
        if made is None:
            self.told = "" if failed.field and failed.field != "confirm" else self.told
            self._form_failed(failed)
            return
        self._form_reset(shown=False)
        yield toast("success", f"{made.name} is due {_moment(made.next_at, ZoneInfo(made.time_zone))}"
                    if made.next_at and not made.paused else f"{made.name} is paused")  # fmt: skip
        yield Schedules.refresh

    async def _made(self, confirm: str) -> Schedule:
        return await core().schedules.schedule(await asking(self), self._request(confirm))


async def _known(ctx: Context, id: str) -> Schedule:
    found = await core().schedules.schedules(ctx, ListSchedules(id=id, limit=1))
    if not found.items:
        raise NotFound(f"There is no schedule {id[:64]!r} any more.", field="id")
    return found.items[0]


def _moment(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"


def _named(j: Judgement, zone: ZoneInfo) -> str:
    return f"{j.database_name}, {_moment(j.at, zone)}, {words.size(j.size_stored)}"
