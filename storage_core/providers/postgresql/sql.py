"""Quoting, and the one rule for database names: whatever a name contains, it names that one database."""

from ...domain.errors import InvalidRequest
from ...domain.naming import schema_in

# PostgreSQL cuts longer names off silently, and would then mean another database.
MAX_NAME_BYTES = 63


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


def checked_database(name: str) -> str:
    """Refuse what cannot be a database's name; answers the name unchanged."""
    schema = schema_in(name)
    said = name if schema is None else schema
    if not said or "\x00" in said or len(said.encode(errors="replace")) > MAX_NAME_BYTES:
        raise InvalidRequest(
            "This cannot be the name of a PostgreSQL database.",
            field="name",
            hint=f"Use 1 to {MAX_NAME_BYTES} bytes without NUL.",
        )
    return name


def conninfo(**parts: str | int | None) -> str:
    """A libpq connection string in which every value is quoted, so that no value can add a parameter."""
    quoted = {
        key: str(value).replace("\\", "\\\\").replace("'", "\\'")
        for key, value in parts.items()
        if value is not None
    }
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())
