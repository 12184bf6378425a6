"""The table of a collection: how it is known as ours, and the statements that are run on it, compiled once."""

import sqlite3
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ClauseElement,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from ...domain.errors import InvalidRequest
from .connect import quoted

PREFIX = "c_"
MARK = "/* collection of Storage Console */"
DIALECT = sqlite.dialect(paramstyle="qmark")


class CollectionTable:
    """A collection's table and its statements; one for all collections of a name. The order of parameters is said."""

    __slots__ = (
        "collection",
        "definition",
        "delete",
        "delete_version",
        "get",
        "insert",
        "name",
        "replace",
        "replace_version",
        "rewrite",
        "start",
        "table",
        "version",
    )

    def __init__(self, collection: str) -> None:
        self.collection = collection
        self.name = PREFIX + collection
        #: SQLite keeps it as it is written, so it tells whose the table is, in copies too.
        self.start = f"CREATE TABLE {quoted(self.name)} ({MARK}"
        self.definition = (
            f"{self.start} id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, created_at TEXT NOT NULL, "
            "updated_at TEXT NOT NULL, tagged INTEGER NOT NULL, body TEXT NOT NULL)"
        )
        table = self.table = _table(self.name)
        c = table.c
        mine, at_version = c.id == bindparam("key"), c.version == bindparam("wanted")
        new = {
            "version": literal_column("version + 1"),
            "updated_at": bindparam("at"),
            "tagged": bindparam("mark"),
            "body": bindparam("text"),
        }
        #: id
        self.get = _sql(select(c.version, c.created_at, c.updated_at, c.tagged, c.body).where(mine))
        self.version = _sql(select(c.version).where(mine))
        self.delete = _sql(delete(table).where(mine))
        #: id, version
        self.delete_version = _sql(delete(table).where(mine, at_version))
        #: id, version, created_at, updated_at, tagged, body
        self.insert = _sql(insert(table))
        #: updated_at, tagged, body, id; then version
        changed = update(table).values(new).where(mine)
        self.replace = _sql(changed.returning(c.version, c.created_at))
        #: The same as the next one, without an answer: for who has just read the row.
        self.rewrite = _sql(changed.where(at_version))
        self.replace_version = _sql(changed.where(at_version).returning(c.version, c.created_at))


@lru_cache(1024)
def collection_table(collection: str) -> CollectionTable:
    return CollectionTable(collection)


def _table(name: str) -> Table:
    return Table(
        name,
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("version", Integer),
        Column("created_at", Text),
        Column("updated_at", Text),
        Column("tagged", Integer),
        Column("body", Text),
    )


def _sql(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=DIALECT))


def found(db: sqlite3.Connection, table: CollectionTable) -> bool:
    """Whether the collection is there; InvalidRequest where its table is somebody else's."""
    row = db.execute(
        "SELECT sql FROM sqlite_schema WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')",
        (table.name,),
    ).fetchone()
    if row is None:
        return False
    if not str(row[0]).startswith(table.start):
        raise InvalidRequest(
            f"The database has a table {table.name}, which is no collection.",
            field="collection",
            hint="Name the collection otherwise, or rename the table.",
        )
    return True


def collections(db: sqlite3.Connection) -> list[str]:
    """The names of the collections there are, in order."""
    rows: list[tuple[Any, Any]] = db.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name GLOB 'c_*' ORDER BY name"
    ).fetchall()
    return [
        name[len(PREFIX) :]
        for name, sql in rows
        if str(sql).startswith(f"CREATE TABLE {quoted(name)} ({MARK}")
    ]
