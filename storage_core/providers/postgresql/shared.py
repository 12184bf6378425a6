"""Databases that are schemas of the shared database: where they differ from databases of the server's.

Every connection to one is to that schema (`Dialer`): what is read there, measured or dumped is in it.
"""

import contextlib

import asyncpg
from asyncpg import exceptions as pg

from ...domain.database import DatabaseStats, ExistingDatabase, OptimizeReport
from ...domain.errors import InUse, InvalidRequest, NameTaken, NotFound
from ...domain.naming import SHARED, said, schema_in, schema_name
from .definitions import USER
from .dial import Connection
from .pool import Pool
from .sql import ident

QUIET = {"search_path": "", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
LOCK_MS, ATTEMPTS = "2000ms", 5
MAKE = f"create database {ident(SHARED)} template template0 encoding 'UTF8'"
#: One on a server makes it at a time.
MAKING = 7_230_421
#: Whether it is there, whose it is to close, whether it is closed to the public, whether we may look into it: who signs in
#: is asked for at the door, whoever they become afterwards.
THE_SHARED = """
select pg_has_role(datdba, 'member') as ours, has_database_privilege(session_user, oid, 'connect') as open,
  not has_database_privilege('public', oid, 'connect') as closed
from pg_database where datname = $1
"""
SCHEMAS = f"""
select n.nspname::text as name, coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 as size
from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'm', 'S')
where {USER} and n.nspname <> 'public' group by 1 order by 1
"""  # noqa: S608 - constants
THERE = "select oid::int8 from pg_namespace where nspname = $1"
STATS = f"""
select coalesce(sum(pg_total_relation_size(c.oid)) filter (where c.relkind in ('r', 'm', 'S')), 0)::int8 as size,
  count(*) as objects, coalesce(sum(pg_stat_get_dead_tuples(c.oid)), 0)::int8 as dead_rows,
  coalesce(sum(greatest(coalesce(c.reltuples, 0), 0)) filter (where c.relkind = 'r'), 0)::int8 as rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {USER} and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
"""  # noqa: S608 - constants
TABLES = f"""
select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {USER} and c.relkind in ('r', 'm') order by 1
"""  # noqa: S608 - constants
END_HOLDERS = """
select pg_terminate_backend(pid) from (select distinct l.pid from pg_locks l
  join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
  join pg_stat_activity a on a.pid = l.pid and a.backend_type = 'client backend'
  where n.nspname = $1 and l.pid <> pg_backend_pid()
    and l.database = (select oid from pg_database where datname = current_database())) holders
"""


class SharedDatabase:
    """Schemas as databases, by the same physical names."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, name: str) -> None:
        """Make an empty schema; the shared database, too, where there is none, closed to the public."""
        await self._made()
        schema = schema_in(name) or ""
        async with self._pool.visit(name, QUIET) as connection:
            try:
                await connection.execute(f"create schema {ident(schema)}")
            except pg.DuplicateSchemaError as error:
                raise NameTaken(f"The schema {said(schema, 200)} is there already.", field="name") from error

    async def drop(self, name: str) -> None:
        """Remove a schema with everything in it, ending the sessions that hold a part of it. Idempotent."""
        schema = schema_in(name) or ""
        if await self._shared() is None:
            return
        async with self._pool.visit(name, QUIET | {"lock_timeout": LOCK_MS}) as connection:
            for _ in range(ATTEMPTS):
                await connection.fetch(END_HOLDERS, schema)
                try:
                    await connection.execute(f"drop schema if exists {ident(schema)} cascade")
                except pg.LockNotAvailableError:
                    continue
                return
        raise InUse(f"Others keep using the schema {said(schema, 200)}.", hint="Delete it again.")

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        shared = await self._shared()
        if shared is None or not shared["open"]:
            return ()
        async with self._pool.visit(SHARED, QUIET) as connection:
            found = await connection.fetch(SCHEMAS)
        return tuple(ExistingDatabase(schema_name(row["name"]), row["size"]) for row in found)

    async def number(self, name: str) -> int | None:
        """The schema's own number in the shared database; none where it is not there."""
        if await self._shared() is None:
            return None
        async with self._pool.visit(name, QUIET) as connection:
            found: int | None = await connection.fetchval(THERE, schema_in(name))
        return found

    async def stats(self, connection: Connection) -> DatabaseStats:
        """How large the schema is. Connections and activity are the whole database's: others' business."""
        row = await connection.fetchrow(STATS)
        assert row is not None  # noqa: S101 - an aggregate always answers
        return DatabaseStats(
            row["size"], row["objects"], row["rows"], None, (("dead_rows", row["dead_rows"]),)
        )

    async def optimize(self, connection: Connection) -> OptimizeReport:
        before = await self.stats(connection)
        tables = [row[0] for row in await connection.fetch(TABLES)]
        for table in tables:
            await connection.execute(f"vacuum (analyze) {table}")
        after = await self.stats(connection)
        dead = dict(before.details)["dead_rows"]
        steps = (f"VACUUM (ANALYZE) of {len(tables)} tables, about {dead} dead rows before",)
        return OptimizeReport(steps, before.size_bytes, after.size_bytes)

    async def _shared(self) -> asyncpg.Record | None:
        async with self._pool.admin() as connection:
            return await connection.fetchrow(THE_SHARED, SHARED)

    async def _made(self) -> None:
        """Have the shared database there, and closed; whoever else wants it at the moment waits."""
        if _done(await self._shared()):
            return
        async with self._pool.admin() as connection:
            await connection.execute(f"select pg_advisory_lock({MAKING})")
            try:
                await self._make(connection)
            finally:
                await connection.execute(f"select pg_advisory_unlock({MAKING})")

    async def _make(self, connection: Connection) -> None:
        if await connection.fetchrow(THE_SHARED, SHARED) is None:
            await connection.execute(MAKE)
        if _done(await connection.fetchrow(THE_SHARED, SHARED)):
            return
        async with self._pool.visit(SHARED, QUIET) as inside:
            with contextlib.suppress(
                pg.InsufficientPrivilegeError
            ):  # before PostgreSQL 15 it is a superuser's
                await inside.execute("drop schema if exists public")
        await connection.execute(f"revoke all on database {ident(SHARED)} from public")


def _done(found: asyncpg.Record | None) -> bool:
    """Whether there is nothing left to do. One that somebody made for us is theirs to close."""
    return found is not None and (found["closed"] or not found["ours"])


async def refuse_missing(connection: Connection, name: str) -> None:
    """NotFound where the schema is gone: a connection to the shared database does not tell."""
    schema = schema_in(name)
    if schema is not None and await connection.fetchval(THERE, schema) is None:
        raise NotFound(f"The schema {said(schema, 200)} is not there.")


def no_settings() -> InvalidRequest:
    return InvalidRequest(
        "A schema has no settings of its own: the shared database has them.",
        field="settings",
        hint="Leave them out, or use a database of its own.",
    )
