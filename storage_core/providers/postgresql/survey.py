"""What is in a database now besides the rows of its tables: definitions, owners, settings, sequences, large objects."""

# ruff: noqa: S608 - every part of these queries is a constant or quoted by the server

from dataclasses import replace

from ...domain.backup import Compare, ManifestObject
from .contents import read_large_objects
from .definitions import USER, is_scoped, own, read_definitions
from .dial import Connection
from .owners import read_owners
from .wording import digest

SEQUENCES = f"""
select format('%I.%I', n.nspname, c.relname) as name, s.seqstart as start, s.seqincrement as step, s.seqcycle as cycle
from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
where {USER} and {own("pg_class", "c")} and c.relpersistence <> 't'
order by c.oid
"""

SETTINGS = """
select coalesce(quote_ident(r.rolname) || ' ', '') || split_part(s.setting, '=', 1) as name,
  s.setting from (select setrole, unnest(setconfig) as setting from pg_db_role_setting
    where setdatabase = (select oid from pg_database where datname = current_database()) and setrole = 0) s
left join pg_roles r on r.oid = s.setrole
"""

SEQUENCE_BATCH = 200


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


async def read_settings(connection: Connection) -> list[ManifestObject]:
    """The database's own settings (ALTER DATABASE … SET); a schema has none."""
    if await is_scoped(connection):
        return []
    return [
        ManifestObject(name, "setting", 0, digest(setting))
        for name, setting in await connection.fetch(SETTINGS)
    ]


async def survey(connection: Connection) -> list[ManifestObject]:
    """Everything but tables' rows and sequences, in the connection's snapshot."""
    return [
        *await read_definitions(connection),
        *await read_owners(connection),
        *await read_settings(connection),
        *await read_large_objects(connection),
    ]


def bounded(before: list[ManifestObject], after: list[ManifestObject]) -> list[ManifestObject]:
    """Each sequence as it may be in a dump that was made between two readings."""
    later = {found.name: found.rows for found in after}
    return [
        replace(found, rows=min(found.rows, end), most=max(found.rows, end))
        for found in before
        for end in (later.get(found.name, found.rows),)
    ]
