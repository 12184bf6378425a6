"""What is in a database, for people: tables, views and the like with columns, indexes, estimates and sizes."""

# ruff: noqa: S608 - every part of these queries is a constant or quoted by the server

from collections import defaultdict

from ...domain.database import ColumnInfo, DatabaseSchema, IndexInfo, ObjectInfo
from .definitions import USER, own
from .dial import Connection

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
}
# Before the first ANALYZE PostgreSQL has no estimate (-1): then the figures of the statistics collector are taken.
RELATIONS = f"""
select c.oid::int8 as oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind, c.relispartition,
  case when c.relkind in ('r', 'm') then case when c.reltuples >= 0 then c.reltuples::int8
    else coalesce(pg_stat_get_live_tuples(c.oid), 0) end end as rows,
  case when c.relkind in ('r', 'm', 'S') then pg_total_relation_size(c.oid) end as size,
  case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid)
    when c.relkind = 'p' then 'partition by ' || pg_get_partkeydef(c.oid)
    when c.relispartition then pg_get_expr(c.relpartbound, c.oid) end as definition
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {USER} and {own("pg_class", "c")} and c.relpersistence <> 't' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
order by 2
"""
COLUMNS = """
select a.attrelid::int8 as relation, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
  not a.attnotnull as nullable, pg_get_expr(d.adbin, d.adrelid) as default
from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = any($1::int8[]::oid[]) and a.attnum > 0 and not a.attisdropped and c.relkind <> 'S'
order by a.attrelid, a.attnum
"""
INDEXES = """
select i.indrelid::int8 as relation, c.relname::text as name, pg_get_indexdef(c.oid) as definition, i.indisunique
from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = any($1::int8[]::oid[]) order by 2
"""
ROUTINES = f"""
select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as name,
  case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end as kind,
  case when p.prokind <> 'a' then pg_get_functiondef(p.oid) end as definition
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where {USER} and {own("pg_proc", "p")} order by 1
"""

Columns = dict[int, list[ColumnInfo]]
Indexes = dict[int, list[IndexInfo]]


async def read_schema(connection: Connection) -> DatabaseSchema:
    relations = await connection.fetch(RELATIONS)
    oids = [row["oid"] for row in relations]
    columns: Columns = defaultdict(list)
    for row in await connection.fetch(COLUMNS, oids):
        columns[row["relation"]].append(ColumnInfo(row["name"], row["type"], row["nullable"], row["default"]))
    indexes: Indexes = defaultdict(list)
    for row in await connection.fetch(INDEXES, oids):
        indexes[row["relation"]].append(IndexInfo(row["name"], row["definition"], row["indisunique"]))
    objects = [
        ObjectInfo(
            row["name"],
            "partition" if row["relispartition"] and row["kind"] == "r" else KINDS[row["kind"]],
            row["rows"],
            row["size"],
            tuple(columns[row["oid"]]),
            tuple(indexes[row["oid"]]),
            row["definition"],
        )
        for row in relations
    ]
    objects += [
        ObjectInfo(row["name"], row["kind"], None, None, definition=row["definition"])
        for row in await connection.fetch(ROUTINES)
    ]
    return DatabaseSchema(tuple(objects))
