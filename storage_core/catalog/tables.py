"""The catalog's tables. A table's columns are the fields of its domain class; nested values are JSON text."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, Text, UniqueConstraint, false, text
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on both databases; SQLite keeps no zone, so it is taken off and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def _time(*, nullable: bool = True, index: bool = False) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime, nullable=nullable, index=index))


def _text(*, nullable: bool = True) -> Any:
    return Field(default=None, sa_column=Column(Text, nullable=nullable))


def _key() -> Any:
    return Field(primary_key=True, max_length=64)


class Stored(SQLModel, registry=registry()):
    """A registry of our own: models of an application in this process are none of the catalog's, nor ours of theirs."""


class Versioned(Stored):
    """`row_version` grows by one with each save: two writers who read the same row cannot both win."""

    row_version: int = Field(default=1)


class TenantRow(Versioned, table=True):
    __tablename__ = "tenants"
    id: str = _key()
    name: str = Field(max_length=48, unique=True)
    title: str
    status: str = Field(max_length=16)
    status_reason: str | None = None
    policy: str = _text(nullable=False)
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class ProviderRow(Versioned, table=True):
    __tablename__ = "providers"
    id: str = _key()
    name: str = Field(max_length=48, unique=True)
    kind: str = Field(max_length=16, index=True)
    endpoint: str = _text(nullable=False)
    revision: int
    status: str = Field(max_length=16)
    engine_version: str | None = None
    checked_at: datetime | None = _time()
    latency_ms: float | None = None
    problem: str | None = _text()
    proof_provider_id: str | None = Field(default=None, foreign_key="providers.id")
    server: str | None = None
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class DatabaseRow(Versioned, table=True):
    __tablename__ = "databases"
    __table_args__ = (
        UniqueConstraint("provider_id", "physical_name"),
        # NULLs are distinct in a unique constraint, and databases without tenant need unique names as well.
        Index(
            "uq_databases_name",
            text("coalesce(tenant_id, '')"),
            text("coalesce(namespace, '')"),
            "name",
            unique=True,
        ),
    )
    id: str = _key()
    provider_id: str = Field(foreign_key="providers.id", index=True)
    tenant_id: str | None = Field(default=None, foreign_key="tenants.id", index=True)
    namespace: str | None = Field(default=None, max_length=48)
    name: str = Field(max_length=63, index=True)
    physical_name: str = _text(nullable=False)
    location: str | None = _text()
    status: str = Field(max_length=16)
    protected: bool = False
    adopted: bool = False
    is_default: bool = False
    problem: str | None = _text()
    settings: str = _text(nullable=False)
    last_proven_at: datetime | None = _time()
    labels: str = Field(default="[]", sa_column=Column(Text, nullable=False, server_default="[]"))
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class BackupRow(Versioned, table=True):
    __tablename__ = "backups"
    id: str = _key()
    database_id: str = Field(max_length=64, index=True)
    provider_id: str = Field(max_length=64, index=True)
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    database_name: str = Field(max_length=63)
    job_id: str | None = Field(default=None, max_length=64)
    status: str = Field(max_length=16, index=True)
    note: str = _text(nullable=False)
    reason: str | None = _text()
    engine: str | None = None
    started_at: datetime | None = _time()
    stored_at: datetime | None = _time()
    finished_at: datetime | None = _time()
    size_raw: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    size_stored: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    manifest: str | None = _text()
    proof: str | None = _text()
    proven_at: datetime | None = _time()
    artifacts: str = _text(nullable=False)
    deleted_at: datetime | None = _time()
    schedule_id: str | None = Field(default=None, max_length=64, index=True)
    due_at: datetime | None = _time()
    pinned: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    hold: str | None = _text()
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class ScheduleRow(Versioned, table=True):
    __tablename__ = "schedules"
    id: str = _key()
    name: str = Field(max_length=48)
    cron: str = Field(max_length=100)
    time_zone: str = Field(max_length=64)
    made_by: str = Field(max_length=80)
    database_id: str | None = Field(default=None, max_length=64, index=True)
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    provider_id: str | None = Field(default=None, max_length=64, index=True)
    label: str | None = Field(default=None, max_length=48)
    only_new: bool = False
    jitter_minutes: int
    paused: bool = False
    retention: str = _text(nullable=False)
    next_at: datetime | None = _time(index=True)
    last_at: datetime | None = _time()
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class ScheduleRunRow(Versioned, table=True):
    __tablename__ = "schedule_runs"
    id: str = _key()
    schedule_id: str = Field(max_length=64, index=True)
    database_id: str = Field(max_length=64)
    tenant_id: str | None = Field(default=None, max_length=64)
    provider_id: str | None = Field(default=None, max_length=64)
    due_at: datetime = _time(nullable=False)
    start_at: datetime = _time(nullable=False, index=True)
    status: str = Field(max_length=16, index=True)
    backup_id: str | None = Field(default=None, max_length=64)
    job_id: str | None = Field(default=None, max_length=64)
    reason: str | None = _text()
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class JobRow(Versioned, table=True):
    __tablename__ = "jobs"
    id: str = _key()
    operation: str = Field(max_length=64, index=True)
    actor_id: str = Field(max_length=80, index=True)
    actor_name: str = Field(max_length=80)
    target_id: str | None = Field(default=None, max_length=64, index=True)
    target_name: str
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    provider_id: str | None = Field(default=None, max_length=64, index=True)
    status: str = Field(max_length=16, index=True)
    progress: str = _text(nullable=False)
    attempts: int
    started_at: datetime | None = _time()
    finished_at: datetime | None = _time()
    heartbeat_at: datetime | None = _time()
    worker: str | None = None
    cancel_requested: bool = False
    error: str | None = _text()
    result: str | None = _text()
    log: str = _text(nullable=False)
    retry_of: str | None = Field(default=None, max_length=64)
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class OrderRow(Versioned, table=True):
    __tablename__ = "job_orders"
    id: str = _key()
    request: str = _text(nullable=False)
    context: str = _text(nullable=False)
    created_at: datetime = _time(nullable=False)


