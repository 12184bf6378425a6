"""Tables that others made, a row at a time. Values are SQLite's own: any column may hold any of its types."""

# ruff: noqa: S608 - every name in these statements is quoted, every value a parameter

import sqlite3
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson

from ...domain.errors import Conflict, InvalidRequest, NameTaken, NotFound, VersionConflict
from ...domain.naming import said
from ...domain.query import Node
from ...domain.table import CUT, Column, RowsFind, Table, TableRow
from ...domain.value import Mode, decode, encode_value
from .connect import Halt, in_thread, let_only_rows_change, quoted, reading, writing
from .place import Place
from .rows import Relation, Statement, parts_of

T = TypeVar("T")

SECONDS = 20.0
ROWID = ("rowid", "_rowid_", "oid")


class SqliteTables:
    """The tables port over short visits in threads."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def describe(self, database: str, table: str) -> Table:
        return await self._reading(database, lambda db: _described(db, table).table)

    async def find(self, database: str, table: str, find: RowsFind) -> list[TableRow]:
        return await self._reading(database, lambda db: _found(db, _described(db, table), find))

    async def count(self, database: str, table: str, where: Node | None, most: int) -> int:
        return await self._reading(database, lambda db: _counted(db, _described(db, table), where, most))

    async def get(self, database: str, table: str, key: str) -> TableRow:
        return await self._reading(database, lambda db: _row(db, _described(db, table), key))

    async def insert(self, database: str, table: str, data: Mapping[str, Any]) -> TableRow:
        return await self._writing(database, lambda db: _insert(db, _described(db, table), data))

    async def update(
        self, database: str, table: str, key: str, data: Mapping[str, Any], was: Mapping[str, Any]
    ) -> TableRow:
        return await self._writing(database, lambda db: _update(db, _described(db, table), key, data, was))

    async def delete(self, database: str, table: str, key: str, was: Mapping[str, Any]) -> None:
        await self._writing(database, lambda db: _delete(db, _described(db, table), key, was))

    async def _reading(self, database: str, work: Callable[[sqlite3.Connection], T]) -> T:
        halt = Halt(SECONDS)

        def run() -> T:
            with reading(self._place.file(database), halt) as db, _speaking():
                return work(db)

        return await in_thread(run, halt)

    async def _writing(self, database: str, work: Callable[[sqlite3.Connection], T]) -> T:
        halt = Halt(SECONDS)

        def run() -> T:
            with _changing(self._place.file(database), halt) as db:
                return work(db)

        return await in_thread(run, halt)


@contextmanager
def _changing(path: Path, halt: Halt) -> Generator[sqlite3.Connection]:
    with writing(path, halt) as db, _speaking():
        db.execute("PRAGMA foreign_keys=ON")
        let_only_rows_change(db)
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


@contextmanager
def _speaking() -> Generator[None]:
    """What a statement about a table may run into, in words; the rest is translated further out."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        kind = NameTaken if "UNIQUE" in str(error) else Conflict
        raise kind(f"SQLite: {error}.", field="data") from error


def _described(db: sqlite3.Connection, table: str) -> Relation:
    found = db.execute(
        "SELECT type, name, rootpage FROM sqlite_schema WHERE name = ? AND type IN ('table', 'view')",
        (table,),
    ).fetchone()
    if found is None or table.lower().startswith("sqlite_"):
        raise NotFound(
            f"There is no table {said(table)}.", field="name", hint="Look at the database's schema."
        )
    kind, name, rootpage = found
    rows = db.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
    columns = tuple(
        Column(column, declared or "any", not filled, bool(key), hidden == 0)
        for _, column, declared, filled, _, key, hidden in rows
        if hidden != 1
    )
    if kind == "view" or not rootpage:
        kind = "view" if kind == "view" else "virtual table"
        return Relation(Table(name, kind, columns, f"It is a {kind}."), None)
    taken = {column.name.lower() for column in columns}
    rowid = next((word for word in ROWID if word not in taken), None)
    has_key = any(column.key for column in columns)
    fixed = "" if has_key or rowid else "Its rows cannot be told apart."
    return Relation(Table(name, "table", columns, fixed), None if has_key else rowid)


