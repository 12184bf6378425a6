"""What is in a database now: every table counted and hashed, every sequence, large object and definition."""

# ruff: noqa: S608 - every part of these queries is a constant or quoted by the server

from dataclasses import dataclass, replace

from ...domain.backup import Compare, ManifestObject
from .definitions import USER, own, read_definitions
from .dial import Connection
from .hashing import Rule, hash_table, read_columns, read_types
from .owners import read_owners
from .wording import digest

TABLES = f"""
select c.oid::int8 as oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {USER} and {own("pg_class", "c")} and c.relpersistence <> 't' and c.relkind in ('r', 'p')
order by c.oid
"""

SEQUENCES = f"""
select format('%I.%I', n.nspname, c.relname) as name, s.seqstart as start, s.seqincrement as step, s.seqcycle as cycle
from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
where {USER} and {own("pg_class", "c")} and c.relpersistence <> 't'
order by c.oid
"""

LARGE_OBJECTS = "select count(*) from pg_largeobject_metadata"
# Each is read in pieces; its size is where seeking to its end arrives (0x40000 opens for reading, 2 is the end).
LARGE_OBJECTS_HASH = """
select coalesce(sum({row}), 0)::text from (
  select l.oid, p.at, lo_get(l.oid, p.at, 1048576) as data
  from (select oid, lo_lseek64(lo_open(oid, 262144), 0, 2) as size from pg_largeobject_metadata offset 0) l
  cross join lateral generate_series(0, l.size, 1048576) as p(at)) t
"""
SETTINGS = """
select coalesce(quote_ident(r.rolname) || ' ', '') || split_part(s.setting, '=', 1) as name,
  s.setting from (select setrole, unnest(setconfig) as setting from pg_db_role_setting
    where setdatabase = (select oid from pg_database where datname = current_database()) and setrole = 0) s
left join pg_roles r on r.oid = s.setrole
"""

SEQUENCE_BATCH = 200


@dataclass(frozen=True, slots=True)
class Table:
    """`kind` r holds rows, p is the parent of partitions."""

    oid: int
    name: str
    kind: str


async def list_tables(connection: Connection) -> tuple[Table, ...]:
    return tuple(Table(r["oid"], r["name"], r["kind"]) for r in await connection.fetch(TABLES))


async def read_sequences(connection: Connection) -> list[ManifestObject]:
    """Each sequence's position as the number of steps taken from its start; one that cycles says nothing.

    Sequences do not follow snapshots: a dump has what they were at some moment while it was made.
    """
    known = await connection.fetch(SEQUENCES)
    found: list[ManifestObject] = []
    for first in range(0, len(known), SEQUENCE_BATCH):
        batch = known[first : first + SEQUENCE_BATCH]
        query = " union all ".join(
            f"select {number}, last_value, is_called from {row['name']}" for number, row in enumerate(batch)
        )
        for number, last, called in await connection.fetch(query):
            row = batch[number]
            steps = 0 if row["cycle"] else (last - row["start"]) // row["step"] + int(called)
            found.append(ManifestObject(row["name"], "sequence", steps, "", compare=Compare.AT_LEAST))
    return found


async def read_contents(
    connection: Connection, tables: tuple[Table, ...], rule: Rule
) -> list[ManifestObject]:
    """Rows and hash of every table that holds rows, and of the large objects together."""
    types = await read_types(connection)
    terms = await read_columns(connection, types)
    found: list[ManifestObject] = []
    for table in tables:
        if table.kind == "r":
            rows, value = await hash_table(connection, table.name, terms.get(table.oid, []), rule)
            found.append(ManifestObject(table.name, "table", rows, value))
    if count := await connection.fetchval(LARGE_OBJECTS):
        value = await connection.fetchval(
            LARGE_OBJECTS_HASH.format(row=rule.row(["t.oid", "t.at", "t.data"]))
        )
        found.append(ManifestObject("large objects", "large objects", int(count), str(value)))
    return found


async def read_settings(connection: Connection) -> list[ManifestObject]:
    """The database's own settings (ALTER DATABASE … SET)."""
    return [
        ManifestObject(name, "setting", 0, digest(setting))
        for name, setting in await connection.fetch(SETTINGS)
    ]


async def survey(connection: Connection, tables: tuple[Table, ...], rule: Rule) -> list[ManifestObject]:
    """Everything but sequences, in the connection's snapshot."""
    return [
        *await read_definitions(connection),
        *(await read_owners(connection) if rule.scope > 1 else ()),
        *await read_settings(connection),
        *await read_contents(connection, tables, rule),
    ]


def bounded(before: list[ManifestObject], after: list[ManifestObject]) -> list[ManifestObject]:
    """Each sequence as it may be in a dump that was made between two readings."""
    later = {found.name: found.rows for found in after}
    return [
        replace(found, rows=min(found.rows, end), most=max(found.rows, end))
        for found in before
        for end in (later.get(found.name, found.rows),)
    ]
