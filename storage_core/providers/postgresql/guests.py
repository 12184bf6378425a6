"""Where code that a database's people wrote may run: connections of a login that has rights in this database alone.

Triggers, views, defaults and checks run with the rights of whoever signed in, whatever role the session takes on: code
can take it off again. So rows are read and written by a leased login of the console's own. Its password is in this
process's memory alone and works for an hour; whatever ends the process, the next one removes what is left.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from asyncpg import exceptions as pg

from ...domain.errors import MissingPrivilege, StorageError
from .dial import Connection, Dialer
from .errors import DRIVER_ERRORS
from .hotpool import HotPool, HotPools
from .logins import PostgresLogins
from .pool import Pool
from .roles import RECORDS
from .sql import ident

#: Connections to one database, and to all databases of a server together; those that idle are closed.
PER_DATABASE, PER_SERVER = 2, 12
#: How long a password works, and when it is renewed for a new connection.
LIFE, RENEWED = timedelta(hours=1), timedelta(minutes=30)
#: Ending logins when an engine is closed takes no longer: what is left ends by itself.
CLOSING_SECONDS = 5.0

RIGHTS = """
select rolsuper or rolcreaterole as makes, pg_is_in_recovery() as standby,
  rolsuper or rolbypassrls and current_setting('server_version_num')::int >= 160000 as bypasses
from pg_roles where rolname = current_user
"""
OF_DATABASE = "select rolname::text from pg_roles where starts_with(rolname, $1)"
REJECTED = (pg.InvalidPasswordError, pg.InvalidAuthorizationSpecificationError)


class NoGuest(Exception):
    """There can be no such login; says why, and the way out."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


@dataclass(frozen=True, slots=True)
class Guest:
    user: str
    password: str = field(repr=False)
    until: datetime


class Guests:
    """Connections to databases as their guests, pooled. Builds without I/O."""

    def __init__(
        self,
        dialer: Dialer,
        pool: Pool,
        logins: PostgresLogins,
        refuse_own: Callable[[str], Awaitable[None]],
        settings: dict[str, str],
    ) -> None:
        """:param refuse_own: refuses a database that is the console's own.
        :param settings: what every session begins with.
        """
        self._dialer, self._pool, self._logins, self._refuse_own = dialer, pool, logins, refuse_own
        self._settings = {
            **settings,
            "row_security": "off",
        }  # rows that are hidden are an error, not fewer rows
        self._known: dict[str, Guest] = {}
        self._making = asyncio.Lock()
        self._pools = HotPools(self._connect, PER_DATABASE, PER_SERVER)

    @asynccontextmanager
    async def visit(self, database: str) -> AsyncIterator[Connection]:
        """A connection for a short while; the server's errors come out translated, NoGuest where there can be none."""
        pool = self._pools.of(database)
        with self._dialer.errors.speaking(database):
            connection = await pool.acquire()
            try:
                yield connection
            except (pg.PostgresError, StorageError):
                await _put_back(pool, connection)
                raise
            except BaseException:
                pool.discard(connection)
                raise
            await _put_back(pool, connection)

    async def grant(self, database: str) -> None:
        """Let the guest reach what was made since it came."""
        if (guest := self._known.get(database)) is not None:
            await self._logins.grant(guest.user, database, write=True)

    def forget(self, database: str) -> None:
        """Let go of a database that is about to be dropped."""
        self._pools.close_idle(database)
        self._known.pop(database, None)

    async def gone(self, database: str) -> None:
        """Remove the guests of a database that was dropped, whichever process made them."""
        async with self._pool.admin() as connection:
            found = await connection.fetch(OF_DATABASE, _names(database))
        for (user,) in found:
            with suppress(MissingPrivilege):  # somebody else's
                await self._logins.end_lease(user)

    async def close(self) -> None:
        """Close every connection and remove the logins behind them; idempotent."""
        self._pools.close()
        known, self._known = self._known, dict[str, Guest]()
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                for guest in known.values():
                    await self._logins.end_lease(guest.user)

    async def _connect(self, database: str) -> Connection:
        guest = await self._guest(database)
        try:
            return await self._open(database, guest)
        except REJECTED:  # another process found it past its time and removed it
            self._known.pop(database, None)
        try:
            return await self._open(database, await self._guest(database))
        except REJECTED as error:
            refused = self._dialer.errors.translate(error, database)
            raise NoGuest(
                f"The server does not let logins of the console in. {refused.detail}", refused.hint
            ) from error

    async def _open(self, database: str, guest: Guest) -> Connection:
        dialer = self._dialer.signed_in_as(guest.user, guest.password)
        return (await dialer.dial(database, self._settings, cached=0))[0]

    async def _guest(self, database: str) -> Guest:
        async with self._making:
            known = self._known.get(database)
            now = datetime.now(UTC)
            if known is None or now >= known.until:
                known = await self._made(database, now + LIFE)
            elif now > known.until - RENEWED:
                known = replace(known, until=now + LIFE)
                await self._logins.renew(known.user, known.until)
            self._known[database] = known
        return known

    async def _made(self, database: str, until: datetime) -> Guest:
        await self._refuse_own(database)
        async with self._pool.admin() as connection:
            rights = await connection.fetchrow(RIGHTS)
        if rights is None or rights["standby"]:
            raise NoGuest("The server takes no changes: it is a standby.", "Use its primary.")
        if not rights["makes"]:
            hint = f"As an administrator: ALTER ROLE {ident(self._dialer.user)} CREATEROLE;"
            raise NoGuest(f"{self._dialer.user} may not make logins (no CREATEROLE).", hint)
        await self._logins.end_over()
        guest = Guest(f"{_names(database)}{secrets.token_hex(4)}", secrets.token_urlsafe(24), until)
        try:
            await self._logins.lease(guest.user, guest.password, database, guest.until, write=True)
            if rights["bypasses"]:
                async with self._pool.admin() as connection:
                    await connection.execute(f"alter role {ident(guest.user)} bypassrls")
        except StorageError as error:
            with suppress(StorageError):
                await self._logins.end_lease(guest.user)
            if isinstance(error, MissingPrivilege):
                raise NoGuest(
                    f"No login could be made for its records. {error.detail}", error.hint
                ) from error
            raise
        return guest


def _names(database: str) -> str:
    """How the names begin of a database's guests."""
    return f"{RECORDS}{hashlib.blake2b(database.encode(), digest_size=5).hexdigest()}_"


async def _put_back(pool: HotPool, connection: Connection) -> None:
    """Without what a visit, or code that ran in it, left in the session."""
    try:
        await connection.reset(timeout=5)
    except (*DRIVER_ERRORS, TimeoutError):
        pool.discard(connection)
    except BaseException:
        pool.discard(connection)
        raise
    else:
        pool.release(connection)
