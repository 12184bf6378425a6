"""The logins facet: a second role that acts as the first one, so that whatever it makes belongs to the first one."""

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from asyncpg import exceptions as pg

from ...domain.errors import Conflict, InUse, InvalidRequest, MissingPrivilege
from ...domain.naming import schema_in, server_name
from ...domain.record import Quota
from .collections import PostgresCollections
from .definitions import USER
from .dial import APPLICATION, Connection
from .pool import Pool
from .roles import PASSING
from .sql import MAX_NAME_BYTES, ident, literal

SUFFIX = "_2"
#: Two who grant on the same table at once: one of them would fail.
GRANTING_LOCK = 7_230_422
ITERATIONS = 4096
#: Said of roles that are leased out; how many connections one may have at once.
LEASE_MARK, LEASED = "storage-console: leased", 20
#: Said of the roles that are ours to change: a comment on the role.
MARK = "storage-console: second login of "

WHO = "select array[session_user::text, current_user::text]"
ROLE = "select oid, shobj_description(oid, 'pg_authid') as mark from pg_roles where rolname = $1"
#: Whoever got the password out may be signed in still; calls of ours that are under way are done soon.
END_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = $1 and (application_name <> $2 or state = 'idle') and pid <> pg_backend_pid()
"""
END_ALL = "select pg_terminate_backend(pid) from pg_stat_activity where usesysid = $1"
#: Where a role owns something or has a right: in its own database, in copies of it that were restored, and wherever
#: everybody may connect, and make large objects.
HOLDS = """
select distinct d.datname::text from pg_shdepend s join pg_database d on d.oid = s.dbid
where s.refclassid = 'pg_authid'::regclass and s.refobjid = $1
"""
#: Nothing that others hold keeps the end of a lease waiting for ever.
LIMITS = {"lock_timeout": "2s", "statement_timeout": "60s"}
#: What says that somebody else removes a role at the same moment; and that its own transaction held its row.
GONE = (pg.UndefinedObjectError, pg.InternalServerError)
CROSSED = (*GONE, pg.LockNotAvailableError, pg.DependentObjectsStillExistError)
ROUNDS = 9
#: How often the connections that were ended are looked for, and how long in between.
LOOKS, LOOK_SECONDS = 500, 0.02
SCHEMAS = f"""
select n.nspname::text from pg_namespace n where {USER} and has_schema_privilege(n.oid, 'usage') order by 1
"""  # noqa: S608 - constants
#: What lies in a schema and is ours to grant; where one table is not, granting on all of them fails.
GRANTABLE = """
select c.relkind = 'S' as counter, array_agg(format('%I.%I', n.nspname, c.relname)) as names
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select with grant option')
    else has_table_privilege(c.oid, 'select with grant option') end
group by 1
"""


#: Leased logins whose time is over: most are ended by who leased them; a crash, or a restore, leaves some.
OVER = f"""
select rolname::text from pg_roles where rolname ~ '{PASSING}' and rolvaliduntil < now()
  and shobj_description(oid, 'pg_authid') = $1
