"""The views: what each shows, filters by, and which operations change it. Nothing sealed has a column here."""

from collections.abc import Sequence
from typing import Any, ClassVar

from ..catalog.tables import AuditRow, BackupRow, DatabaseRow, ProviderRow, TenantRow
from ..domain.audit import AuditEntry, Phase, changes_text
from ..domain.backup import Backup, BackupStatus
from ..domain.database import Database, DatabaseStatus
from ..domain.permission import Target
from ..domain.provider import EngineKind, Provider, ProviderStatus
from ..domain.tenant import Tenant, TenantStatus
from ..services.request import Request as OperationRequest
from ..services.targets import database_target, provider_target, tenant_target
from ..sheets import Cell
from .forms import as_text
from .view import NAMED, Filter, View, values_of


def _place(row: Provider, _field: str) -> str:
    """Where an engine is, as far as it shows."""
    at = row.endpoint
    return at.path or (f"{at.host}:{at.port}" if at.port else at.host or "")


def _changes(row: AuditEntry, _field: str) -> str:
    """What the entry says was changed, a field a line."""
    return "\n".join(f"{c.field}: {c.before or 'nothing'} \u2192 {c.after or 'nothing'}" for c in row.changes)


class ProviderView(View, model=ProviderRow):
    """Engines. Where one is and who signs in shows only with the right to inspect it; the password never."""

    name, name_plural, icon = "Provider", "Providers", "fa-solid fa-server"
    noun, about = "providers", "Registered engines"
    creates, edits, deletes = "providers.create", "providers.update", "providers.delete"
    new_target = Target("provider")
    filters = (
        Filter("kind", "Kind", values_of(EngineKind)),
        Filter("status", "Status", values_of(ProviderStatus)),
    )
    column_list: ClassVar[Any] = (
        "name", "kind", "endpoint", "status", "engine_version", "latency_ms", "checked_at",
    )  # fmt: skip
    column_details_list: ClassVar[Any] = (
        "id", "name", "kind", "endpoint.host", "endpoint.port", "endpoint.user", "endpoint.database", "endpoint.path",
        "endpoint.tls", "endpoint.replica_set", "status", "engine_version", "latency_ms", "checked_at", "problem",
        "proof_provider_id", "created_at", "updated_at",
    )  # fmt: skip
    column_export_list: ClassVar[Any] = (
        "id", "name", "kind", "endpoint.host", "endpoint.port", "endpoint.path", "status", "engine_version",
        "latency_ms", "checked_at", "created_at",
    )  # fmt: skip
    column_searchable_list: ClassVar[Any] = ("name", "kind")
    column_sortable_list: ClassVar[Any] = (
        "name", "kind", "status", "engine_version", "latency_ms", "checked_at", "created_at",
    )  # fmt: skip
    column_default_sort: ClassVar[Any] = ("created_at", True)
    column_labels: ClassVar[Any] = {
        "endpoint.host": "host", "endpoint.port": "port", "endpoint.path": "directory", "endpoint.user": "user",
        "endpoint.database": "database", "endpoint.tls": "TLS", "endpoint.replica_set": "replica set",
        "proof_provider_id": "proves backups on",
    }  # fmt: skip
    column_formatters: ClassVar[Any] = {**NAMED, "endpoint": _place}
    column_formatters_detail = NAMED

    def target(self, row: Provider) -> Target:
        return provider_target(row)

    def shown_before(self, row: Provider, request: type[OperationRequest]) -> dict[str, Any]:
        before = super().shown_before(row, request)
        for name in before:
            if name.startswith("connection."):
                before[name] = as_text(getattr(row.endpoint, name.removeprefix("connection."), None))
        return before


class DatabaseView(View, model=DatabaseRow):
    """Databases on the engines."""

    name, name_plural, icon = "Database", "Databases", "fa-solid fa-database"
    noun, about = "databases", "What tenants have on the engines"
    creates, edits, deletes = "databases.create", "databases.configure", "databases.delete"
    filters = (
        Filter("status", "Status", values_of(DatabaseStatus)),
        Filter("provider_id", "Provider"),
        Filter("tenant_id", "Tenant"),
    )
    column_list: ClassVar[Any] = (
        "name", "tenant_id", "provider_id", "status", "protected", "is_default", "last_proven_at", "created_at",
    )  # fmt: skip
    column_details_list: ClassVar[Any] = (
        "id", "name", "namespace", "tenant_id", "provider_id", "physical_name", "location", "status", "protected",
        "adopted", "is_default", "settings", "problem", "last_proven_at", "created_at", "updated_at",
    )  # fmt: skip
    column_export_list: ClassVar[Any] = (
        "id", "name", "namespace", "tenant_id", "provider_id", "physical_name", "status", "protected", "adopted",
        "is_default", "last_proven_at", "created_at",
    )  # fmt: skip
    column_searchable_list: ClassVar[Any] = ("name", "physical_name")
    column_sortable_list: ClassVar[Any] = ("name", "status", "last_proven_at", "created_at")
    column_default_sort: ClassVar[Any] = ("created_at", True)
    column_formatters = column_formatters_detail = NAMED

    def target(self, row: Database) -> Target:
        return database_target(row)


