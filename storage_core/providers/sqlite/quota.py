"""What a database holds, counted by SQLite itself: by triggers, whoever writes, in the same transaction."""

import sqlite3

from ...domain.errors import QuotaExceeded
from ...domain.record import Quota
from .collection_table import PREFIX, collections
from .connect import quoted

USAGE = "sc_usage"
_SIZE = "length(CAST({}.body AS BLOB))"


def is_counted(db: sqlite3.Connection) -> bool:
    row = db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (USAGE,)).fetchone()
    return row is not None


def begin_counting(db: sqlite3.Connection) -> None:
    """Count everything once; from then on triggers do. Inside a transaction."""
    db.execute(
        f"CREATE TABLE {USAGE} (one INTEGER PRIMARY KEY CHECK (one = 1), "
        "documents INTEGER NOT NULL, bytes INTEGER NOT NULL)"
    )
    tables = [PREFIX + name for name in collections(db)]
    held = [_held(db, table) for table in tables]
    db.execute(
        f"INSERT INTO {USAGE} VALUES (1, ?, ?)",  # noqa: S608 - a name of ours
        (sum(documents for documents, _ in held), sum(size for _, size in held)),
    )
    for table in tables:
        count_table(db, table)


def count_table(db: sqlite3.Connection, table: str) -> None:
    """Have triggers count what is written to a collection's table."""
    new, old = _SIZE.format("NEW"), _SIZE.format("OLD")
    for event, documents, size in (
        ("INSERT", "+ 1", f"+ {new}"),
        ("DELETE", "- 1", f"- {old}"),
        ("UPDATE OF body", "+ 0", f"+ {new} - {old}"),
    ):
        name = quoted(f"sc_{table}_{event.split()[0].lower()}")
        db.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {quoted(table)} BEGIN "  # noqa: S608 - quoted names only
            f"UPDATE {USAGE} SET documents = documents {documents}, bytes = bytes {size}; END"
        )


def forget_table(db: sqlite3.Connection, table: str) -> None:
    """Take a table that is about to be dropped off the count."""
    if is_counted(db):
        documents, size = _held(db, table)
        db.execute(
            f"UPDATE {USAGE} SET documents = documents - ?, bytes = bytes - ?",  # noqa: S608 - a name of ours
            (documents, size),
        )


def usage(db: sqlite3.Connection) -> tuple[int, int]:
    """Documents and bytes now."""
    row: tuple[int, int] = db.execute(
        f"SELECT documents, bytes FROM {USAGE}"  # noqa: S608 - a name of ours
    ).fetchone()
    return row


def check(quota: Quota, before: tuple[int, int], after: tuple[int, int]) -> None:
    """QuotaExceeded where something grew beyond its limit."""
    limits = (quota.documents, quota.bytes)
    for limit, old, new, what in zip(limits, before, after, ("documents", "bytes"), strict=True):
        if limit is not None and new > limit and new > old:
            raise QuotaExceeded(f"The database may hold {limit} {what}, and this would make {new}.")


def _held(db: sqlite3.Connection, table: str) -> tuple[int, int]:
    row: tuple[int, int] = db.execute(
        f"SELECT count(*), coalesce(sum(length(CAST(body AS BLOB))), 0) FROM {quoted(table)}"  # noqa: S608 - quoted
    ).fetchone()
    return row
