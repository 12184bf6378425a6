"""What the dashboard displays, decided from the core's lists; pure, the time comes in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage_console.parts import words
from storage_core.domain.database import Database, DatabaseStatus
from storage_core.domain.job import Job, JobStatus
from storage_core.domain.provider import Provider, ProviderStatus

TARGET = timedelta(hours=24)  # how old the last proven backup of a database may be
WINDOW = timedelta(hours=24)  # how far back failed jobs count


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs somebody, and where to go for it."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure with its word and remark."""

    label: str
    figure: str
    remark: str
    tone: str
    href: str


@dataclass(frozen=True, slots=True)
class Running:
    """A job at work."""

    id: str
    title: str
    target: str
    stage: str
    percent: int
    left: str


@dataclass(frozen=True, slots=True)
class Done:
    """A job of late."""

    id: str
    title: str
    target: str
    status: str
    actor: str
    at: float


@dataclass(frozen=True, slots=True)
class Guarded:
    """A database and the age of its last proven backup."""

    id: str
    name: str
    status: str
    proven: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the first run."""

    number: int
    title: str
    text: str
    href: str
    verb: str
    done: bool


def title(operation: str) -> str:
    """An operation's name for people: ``backups.create`` reads *Backup: create*."""
    noun, _, verb = operation.partition(".")
    return f"{noun.removesuffix('s').capitalize()}: {verb.replace('_', ' ')}"


def left(job: Job, now: datetime) -> str:
    """The time a job still takes at its pace so far; empty while that is anybody's guess."""
    percent = job.progress.percent
    if not percent or percent < 5 or percent >= 100 or job.started_at is None:
        return ""
    spent = (now - job.started_at).total_seconds()
    return words.span(spent * (100 - percent) / percent) if spent > 2 else ""


def running(job: Job, now: datetime) -> Running:
    """A job at work as displayed."""
    waiting = job.status is JobStatus.QUEUED
    percent = 0 if waiting else -1 if job.progress.percent is None else round(job.progress.percent)
    stage = job.progress.stage.replace("_", " ").capitalize()
    return Running(job.id, title(job.operation), job.target_name, stage, percent, left(job, now))


def done(job: Job) -> Done:
    """A job of late as displayed."""
    at = words.epoch(job.finished_at or job.created_at)
    return Done(job.id, title(job.operation), job.target_name, job.status.value, job.actor_name, at)


def late(database: Database, now: datetime) -> bool:
    """Whether a database's last proven backup is missing or older than the target."""
    return database.last_proven_at is None or now - database.last_proven_at > TARGET


def guarded(database: Database, now: datetime) -> Guarded:
    """A database with its proof, worst first by `guarded` order of the caller."""
    if database.last_proven_at is None:
        status = "unproven"
    else:
        status = "stale" if late(database, now) else "proven"
    return Guarded(database.id, database.name, status, words.epoch(database.last_proven_at))


def ready(databases: Sequence[Database]) -> list[Database]:
    """Databases that can be backed up; those without proof first, then the oldest proof."""
    alive = [d for d in databases if d.status is DatabaseStatus.READY]
    return sorted(alive, key=lambda d: words.epoch(d.last_proven_at))


def failed_lately(jobs: Sequence[Job], now: datetime) -> list[Job]:
    """Jobs that failed within the window."""
    return [
        j for j in jobs if j.status is JobStatus.FAILED and now - (j.finished_at or j.updated_at) < WINDOW
    ]


def needs(
    providers: Sequence[Provider], databases: Sequence[Database], failed: int, now: datetime
) -> list[Need]:
    """What needs somebody, worst first."""
    down = [p for p in providers if p.status is ProviderStatus.OFFLINE]
    broken = [d for d in databases if d.status is DatabaseStatus.FAILED]
    behind = [d for d in ready(databases) if late(d, now)]
    found = [Need(f"{p.name} is offline", "/providers?status=offline") for p in down]
    found += [Need(f"{d.name} failed", "/databases?status=failed") for d in broken]
    if behind:
        found.append(
            Need(words.count(len(behind), "database") + " without a fresh proven backup", "/backups")
        )
    if failed:
        found.append(Need(words.count(failed, "failed job") + " in 24 hours", "/jobs?status=failed"))
    return found


def steps(providers: int, tenants: int, databases: int, proven: bool) -> list[Step]:
    """The first run's checklist."""
    return [
        Step(
            1,
            "Register a provider",
            "An engine you run, or a private local one.",
            "/providers",
            "Add provider",
            providers > 0,
        ),
        Step(
            2,
            "Create a tenant",
            "Whose data it is; isolation follows from it.",
            "/tenants",
            "Create tenant",
            tenants > 0,
        ),
        Step(
            3,
            "Create a database",
            "Made on the provider, or adopted from it.",
            "/databases",
            "Create database",
            databases > 0,
        ),
        Step(
            4,
            "Back up and prove it",
            "A backup counts once it was restored and compared.",
            "/backups",
            "Back up",
            proven,
        ),
    ]
