"""Notifications: what is worth telling people who are not looking, where it goes, and whether it arrived."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum

from .errors import InvalidRequest
from .job import Job, JobStatus


class Happening(StrEnum):
    """What people can be told of."""

    BACKUP_PROVEN = "backup.proven"
    BACKUP_UNPROVEN = "backup.unproven"
    BACKUP_FAILED = "backup.failed"
    RESTORE_DONE = "restore.done"
    RESTORE_FAILED = "restore.failed"
    JOB_FAILED = "job.failed"
    PROVIDER_OFFLINE = "provider.offline"
    PROVIDER_ONLINE = "provider.online"


class ChannelKind(StrEnum):
    """How people are reached."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"


class MailSecurity(StrEnum):
    """How the way to a mail server is sealed; `none` is for one on this machine."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. Its password is kept sealed, apart from this."""

    host: str
    port: int
    security: MailSecurity
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to somebody. One of a tenant tells of that tenant alone, one without of everything.

    `address` is what may be shown of where it leads: never the path of a web hook, which is as good as a password.
    `problem` says why the last notice could not be delivered.
    """

    id: str
    name: str
    kind: ChannelKind
    address: str
    created_at: datetime
    updated_at: datetime
    tenant_id: str | None = None
    events: tuple[Happening, ...] = tuple(Happening)
    enabled: bool = True
    template: str | None = None
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    server: MailServer | None = None
    sent_at: datetime | None = None
    problem: str | None = None

    def hears(self, notice: "Notice") -> bool:
        mine = self.tenant_id is None or self.tenant_id == notice.tenant_id
        return self.enabled and mine and notice.event in self.events


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened. `key` names the happening: what is told twice under one key arrives once."""

    key: str
    event: Happening
    at: datetime
    title: str
    text: str
    tenant_id: str | None = None
    target_kind: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    job_id: str | None = None


class DeliveryStatus(StrEnum):
    """Whether a notice has arrived."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice on its way through one channel."""

    id: str
    channel_id: str
    tenant_id: str | None
    notice: Notice
    created_at: datetime
    updated_at: datetime
    due_at: datetime
    status: DeliveryStatus = DeliveryStatus.WAITING
    attempts: int = 0
    problem: str | None = None


#: Pauses double from the first to the last; a notice nobody took for a day is given up.
FIRST_PAUSE, LAST_PAUSE, GIVE_UP_AFTER = timedelta(seconds=10), timedelta(hours=1), timedelta(days=1)
#: How long it can be seen what became of a notice.
KEPT = timedelta(days=7)


def next_try(delivery: Delivery, now: datetime) -> datetime | None:
    """When to try again after a failure now; none when it is time to give up."""
    due = now + min(FIRST_PAUSE * 2 ** min(delivery.attempts, 20), LAST_PAUSE)
    return due if due < delivery.created_at + GIVE_UP_AFTER else None


def delivery_id(channel_id: str, key: str) -> str:
    """The same notice on the same channel has the same id, so that it is written once and known when it comes twice."""
    return hashlib.sha256(f"{len(channel_id)}:{channel_id}{key}".encode()).hexdigest()[:32]


def of_job(job: Job, backup_status: str | None = None) -> Notice | None:
    """What the end of a job tells; nothing for what people saw themselves or cancelled."""
    event = _event_of(job, backup_status)
    if event is None:
        return None
    what = f"{job.operation} of {job.target_name}" if job.target_name else job.operation
    text = "" if job.error is None else f"{job.error.detail} {job.error.hint}".strip()
    ended = job.finished_at or job.updated_at
    noun = job.operation.partition(".")[0].removesuffix("s")
    return Notice(
        f"job:{job.id}:{job.status}",
        event,
        ended,
        f"{_SAID[event]}: {job.target_name or what}",
        text or f"{what} ended: {job.status}.",
        job.tenant_id,
        noun,
        job.target_id,
        job.target_name,
        job.id,
    )


_SAID = {
    Happening.BACKUP_PROVEN: "Backup proven",
    Happening.BACKUP_UNPROVEN: "Backup stored, not proven",
    Happening.BACKUP_FAILED: "Backup failed",
    Happening.RESTORE_DONE: "Restored",
    Happening.RESTORE_FAILED: "Restore failed",
    Happening.JOB_FAILED: "Failed",
}


def _event_of(job: Job, backup_status: str | None) -> Happening | None:
    if job.status is JobStatus.CANCELLED:
        return None
    failed = job.status is JobStatus.FAILED
    match job.operation:
        case "backups.create" | "backups.verify":
            if failed:
                return Happening.BACKUP_FAILED
            return Happening.BACKUP_PROVEN if backup_status == "proven" else Happening.BACKUP_UNPROVEN
        case "backups.restore":
            return Happening.RESTORE_FAILED if failed else Happening.RESTORE_DONE
        case _:
            return Happening.JOB_FAILED if failed else None


#: The names a template may use.
NAMES = tuple(f.name for f in fields(Notice))
_NAME = re.compile(r"\$\{([^}]*)\}")


def plain(notice: Notice) -> dict[str, str | None]:
    """A notice as JSON has it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name in NAMES
        for value in (getattr(notice, name),)
    }


def checked_template(template: str) -> str:
    """A JSON text in which ``${title}`` and the like stand inside of strings; InvalidRequest for any other."""
    unknown = sorted(set(_NAME.findall(template)) - set(NAMES))
    if unknown:
        raise InvalidRequest(
            f"The template names {unknown[0][:40]!r}, which no notice has.",
            field="template",
            hint=f"Use ${{…}} with one of: {', '.join(NAMES)}.",
        )
    try:
        json.loads(_NAME.sub("x", template))
        json.loads(_NAME.sub('\\"', template))  # so every name stands inside of a string
    except ValueError:
        raise InvalidRequest(
            "The template is no JSON text with its names inside of strings.",
            field="template",
            hint='Write it like {"text": "${title}"}.',
        ) from None
    return template


def body_of(notice: Notice, template: str | None) -> bytes:
    """What a web hook is sent: the notice as JSON, or the template with its names replaced, quoted as JSON wants it."""
    values = plain(notice)
    if template is None:
        return json.dumps(values, ensure_ascii=False).encode()
    return _NAME.sub(lambda found: json.dumps(values[found[1]] or "")[1:-1], template).encode()


def signature(secret: bytes, id: str, at: datetime, body: bytes) -> str:
    """The header `webhook-signature` of the Standard Webhooks specification: HMAC-SHA256 over id, time and body."""
    signed = b".".join((id.encode(), str(int(at.timestamp())).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