class SecretRow(Versioned, table=True):
    __tablename__ = "secrets"
    id: str = Field(primary_key=True, max_length=128)
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    owner_id: str = Field(max_length=64, index=True)
    envelope: str = _text(nullable=False)
    key_id: str = Field(max_length=64, index=True)
    version: int
    collection: str = Field(max_length=32)
    created_at: datetime = _time(nullable=False)
    updated_at: datetime = _time(nullable=False)


class DataKeyRow(Versioned, table=True):
    __tablename__ = "data_keys"
    id: str = _key()
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    wrapped: str = _text(nullable=False)
    key_id: str = Field(max_length=64, index=True)
    created_at: datetime = _time(nullable=False)


class EncryptionRow(Versioned, table=True):
    __tablename__ = "encryptions"
    __table_args__ = (UniqueConstraint("database_id", "collection"),)
    id: str = _key()
    tenant_id: str = Field(max_length=64, index=True)
    database_id: str = Field(max_length=64)
    collection: str = Field(max_length=48)
    origin: str = Field(max_length=64)
    wrapped: str = _text(nullable=False)
    key_id: str = Field(max_length=64, index=True)
    fields: str = _text(nullable=False)
    searchable: str = _text(nullable=False)
    created_at: datetime = _time(nullable=False)


class LeaseRow(Versioned, table=True):
    __tablename__ = "leases"
    id: str = _key()
    tenant_id: str = Field(max_length=64, index=True)
    database_id: str = Field(max_length=64, index=True)
    provider_id: str = Field(max_length=64)
    user: str = Field(max_length=64)
    made_by: str = Field(max_length=80)
    write: bool
    created_at: datetime = _time(nullable=False, index=True)
    expires_at: datetime = _time(nullable=False)
    token_id: str | None = Field(default=None, max_length=64)
    made: bool = False
    ending: str | None = _text()
    problem: str | None = _text()


