"""The databases facet: made from template0, closed to the public, named by data."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import asyncpg
from asyncpg import exceptions as pg

from ...domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from ...domain.errors import InvalidRequest, NotFound
from ...domain.naming import SHARED, said, schema_in, server_name
from ...domain.provider import postmaster_mark
from .dial import Connection, Dialer
from .facts import Facts
from .pool import Pool
from .schema import read_schema
from .settings import apply, checked_settings
from .shared import QUIET, SharedDatabase, no_settings, refuse_missing
from .sql import checked_database, ident, literal

UTF8 = "template template0 encoding 'UTF8'"
#: What is made here is closed to everybody: its owner alone connects, and makes temporary tables.
CLOSED = "revoke all on database {} from public"
OURS_NOT = frozenset(("postgres", "template0", "template1"))
#: Marks of the databases that the console itself lives in, asked for anew each time.
OwnMarks = Callable[[], Awaitable[frozenset[str]]]
MARKS = "select oid::int8 as oid, pg_postmaster_start_time() as started from pg_database where datname = $1"

EXISTING = f"""
select d.datname::text as name, d.oid::int8 as oid, pg_postmaster_start_time() as started, case when has_database_privilege(d.oid, 'connect')
    or pg_has_role('pg_read_all_stats', 'member') then pg_database_size(d.oid) end as size
from pg_database d where not d.datistemplate and d.datallowconn and d.datname not in ('postgres', '{SHARED}')
  and not starts_with(d.datname, '{SHARED}/') order by 1
"""  # noqa: S608 - constants
#: The rows are as old as the query, the sizes are not: of a database that was dropped since, there is none to take.
DROPPED = (pg.UndefinedObjectError, pg.InvalidCatalogNameError)
#: How often the list is asked for while databases go in that moment.
LISTINGS = 5
STATS = """
select pg_database_size(current_database()) as size,
  count(*) as objects, coalesce(sum(greatest(coalesce(c.reltuples, 0), 0)) filter (where c.relkind = 'r'), 0)::int8 as rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
"""
ACTIVITY = """
select s.numbackends, s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit, s.deadlocks, s.temp_bytes,
  s.conflicts, age(d.datfrozenxid) as transaction_id_age, pg_encoding_to_char(d.encoding)::text as encoding,
  d.datcollate::text as collation, d.datconnlimit as connection_limit,
  (select coalesce(sum(n_dead_tup), 0)::int8 from pg_stat_user_tables) as dead_rows