def _found(db: sqlite3.Connection, relation: Relation, find: RowsFind) -> list[TableRow]:
    sql = Statement(relation)
    order = [(quoted(relation.table.column(name, "sort").name), down) for name, down in find.sort]
    order += [(key, False) for key in relation.keys if key not in {name for name, _ in order}]
    test = sql.where(find.where)
    if find.after is not None:
        test += f" AND {sql.after(order, tuple(decode(value) for value in find.after))}"
    names = [quoted(column.name) for column in relation.table.columns]
    values = names if find.whole else [_cut(name) for name in names]
    by = ", ".join(f"{name} {'DESC' if down else 'ASC'}" for name, down in order)
    query = f"SELECT {', '.join([*values, *(n for n, _ in order), *relation.keys])} FROM {relation.name}"
    ordered = f" ORDER BY {by}" if by else ""
    rows = db.execute(f"{query} WHERE {test}{ordered} LIMIT {int(find.limit)}", sql.values).fetchall()
    return [_shown(relation, row, len(order), find.whole) for row in rows]


def _cut(name: str) -> str:
    return (
        f"CASE WHEN typeof({name}) IN ('text', 'blob') AND length({name}) > {CUT}"
        f" THEN substr({name}, 1, {CUT + 1}) ELSE {name} END"
    )


def _counted(db: sqlite3.Connection, relation: Relation, where: Node | None, most: int) -> int:
    sql = Statement(relation)
    test = sql.where(where)
    query = f"SELECT count(*) FROM (SELECT 1 FROM {relation.name} WHERE {test} LIMIT {int(most)})"
    return int(db.execute(query, sql.values).fetchone()[0])


def _row(db: sqlite3.Connection, relation: Relation, key: str) -> TableRow:
    sql = Statement(relation)
    names = [quoted(column.name) for column in relation.table.columns]
    query = f"SELECT {', '.join([*names, *relation.keys])} FROM {relation.name} WHERE {_place(sql, relation, key)}"
    row = db.execute(query, sql.values).fetchone()
    if row is None:
        raise _missing(relation, key)
    return _shown(relation, row, 0, True)


def _insert(db: sqlite3.Connection, relation: Relation, data: Mapping[str, Any]) -> TableRow:
    _changeable(relation)
    columns = [_writable(relation, name) for name in data]
    values = [_value(data[name], f"data.{name}") for name in data]
    marks = ", ".join("?" for _ in values)
    body = f"({', '.join(columns)}) VALUES ({marks})" if columns else "DEFAULT VALUES"
    query = f"INSERT INTO {relation.name} {body} RETURNING {', '.join(relation.keys)}"
    row = db.execute(query, values).fetchall()
    if not row:
        raise Conflict("The table's own rules put no row there.")
    return _row(db, relation, _key(row[0]))


def _update(
    db: sqlite3.Connection, relation: Relation, key: str, data: Mapping[str, Any], was: Mapping[str, Any]
) -> TableRow:
    _changeable(relation)
    if not data:
        raise InvalidRequest("There is nothing to change.", field="data", hint="Name a column and its value.")
    _still(db, relation, key, was)
    sql = Statement(relation)
    changes = ", ".join(
        f"{_writable(relation, name)} = {sql.value(_value(value, f'data.{name}'))}"
        for name, value in data.items()
    )
    place = _place(sql, relation, key)
    query = f"UPDATE {relation.name} SET {changes} WHERE {place} RETURNING {', '.join(relation.keys)}"
    return _row(db, relation, _key(_one(db.execute(query, sql.values).fetchall(), relation, key)))


