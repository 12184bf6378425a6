"""Schedules: which databases are backed up when, and what of it is kept."""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from pydantic import Field

from ..domain.context import Context
from ..domain.cron import parsed, preview, words
from ..domain.errors import InvalidRequest
from ..domain.naming import checked_name
from ..domain.page import Clause, Page, Test
from ..domain.permission import Permission, Target
from ..domain.retention import Judged, Retention, may_lose, taken_at
from ..domain.schedule import RunStatus, Schedule, ScheduleRun, waiting_anew
from ..ports.catalog import UnitOfWork
from .collector import judged
from .kernel import Service, every, found, raced
from .operation import Effect, operation
from .request import ListRequest, Request
from .targets import LIST, a_list, database_target, schedule, schedule_target, tenant_target

#: Backups a dry run names; those that go come first.
MAX_NAMED = 500


class _Kept(Request):
    """How much is kept: what none of these keeps goes; all zero keeps everything."""

    keep_last: int | None = Field(None, ge=0, le=Retention.MOST, examples=[3])
    """Keep this many, whatever their age."""
    keep_days: int | None = Field(None, ge=0, le=Retention.MOST, examples=[2])
    """Keep everything younger than so many days."""
    keep_hourly: int | None = Field(None, ge=0, le=Retention.MOST, examples=[0])
    """Keep one for each of so many hours."""
    keep_daily: int | None = Field(None, ge=0, le=Retention.MOST, examples=[7])
    """Keep one for each of so many days."""
    keep_weekly: int | None = Field(None, ge=0, le=Retention.MOST, examples=[4])
    """Keep one for each of so many weeks."""
    keep_monthly: int | None = Field(None, ge=0, le=Retention.MOST, examples=[12])
    """Keep one for each of so many months."""
    keep_yearly: int | None = Field(None, ge=0, le=Retention.MOST, examples=[0])
    """Keep one for each of so many years."""

    def retention(self, before: Retention) -> Retention:
        """The retention before, with what was given in its place."""
        given = {f.name: getattr(self, f"keep_{f.name}") for f in fields(Retention)}
        return replace(before, **{name: value for name, value in given.items() if value is not None})


class ScheduleBackups(_Kept):
    """Back databases up by the clock; with `schedule_id`, change a schedule: what is left out stays as it is.

    It backs up every database that fits all of `database_id`, `tenant_id`, `label` and `only_new`, those to come
    too; with none of them, every database.
    """

    schedule_id: str | None = Field(None, max_length=64)
    """The schedule to change; a new one, if left out."""
    name: str | None = Field(None, max_length=48, examples=["nightly"])
    """What people call it."""
    database_id: str | None = Field(None, max_length=64)
    """One database."""
    tenant_id: str | None = Field(None, max_length=64)
    """The databases of one tenant."""
    label: str | None = Field(None, max_length=48, examples=["gold"])
    """The databases with this label."""
    only_new: bool = False
    """Databases made after the schedule alone."""
    cron: str | None = Field(None, max_length=100, examples=["0 2 * * *"])
    """When: minute, hour, day, month, weekday; or @hourly, @daily, @weekly, @monthly, @yearly."""
    time_zone: str | None = Field(None, max_length=64, examples=["Europe/Berlin"])
    """The IANA time zone `cron` and days are meant in; UTC, if left out."""
    jitter_minutes: int | None = Field(None, ge=0, le=Schedule.LONGEST_JITTER, examples=[15])
    """Start each database up to so many minutes later, so that not all start at once."""
    paused: bool | None = Field(None, examples=[False])
    """Make no backups, and collect none, until it is resumed; what it misses meanwhile is not caught up with."""
    shorten: bool = False
    """Let it keep less than before; needs `confirm`."""
    confirm: str = Field("", max_length=48, examples=["nightly"])
    """The schedule's exact name, to let it keep less than before."""


class ListSchedules(ListRequest):
    """List schedules with their next and last runs."""

    id: str | None = None
    """Filter: this one schedule."""
    database_id: str | None = None
    """Filter: those of this one database."""
    tenant_id: str | None = None
    """Filter: the tenant."""
    label: str | None = None
    """Filter: the label."""
    paused: str | None = Field(None, examples=["false"])
    """Filter: true or false."""


class Unschedule(Request):
    """Remove a schedule. Its backups stay, and nothing collects them any more."""

    schedule_id: str = Field(min_length=1, max_length=64)
    """The schedule."""


