"""The catalog port: our own metadata, read and written in units of work."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeVar

from ..domain.approval import Approval
from ..domain.audit import AuditEntry, RawEntry
from ..domain.backup import Backup
from ..domain.database import Database
from ..domain.encryption import Encryption
from ..domain.event import Event
from ..domain.federation import Identity, SpentFlow
from ..domain.heads import ExportedHead, Head
from ..domain.idempotency import Remembered
from ..domain.identity import ApiToken, Credential, Misses, Password, Session, SetupClaim, User, UserGrant
from ..domain.job import Job, JobOrder
from ..domain.lease import Lease
from ..domain.notification import Channel, Delivery
from ..domain.option import StoredOption
from ..domain.page import Page, Query, Value
from ..domain.preference import Preferences, SavedFilter
from ..domain.provider import Provider
from ..domain.schedule import Schedule, ScheduleRun
from ..domain.secret import Secret, SecretInfo, WrappedKey
from ..domain.tenant import Tenant
from .vault import Envelopes, KeyRing, KeyStore

T = TypeVar("T")


class Repository(Protocol[T]):
    """Rows of one kind, as domain objects. `id` is their key."""

    async def add(self, row: T) -> None:
        """Insert; NameTaken when a unique name exists already."""
        ...

    async def get(self, id: str) -> T | None: ...

    async def one(self, **where: Value) -> T | None:
        """The row with these exact values; where several match, any."""
        ...

    async def save(self, row: T) -> None:
        """Replace the row of the same id; VersionConflict when it was changed or removed since it was read here."""
        ...

    async def remove(self, id: str) -> None:
        """Idempotent."""
        ...

    async def find(self, query: Query) -> Page[T]:
        """A page of rows: filtered, narrowed to the query's reach, in a total order."""
        ...


class AuditLog(Protocol):
    """The chained log inside a unit of work."""

    async def append(self, entry: AuditEntry) -> AuditEntry:
        """Give the entry the next sequence number and hash of its chain, and write it."""
        ...

    async def find(self, query: Query) -> Page[AuditEntry]: ...

    async def get(self, chain: str, sequence: int) -> AuditEntry | None: ...

    async def chains(self) -> tuple[str, ...]: ...

    async def head(self, chain: str) -> tuple[int, str]:
        """Sequence and hash of the chain's last entry, as remembered apart from the entries."""
        ...

    async def heads(self) -> tuple[Head, ...]:
        """Every chain's head, as remembered apart from the entries."""
        ...

    async def remembered(self, place: str) -> tuple[ExportedHead, ...]:
        """What was exported to a place, by its key: each chain's last head."""
        ...

    async def remember(
        self, place: str, heads: Iterable[Head], *, whole: bool, since: datetime | None = None
    ) -> None:
        """Note what was exported; only `whole` goes back behind what is known. `since`: the place had lost it."""
        ...

    async def raw(self, chain: str, after: int | None, limit: int) -> Sequence[RawEntry]:
        """Entries as they are stored, in order of sequence; `after` none: from the lowest number there is."""
        ...

    async def matching(self, query: Query, after: tuple[str, int] | None) -> Sequence[RawEntry]:
        """Entries as they are stored that fit a query, by chain and number, after such a place; `limit` of them."""
        ...

    async def open_intents(self, after: datetime | None, before: datetime) -> tuple[AuditEntry, ...]:
        """Intents between two times (no beginning: from the first) that have no outcome, oldest first."""
        ...


class UnitOfWork(Protocol):
    """One transaction: committed when its context ends well, rolled back when it ends with an error."""

    tenants: Repository[Tenant]
    providers: Repository[Provider]
    databases: Repository[Database]
    backups: Repository[Backup]
    schedules: Repository[Schedule]
    runs: Repository[ScheduleRun]
    jobs: Repository[Job]
    orders: Repository[JobOrder]
    inventory: Repository[SecretInfo]
    """Keys and all they seal, as metadata: only to be listed."""
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
    audit: AuditLog

    async def publish(self, topic: str, verb: str, id: str, tenant_id: str | None) -> None:
        """Put an event into the outbox; listeners see it after the commit."""
        ...

    async def sum(self, topic: str, field: str, **where: Value) -> int:
        """The sum of a numeric field over matching rows of a noun."""
        ...

    async def enqueue(self, job: Job) -> None:
        """Hand a job to the queue: row and job commit together where both live in one database."""
        ...


class Keys(KeyStore, KeyRing, Protocol):
    """Keys as the vault uses them, and as rotations change them."""


class Catalog(Protocol):
    """The catalog: `write` opens a unit of work, `read` one that cannot change anything."""

    @property
    def keys(self) -> Keys: ...

    @property
    def envelopes(self) -> Envelopes: ...

    def write(self) -> AbstractAsyncContextManager[UnitOfWork]: ...

    def read(self) -> AbstractAsyncContextManager[UnitOfWork]: ...

    async def events(self, after: int, limit: int) -> tuple[Event, ...]:
        """Published events after a sequence number, in commit order."""
        ...

    async def forget_events(self) -> None:
        """Drop events that are too old for anybody to wait for."""
        ...

    async def last_event(self) -> int: ...

    async def ping(self) -> None:
        """Raise Unavailable when the catalog cannot be read."""
        ...

    async def close(self) -> None: ...
