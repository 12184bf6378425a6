"""Runs migrations on the connection the caller holds; never opens one."""

from typing import Any, Literal

from alembic import context
from sqlmodel.sql.sqltypes import AutoString

from storage_core.catalog.tables import UtcDateTime, metadata


def _ours(_object: Any, name: str | None, kind: str, reflected: bool, _compare: Any) -> bool:
    """The job store may live in the same database: what is not in our metadata is not ours to compare."""
    return not (kind == "table" and reflected and name not in metadata.tables)


def _rendered(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Migrations outlive today's classes: SQLModel's string type is written as SQLAlchemy's own."""
    if kind == "type" and isinstance(value, AutoString):
        return f"sa.String(length={value.length})" if value.length else "sa.String()"
    if kind == "type" and isinstance(value, UtcDateTime):
        return "tables.UtcDateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_object=_ours,
    render_as_batch=True,
    compare_type=True,
    render_item=_rendered,
    version_table="catalog_version",
)
context.run_migrations()