class ChannelRow(Versioned, table=True):
    __tablename__ = "channels"
    __table_args__ = (Index("uq_channels_name", text("coalesce(tenant_id, '')"), "name", unique=True),)
    id: str = _key()
    name: str = Field(max_length=48)
    kind: str = Field(max_length=16)
    address: str = _text(nullable=False)
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    events: str = _text(nullable=False)
    enabled: bool
    template: str | None = _text()
    sender: str | None = Field(default=None, max_length=320)
    recipients: str = _text(nullable=False)
    server: str | None = _text()
    sent_at: datetime | None = _time()
    problem: str | None = _text()
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class DeliveryRow(Versioned, table=True):
    __tablename__ = "deliveries"
    id: str = _key()
    channel_id: str = Field(max_length=64, index=True)
    tenant_id: str | None = Field(default=None, max_length=64)
    notice: str = _text(nullable=False)
    status: str = Field(max_length=16, index=True)
    attempts: int
    due_at: datetime = _time(nullable=False)
    problem: str | None = _text()
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class UserRow(Versioned, table=True):
    __tablename__ = "users"
    id: str = _key()
    username: str = Field(max_length=64, unique=True)
    status: str = Field(max_length=16)
    last_sign_in_at: datetime | None = _time()
    created_at: datetime = _time(nullable=False, index=True)
    updated_at: datetime = _time(nullable=False)


class PasswordRow(Versioned, table=True):
    __tablename__ = "passwords"
    id: str = Field(primary_key=True, max_length=64, foreign_key="users.id")
    hash: str
    changed_at: datetime = _time(nullable=False)


class GrantRow(Versioned, table=True):
    __tablename__ = "grants"
    id: str = _key()
    user_id: str = Field(foreign_key="users.id", index=True)
    role: str = Field(max_length=16)
    scope_kind: str = Field(max_length=16)
    scope_id: str | None = Field(default=None, max_length=64, index=True)
    created_at: datetime = _time(nullable=False, index=True)
    external: bool = False


class IdentityRow(Versioned, table=True):
    __tablename__ = "identities"
    id: str = _key()
    user_id: str = Field(foreign_key="users.id", index=True)
    issuer: str = _text(nullable=False)
    subject: str = _text(nullable=False)
    created_at: datetime = _time(nullable=False)


class SpentFlowRow(Versioned, table=True):
    __tablename__ = "flows"
    id: str = _key()
    created_at: datetime = _time(nullable=False, index=True)


class SessionRow(Versioned, table=True):
    __tablename__ = "sessions"
    id: str = _key()
    user_id: str = Field(foreign_key="users.id", index=True)
    created_at: datetime = _time(nullable=False, index=True)
    seen_at: datetime = _time(nullable=False)
    proved_at: datetime = _time(nullable=False)
    address: str | None = None
    agent: str = _text(nullable=False)
    revoked_at: datetime | None = _time()


class TokenRow(Versioned, table=True):
    __tablename__ = "tokens"
    id: str = _key()
    user_id: str = Field(foreign_key="users.id", index=True)
    name: str = Field(max_length=64)
    prefix: str = Field(max_length=16)
    role: str | None = Field(default=None, max_length=16)
    tenant_id: str | None = Field(default=None, max_length=64)
    created_at: datetime = _time(nullable=False, index=True)
    expires_at: datetime | None = _time()
    used_at: datetime | None = _time()
    revoked_at: datetime | None = _time()
    made_by: str | None = Field(default=None, max_length=80)
    made_with: str | None = Field(default=None, max_length=64, index=True)


class CredentialRow(Versioned, table=True):
    __tablename__ = "credentials"
    id: str = _key()
    kind: str = Field(max_length=16)
    subject_id: str = Field(max_length=64, index=True)
    created_at: datetime = _time(nullable=False)


class MissesRow(Versioned, table=True):
    __tablename__ = "misses"
    id: str = _key()
    count: int
    began_at: datetime = _time(nullable=False, index=True)


class RememberedRow(Versioned, table=True):
    __tablename__ = "remembered"
    id: str = _key()
    digest: str = Field(max_length=64)
    status: int
    body: str = _text(nullable=False)
    key_id: str = Field(max_length=64, index=True)
    created_at: datetime = _time(nullable=False, index=True)


class SetupRow(Versioned, table=True):
    __tablename__ = "setups"
    id: str = _key()
    created_at: datetime = _time(nullable=False, index=True)
    claimed_at: datetime | None = _time()


class PreferencesRow(Versioned, table=True):
    __tablename__ = "preferences"
    id: str = Field(primary_key=True, max_length=80)
    theme: str = Field(max_length=16)
    density: str = Field(max_length=16)
    motion: str = Field(max_length=16)
    time_zone: str = Field(max_length=64)
    language: str = Field(max_length=35)
    start_page: str = Field(max_length=60)
    updated_at: datetime | None = _time()


