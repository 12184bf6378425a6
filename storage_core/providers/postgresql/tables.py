"""Tables that others made, a row at a time.

Values travel as PostgreSQL's own text, both ways: exact for every type there is. Whole numbers, booleans and finite
floats become JSON's; everything else stays text.
"""

# ruff: noqa: S608 - every name in these statements is quoted, every value a parameter

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
from asyncpg import exceptions as pg

from ...domain.errors import (
    Conflict,
    InvalidRequest,
    MissingPrivilege,
    NameTaken,
    NotFound,
    VersionConflict,
)
from ...domain.naming import said
from ...domain.query import Node
from ...domain.table import CUT, Column, RowsFind, Table, TableRow
from .definitions import USER
from .dial import Connection
from .guests import Guests, NoGuest
from .plain import is_coded, restrict
from .pool import Pool
from .rows import NO_KEY, Relation, Statement, changeable, key_text, keyed, missing, shown, writable
from .sql import ident

SECONDS = 20
SETTINGS = {
    "search_path": "",
    "statement_timeout": f"{SECONDS}s",
    "extra_float_digits": "1",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "timezone": "UTC",
}
RELATION = f"""
select c.oid::int8 as oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind,
  coalesce((select i.indkey::int2[] from pg_index i where i.indrelid = c.oid and i.indisprimary), '{{}}') as key
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where array[n.nspname::text, c.relname::text] = parse_ident($1) and c.relkind in ('r', 'p', 'v', 'm', 'f') and {USER}
"""  # by its name alone: who may not use a schema is told so later
COLUMNS = """
select a.attnum as number, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
  format_type(a.atttypid, -1) as bare, a.attnotnull as filled,
  a.attgenerated <> '' or a.attidentity = 'a' as made
from pg_attribute a where a.attrelid = $1::int8::oid and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
CHANGEABLE = ("r", "p")
WRONG_VALUE = (
    pg.DataError,
    pg.UndefinedFunctionError,
    pg.CannotCoerceError,
    pg.InvalidRegularExpressionError,
)
NO_NAME = (
    pg.PostgresSyntaxError,
    pg.InvalidNameError,
    pg.FeatureNotSupportedError,
    pg.InvalidParameterValueError,
)
NOT_WANTED = (pg.IntegrityConstraintViolationError, pg.RaiseError, pg.GeneratedAlwaysError)


#: What a session may be told to end after, and when ours ends it: code in it can lift its own limit.
LATEST = SECONDS + 5

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]


class PostgresTables:
    """The tables port. Work is done by the database's guest; see `guests`.

    Where there can be none, tables that bring no code are read with our own rights, and nothing else is done.
    """

    def __init__(self, pool: Pool, guests: Guests) -> None:
        self._pool, self._guests = pool, guests

    async def describe(self, database: str, table: str) -> Table:
        async def work(connection: Connection) -> Table:
            return (await _described(connection, table)).table

        return await self._reading(database, work)

    async def find(self, database: str, table: str, find: RowsFind) -> list[TableRow]:
        async def work(connection: Connection) -> list[TableRow]:
            return await _found(connection, await _described(connection, table), find)

        return await self._reading(database, work, table)

    async def count(self, database: str, table: str, where: Node | None, most: int) -> int:
        async def work(connection: Connection) -> int:
            described = await _described(connection, table)
            sql = Statement(described)
            test = sql.where(where)
            query = f"select count(*) from (select from {described.name} where {test} limit {int(most)}) x"
            return int(await connection.fetchval(query, *sql.values) or 0)

        return await self._reading(database, work, table)

    async def get(self, database: str, table: str, key: str) -> TableRow:
        async def work(connection: Connection) -> TableRow:
            return await _row(connection, await _described(connection, table), key)

        return await self._reading(database, work, table)

    async def insert(self, database: str, table: str, data: Mapping[str, Any]) -> TableRow:
        async def work(connection: Connection) -> TableRow:
            described = changeable(await _described(connection, table))
            sql = Statement(described)
            columns = [writable(described, name) for name in data]
            names = ", ".join(ident(c.name) for c in columns)
            values = ", ".join(sql.value(c, data[c.name]) for c in columns)
            body = f"({names}) values ({values})" if columns else "default values"
            keys = ", ".join(f"{ident(c.name)}::text" for c in described.keys)
            row = await connection.fetchrow(
                f"insert into {described.name} {body} returning {keys}", *sql.values
            )
            if row is None:
                raise Conflict("The table's own rules put no row there.")
            return await _row(connection, described, key_text(tuple(row)))

        return await self._writing(database, work)

    async def update(
        self, database: str, table: str, key: str, data: Mapping[str, Any], was: Mapping[str, Any]
    ) -> TableRow:
        async def work(connection: Connection) -> TableRow:
            described = changeable(await _described(connection, table))
            if not data:
                raise InvalidRequest(
                    "There is nothing to change.", field="data", hint="Name a column and its value."
                )
            sql = Statement(described)
            columns = [writable(described, name) for name in data]
            changes = ", ".join(f"{ident(c.name)} = {sql.value(c, data[c.name])}" for c in columns)
            keys = ", ".join(f"{ident(c.name)}::text" for c in described.keys)
            await _still(connection, described, key, was)
            row = await connection.fetchrow(
                f"update {described.name} set {changes} where {sql.key(key)} returning {keys}", *sql.values
            )
            if row is None:
                raise missing(described, key)
            return await _row(connection, described, key_text(tuple(row)))

        return await self._writing(database, work)

    async def delete(self, database: str, table: str, key: str, was: Mapping[str, Any]) -> None:
        async def work(connection: Connection) -> None:
            described = changeable(await _described(connection, table))
            await _still(connection, described, key, was)
            sql = Statement(described)
            if (
                await connection.fetchval(
                    f"delete from {described.name} where {sql.key(key)} returning 1", *sql.values
                )
                is None
            ):
                raise missing(described, key)

        await self._writing(database, work)

    async def _reading(self, database: str, work: Work[T], table: str | None = None) -> T:
        """:param table: what is read of it, besides its description."""
        try:
            return await self._as_guest(database, work, readonly=True)
        except NoGuest as none:
            async with self._plainly(database) as connection:
                if table is not None:
                    await _refuse_code(connection, table, none)
                return await work(connection)

    async def _writing(self, database: str, work: Work[T]) -> T:
        try:
            return await self._as_guest(database, work, readonly=False)
        except NoGuest as none:
            raise MissingPrivilege(f"Rows cannot be changed here: {none.why}", hint=none.hint) from none

    async def _as_guest(self, database: str, work: Work[T], *, readonly: bool) -> T:
        with suppress(_OutOfReach):
            return await self._once(database, work, readonly=readonly)
        await self._guests.grant(database)
        try:
            return await self._once(database, work, readonly=readonly)
        except _OutOfReach as error:
            raise MissingPrivilege(
                f"PostgreSQL: {error}",
                hint="Records are read and written with rights in this database alone.",
            ) from error

    async def _once(self, database: str, work: Work[T], *, readonly: bool) -> T:
        async with (
            _in_time(),
            self._guests.visit(database) as connection,
            _speaking(),
            connection.transaction(readonly=readonly),
        ):
            return await work(connection)

    @asynccontextmanager
    async def _plainly(self, database: str) -> AsyncIterator[Connection]:
        async with self._pool.visit(database, SETTINGS) as connection, _speaking():
            await restrict(connection)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield connection


class _OutOfReach(Exception):
    """The guest may not do it: it may be with what was made since it came."""


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LATEST):
            yield
    except TimeoutError as error:
        raise _too_long() from error


@asynccontextmanager
async def _speaking() -> AsyncIterator[None]:
    """What a statement about a table may run into, in words; the rest is translated further out."""
    try:
        yield
    except pg.InsufficientPrivilegeError as error:
        raise _OutOfReach(error.args[0]) from error
    except pg.UniqueViolationError as error:
        raise NameTaken(f"PostgreSQL: {error.args[0]}", hint=_more(error), field="data") from error
    except NOT_WANTED as error:
        raise Conflict(f"PostgreSQL: {error.args[0]}", hint=_more(error), field="data") from error
    except WRONG_VALUE as error:
        raise InvalidRequest(
            f"PostgreSQL: {error.args[0]}", field="data", hint="Write the value as its column's type."
        ) from error
    except pg.QueryCanceledError as error:
        raise _too_long() from error


def _more(error: asyncpg.PostgresError) -> str:
    return str(getattr(error, "detail", None) or "")


def _too_long() -> Conflict:
    return Conflict(
        f"It took longer than {SECONDS} s.", hint="Narrow the filter, or give the column an index."
    )


async def _refuse_code(connection: Connection, table: str, none: NoGuest) -> None:
    """MissingPrivilege for what could run code of others with our rights."""
    row = await connection.fetchrow(RELATION, table)
    if row is not None and (row["kind"] != "r" or await is_coded(connection, row["oid"])):
        raise MissingPrivilege(
            f"{row['name']} may run code of its own when it is read, and that is not done with the rights of the"
            f" provider's user: {none.why}",
            hint=none.hint,
        )


async def _described(connection: Connection, table: str) -> Relation:
    try:
        row = await connection.fetchrow(RELATION, table)
    except NO_NAME:
        row = None
    if row is None:
        raise NotFound(
            f"There is no table {said(table)}.", field="name", hint="Look at the database's schema."
        )
    keys, kind = set(row["key"]), row["kind"]
    found = await connection.fetch(COLUMNS, row["oid"])
    columns = tuple(
        Column(c["name"], c["type"], not c["filled"], c["number"] in keys, not c["made"]) for c in found
    )
    fixed = f"It is a {KINDS[kind]}." if kind not in CHANGEABLE else "" if keys else NO_KEY
    described = Table(row["name"], KINDS[kind], columns, fixed)
    return Relation(described, {c["name"]: c["bare"] for c in found})


async def _found(connection: Connection, relation: Relation, find: RowsFind) -> list[TableRow]:
    sql, columns = Statement(relation), relation.table.columns
    order = [(relation.table.column(name, "sort"), down) for name, down in find.sort]
    named = {name for name, _ in find.sort}
    order += [(column, False) for column in relation.keys if column.name not in named]
    test = sql.where(find.where)
    if find.after is not None:
        test += f" and {sql.after(order, find.after)}"
    # Of the table, not of what is selected: a bare name would mean the text that stands there under the same name.
    by = ", ".join(
        f"t.{ident(c.name)} {'desc nulls last' if down else 'asc nulls first'}" for c, down in order
    )
    texts = [f"{ident(c.name)}::text" for c in columns]
    values = texts if find.whole else [f"left({text}, {CUT + 1})" for text in texts]
    places = [f"{ident(c.name)}::text" for c, _ in order]
    query = f"select {', '.join([*values, *places])} from {relation.name} as t where {test}"
    ordered = f" order by {by}" if by else ""
    rows = await connection.fetch(f"{query}{ordered} limit {int(find.limit)}", *sql.values)
    return [shown(relation.table, tuple(row), [c for c, _ in order], find.whole) for row in rows]


async def _row(connection: Connection, relation: Relation, key: str) -> TableRow:
    sql = Statement(keyed(relation))
    values = ", ".join(f"{ident(c.name)}::text" for c in relation.table.columns)
    row = await connection.fetchrow(f"select {values} from {relation.name} where {sql.key(key)}", *sql.values)
    if row is None:
        raise missing(relation, key)
    return shown(relation.table, tuple(row), [], True)


async def _still(connection: Connection, relation: Relation, key: str, was: Mapping[str, Any]) -> None:
    """Lock the row, and see that it still holds what somebody saw."""
    sql = Statement(relation)
    tests = [
        f"{ident(name)}::text is not distinct from"
        f" ({sql.value(relation.table.column(name, f'was.{name}'), value)})::text"
        for name, value in was.items()
    ]
    row = await connection.fetchrow(
        f"select {' and '.join(tests) or 'true'} from {relation.name} where {sql.key(key)} for update",
        *sql.values,
    )
    if row is None:
        raise missing(relation, key)
    if not row[0]:
        raise VersionConflict("Somebody else changed this row.", hint="Read it again and repeat the change.")
