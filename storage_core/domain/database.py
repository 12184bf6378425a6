"""Databases: what a tenant has on a provider."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Scalar = str | int | float | bool | None


class DatabaseStatus(StrEnum):
    """Whether a database can be used; `failed` ones say why in `problem`."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Database:
    """`physical_name` is its name on the engine, `location` where it lies (a file's path, or host:port/name).

    `labels` are people's own words for it, by which schedules find it.
    """

    id: str
    provider_id: str
    name: str
    physical_name: str
    created_at: datetime
    updated_at: datetime
    tenant_id: str | None = None
    namespace: str | None = None
    location: str | None = None
    status: DatabaseStatus = DatabaseStatus.CREATING
    protected: bool = False
    adopted: bool = False
    is_default: bool = False
    problem: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    last_proven_at: datetime | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExistingDatabase:
    """A database found on a provider. `adopted_as` is its id here, if it is known."""

    physical_name: str
    size_bytes: int | None
    adopted_as: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """Size and counts now. `details` are the engine's own figures by name."""

    size_bytes: int
    objects: int
    rows_estimate: int
    connections: int | None
    details: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column (or field) with its type in the engine's own words."""

    name: str
    type: str
    nullable: bool
    default: str | None = None


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index with its definition in the engine's own words."""

    name: str
    definition: str
    unique: bool


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A table, collection, view or other named thing in a database. Rows are an estimate where counting is slow."""

    name: str
    kind: str
    rows: int | None
    size_bytes: int | None
    columns: tuple[ColumnInfo, ...] = ()
    indexes: tuple[IndexInfo, ...] = ()
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseSchema:
    """What is in a database: tables, collections, views."""

    objects: tuple[ObjectInfo, ...]


@dataclass(frozen=True, slots=True)
class OptimizeReport:
    """What optimising did: the engine's steps in words, size before and after in bytes."""

    steps: tuple[str, ...]
    size_before: int
    size_after: int