"""  # noqa: S608 - constants


class PostgresLogins:
    """See the port. The second role is a member of the first and becomes it at once when it signs in."""

    def __init__(self, pool: Pool, collections: PostgresCollections) -> None:
        self._pool, self._collections = pool, collections

    async def second(self, password: str) -> str:
        async with self._pool.admin() as connection, connection.transaction():
            login, acting = await connection.fetchval(WHO) or ("", "")
            known = await connection.fetchrow(ROLE, login)
            mark = None if known is None else known["mark"]
            if mark and mark.startswith(MARK):
                other = mark.removeprefix(MARK)
            else:
                other = login + SUFFIX
                await _make(connection, login, acting, other)
            # The verifier, so that the password is in no log of the server.
            verifier = literal(scram_verifier(password))
            await connection.execute(f"alter role {ident(other)} login password {verifier}")
            return other

    async def lock_out(self, user: str) -> None:
        async with self._pool.admin() as connection:
            if await connection.fetchrow(ROLE, user) is None:
                return
            await connection.execute(f"alter role {ident(user)} password null")
            await connection.fetch(END_SESSIONS, user, APPLICATION)

    async def lease(self, user: str, password: str, database: str, until: datetime, *, write: bool) -> None:
        verifier = literal(scram_verifier(password))
        async with self._pool.admin() as connection, connection.transaction():
            _, acting = await connection.fetchval(WHO) or ("", "")
            await connection.execute(
                f"create role {ident(user)} login password {verifier} valid until {_moment(until)} connection limit {LEASED}"
            )
            await connection.execute(f"comment on role {ident(user)} is {literal(LEASE_MARK)}")
            shared = ident(server_name(database))
            await connection.execute(f"grant connect on database {shared} to {ident(user)}")
            if (own := schema_in(database)) is not None:
                await connection.execute(
                    f"alter role {ident(user)} in database {shared} set search_path to {ident(own)}"
                )
            await connection.execute(f"grant {ident(user)} to {ident(acting)}")
        await self.grant(user, database, write=write)

    async def renew(self, user: str, until: datetime) -> None:
        """Let a leased login work until then."""
        async with self._pool.admin() as connection:
            await connection.execute(f"alter role {ident(user)} valid until {_moment(until)}")

    async def grant(self, user: str, database: str, *, write: bool) -> None:
        """Let a leased login do what it may with all that is in its database now."""
        async with self._pool.visit(database) as connection, connection.transaction():
            await connection.execute(f"select pg_advisory_xact_lock({GRANTING_LOCK})")
            for (schema,) in await connection.fetch(SCHEMAS):
                await _grant(connection, user, schema, write=write)

    async def end_over(self) -> None:
        """End what is left of leased logins whose time is over; those of other makers stay."""
        async with self._pool.admin() as connection:
            over = await connection.fetch(OVER, LEASE_MARK)
        for (user,) in over:
            with suppress(MissingPrivilege):
                await self.end_lease(user)

    async def prepare(self, database: str, collection: str | None, quota: Quota | None) -> None:
        await self._collections.prepare(database, collection, quota)

    async def end_lease(self, user: str) -> None:
        async with self._pool.admin() as connection:
            for crossed in range(ROUNDS):
                # Somebody else may end the same lease at the same moment, or change rights of the same tables. (No
                # advisory lock keeps them apart: whoever may connect to this database could hold it.)
                with suppress(*CROSSED):
                    await self._end(connection, user)
                    return
                await asyncio.sleep(LOOK_SECONDS * crossed)
            await self._end(connection, user)

    async def _end(self, connection: Connection, user: str) -> None:
        found = await connection.fetchrow(ROLE, user)
        if found is None:
            return
        if found["mark"] != LEASE_MARK:
            raise Conflict(f"The role {user!r} is not a leased one.")
        # A transaction of its own may hold the role's row, by changing its own password: so its connections go first.
        await connection.fetch(END_ALL, found["oid"])
        await _soon(connection, f"alter role {ident(user)} nologin")
        await _hang_up(connection, found["oid"])
        for place in await connection.fetch(HOLDS, found["oid"]):
            async with self._pool.visit(place[0], LIMITS) as there:
                with suppress(*GONE):
                    await there.execute(f"drop owned by {ident(user)}")
        await _soon(connection, f"drop owned by {ident(user)}")  # what it may do with databases themselves
        await _soon(connection, f"drop role {ident(user)}")
        await _hang_up(connection, found["oid"])  # who was signing in at that moment


async def _soon(connection: Connection, statement: str) -> None:
    """Run a statement that waits for no lock of others for long."""
    async with connection.transaction():
        await connection.execute(f"set local lock_timeout = {literal(LIMITS['lock_timeout'])}")
        await connection.execute(statement)


async def _hang_up(connection: Connection, oid: int) -> None:
    """End a role's connections and wait until they are gone."""
    for _ in range(LOOKS):
        if not await connection.fetch(END_ALL, oid):
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise InUse("The server does not end the connections of a leased login.", hint="See pg_stat_activity.")


async def _grant(connection: Connection, user: str, schema: str, *, write: bool) -> None:
    """What a leased login may do in one schema, with what is made there later by the signed-in user."""
    rows = "select, insert, update, delete" if write else "select"
    counters = "usage, select, update" if write else "select"
    place, whom = ident(schema), ident(user)
    # never create: what a login makes could outlive it as another's
    await connection.execute(f"grant usage on schema {place} to {whom}")
    for counter, names in await connection.fetch(GRANTABLE, schema):
        what = f"{counters} on sequence" if counter else f"{rows} on table"
        await connection.execute(f"grant {what} {', '.join(names)} to {whom}")
    defaults = f"alter default privileges in schema {place} grant"
    await connection.execute(f"{defaults} {rows} on tables to {whom}")
    await connection.execute(f"{defaults} {counters} on sequences to {whom}")


async def stand_in(connection: Connection, users: Iterable[str]) -> None:
    """Let there be roles of these names, so that an archive's grants find them; nobody can sign in as one that was not.

    They are ended like leased logins that a crash left.
    """
    for user in users:
        with suppress(pg.DuplicateObjectError):
            async with connection.transaction():
                await connection.execute(f"create role {ident(user)} valid until 'tomorrow'")
                await connection.execute(f"comment on role {ident(user)} is {literal(LEASE_MARK)}")


async def _make(connection: Connection, login: str, acting: str, other: str) -> None:
    if len(other.encode()) > MAX_NAME_BYTES:
        raise InvalidRequest(f"The user's name is too long for a second one, {other!r}.", field="generate")
    known = await connection.fetchrow(ROLE, other)
    if known is None:
        await connection.execute(f"create role {ident(other)} login")
        await connection.execute(f"comment on role {ident(other)} is {literal(MARK + login)}")
    elif known["mark"] != MARK + login:
        raise Conflict(
            f"The server has a role {other!r} already, which is not the second login of {login!r}.",
            hint="Rename that role, or set up new credentials yourself and give them.",
        )
    await connection.execute(f"grant {ident(acting)} to {ident(other)}")
    await connection.execute(f"alter role {ident(other)} set role = {ident(acting)}")


def _moment(at: datetime) -> str:
    return literal(at.astimezone(UTC).isoformat())


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5802, RFC 7677); ours are ASCII, so SASLprep changes nothing."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    return f"SCRAM-SHA-256${ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(server)}"


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
