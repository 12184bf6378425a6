"""Reading what others made with our own rights, and running nothing of theirs: as pg_dump does, and no further.

Copying an ordinary table runs no code. A query may: the server computes the constants of indexes, statistics and
constraints when it plans one, with the rights of whoever asks, however ordinary the table is.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...domain.errors import Conflict
from .dial import Connection

#: Not on servers before 13.16, 14.13, 15.8, 16.4 and 17: those are told by what kind of thing a name is.
RESTRICT = """
select set_config(name, 'view, foreign-table', false) from pg_settings where name = 'restrict_nonsystem_relation_kind'
"""

#: Whether a table brings anything that is not PostgreSQL's own into a query's plan; what is PostgreSQL's own has low numbers
#: and is in no list of dependencies. Defaults, and what stored generated columns are made of, come into no plan that reads.
CODED = """(
  exists (select from pg_attribute a where a.attrelid = {0} and a.attnum > 0 and a.atttypid >= 16384)
  or exists (select from pg_inherits i where {0} in (i.inhparent, i.inhrelid))
  or exists (
    select from pg_depend d where d.refobjid >= 16384
      and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass)
      and (d.classid = 'pg_class'::regclass and d.objid = {0}
        or d.classid = 'pg_class'::regclass and d.objid in (select indexrelid from pg_index where indrelid = {0})
        or d.classid = 'pg_constraint'::regclass
          and d.objid in (select oid from pg_constraint where conrelid = {0})
        or d.classid = 'pg_policy'::regclass and d.objid in (select oid from pg_policy where polrelid = {0})
        or d.classid = 'pg_statistic_ext'::regclass
          and d.objid in (select oid from pg_statistic_ext where stxrelid = {0}))))"""


async def restrict(connection: Connection) -> None:
    """Let the session's queries reach no view and no foreign table, also where one took a table's name meanwhile."""
    await connection.execute(RESTRICT)


@asynccontextmanager
async def unchanged(connection: Connection, relation: int, table: str) -> AsyncIterator[None]:
    """Keep a table without code as it is for a block within a transaction: a query of it runs nothing of others.

    Whoever has no right to hold it has few others as well, and the transaction changes nothing. Conflict where it is
    without code no more.
    """
    holding = connection.transaction()
    await holding.start()
    try:
        if await connection.fetchval("select current_setting('is_superuser') = 'on'"):
            await connection.execute(f"lock table only {table} in share update exclusive mode")
        if await is_coded(connection, relation):
            raise Conflict(
                f"{table} was changed while it was read.", hint="Run this again in a quieter moment."
            )
        yield
    finally:
        if not connection.is_closed():
            await holding.rollback()  # lets go of the table


async def is_coded(connection: Connection, relation: int) -> bool:
    """Whether a query of a table could run code of others."""
    return bool(await connection.fetchval(f"select {CODED.format('$1::int8::oid')}", relation))
