"""Indexes of collections: over the same expressions that filters and sorts are compiled to, so that they are used."""

import sqlite3
from typing import Any

import orjson

from ...domain.errors import Conflict, NameTaken, NotFound
from ...domain.record import Index
from .collection_table import CollectionTable
from .collection_values import check_indexable, expression, unique_expression
from .connect import quoted

#: Which indexes were asked for: SQLite's own definitions say it, too, but not in a form to be read back.
INDEXES = "sc_indexes"


def create(db: sqlite3.Connection, table: CollectionTable, index: Index) -> None:
    """Make an index whose table is there. Inside a transaction."""
    check_indexable(index.paths)
    db.execute(
        f"CREATE TABLE IF NOT EXISTS {INDEXES} (collection TEXT NOT NULL, name TEXT NOT NULL, "
        '"unique" INTEGER NOT NULL, paths TEXT NOT NULL, PRIMARY KEY (collection, name))'
    )
    for made in listed(db, table):
        if made == index:
            return
        if made.name == index.name:
            raise NameTaken(
                f"There is another index {index.name} already.",
                field="name",
                hint="Drop it first, or name this one otherwise.",
            )
    columns = ", ".join(map(expression, index.paths))
    db.execute(f"CREATE INDEX {_plain(table, index.name)} ON {quoted(table.name)} ({columns}, id)")
    if index.unique:
        columns = ", ".join(map(unique_expression, index.paths))
        try:
            db.execute(
                f"CREATE UNIQUE INDEX {_unique(table, index.name)} ON {quoted(table.name)} ({columns})"
            )
        except sqlite3.IntegrityError as error:
            fields = said(index)
            raise Conflict(
                f"Stored documents share a value of {fields}.",
                hint="Change all but one of them, then make the index again.",
                field="unique",
            ) from error
    db.execute(
        f"INSERT INTO {INDEXES} VALUES (?, ?, ?, ?)",  # noqa: S608 - a name of ours
        (table.collection, index.name, index.unique, orjson.dumps(index.paths).decode()),
    )


def listed(db: sqlite3.Connection, table: CollectionTable) -> tuple[Index, ...]:
    """The indexes of a collection, by name."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (INDEXES,)).fetchone():
        return ()
    rows: list[tuple[Any, ...]] = db.execute(
        f'SELECT name, paths, "unique" FROM {INDEXES} WHERE collection = ? ORDER BY name',  # noqa: S608 - ours
        (table.collection,),
    ).fetchall()
    return tuple(
        Index(name, tuple(tuple(path) for path in orjson.loads(paths)), unique == 1)
        for name, paths, unique in rows
    )


def drop(db: sqlite3.Connection, table: CollectionTable, name: str) -> None:
    """Inside a transaction."""
    if name not in {index.name for index in listed(db, table)}:
        raise NotFound(f"There is no index {name[:60]!r}.", field="name")
    db.execute(f"DROP INDEX IF EXISTS {_plain(table, name)}")
    db.execute(f"DROP INDEX IF EXISTS {_unique(table, name)}")
    db.execute(
        f"DELETE FROM {INDEXES} WHERE collection = ? AND name = ?",  # noqa: S608 - a name of ours
        (table.collection, name),
    )


def forget(db: sqlite3.Connection, table: CollectionTable) -> None:
    """Of a collection that goes, indexes and all."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (INDEXES,)).fetchone():
        db.execute(
            f"DELETE FROM {INDEXES} WHERE collection = ?",  # noqa: S608 - a name of ours
            (table.collection,),
        )


def taken_by(db: sqlite3.Connection, table: CollectionTable, message: str) -> Index | None:
    """The unique index that SQLite's message names."""
    for index in listed(db, table):
        if f"'{_unique_name(table, index.name)}'" in message:
            return index
    return None


def said(index: Index) -> str:
    """The fields of an index, for people."""
    return ", ".join(".".join(path) for path in index.paths)


def _plain(table: CollectionTable, name: str) -> str:
    return quoted(f"{table.name}.{_spelled(name)}")


def _unique(table: CollectionTable, name: str) -> str:
    return quoted(_unique_name(table, name))


def _unique_name(table: CollectionTable, name: str) -> str:
    return f"{table.name}.{_spelled(name)}.unique"


def _spelled(name: str) -> str:
    """SQLite's names do not tell capitals from small letters; ours do."""
    return name if name == name.lower() else f"{name}-{name.encode().hex()}"
