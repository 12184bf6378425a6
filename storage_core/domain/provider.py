"""Engines people register, how to reach them, and what they can do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EngineKind(StrEnum):
    """The kinds of engines."""

    POSTGRESQL = "postgresql"
    MONGODB = "mongodb"
    SQLITE = "sqlite"
    TINYDB = "tinydb"
    LOCALFILE = "localfile"

    @property
    def is_files(self) -> bool:
        """Whether its databases are files below a directory."""
        return self in _FILES

    @property
    def usual_port(self) -> int:
        """Where its servers listen, if nobody says otherwise; 0 for files."""
        return _PORTS.get(self, 0)


_FILES = frozenset({EngineKind.SQLITE, EngineKind.TINYDB, EngineKind.LOCALFILE})
_PORTS = {EngineKind.POSTGRESQL: 5432, EngineKind.MONGODB: 27017}
POOLER_PORT = 6432


class TlsMode(StrEnum):
    """PostgreSQL's names, used for every engine."""

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"

    @property
    def strength(self) -> int:
        """The more of it, the better it guards what is sent."""
        return list(TlsMode).index(self)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine is and how to sign in, without the password.

    Servers use host, port, user, database (the maintenance database on PostgreSQL, the authentication
    source on MongoDB), tls, tls_ca (PEM text) and replica_set (MongoDB); file engines use path, a directory.
    `pooler_host` and `pooler_port` are a PgBouncer before a PostgreSQL server: sessions of programs go through it.
    """

    host: str | None = None
    port: int | None = None
    user: str | None = None
    database: str | None = None
    tls: TlsMode = TlsMode.DISABLE
    tls_ca: str | None = None
    replica_set: str | None = None
    path: str | None = None
    pooler_host: str | None = None
    pooler_port: int | None = None


def moved(kind: EngineKind, before: Endpoint, after: Endpoint) -> bool:
    """Whether another server may answer than the one before."""
    port = kind.usual_port
    return (_lower(before.host), before.port or port) != (_lower(after.host), after.port or port)


def exposes(kind: EngineKind, before: Endpoint, after: Endpoint) -> bool:
    """Whether a password trusted to one connection would, over another, reach somebody else or travel less guarded."""
    if moved(kind, before, after) or after.tls.strength < before.tls.strength:
        return True
    if before.tls.strength >= TlsMode.VERIFY_CA.strength and after.tls_ca != before.tls_ca:
        return True
    if after.pooler_host is not None and _pooler(after) != _pooler(before):
        return True
    if kind is EngineKind.MONGODB and (after.database or "admin") != (before.database or "admin"):
        return True
    # the members that a replica set announces are signed in to as well
    return after.replica_set is not None and after.replica_set != before.replica_set


def _pooler(endpoint: Endpoint) -> tuple[str, int]:
    return _lower(endpoint.pooler_host), endpoint.pooler_port or POOLER_PORT


def _lower(host: str | None) -> str:
    return (host or "").lower()


class ProviderStatus(StrEnum):
    """What the last test of a provider found."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Provider:
    """A registered engine. `server` names the private local server behind it, if it is one of ours."""

    id: str
    name: str
    kind: EngineKind
    endpoint: Endpoint
    created_at: datetime
    updated_at: datetime
    revision: int = 1
    status: ProviderStatus = ProviderStatus.UNKNOWN
    engine_version: str | None = None
    checked_at: datetime | None = None
    latency_ms: float | None = None
    problem: str | None = None
    proof_provider_id: str | None = None
    server: str | None = None


class StepStatus(StrEnum):
    """How a step of a connection test ended. With a warning it can be used, and something will not work."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckStep:
    """One step of a connection test: name, tcp, tls, sign_in, privileges; a failure or warning its code and fix."""

    name: str
    status: StepStatus
    detail: str
    fix: str = ""
    code: str | None = None
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class CredentialsChange:
    """A provider signs in as `user` now; `steps` is the test that came before the switch.

    What it signed in with before still works until at least `previous_until`, for calls under way; after that it is
    forgotten, and where the password was `generated`, locked out on the engine.
    """

    provider_id: str
    user: str
    generated: bool
    steps: tuple[CheckStep, ...]
    previous_until: datetime


@dataclass(frozen=True, slots=True)
class Capability:
    """An ability of an engine as configured; an absent one says why."""

    name: str
    present: bool
    reason: str = ""


def postmaster_mark(started: datetime, database: int | None = None) -> str:
    """What tells a running PostgreSQL server, or by its number a database in it, from every other.

    The moment it started, to the microsecond: any user may read it, and it is the same under every spelling of
    the address. (The system identifier is not enough: copies of a server, standbys among them, share it.)
    """
    server = f"postgresql:{started.timestamp():.6f}"
    return server if database is None else f"{server}/{database}"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a live engine says of itself. `version` is the server's own, e.g. ``18.4``."""

    version: str
    capabilities: tuple[Capability, ...]
