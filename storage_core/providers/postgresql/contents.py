"""What a database holds besides definitions: the rows of its tables and its large objects, counted and hashed.

A dump's rows are hashed as they pass (`stream`), a restored database's are read here.
"""

# ruff: noqa: S608 - every part of these queries is a constant or quoted by the server

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from ...domain.backup import ManifestObject
from .definitions import SCOPE, USER, is_scoped, own
from .dial import Connection
from .hashing import Lines
from .plain import CODED, unchanged
from .sql import ident

TABLE, EXTENSION_ROWS = "table", "extension rows"

COLUMNS = """array(select a.attname::text from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and {0} order by {1})"""
DUMPED = COLUMNS.format("a.attgenerated = ''", "a.attnum")
BY_NAME = 'a.attname collate "C"'

CHILD = "(not c.relispartition and exists (select from pg_inherits i where i.inhrelid = c.oid))"
#: Generated columns are read by a query, which nothing but PostgreSQL's own code may come into.
COMPUTED = f"""(x.extname is null and exists (select from pg_attribute a where a.attrelid = c.oid and a.attgenerated = 's'
    and not a.attisdropped) and not {CODED.format("c.oid")})"""
# An extension's table may have more columns, generated ones too, where a copy gets another version of it.
APART = f"""case when {COMPUTED} then {COLUMNS.format("a.attgenerated <> 'v'", BY_NAME)}
  when x.extname is not null or {CHILD} then {COLUMNS.format("a.attgenerated = ''", BY_NAME)} else '{{}}' end"""

TABLES = f"""
select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as relation,
  format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind, {DUMPED} as columns, {APART} as apart, {COMPUTED} as computed,
  x.extname::text as extension, coalesce(x.condition, '') as condition
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join (select e.extname, k.relation, k.condition from pg_extension e, unnest(e.extconfig, e.extcondition)
    as k(relation, condition) where e.oid >= 16384) x on x.relation = c.oid
where c.relpersistence <> 't' and ({USER} and {own("pg_class", "c")} and c.relkind in ('r', 'p')
  or x.relation is not null and c.relkind = 'r' and {SCOPE} is null)
order by c.oid
"""

COUNT_LARGE_OBJECTS = "select count(*) from pg_largeobject_metadata"
# Each is read in pieces; its size is where seeking to its end arrives (0x40000 opens for reading, 2 is the end).
LARGE_OBJECTS = """
select l.oid, p.at, sha256(lo_get(l.oid, p.at, 1048576))
from (select oid, lo_lseek64(lo_open(oid, 262144), 0, 2) as size from pg_largeobject_metadata offset 0) l
cross join lateral generate_series(0, l.size, 1048576) as p(at)
"""


@dataclass(frozen=True, slots=True)
class Table:
    """`kind` r holds rows, p is the parent of partitions; `columns` are those a dump has, in its order.

    `apart` are the columns, in order of name, of a table that has to be read apart from the dump: dumps leave generated
    columns out and a restore computes them anew (`computed`; where the table brings code of its own, what they are made of
    has to do), a child gets its parent's order of columns, and of a table that belongs to an extension people's are only
    the rows that meet its `condition` (a clause, or empty).
    """

    oid: int
    schema: str
    relation: str
    name: str
    kind: str
    columns: tuple[str, ...]
    apart: tuple[str, ...]
    computed: bool
    extension: str | None
    condition: str

    def described(self, lines: Lines) -> ManifestObject:
        """Its rows in a manifest."""
        note = {"extension": self.extension, "columns": self.apart} if self.extension else None
        said = json.dumps(note, ensure_ascii=False) if note else ""
        return ManifestObject(self.name, self._kind, lines.rows, lines.hash, note=said)

    def like(self, manifest: Mapping[tuple[str, str], ManifestObject]) -> "Table":
        """With the columns that were hashed, where it has more because it belongs to another version of an extension."""
        wanted = manifest.get((self._kind, self.name))
        if self.extension is None or wanted is None:
            return self
        columns = tuple(json.loads(wanted.note)["columns"])
        return replace(self, apart=columns) if set(columns) <= set(self.apart) else self

    @property
    def _kind(self) -> str:
        return EXTENSION_ROWS if self.extension else TABLE


async def list_tables(connection: Connection) -> tuple[Table, ...]:
    found: list[dict[str, Any]] = [dict(row) for row in await connection.fetch(TABLES)]
    return tuple(
        Table(**row | {"columns": tuple(row["columns"]), "apart": tuple(row["apart"])}) for row in found
    )


async def read_rows(connection: Connection, tables: tuple[Table, ...]) -> dict[int, Lines]:
    """Rows and hash of every table that holds rows, by OID, read by COPY."""
    return {table.oid: await _read(connection, table) for table in tables if table.kind == "r"}


async def read_large_objects(connection: Connection) -> list[ManifestObject]:
    """All of them together; a schema has none."""
    if await is_scoped(connection):
        return []
    if not (count := await connection.fetchval(COUNT_LARGE_OBJECTS)):
        return []
    lines = await _answered(connection, LARGE_OBJECTS)
    return [ManifestObject("large objects", "large objects", int(count), lines.hash)]


async def _read(connection: Connection, table: Table) -> Lines:
    if table.computed or table.condition:
        columns = ", ".join(map(ident, table.apart))
        query = f"select {columns} from only {table.name} {table.condition}"
        async with unchanged(connection, table.oid, table.name) if table.computed else nullcontext():
            return await _answered(connection, query)
    lines = Lines()

    async def take(data: bytes) -> None:
        lines.feed(data)

    await connection.copy_from_table(
        table.relation,
        schema_name=table.schema,
        columns=table.apart or table.columns or None,
        output=take,
        encoding=_encoding(connection),
    )
    return lines


async def _answered(connection: Connection, query: str) -> Lines:
    lines = Lines()

    async def take(data: bytes) -> None:
        lines.feed(data)

    await connection.copy_from_query(query, output=take, encoding=_encoding(connection))
    return lines


def _encoding(connection: Connection) -> str:
    """The server's own: nothing is converted, and bytes of no known encoding pass."""
    return str(connection.get_settings().server_encoding)
