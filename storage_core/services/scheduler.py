"""Takes what is due: each turn of each database once, whatever is killed in between.

A schedule moves on when the turns of all its databases are written; a turn is handed to its job in the transaction
that writes the job. So after a crash either both are there, or neither, and the next tick goes on.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from ..domain.audit import Phase
from ..domain.backup import SETTLED
from ..domain.context import system_context
from ..domain.database import Database, DatabaseStatus
from ..domain.errors import StorageError
from ..domain.page import Clause, Query, Test
from ..domain.schedule import (
    CLOCK_MAY_BE_OFF,
    RunStatus,
    Schedule,
    ScheduleRun,
    due_now,
    run_id,
    start_of,
    taken,
    waiting_anew,
    waits_wrongly,
)
from ..domain.tenant import TenantStatus
from ..ports.catalog import UnitOfWork
from .auditing import audit_entry
from .backups import Backups, CreateBackup
from .kernel import Kernel, Service, every, raced
from .operation import enqueued, operations_of
from .targets import database_target

log = logging.getLogger(__name__)

_MOMENT = timedelta(microseconds=1)
#: Turns written in one transaction.
AT_ONCE = 100


class Scheduler(Service):
    """The worker's upkeep of schedules. Two at once do no harm: who comes second finds the turn taken."""

    def __init__(self, kernel: Kernel, backups: Backups) -> None:
        super().__init__(kernel)
        self._backups = backups
        self._create, _ = operations_of(backups)["backups.create"]

    async def tick(self) -> None:
        """Take the schedules that are due, then start the turns whose moment has come."""
        for id in await self._due():
            await self._one(id, self._take)
        for id in await self._waiting():
            await self._one(id, self._start)

    async def _one(self, id: str, work: Callable[[str], Awaitable[None]]) -> None:
        """One that cannot be done now keeps no other from its turn."""
        try:
            await raced(lambda: work(id))
        except StorageError as error:
            log.warning("schedules: %s waits: %s", id, error.detail)

    async def _due(self) -> list[str]:
        now = self.kernel.now()
        active = Clause("paused", Test.ANY_OF, (False,))
        due = Clause("next_at", Test.BEFORE, ((now + _MOMENT).isoformat(),))
        ahead = Clause("last_at", Test.FROM, ((now + CLOCK_MAY_BE_OFF).isoformat(),))
        async with self.kernel.catalog.read() as uow:
            rows = [row.id for which in (due, ahead) async for row in every(uow.schedules, (active, which))]
        return list(dict.fromkeys(rows))

    async def _take(self, id: str) -> None:
        """Write the turns, part by part, so that others can write in between; then let the schedule move on.

        A turn has one id however often it is written: what a crash cuts off is taken up again.
        """
        now = self.kernel.now()
        due, turns = await self._expanded(id, now)
        if due is None:
            return
        for begin in range(0, len(turns), AT_ONCE):
            async with self.kernel.catalog.write() as uow:
                for turn in turns[begin : begin + AT_ONCE]:
                    if await uow.runs.get(turn.id) is None:
                        await uow.runs.add(turn)
        async with self.kernel.catalog.write() as uow:
            row = await uow.schedules.get(id)
            if row is not None and due_now(row, now) == due:
                await uow.schedules.save(taken(row, due, now))

    async def _expanded(self, id: str, now: datetime) -> tuple[datetime | None, list[ScheduleRun]]:
        """When the schedule was due, and the turns of the databases it covers."""
        async with self.kernel.catalog.write() as uow:
            row = await uow.schedules.get(id)
            if row is None:
                return None, []
            if waits_wrongly(row, now):
                row = waiting_anew(row, now)
                await uow.schedules.save(row)
            due = due_now(row, now)
            if due is None:
                return None, []
            covered = [d async for d in every(uow.databases, _of(row)) if row.covers(d)]
        return due, [self._turn(row, database, due, now) for database in covered]

    def _turn(self, schedule: Schedule, database: Database, due: datetime, now: datetime) -> ScheduleRun:
        return ScheduleRun(
            run_id(schedule.id, database.id, due),
            schedule.id,
            database.id,
            due,
            start_of(schedule, database.id, due),
            now,
            now,
            database.tenant_id,
            database.provider_id,
        )

    async def _waiting(self) -> list[str]:
        come = (
            Clause("status", Test.ANY_OF, (RunStatus.WAITING.value,)),
            Clause("start_at", Test.BEFORE, ((self.kernel.now() + _MOMENT).isoformat(),)),
        )
        async with self.kernel.catalog.read() as uow:
            return [run.id async for run in every(uow.runs, come)]

    async def _start(self, id: str) -> None:
        """Hand a turn to a backup job, or write down why not: one transaction, its audit entry inside."""
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            run = await uow.runs.get(id)
            if run is None or run.status is not RunStatus.WAITING:
                return
            schedule = await uow.schedules.get(run.schedule_id)
            database = await uow.databases.get(run.database_id)
            obstacle = await self._obstacle(uow, schedule, database)
            if obstacle is not None or schedule is None or database is None:
                run = replace(run, status=RunStatus.SKIPPED, reason=obstacle, updated_at=now)
                log.warning("schedules: %s has no turn: %s", run.database_id, obstacle)
                await uow.runs.save(run)
                return
            run = await self._handed_over(uow, run, schedule, database)
            await uow.runs.save(replace(run, updated_at=now))

    async def _handed_over(
        self, uow: UnitOfWork, run: ScheduleRun, schedule: Schedule, database: Database
    ) -> ScheduleRun:
        reason = f"the schedule {schedule.name!r} was due at {run.due_at:%Y-%m-%d %H:%M} UTC"
        ctx, job_id = system_context(reason, self.kernel.new_id()), self.kernel.new_id()
        row = self._backups.new_row(database, job_id, schedule.name)
        row = replace(row, schedule_id=schedule.id, due_at=run.due_at)
        await uow.backups.add(row)
        request = CreateBackup(database_id=database.id, note=schedule.name)
        await enqueued(uow, self.kernel, self._create, ctx, request, self._backups.accepted(row), job_id)
        digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        target = database_target(database)
        await uow.audit.append(
            audit_entry(self.kernel, self._create.name, ctx, target, digest, Phase.OUTCOME, "ok")
        )
        return replace(run, status=RunStatus.STARTED, backup_id=row.id, job_id=job_id)

    async def _obstacle(
        self, uow: UnitOfWork, schedule: Schedule | None, database: Database | None
    ) -> str | None:
        """Why a turn cannot be taken, in words."""
        if schedule is None or database is None:
            return "What it was for is gone."
        if schedule.paused:
            return "The schedule is paused."
        if database.status is not DatabaseStatus.READY:
            return f"The database was {database.status}."
        tenant = None if database.tenant_id is None else await uow.tenants.get(database.tenant_id)
        if tenant is not None and tenant.status is not TenantStatus.ACTIVE:
            return f"The tenant was {tenant.status}."
        at_work = (
            Clause("schedule_id", Test.ANY_OF, (schedule.id,)),
            Clause("database_id", Test.ANY_OF, (database.id,)),
            Clause("status", Test.NONE_OF, tuple(status.value for status in SETTLED)),
        )
        before = await uow.backups.find(Query(at_work, limit=1))
        return "The backup before was not over." if before.total else None


def _of(schedule: Schedule) -> tuple[Clause, ...]:
    """What narrows the databases down before each is looked at."""
    named = {"id": schedule.database_id, "tenant_id": schedule.tenant_id}
    return tuple(Clause(name, Test.ANY_OF, (id,)) for name, id in named.items() if id is not None)
