"""What is in a SQLite database, for people: tables, views, virtual tables, columns, indexes, triggers."""

import sqlite3

from ...domain.database import ColumnInfo, DatabaseSchema, IndexInfo, ObjectInfo
from .connect import quoted

_GENERATED = {2: "virtual", 3: "stored"}


def inspect(db: sqlite3.Connection, *, small: bool) -> DatabaseSchema:
    """Every object but the indexes, which stand with their tables.

    :param small: count rows and pages exactly; otherwise rows are estimated and sizes left out.
    """
    sizes = _sizes(db) if small else {}
    rows = db.execute(
        "SELECT type, name, rootpage, sql FROM sqlite_schema WHERE type <> 'index' ORDER BY type, name"
    ).fetchall()
    return DatabaseSchema(tuple(_object(db, *row, sizes=sizes, exact=small) for row in rows))


def counted(db: sqlite3.Connection, table: str, *, exact: bool) -> int | None:
    """Rows of a table; without `exact` the highest key, which is quick; None where neither can be had."""
    name = quoted(table)
    try:
        query = "SELECT count(*) FROM " if exact else "SELECT max(rowid) FROM "
        found = db.execute(query + name).fetchone()[0]
    except sqlite3.OperationalError:
        return None  # without rowid, or its columns need functions of the application
    return found if isinstance(found, int) else 0


def _object(
    db: sqlite3.Connection,
    kind: str,
    name: str,
    rootpage: int,
    sql: str | None,
    *,
    sizes: dict[str, int],
    exact: bool,
) -> ObjectInfo:
    if kind == "trigger":
        return ObjectInfo(name, kind, None, None, definition=sql)
    columns = _columns(db, name)
    if kind == "view":
        return ObjectInfo(name, kind, None, None, columns, definition=sql)
    if not rootpage:
        return ObjectInfo(name, "virtual table", None, None, columns, definition=sql)
    rows = counted(db, name, exact=exact)
    return ObjectInfo(name, "table", rows, sizes.get(name), columns, _indexes(db, name), sql)


def _columns(db: sqlite3.Connection, name: str) -> tuple[ColumnInfo, ...]:
    try:
        found = db.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
    except sqlite3.DatabaseError:
        return ()  # a view over something missing, a module that is not loaded
    return tuple(
        ColumnInfo(
            column,
            f"{declared} generated {_GENERATED[hidden]}".strip() if hidden in _GENERATED else declared,
            not (not_null or key),
            default,
        )
        for _, column, declared, not_null, default, key, hidden in found
        if hidden != 1
    )


def _indexes(db: sqlite3.Connection, table: str) -> tuple[IndexInfo, ...]:
    found = db.execute(f"PRAGMA index_list({quoted(table)})").fetchall()
    out: list[IndexInfo] = []
    for _, name, unique, origin, _ in found:
        sql = db.execute(
            "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", (name,)
        ).fetchone()
        columns = ", ".join(
            row[2] or "(expression)" for row in db.execute(f"PRAGMA index_info({quoted(name)})")
        )
        word = "PRIMARY KEY" if origin == "pk" else "UNIQUE"
        out.append(IndexInfo(name, sql[0] if sql and sql[0] else f"{word} ({columns})", bool(unique)))
    return tuple(out)


def _sizes(db: sqlite3.Connection) -> dict[str, int]:
    try:
        return dict(db.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE").fetchall())
    except sqlite3.DatabaseError:
        return {}  # this SQLite was built without it