class BackupView(View, model=BackupRow):
    """Backups. One is made and deleted, never edited."""

    name, name_plural, icon = "Backup", "Backups", "fa-solid fa-box-archive"
    noun, about = "backups", "Stored copies and their proofs"
    creates, deletes = "backups.create", "backups.delete"
    filters = (
        Filter("status", "Status", values_of(BackupStatus)),
        Filter("provider_id", "Provider"),
        Filter("tenant_id", "Tenant"),
    )
    column_list: ClassVar[Any] = (
        "database_name", "tenant_id", "provider_id", "status", "size_raw", "size_stored", "proven_at", "note",
        "created_at",
    )  # fmt: skip
    column_details_list: ClassVar[Any] = (
        "id", "database_name", "database_id", "tenant_id", "provider_id", "engine", "status", "reason", "note",
        "size_raw", "size_stored", "manifest.engine_version", "manifest.method", "manifest.hash", "proven_at",
        "proof.rows", "proof.seconds", "artifacts", "job_id", "started_at", "stored_at", "finished_at", "created_at",
    )  # fmt: skip
    column_export_list: ClassVar[Any] = (
        "id", "database_id", "database_name", "tenant_id", "provider_id", "engine", "status", "reason", "note",
        "size_raw", "size_stored", "proven_at", "stored_at", "created_at",
    )  # fmt: skip
    column_searchable_list: ClassVar[Any] = ("database_name", "note", "reason", "id")
    column_sortable_list: ClassVar[Any] = (
        "database_name", "status", "size_raw", "size_stored", "proven_at", "created_at",
    )  # fmt: skip
    column_default_sort: ClassVar[Any] = ("created_at", True)
    column_labels: ClassVar[Any] = {
        "database_name": "database", "manifest.engine_version": "engine version", "manifest.method": "method", "manifest.hash": "manifest hash",
        "proof.rows": "rows proven", "proof.seconds": "seconds to prove", "size_raw": "bytes", "size_stored": "bytes stored",
    }  # fmt: skip
    column_formatters = column_formatters_detail = {
        field: shape for field, shape in NAMED.items() if field != "database_id"
    }  # the database may be gone

    def target(self, row: Backup) -> Target:
        return Target("backup", row.id, row.database_name, row.tenant_id, row.provider_id)


class TenantView(View, model=TenantRow):
    """Tenants: whose data it is."""

    name, name_plural, icon = "Tenant", "Tenants", "fa-solid fa-people-group"
    noun, about = "tenants", "Whose data it is"
    creates, edits, deletes = "tenants.create", "tenants.update", "tenants.delete"
    new_target = Target("tenant")
    filters = (Filter("status", "Status", values_of(TenantStatus)),)
    column_list: ClassVar[Any] = ("name", "title", "status", "status_reason", "created_at", "updated_at")
    column_details_list: ClassVar[Any] = ("id", *column_list)
    column_export_list: ClassVar[Any] = ("id", *column_list)
    column_searchable_list: ClassVar[Any] = ("name", "title")
    column_sortable_list: ClassVar[Any] = ("name", "title", "status", "created_at", "updated_at")
    column_default_sort: ClassVar[Any] = ("created_at", True)

    def target(self, row: Tenant) -> Target:
        return tenant_target(row)


class AuditView(View, model=AuditRow):
    """The audit log, to be read only."""

    name, name_plural, icon = "Audit entry", "Audit", "fa-solid fa-list-check"
    noun, about = "audit", "Who did what, chained by hash"
    filters = (
        Filter("phase", "Phase", values_of(Phase)),
        Filter("operation", "Operation"),
        Filter("actor_name", "Actor"),
        Filter("result", "Result"),
        Filter("tenant_id", "Tenant"),
        Filter("correlation_id", "Correlation"),
    )
    column_list: ClassVar[Any] = (
        "at", "actor_name", "role", "operation", "phase", "result", "target_kind", "target_name", "tenant_id", "door",
        "address",
    )  # fmt: skip
    column_details_list: ClassVar[Any] = (
        "chain", "sequence", "at", "actor_name", "actor_id", "role", "door", "address", "operation", "phase", "result",
        "detail", "changes", "reason", "target_kind", "target_name", "target_id", "tenant_id", "correlation_id", "digest",
        "previous", "hash",
    )  # fmt: skip
    column_export_list: ClassVar[Any] = column_details_list
    column_searchable_list: ClassVar[Any] = (
        "operation", "actor_name", "target_name", "correlation_id", "detail",
    )  # fmt: skip
    column_sortable_list: ClassVar[Any] = ("at", "actor_name", "operation", "phase", "result")
    column_default_sort: ClassVar[Any] = ("at", True)
    column_labels: ClassVar[Any] = {"at": "time", "actor_name": "actor", "target_name": "target", "target_kind": "kind", "actor_id": "actor id", "target_id": "target id"}  # fmt: skip
    column_formatters = NAMED
    column_formatters_detail: ClassVar[Any] = {**NAMED, "changes": _changes}

    def target(self, row: AuditEntry) -> Target:
        return Target("audit", row.id, row.id, row.tenant_id)

    def cell(self, row: AuditEntry, name: str) -> Cell:
        return changes_text(row.changes) if name == "changes" else super().cell(row, name)


#: Every view; one that is not here does not exist.
VIEWS: Sequence[type[View]] = (ProviderView, DatabaseView, BackupView, TenantView, AuditView)
IDENTITIES: dict[type[View], str] = {
    ProviderView: "provider",
    DatabaseView: "database",
    BackupView: "backup",
    TenantView: "tenant",
    AuditView: "audit",
}
