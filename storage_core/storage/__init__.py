"""Storage for applications: many tenants, several engines, one interface."""

from ..domain.migration import MigrationOutcome, MigrationReport, TenantMigration
from .asking import Query
from .collection import Collection
from .document import Change, Document, DocumentPage, Loss, Outcome
from .factory import StorageFactory
from .models import AuditedModel, AuditedSQLModel, UtcDateTime
from .revisions import alembic_options
from .sessions import StorageSession
from .storage import Storage, Transaction

__all__ = [
    "AuditedModel",
    "AuditedSQLModel",
    "Change",
    "Collection",
    "Document",
    "DocumentPage",
    "Loss",
    "MigrationOutcome",
    "MigrationReport",
    "Outcome",
    "Query",
    "Storage",
    "StorageFactory",
    "StorageSession",
    "TenantMigration",
    "Transaction",
    "UtcDateTime",
    "alembic_options",
]