def _delete(db: sqlite3.Connection, relation: Relation, key: str, was: Mapping[str, Any]) -> None:
    _changeable(relation)
    _still(db, relation, key, was)
    sql = Statement(relation)
    query = f"DELETE FROM {relation.name} WHERE {_place(sql, relation, key)} RETURNING 1"
    _one(db.execute(query, sql.values).fetchall(), relation, key)


def _one(rows: list[Any], relation: Relation, key: str) -> Any:
    """The one row that was meant; a key of nulls may mean several, of which none is touched."""
    if not rows:
        raise _missing(relation, key)
    if len(rows) > 1:
        raise Conflict(f"{len(rows)} rows have the key {said(key)}.", hint="Change them with SQL.")
    return rows[0]


def _still(db: sqlite3.Connection, relation: Relation, key: str, was: Mapping[str, Any]) -> None:
    """See that a row still holds what somebody saw."""
    sql = Statement(relation)
    tests = [
        f"{quoted(relation.table.column(name, f'was.{name}').name)} IS {sql.value(_value(value, f'was.{name}'))}"
        for name, value in was.items()
    ]
    query = f"SELECT {' AND '.join(tests) or '1'} FROM {relation.name} WHERE {_place(sql, relation, key)}"
    row = db.execute(query, sql.values).fetchone()
    if row is None:
        raise _missing(relation, key)
    if not row[0]:
        raise VersionConflict("Somebody else changed this row.", hint="Read it again and repeat the change.")


def _place(sql: Statement, relation: Relation, key: str) -> str:
    if not relation.keys:
        raise Conflict(f"{relation.name}: its rows cannot be told apart.", hint="Give it a primary key.")
    parts = parts_of(key, len(relation.keys))
    pairs = zip(relation.keys, parts, strict=True)
    return " AND ".join(f"{name} IS {sql.value(decode(part))}" for name, part in pairs)


def _shown(relation: Relation, row: tuple[Any, ...], placed: int, whole: bool) -> TableRow:
    data: dict[str, Any] = {}
    cut: list[str] = []
    columns = relation.table.columns
    for column, value in zip(columns, row, strict=False):
        if not whole and isinstance(value, str | bytes) and len(value) > CUT:
            cut.append(column.name)
            value = value[:CUT]
        data[column.name] = _json(value)
    place = tuple(_json(value) for value in row[len(columns) : len(columns) + placed])
    key = _key(row[len(columns) + placed :]) if relation.keys else None
    return TableRow(key, data, tuple(cut), place)


def _key(values: tuple[Any, ...]) -> str:
    return orjson.dumps([_json(value) for value in values]).decode()


def _json(value: Any) -> Any:
    return encode_value(value, Mode.TAGGED, "value")[0]


def _value(value: Any, field: str) -> Any:
    """What SQLite keeps of a JSON value; a tagged one is what it stands for."""
    if (
        isinstance(value, dict)
        and len(value) == 1
        and next(iter(value)) in ("$binary", "$text", "$numberDouble")
    ):
        value = decode(value)
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, int | float | str | bytes):
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise InvalidRequest(f"{field} is beyond 64 bits.", field=field, hint="Store it as a text.")
        return value
    raise InvalidRequest(
        f"{field} is not a value of SQLite.",
        field=field,
        hint="Use a number, a text, null, or JSON as a text.",
    )


def _changeable(relation: Relation) -> None:
    if relation.table.fixed:
        raise Conflict(f"Rows of {relation.name} cannot be changed here. {relation.table.fixed}")


def _writable(relation: Relation, name: str) -> str:
    column = relation.table.column(name, f"data.{name}")
    if not column.writable:
        raise InvalidRequest(
            f"{name} is made by the database itself.", field=f"data.{name}", hint="Leave it out."
        )
    return quoted(column.name)


def _missing(relation: Relation, key: str) -> NotFound:
    return NotFound(f"{relation.table.name} has no row {said(key)}.", field="id")
