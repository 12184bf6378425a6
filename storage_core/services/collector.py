"""What retention says goes is deleted: softly, by the worker, with the same decision a dry run shows."""

import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta

from ..domain.errors import StorageError
from ..domain.page import Clause, Query, Test
from ..domain.permission import Target
from ..domain.retention import Judged, judge
from ..domain.schedule import RunStatus, Schedule
from ..ports.catalog import UnitOfWork
from .kernel import Service, every, raced
from .system import acting

log = logging.getLogger(__name__)

#: How long people can see what became of a schedule's turns.
RUNS_KEPT = timedelta(days=30)


class Collector(Service):
    """Collects what no rule keeps. A paused schedule collects nothing: nothing new comes in its place."""

    async def collect(self) -> None:
        async with self.kernel.catalog.read() as uow:
            rows = [row async for row in every(uow.schedules, ())]
        for row in rows:
            if row.paused or row.retention.is_forever:
                continue
            try:
                await raced(lambda row=row: self._collect(row))  # type: ignore[misc]
            except StorageError as error:
                log.warning("retention of the schedule %s: %s", row.name, error.detail)
        await self._forget_runs()

    async def _collect(self, known: Schedule) -> None:
        target = Target("schedule", known.id, known.name, known.tenant_id, known.provider_id)
        reason = f"the retention of the schedule {known.name!r}"
        async with acting(self.kernel, reason, "backups.delete", target), self.kernel.catalog.write() as uow:
            row = await uow.schedules.get(known.id)
            if row is None or row.paused:
                return
            now = self.kernel.now()
            for one in await judged(uow, row, now):
                if one.goes:
                    await uow.backups.save(replace(one.backup, deleted_at=now, updated_at=now))

    async def _forget_runs(self) -> None:
        over = (
            Clause("created_at", Test.BEFORE, ((self.kernel.now() - RUNS_KEPT).isoformat(),)),
            Clause("status", Test.NONE_OF, (RunStatus.WAITING.value,)),
        )
        async with self.kernel.catalog.write() as uow:
            for run in (await uow.runs.find(Query(over, limit=500))).items:
                await uow.runs.remove(run.id)


async def judged(uow: UnitOfWork, schedule: Schedule, now: datetime) -> tuple[Judged, ...]:
    """Every backup the schedule has made and nobody deleted, judged by its retention."""
    kept = Clause("deleted_at", Test.ANY_OF, (None,))
    mine = Clause("schedule_id", Test.ANY_OF, (schedule.id,))
    databases = dict.fromkeys([b.database_id async for b in every(uow.backups, (mine, kept))])
    needed = await needed_backups(uow)
    out: list[Judged] = []
    for id in databases:
        of = Clause("database_id", Test.ANY_OF, (id,))
        rows = [b async for b in every(uow.backups, (of, kept))]
        out += judge(schedule.retention, schedule.id, rows, now, schedule.when.zone, needed)
    return tuple(out)


async def needed_backups(uow: UnitOfWork) -> frozenset[str]:
    """What open jobs work with: a backup that is being restored is not taken away below it."""
    running = Clause("status", Test.ANY_OF, ("queued", "running"))
    out: set[str] = set()
    for job in [job async for job in every(uow.jobs, (running,))]:
        order = await uow.orders.get(job.id)
        named = None if order is None else json.loads(order.request).get("id")
        out |= {id for id in (named, job.target_id) if isinstance(id, str)}
    return frozenset(out)
