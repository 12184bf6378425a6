"""Long work: durable, followed by people, ended exactly once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

#: Up to this share of a guessed total, bytes are believed to be what they look like.
_SURE = 0.7


class JobStatus(StrEnum):
    """Where a job stands; the last three are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, as every door shows it."""

    code: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands: the stage in a word, percent 0 to 100 (none: unknown), bytes done and expected."""

    stage: str = "queued"
    percent: float | None = None
    bytes_done: int = 0
    bytes_total: int | None = None
    message: str = ""


def share_of_guess(done: int, guess: int | None) -> float:
    """How far `done` is on the way to a total that is a guess, 0 to 1; it slows down near 1 and never stands still.

    >>> [round(share_of_guess(done, 100), 2) for done in (0, 50, 70, 100, 150, 300)]
    [0.0, 0.5, 0.7, 0.85, 0.92, 0.97]
    """
    if not guess:
        return 0.0
    share = done / guess
    return share if share <= _SURE else 1 - (1 - _SURE) ** 2 / (share + 1 - 2 * _SURE)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that people read beside a job."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a durable operation.

    `target_id` is the row the work is about (a backup, a database); `result` is the operation's answer.
    """

    id: str
    operation: str
    created_at: datetime
    updated_at: datetime
    actor_id: str
    actor_name: str
    target_id: str | None = None
    target_name: str = ""
    tenant_id: str | None = None
    provider_id: str | None = None
    status: JobStatus = JobStatus.QUEUED
    progress: Progress = Progress()
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    heartbeat_at: datetime | None = None
    worker: str | None = None
    cancel_requested: bool = False
    error: JobError | None = None
    result: dict[str, Any] | None = None
    log: tuple[LogLine, ...] = ()
    retry_of: str | None = None


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What a job was asked to do and by whom, as JSON; it holds no secret. `id` is the job's."""

    id: str
    request: str
    context: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ticket:
    """The answer to a long operation: what it is about, the job to follow."""

    id: str
    job_id: str
    status: str = "queued"
