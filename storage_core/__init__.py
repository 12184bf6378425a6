"""Multi-tenant storage: one core behind the console, the REST API, the command line and the SDK."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .storage import Change, Collection, Document, Storage, StorageFactory
    from .storage.audited import AuditedDocument
    from .storage.document_migrations import DocumentMigration
    from .tenancy import current_tenant, tenant_scope

__all__ = [
    "AuditedDocument",
    "Change",
    "Collection",
    "Document",
    "DocumentMigration",
    "Storage",
    "StorageFactory",
    "current_tenant",
    "tenant_scope",
]


def __getattr__(name: str) -> Any:
    """What applications import from here; loaded when it is asked for: most of the core's users need none of it."""
    if name in ("current_tenant", "tenant_scope"):
        from . import tenancy

        return getattr(tenancy, name)
    if name == "AuditedDocument":
        from .storage.audited import AuditedDocument

        return AuditedDocument
    if name == "DocumentMigration":
        from .storage.document_migrations import DocumentMigration

        return DocumentMigration
    if name in __all__:
        from . import storage

        return getattr(storage, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
