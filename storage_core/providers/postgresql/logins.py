"""The logins facet: a second role that acts as the first one, so that whatever it makes belongs to the first one."""

import base64
import hashlib
import hmac
import os
from datetime import UTC, datetime

from ...domain.errors import Conflict, InvalidRequest
from ...domain.naming import schema_in, server_name
from ...domain.record import Quota
from .collections import PostgresCollections
from .definitions import USER
from .dial import APPLICATION, Connection
from .pool import Pool
from .sql import MAX_NAME_BYTES, ident, literal

SUFFIX = "_2"
ITERATIONS = 4096
#: Said of roles that are leased out; how many connections one may have at once.
LEASE_MARK, LEASED = "storage-console: leased", 20
#: Said of the roles that are ours to change: a comment on the role.
MARK = "storage-console: second login of "

WHO = "select array[session_user::text, current_user::text]"
ROLE = "select shobj_description(oid, 'pg_authid') as mark from pg_roles where rolname = $1"
#: Whoever got the password out may be signed in still; calls of ours that are under way are done soon.
END_SESSIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = $1 and (application_name <> $2 or state = 'idle') and pid <> pg_backend_pid()
"""


END_ALL = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1"
SCHEMAS = f"""
select n.nspname::text from pg_namespace n where {USER} and has_schema_privilege(n.oid, 'usage') order by 1
"""  # noqa: S608 - constants


class PostgresLogins:
    """See the port. The second role is a member of the first and becomes it at once when it signs in."""

    def __init__(self, pool: Pool, collections: PostgresCollections) -> None:
        self._pool, self._collections = pool, collections

    async def second(self, password: str) -> str:
        async with self._pool.admin() as connection, connection.transaction():
            login, acting = await connection.fetchval(WHO) or ("", "")
            mark = await connection.fetchval(ROLE, login)
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
        ends = literal(until.astimezone(UTC).isoformat())
        async with self._pool.admin() as connection, connection.transaction():
            _, acting = await connection.fetchval(WHO) or ("", "")
            await connection.execute(
                f"create role {ident(user)} login password {verifier} valid until {ends} connection limit {LEASED}"
            )
            await connection.execute(f"comment on role {ident(user)} is {literal(LEASE_MARK)}")
            shared = ident(server_name(database))
            await connection.execute(f"grant connect on database {shared} to {ident(user)}")
            if (own := schema_in(database)) is not None:
                await connection.execute(
                    f"alter role {ident(user)} in database {shared} set search_path to {ident(own)}"
                )
            await connection.execute(f"grant {ident(user)} to {ident(acting)}")
        async with self._pool.visit(database) as connection, connection.transaction():
            for schema in await connection.fetch(SCHEMAS):
                for grant in _grants(write):
                    await connection.execute(grant.format(schema=ident(schema[0]), user=ident(user)))

    async def prepare(self, database: str, collection: str | None, quota: Quota | None) -> None:
        await self._collections.prepare(database, collection, quota)

    async def end_lease(self, user: str, database: str) -> None:
        async with self._pool.admin() as connection:
            found = await connection.fetchrow(ROLE, user)
            if found is None:
                return
            if found["mark"] != LEASE_MARK:
                raise Conflict(f"The role {user!r} is not a leased one.")
            await connection.execute(f"alter role {ident(user)} nologin")
            await connection.fetch(END_ALL, user)
            there = await connection.fetchval(
                "select 1 from pg_database where datname = $1", server_name(database)
            )
        if there:
            async with self._pool.visit(database) as connection:
                await connection.execute(f"drop owned by {ident(user)}")
        async with self._pool.admin() as connection:
            await connection.execute(
                f"drop owned by {ident(user)}"
            )  # what it holds of the databases themselves
            await connection.execute(f"drop role {ident(user)}")


def _grants(write: bool) -> tuple[str, ...]:
    """What a leased login may do in one schema, with what is made there later by the signed-in user."""
    rows = "select, insert, update, delete" if write else "select"
    counters = "usage, select, update" if write else "select"
    return (
        "grant usage on schema {schema} to {user}",  # and never create: what a login makes could outlive it as another's
        f"grant {rows} on all tables in schema {{schema}} to {{user}}",
        f"grant {counters} on all sequences in schema {{schema}} to {{user}}",
        f"alter default privileges in schema {{schema}} grant {rows} on tables to {{user}}",
        f"alter default privileges in schema {{schema}} grant {counters} on sequences to {{user}}",
    )


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