class ListRuns(ListRequest):
    """List the turns databases had by schedules: what started, what was skipped and why. Kept for 30 days."""

    schedule_id: str | None = None
    """Filter: the schedule."""
    database_id: str | None = None
    """Filter: the database."""
    status: str | None = Field(None, examples=["skipped"])
    """Filter: waiting, started, skipped."""


class ForecastSchedule(_Kept):
    """Show the next runs, and what retention would collect now. Nothing changes.

    Of a schedule as it is, or as it would be with what is given here.
    """

    schedule_id: str | None = Field(None, max_length=64)
    """The schedule; none for one that is to be made."""
    cron: str | None = Field(None, max_length=100, examples=["0 2 * * *"])
    """When, instead of the schedule's own."""
    time_zone: str | None = Field(None, max_length=64, examples=["Europe/Berlin"])
    """The time zone, instead of the schedule's own."""
    count: int = Field(5, ge=1, le=50, examples=[5])
    """How many runs to show."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What retention says of one backup: it goes, or stays for the reasons named."""

    backup_id: str
    database_name: str
    at: datetime
    size_stored: int
    goes: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cron in words, its next runs, how many databases it covers now, and what its retention would do now.

    `judgements` names up to 500 backups, those that go first.
    """

    words: str
    runs: tuple[datetime, ...]
    covers: int
    goes: int
    stays: int
    judgements: tuple[Judgement, ...]


async def _whereabouts(uow: UnitOfWork, ctx: Context, request: ScheduleBackups) -> Target:
    """The schedule that is changed; for a new one, what it is to cover: only global grants cover everything."""
    if request.schedule_id is not None:
        return schedule_target(
            await found(uow.schedules.get(request.schedule_id), "schedule", request.schedule_id)
        )
    if request.database_id is not None:
        return database_target(
            await found(uow.databases.get(request.database_id), "database", request.database_id)
        )
    tenant_id = request.tenant_id or ctx.tenant_id
    if tenant_id is not None:
        return tenant_target(await found(uow.tenants.get(tenant_id), "tenant", tenant_id))
    return Target("schedule", None, request.name or "")


async def _forecasted(uow: UnitOfWork, _ctx: Context, request: ForecastSchedule) -> Target:
    if request.schedule_id is None:
        return Target("schedule list", tenant_id=LIST)
    return schedule_target(
        await found(uow.schedules.get(request.schedule_id), "schedule", request.schedule_id)
    )


_NAMED = schedule("schedule_id")


class Schedules(Service):
    """The schedules' operations."""

    @operation(
        "backups.schedule",
        needs=Permission.BACKUP_PLAN,
        on=_whereabouts,
        also=lambda request: Permission.BACKUP_DELETE if request.shorten else None,
    )
    async def schedule(self, ctx: Context, request: ScheduleBackups) -> Schedule:
        return await raced(lambda: self._scheduled(ctx, request))

    async def _scheduled(self, ctx: Context, request: ScheduleBackups) -> Schedule:
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            if request.schedule_id is None:
                row = _changed(await self._new(uow, ctx, request), request)
                row = waiting_anew(row, now)
                await uow.schedules.add(row)
                return row
            before = await found(uow.schedules.get(request.schedule_id), "schedule", request.schedule_id)
            _refuse_moving(request)
            row = _changed(before, request)
            if (
                may_lose(before.retention, row.retention, same_rhythm=row.when == before.when)
                and not request.shorten
            ):
                raise InvalidRequest(
                    "This may keep less than before: backups may be collected that are kept now.",
                    field="shorten",
                    hint="See backups.forecast; then say shorten, with the schedule's name as confirm.",
                )
            if (row.when, row.paused) != (before.when, before.paused):
                row = waiting_anew(row, now)
            row = replace(row, updated_at=now)
            await uow.schedules.save(row)
        return row

    async def _new(self, uow: UnitOfWork, ctx: Context, request: ScheduleBackups) -> Schedule:
        for field in ("name", "cron"):
            if not (getattr(request, field) or "").strip():
                raise InvalidRequest(f"A new schedule needs its {field}.", field=field)
        if request.label is not None:
            checked_name(request.label, "label")
        tenant_id, provider_id = request.tenant_id or ctx.tenant_id, None
        if request.database_id is not None:
            if request.label is not None or request.only_new or request.tenant_id is not None:
                raise InvalidRequest(
                    "One database needs nothing else to be found by.",
                    field="database_id",
                    hint="Leave the rest out.",
                )
            database = await found(uow.databases.get(request.database_id), "database", request.database_id)
            tenant_id, provider_id = database.tenant_id, database.provider_id
        now = self.kernel.now()
        return Schedule(
            self.kernel.new_id(),
            "",
            "@daily",
            "UTC",
            now,
            now,
            ctx.actor.name,
            database_id=request.database_id,
            tenant_id=tenant_id,
            provider_id=provider_id,
            label=request.label,
            only_new=request.only_new,
        )

    @operation(
        "backups.schedules", needs=Permission.INVENTORY_READ, on=a_list("schedule"), effect=Effect.READ
    )
    async def schedules(self, ctx: Context, request: ListSchedules) -> Page[Schedule]:
        async with self.kernel.catalog.read() as uow:
            return await uow.schedules.find(request.query(self.reach(ctx, Permission.INVENTORY_READ)))

    @operation("backups.runs", needs=Permission.INVENTORY_READ, on=a_list("run"), effect=Effect.READ)
    async def runs(self, ctx: Context, request: ListRuns) -> Page[ScheduleRun]:
        async with self.kernel.catalog.read() as uow:
            return await uow.runs.find(request.query(self.reach(ctx, Permission.INVENTORY_READ)))

    @operation("backups.unschedule", needs=Permission.BACKUP_PLAN, on=_NAMED)
    async def unschedule(self, ctx: Context, request: Unschedule) -> Schedule:
        return await raced(lambda: self._unscheduled(request.schedule_id))

    async def _unscheduled(self, id: str) -> Schedule:
        waiting = (
            Clause("schedule_id", Test.ANY_OF, (id,)),
            Clause("status", Test.ANY_OF, (RunStatus.WAITING.value,)),
        )
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.schedules.get(id), "schedule", id)
            for run in [run async for run in every(uow.runs, waiting)]:
                await uow.runs.remove(run.id)
            await uow.schedules.remove(id)
        return row

    @operation("backups.forecast", needs=Permission.INVENTORY_READ, on=_forecasted, effect=Effect.READ)
    async def forecast(self, ctx: Context, request: ForecastSchedule) -> Forecast:
        now = self.kernel.now()
        async with self.kernel.catalog.read() as uow:
            row, covers, rows = None, 0, ()
            if request.schedule_id is not None:
                row = await found(uow.schedules.get(request.schedule_id), "schedule", request.schedule_id)
                covers = len([d async for d in every(uow.databases, ()) if row.covers(d)])
                meant = replace(row, retention=request.retention(row.retention))
                meant = replace(meant, time_zone=request.time_zone or row.time_zone)
                rows = await judged(uow, meant, now)
        cron = parsed(
            request.cron or (row.cron if row else "@daily"),
            request.time_zone or (row.time_zone if row else "UTC"),
        )
        ordered = sorted(rows, key=lambda j: not j.goes)
        goes = sum(j.goes for j in rows)
        return Forecast(
            words(cron),
            preview(cron, now, request.count),
            covers,
            goes,
            len(rows) - goes,
            tuple(_told(j) for j in ordered[:MAX_NAMED]),
        )


def _changed(row: Schedule, request: ScheduleBackups) -> Schedule:
    """The schedule with what was given, checked."""
    given: dict[str, Any] = {
        name: value
        for name in ("name", "cron", "time_zone", "jitter_minutes", "paused")
        if (value := getattr(request, name)) is not None
    }
    row = replace(row, **given, retention=request.retention(row.retention))
    if not row.name.strip():
        raise InvalidRequest("A schedule needs a name.", field="name")
    cron = parsed(row.cron, row.time_zone)
    return replace(row, cron=cron.expression, name=row.name.strip())


def _refuse_moving(request: ScheduleBackups) -> None:
    for field in ("database_id", "tenant_id", "label"):
        if getattr(request, field) is not None:
            raise InvalidRequest(
                f"A schedule goes on with what it covers: {field} cannot be changed.",
                field=field,
                hint="Make another schedule, and remove this one.",
            )
    if "only_new" in request.model_fields_set:
        raise InvalidRequest("A schedule goes on with what it covers.", field="only_new")


def _told(judged: Judged) -> Judgement:
    backup = judged.backup
    return Judgement(
        backup.id, backup.database_name, taken_at(backup), backup.size_stored, judged.goes, judged.reasons
    )
