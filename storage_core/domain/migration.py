"""Migrations of tenants' tables: what became of each tenant."""

from dataclasses import dataclass
from enum import StrEnum


class MigrationOutcome(StrEnum):
    """`migrated`: it is at the target now; `stamped`: it is noted to be; `current`: it was already; `failed`: it stands where its last whole revision
    left it; `skipped`: there is nothing of it to migrate."""

    MIGRATED = "migrated"
    STAMPED = "stamped"
    CURRENT = "current"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TenantMigration:
    """One database of a tenant: revisions before and after (none: no revision yet), and why it failed or was skipped."""

    tenant_id: str
    tenant: str
    database_id: str | None
    database: str | None
    namespace: str | None
    outcome: MigrationOutcome
    before: str | None = None
    after: str | None = None
    seconds: float = 0.0
    code: str | None = None
    error: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """Every tenant, in order of name; `target` is the revision they were brought to."""

    target: str
    items: tuple[TenantMigration, ...]

    @property
    def ok(self) -> bool:
        """Whether no tenant failed."""
        return all(item.outcome is not MigrationOutcome.FAILED for item in self.items)