from pg_stat_database s join pg_database d on d.oid = s.datid where d.datname = current_database()
"""


class PostgresDatabases:
    """See the port. Names are quoted everywhere; none is ever part of a connection string unquoted."""

    def __init__(
        self,
        dialer: Dialer,
        pool: Pool,
        own: OwnMarks | None = None,
        release: Callable[[str], None] = lambda name: None,
        dropped: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """:param own: answers the marks of databases that are the console's own: nobody's to look into or drop.
        :param release: lets go of what this process keeps open of a database.
        :param dropped: removes what belonged to a database and lies beside it.
        """
        self._dialer, self._pool, self._own, self._release = dialer, pool, own or _nothing, release
        self._shared = SharedDatabase(pool)
        self._dropped = dropped

    def location(self, name: str) -> str:
        host = f"[{self._dialer.host}]" if ":" in self._dialer.host else self._dialer.host
        return f"{host}:{self._dialer.port}/{name}"

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        checked_database(name)
        checked_settings(settings)
        if schema_in(name) is not None:
            if settings:
                raise no_settings()
            await self._shared.create(name)
            return self.location(name)
        async with self._pool.admin() as connection:
            await self._make(connection, name, UTF8)
            try:
                await connection.execute(CLOSED.format(ident(name)))
                await apply(connection, name, settings)
            except BaseException:
                await asyncio.shield(self.drop(name))
                raise
        return self.location(name)

    async def create_like(self, name: str, facts: Facts) -> tuple[str, ...]:
        """An empty database with the encoding and locale of another; says where that was not possible."""
        async with self._pool.admin() as connection:
            notes: tuple[str, ...] = ()
            base = f"template template0 encoding {literal(facts.encoding)}"
            try:
                await self._make(connection, name, f"{base} {_locale(connection, facts)}")
            except (
                pg.InvalidParameterValueError,
                pg.WrongObjectTypeError,
                pg.PostgresSyntaxError,
                pg.FeatureNotSupportedError,
            ):
                await self._make(connection, name, f"{base} lc_collate 'C' lc_ctype 'C'")
                notes = (f"locale {facts.locale or facts.collate}: not available here, C is used",)
            try:
                await connection.execute(CLOSED.format(ident(name)))
            except BaseException:
                await asyncio.shield(self.drop(name))
                raise
        return notes

    async def drop(self, name: str) -> None:
        checked_database(name)
        if name in OURS_NOT or name == self._dialer.maintenance:
            raise InvalidRequest("The server itself needs this database.", field="name")
        await self.refuse_own(name)
        self._release(name)
        if schema_in(name) is not None:
            await self._shared.drop(name)
        else:
            async with self._pool.admin() as connection:
                await connection.execute(f"drop database if exists {ident(name)} with (force)")
        if self._dropped is not None:
            await self._dropped(name)

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        own = await self._own()
        async with self._pool.admin() as connection:
            found = await _listed(connection)
        databases = tuple(
            ExistingDatabase(row["name"], row["size"])
            for row in found
            if postmaster_mark(row["started"], row["oid"]) not in own
        )
        return (*databases, *await self._shared.existing())

    async def marks(self, name: str | None) -> frozenset[str]:
        async with self._pool.admin() as connection:
            row = await connection.fetchrow(
                MARKS, self._dialer.maintenance if name is None else server_name(checked_database(name))
            )
        if row is None:
            return frozenset()
        mark = postmaster_mark(row["started"], None if name is None else row["oid"])
        if name is None or schema_in(name) is None:
            return frozenset({mark})
        number = await self._shared.number(name)
        return frozenset() if number is None else frozenset({f"{mark}/{number}"})

    async def refuse_own(self, name: str) -> None:
        """InvalidRequest for a database that the console itself lives in."""
        own = await self._own()
        if own and await self.marks(server_name(name)) & own:
            raise InvalidRequest(
                f"{said(name, 200)} is the console's own database.",
                field="name",
                hint="Only databases of people's are managed here.",
            )

    @asynccontextmanager
    async def _visit(self, name: str) -> AsyncIterator[Connection]:
        await self.refuse_own(checked_database(name))
        async with self._pool.visit(name, QUIET) as connection:
            await refuse_missing(connection, name)
            yield connection

    async def stats(self, name: str) -> DatabaseStats:
        async with self._visit(name) as connection:
            if schema_in(name) is not None:
                return await self._shared.stats(connection)
            sizes = await connection.fetchrow(STATS)
            activity = await connection.fetchrow(ACTIVITY)
        assert sizes is not None and activity is not None  # noqa: S101 - we were connected to it
        details = tuple((key, value) for key, value in activity.items() if key != "numbackends")
        read = activity["blks_hit"] + activity["blks_read"]
        ratio = round(activity["blks_hit"] / read, 4) if read else None
        # our own visit is not one of the database's connections
        others = max(activity["numbackends"] - 1, 0)
        return DatabaseStats(
            sizes["size"], sizes["objects"], sizes["rows"], others, (*details, ("cache_hit_ratio", ratio))
        )

    async def schema(self, name: str) -> DatabaseSchema:
        async with self._visit(name) as connection:
            return await read_schema(connection)

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        checked_database(name)
        if schema_in(name) is not None:
            raise no_settings()
        checked_settings(settings)
        await self.refuse_own(name)
        async with self._pool.admin() as connection:
            if not await connection.fetchval(
                "select exists (select from pg_database where datname = $1)", name
            ):
                raise NotFound(f"The database {said(name, 200)} does not exist on {self._dialer.host}.")
            await apply(connection, name, settings)

    async def optimize(self, name: str) -> OptimizeReport:
        """VACUUM (ANALYZE) of the whole database; tables of others are named as left out."""
        said: list[str] = []

        def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
            said.append(str(getattr(message, "message", message)))

        async with self._visit(name) as connection:
            if schema_in(name) is not None:
                return await self._shared.optimize(connection)
            connection.add_log_listener(listen)
            before = await connection.fetchrow(STATS)
            dead = await connection.fetchval(
                "select coalesce(sum(n_dead_tup), 0)::int8 from pg_stat_user_tables"
            )
            await connection.execute("vacuum (analyze)")
            tables = await connection.fetchval("select count(*) from pg_stat_user_tables")
            after = await connection.fetchrow(STATS)
            connection.remove_log_listener(listen)
        assert before is not None and after is not None  # noqa: S101 - an aggregate always answers
        left_out = sum("skipping" in message or "permission denied" in message for message in said)
        steps = [f"VACUUM (ANALYZE) of {tables} tables, about {dead} dead rows before"]
        if left_out:
            steps.append(f"{left_out} objects left out: they belong to somebody else")
        return OptimizeReport(tuple(steps), before["size"], after["size"])

    async def _make(self, connection: Connection, name: str, options: str) -> None:
        """CREATE DATABASE, waited for even when cancelled, so that it is known whether it is ours to drop."""
        making = asyncio.ensure_future(connection.execute(f"create database {ident(name)} {options}"))
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncpg.PostgresError):
                await making
                await connection.execute(f"drop database if exists {ident(name)} with (force)")
            raise


async def _listed(connection: Connection) -> list[asyncpg.Record]:
    """The rows of EXISTING, asked for again when a database went in between."""
    for _ in range(LISTINGS - 1):
        with contextlib.suppress(*DROPPED):
            return await connection.fetch(EXISTING)
    return await connection.fetch(EXISTING)


async def _nothing() -> frozenset[str]:
    return frozenset()


def _locale(connection: Connection, facts: Facts) -> str:
    """The clauses for a locale, as far as this server's version knows them."""
    base = f"lc_collate {literal(facts.collate)} lc_ctype {literal(facts.ctype)}"
    major = connection.get_server_version().major
    if facts.provider == "i" and facts.locale and major >= 15:
        return f"{base} locale_provider icu icu_locale {literal(facts.locale)}"
    if facts.provider == "b" and facts.locale and major >= 17:
        return f"{base} locale_provider builtin builtin_locale {literal(facts.locale)}"
    return f"{base} locale_provider libc" if major >= 15 else base
