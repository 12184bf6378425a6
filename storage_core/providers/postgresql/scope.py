"""Backups of one schema: what belongs to it, what it must not need of others, and what becomes of it in a copy.

A copy is restored as it was, into a database that has nothing else, and measured; then its schema becomes the copy's
`public` and its collections go where those of a database of its own lie.
"""

# ruff: noqa: S608 - every part of these statements is a constant or quoted

from ...domain.backup import Manifest, ManifestObject
from ...domain.errors import Conflict
from ...domain.naming import said
from .collection_table import COLLECTION_PREFIX, MARK, SCHEMA
from .definitions import USER
from .dial import Connection
from .facts import Facts
from .owners import DATABASE, KINDS, read_owners, roles_of
from .sql import ident, literal

#: Said of a database that holds a schema which still has its own name.
WAS = "storage-console: was the schema "
SAID = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
MINE = f"""
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind = 'r' and starts_with(c.relname, '{COLLECTION_PREFIX}')
  and (obj_description(c.oid, 'pg_class') = '{MARK}' or c.relname = '{COLLECTION_PREFIX}_quota') order by 1
"""
SPELLED = """
select format('%I.%I', n.nspname, p.proname) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'public' and position($1 in concat_ws(' ', p.prosrc, array_to_string(p.proconfig, ' '))) > 0 order by 1
"""
#: What the schema's objects, or their parts, need of other schemas and of servers elsewhere.
NEEDED = f"""
with relations as (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where {USER}),
mine as (
  select 'pg_class'::regclass as catalog, oid from relations
  union all select 'pg_attrdef'::regclass, oid from pg_attrdef where adrelid in (select oid from relations)
  union all select 'pg_rewrite'::regclass, oid from pg_rewrite where ev_class in (select oid from relations)
  union all select 'pg_trigger'::regclass, oid from pg_trigger where tgrelid in (select oid from relations)
  union all select 'pg_policy'::regclass, oid from pg_policy where polrelid in (select oid from relations)
  union all select 'pg_constraint'::regclass, k.oid from pg_constraint k join pg_namespace n on n.oid = k.connamespace
    where {USER}
  union all select 'pg_proc'::regclass, p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {USER}
  union all select 'pg_type'::regclass, t.oid from pg_type t join pg_namespace n on n.oid = t.typnamespace where {USER}
  union all select 'pg_operator'::regclass, o.oid from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
    where {USER}
  union all select 'pg_statistic_ext'::regclass, s.oid from pg_statistic_ext s
    join pg_namespace n on n.oid = s.stxnamespace where {USER})
select distinct i.type || ' ' || i.identity
from mine m join pg_depend d on d.classid = m.catalog and d.objid = m.oid,
  lateral pg_identify_object(d.refclassid, d.refobjid, 0) i
where d.refobjid >= 16384 and (i.type = 'server' or i.schema <> (select quote_ident(n.nspname) from pg_namespace n
    where {USER}) and i.schema not like 'pg\\_toast%')
order by 1 limit 5
"""


def only(schema: str) -> list[str]:
    """The words that keep pg_dump to one schema."""
    return [f"--schema={ident(schema)}", "--strict-names"]


async def facts_of_schema(connection: Connection, schema: str, facts: Facts) -> Facts:
    """Conflict where the schema cannot live without others: a backup is never silently partial."""
    needed = [row[0] for row in await connection.fetch(NEEDED)]
    if needed:
        raise Conflict(
            f"The schema {said(schema, 200)} needs what lies outside of it: {', '.join(needed)}.",
            hint="Move that into the schema, or keep these tables in a database of their own.",
        )
    roles = {role for found in await read_owners(connection) for role in roles_of(found)}
    return facts.of_schema(schema, tuple(sorted(roles)))


def of_its_own(like: Manifest, found: list[ManifestObject]) -> list[ManifestObject]:
    """Without what a database has and a schema has not, where the manifest is a schema's."""
    if any(o.kind in KINDS and o.name == DATABASE for o in like.objects):
        return found
    return [o for o in found if o.kind not in KINDS or o.name != DATABASE]


async def remember(connection: Connection, name: str, schema: str) -> None:
    """Say of a restored database which schema is in it."""
    await connection.execute(f"comment on database {ident(name)} is {literal(WAS + schema)}")


async def at_home(connection: Connection, name: str) -> tuple[str, ...]:
    """Give what was a schema the names of a database of its own; answers in words what changed."""
    told = await connection.fetchval(SAID)
    if not told or not told.startswith(WAS):
        return ()
    schema = told.removeprefix(WAS)
    async with connection.transaction():
        tables = [row[0] for row in await connection.fetch(MINE, schema)]
        if tables:
            await connection.execute(f"create schema {ident(SCHEMA)}")
        for table in tables:
            await connection.execute(f"alter table {ident(schema)}.{ident(table)} set schema {ident(SCHEMA)}")
            plain = ident(table.removeprefix(COLLECTION_PREFIX))
            await connection.execute(f"alter table {ident(SCHEMA)}.{ident(table)} rename to {plain}")
        await connection.execute(f"alter schema {ident(schema)} rename to public")
        await connection.execute(f"comment on database {ident(name)} is null")
        spelled = [row[0] for row in await connection.fetch(SPELLED, schema)]
    notes = [f"the schema {schema} is a database of its own now; its tables lie in the schema public"]
    if spelled:
        notes.append(f"these routines spell the schema's old name, and need another: {', '.join(spelled)}")
    return tuple(notes)
