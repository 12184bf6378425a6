"""One transaction over the catalog."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import and_, func, insert, select, text, true
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.approval import Approval
from ..domain.backup import Backup
from ..domain.database import Database
from ..domain.encryption import Encryption
from ..domain.federation import Identity, SpentFlow
from ..domain.idempotency import Remembered
from ..domain.identity import ApiToken, Credential, Misses, Password, Session, SetupClaim, User, UserGrant
from ..domain.job import Job, JobOrder
from ..domain.lease import Lease
from ..domain.notification import Channel, Delivery
from ..domain.option import StoredOption
from ..domain.page import Value
from ..domain.preference import Preferences, SavedFilter
from ..domain.provider import Provider
from ..domain.schedule import Schedule, ScheduleRun
from ..domain.secret import Secret, SecretInfo, WrappedKey
from ..domain.tenant import Tenant
from ..ports.catalog import AuditLog, Repository
from ..ports.recording import recording
from . import inventory, tables
from .audit import AuditRows
from .envelopes import PLACES
from .mapping import Mapper
from .paging import Listing
from .repository import Rows, SealedRows

_SCOPED = {"tenants": "tenant_id", "providers": "provider_id"}


def _entry(cls: Any, row: Any, search: tuple[str, ...], reach: dict[str, str]) -> tuple[Mapper[Any], Listing]:
    mapper = Mapper(cls, row.__table__)
    return mapper, Listing(row.__table__, mapper.scalars, search, reach)


_NOUNS = {
    "tenants": _entry(Tenant, tables.TenantRow, ("name", "title"), {"tenants": "id"}),
    # Not by endpoint: a search that finds by what the searcher may not see tells it.
    "providers": _entry(Provider, tables.ProviderRow, ("name", "kind"), {"providers": "id"}),
    "databases": _entry(Database, tables.DatabaseRow, ("name", "physical_name"), _SCOPED),
    "backups": _entry(Backup, tables.BackupRow, ("database_name", "note", "reason", "id"), _SCOPED),
    "schedules": _entry(Schedule, tables.ScheduleRow, ("name", "label", "cron"), _SCOPED),
    "runs": _entry(ScheduleRun, tables.ScheduleRunRow, ("reason",), _SCOPED),
    "jobs": _entry(Job, tables.JobRow, ("operation", "target_name", "actor_name", "id"), _SCOPED),
    "orders": _entry(JobOrder, tables.OrderRow, (), {}),
    "inventory": inventory.entry(),
    "secrets": _entry(Secret, tables.SecretRow, (), {"tenants": "tenant_id"}),
    "data_keys": _entry(WrappedKey, tables.DataKeyRow, (), {"tenants": "tenant_id"}),
    "encryptions": _entry(Encryption, tables.EncryptionRow, (), {"tenants": "tenant_id"}),
    "leases": _entry(Lease, tables.LeaseRow, ("user",), _SCOPED),
    "channels": _entry(Channel, tables.ChannelRow, ("name", "address"), {"tenants": "tenant_id"}),
    "deliveries": _entry(Delivery, tables.DeliveryRow, (), {"tenants": "tenant_id"}),
    "users": _entry(User, tables.UserRow, ("username",), {}),
    "passwords": _entry(Password, tables.PasswordRow, (), {}),
    "grants": _entry(UserGrant, tables.GrantRow, ("role",), {}),
    "sessions": _entry(Session, tables.SessionRow, ("agent",), {}),
    "tokens": _entry(ApiToken, tables.TokenRow, ("name",), {}),
    "setups": _entry(SetupClaim, tables.SetupRow, (), {}),
    "credentials": _entry(Credential, tables.CredentialRow, (), {}),
    "identities": _entry(Identity, tables.IdentityRow, (), {}),
    "flows": _entry(SpentFlow, tables.SpentFlowRow, (), {}),
    "misses": _entry(Misses, tables.MissesRow, (), {}),
    "remembered": _entry(Remembered, tables.RememberedRow, (), {}),
    "preferences": _entry(Preferences, tables.PreferencesRow, (), {}),
    "filters": _entry(SavedFilter, tables.FilterRow, ("name", "owner_name"), {}),
    "options": _entry(StoredOption, tables.OptionRow, (), {}),
    "approvals": _entry(
        Approval, tables.ApprovalRow, ("operation", "target_name", "requester_name", "reason"), _SCOPED
    ),
}

#: Changes of these are nobody's news: they change with every request, or are secrets' metadata.
_SILENT = frozenset(
    {
        "orders",
        "deliveries",
        "inventory",
        "secrets",
        "data_keys",
        "passwords",
        "sessions",
        "tokens",
        "setups",
        "credentials",
        "misses",
        "identities",
        "flows",
        "remembered",
        "preferences",
        "filters",
    }
)

_EVENTS_LOCK = 7_230_419
#: Where PostgreSQL tells of new events.
CHANNEL = "storage_events"

Enqueue = Callable[[AsyncConnection, str], Awaitable[None]]


class Unit:
    """The unit of work. Its repositories share one connection and one transaction."""

    tenants: Repository[Tenant]
    providers: Repository[Provider]
    databases: Repository[Database]
    backups: Repository[Backup]
    schedules: Repository[Schedule]
    runs: Repository[ScheduleRun]
    jobs: Repository[Job]
    orders: Repository[JobOrder]
    inventory: Repository[SecretInfo]
    secrets: Repository[Secret]
    data_keys: Repository[WrappedKey]
    encryptions: Repository[Encryption]
    leases: Repository[Lease]
    channels: Repository[Channel]
    deliveries: Repository[Delivery]
    users: Repository[User]
    passwords: Repository[Password]
    grants: Repository[UserGrant]
    sessions: Repository[Session]
    tokens: Repository[ApiToken]
    setups: Repository[SetupClaim]
    credentials: Repository[Credential]
    misses: Repository[Misses]
    identities: Repository[Identity]
    flows: Repository[SpentFlow]
    remembered: Repository[Remembered]
    preferences: Repository[Preferences]
    filters: Repository[SavedFilter]
    options: Repository[StoredOption]
    approvals: Repository[Approval]

    def __init__(self, connection: AsyncConnection, now: Callable[[], datetime], enqueue: Enqueue) -> None:
        self._connection, self._now, self._enqueue = connection, now, enqueue
        self._news: list[tuple[str, str, str, str | None]] = []
        self.enqueued: list[str] = []
        self._changes: list[tuple[str, str, Any, Any]] = []
        for noun, (mapper, listing) in _NOUNS.items():
            told = None if noun in _SILENT else self.publish
            kind = SealedRows if noun in PLACES else Rows
            setattr(self, noun, kind(connection, mapper, listing, told, partial(self._note, noun)))
        self.audit: AuditLog = AuditRows(connection)

    async def publish(self, topic: str, verb: str, id: str, tenant_id: str | None) -> None:
        self._news.append((topic, verb, id, tenant_id))

    def _note(self, noun: str, _table: str, id: str, before: Any, after: Any) -> None:
        self._changes.append((noun, id, before, after))

    def record(self) -> None:
        """Tell the running operation's recording what was committed."""
        recorded = recording.get()
        if recorded is not None:
            for change in self._changes:
                recorded.note(*change)

    async def enqueue(self, job: Job) -> None:
        await self._enqueue(self._connection, job.id)
        self.enqueued.append(job.id)

    async def sum(self, topic: str, field: str, **where: Value) -> int:
        table = _NOUNS[topic][0].table
        tests = [table.c[k] == v if v is not None else table.c[k].is_(None) for k, v in where.items()]
        query = select(func.coalesce(func.sum(table.c[field]), 0)).where(and_(true(), *tests))
        return int((await self._connection.execute(query)).scalar_one())

    async def flush_news(self) -> None:
        """Write the outbox last, so that events commit in the order of their numbers on PostgreSQL, too."""
        if not self._news:
            return
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _EVENTS_LOCK})
        at = self._now()
        table: Any = tables.EventRow.__table__  # type: ignore[attr-defined]
        rows = [{"topic": t, "verb": v, "id": i, "tenant_id": n, "at": at} for t, v, i, n in self._news]
        await self._connection.execute(insert(table), rows)
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(text(f"notify {CHANNEL}"))
        self._news.clear()
