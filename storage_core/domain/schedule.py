"""Schedules: when which databases are backed up, and how long that is kept."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from .cron import Cron, last_due, next_due
from .database import Database, DatabaseStatus
from .retention import FOREVER, Retention

#: A run that was due this long after now was due by a clock that has been put back since.
CLOCK_MAY_BE_OFF = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Backs up every database that fits all of `database_id`, `tenant_id`, `label` and `only_new` (made after the
    schedule); with none of them, every database there is.

    `cron` is read in `time_zone`; each database starts up to `jitter_minutes` later, so that many do not start at
    once. `next_at` is when it is due next, `last_at` when it was due last.
    """

    id: str
    name: str
    cron: str
    time_zone: str
    created_at: datetime
    updated_at: datetime
    made_by: str = ""
    database_id: str | None = None
    tenant_id: str | None = None
    provider_id: str | None = None
    label: str | None = None
    only_new: bool = False
    jitter_minutes: int = 0
    paused: bool = False
    retention: Retention = FOREVER
    next_at: datetime | None = None
    last_at: datetime | None = None

    LONGEST_JITTER: ClassVar[int] = 720

    @property
    def when(self) -> Cron:
        return Cron(self.cron, self.time_zone)

    def covers(self, database: Database) -> bool:
        """Whether it backs this database up."""
        return (
            database.status in (DatabaseStatus.READY, DatabaseStatus.FAILED)
            and self.database_id in (None, database.id)
            and self.tenant_id in (None, database.tenant_id)
            and (self.label is None or self.label in database.labels)
            and (not self.only_new or database.created_at > self.created_at)
        )


class RunStatus(StrEnum):
    """What became of a run: it waits for its moment, it was handed to a job, or it was not taken."""

    WAITING = "waiting"
    STARTED = "started"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One database's turn at one time a schedule was due. `reason` says why it was skipped."""

    id: str
    schedule_id: str
    database_id: str
    due_at: datetime
    start_at: datetime
    created_at: datetime
    updated_at: datetime
    tenant_id: str | None = None
    provider_id: str | None = None
    status: RunStatus = RunStatus.WAITING
    backup_id: str | None = None
    job_id: str | None = None
    reason: str | None = None


def due_now(schedule: Schedule, now: datetime) -> datetime | None:
    """The run that is to be taken now: of several that were missed, the last."""
    if schedule.paused or schedule.next_at is None or schedule.next_at > now:
        return None
    # Zones change their rules: what was due by the old ones is taken all the same.
    return last_due(schedule.when, schedule.next_at - timedelta(seconds=1), now) or schedule.next_at


def taken(schedule: Schedule, due: datetime, now: datetime) -> Schedule:
    """The schedule once a run is taken."""
    return replace(schedule, last_at=due, next_at=next_due(schedule.when, max(due, now)), updated_at=now)


def waits_wrongly(schedule: Schedule, now: datetime) -> bool:
    """Whether a clock that was ahead for a while has left it waiting for a time far too late."""
    return not schedule.paused and schedule.last_at is not None and schedule.last_at > now + CLOCK_MAY_BE_OFF


def waiting_anew(schedule: Schedule, now: datetime) -> Schedule:
    """The schedule, waiting from now on: made, changed, resumed, or after its clock was put right."""
    last = None if schedule.last_at is None or schedule.last_at > now else schedule.last_at
    return replace(schedule, last_at=last, next_at=next_due(schedule.when, now), updated_at=now)


def run_id(schedule_id: str, database_id: str, due: datetime) -> str:
    """One id for one turn: however often a run is taken, there is one."""
    return _digest(schedule_id, database_id, due).hex()


def start_of(schedule: Schedule, database_id: str, due: datetime) -> datetime:
    """When a database's turn begins: the same for the same turn, spread over the jitter."""
    if not schedule.jitter_minutes:
        return due
    number = int.from_bytes(_digest(schedule.id, database_id, due, b"jitter")[:8], "big")
    return due + timedelta(seconds=number % (schedule.jitter_minutes * 60))


def _digest(schedule_id: str, database_id: str, due: datetime, salt: bytes = b"") -> bytes:
    text = f"{schedule_id}|{database_id}|{due.isoformat()}"
    return hashlib.blake2b(text.encode(), digest_size=16, salt=salt).digest()