class FilterRow(Versioned, table=True):
    __tablename__ = "filters"
    __table_args__ = (UniqueConstraint("owner_id", "page", "name"),)
    id: str = _key()
    owner_id: str = Field(max_length=80)
    owner_name: str = Field(max_length=80)
    page: str = Field(max_length=42)
    name: str = Field(max_length=60)
    query: str = _text(nullable=False)
    shared: bool
    audience: str = Field(max_length=96, index=True)
    created_at: datetime = _time(nullable=False, index=True)


class OptionRow(Versioned, table=True):
    __tablename__ = "options"
    id: str = _key()
    value: str = _text(nullable=False)
    set_by: str = Field(max_length=80)
    created_at: datetime = _time(nullable=False)
    updated_at: datetime = _time(nullable=False)


class ApprovalRow(Versioned, table=True):
    __tablename__ = "approvals"
    id: str = _key()
    operation: str = Field(max_length=64)
    digest: str = Field(max_length=64, index=True)
    requester_id: str = Field(max_length=80, index=True)
    requester_name: str = Field(max_length=80)
    target_kind: str = Field(max_length=32)
    target_id: str | None = Field(default=None, max_length=64)
    target_name: str = _text(nullable=False)
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    provider_id: str | None = Field(default=None, max_length=64)
    reason: str | None = _text()
    permissions: str = _text(nullable=False)
    maker_id: str | None = Field(default=None, max_length=80)
    status: str = Field(max_length=16, index=True)
    ripe_at: datetime | None = _time()
    decided_by: str | None = Field(default=None, max_length=80)
    decided_at: datetime | None = _time()
    created_at: datetime = _time(nullable=False, index=True)
    expires_at: datetime = _time(nullable=False, index=True)


class AuditRow(Stored, table=True):
    __tablename__ = "audit"
    chain: str = Field(primary_key=True, max_length=64)
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: datetime = _time(nullable=False, index=True)
    phase: str = Field(max_length=16)
    operation: str = Field(max_length=64, index=True)
    actor_id: str = Field(max_length=80, index=True)
    actor_name: str = Field(max_length=80)
    role: str = Field(max_length=16)
    door: str = Field(max_length=16)
    correlation_id: str = Field(max_length=64, index=True)
    result: str = Field(max_length=64)
    target_kind: str = Field(max_length=32)
    target_id: str = Field(max_length=64)
    target_name: str = _text(nullable=False)
    tenant_id: str | None = Field(default=None, max_length=64, index=True)
    address: str | None = Field(default=None, max_length=64)
    reason: str | None = _text()
    detail: str = _text(nullable=False)
    digest: str = Field(max_length=64)
    changes: str | None = _text()
    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    previous: str = Field(max_length=64)
    hash: str = Field(max_length=64)


class AuditHeadRow(Stored, table=True):
    """The last link of each chain; its row is the lock under which a chain grows."""

    __tablename__ = "audit_heads"
    chain: str = Field(primary_key=True, max_length=64)
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    hash: str = Field(max_length=64)


class ExportedHeadRow(Stored, table=True):
    """What was exported to which place: so that a loss there is known after a restart."""

    __tablename__ = "exported_heads"
    place: str = Field(primary_key=True, max_length=64)
    chain: str = Field(primary_key=True, max_length=64)
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    hash: str = Field(max_length=64)
    since: datetime | None = _time()


class KeyRow(Stored, table=True):
    __tablename__ = "keys"
    __table_args__ = (
        Index(
            "uq_keys_primary",
            "owner",
            unique=True,
            sqlite_where=text("state = 'primary'"),
            postgresql_where=text("state = 'primary'"),
        ),
    )
    id: str = _key()
    owner: str = Field(max_length=64)
    """The tenant's id, ``system`` or ``master``: without NULL, so that the constraint holds for all of them."""
    wrapped: str = _text(nullable=False)
    state: str = Field(max_length=16)
    version: int
    created_at: datetime = _time(nullable=False)
    updated_at: datetime = _time(nullable=False)


class EventRow(Stored, table=True):
    __tablename__ = "events"
    sequence: int | None = Field(
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    )
    topic: str = Field(max_length=32)
    verb: str = Field(max_length=16)
    id: str = Field(max_length=64)
    tenant_id: str | None = Field(default=None, max_length=64)
    at: datetime = _time(nullable=False, index=True)


metadata = Stored.metadata
