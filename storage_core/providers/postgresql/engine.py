"""A PostgreSQL server as an engine."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from ...domain.errors import ToolMissing
from ...domain.health import Health
from ...domain.provider import Capability, CheckStep, Endpoint, EngineInfo, EngineKind, StepStatus, TlsMode
from ...ports.collection import Collections
from ...ports.documents import Documents
from ...ports.outbound import Outbound
from ...ports.sessions import Sessions
from ..probe import PROBE_SECONDS, probed, since
from .backup import LOCK_SECONDS, PostgresBackup
from .check import Check
from .collections import PostgresCollections
from .databases import OwnMarks, PostgresDatabases
from .dial import CONNECT_SECONDS, Dialer
from .dump import version_text
from .errors import createdb_hint
from .guests import Guests
from .logins import PostgresLogins
from .pool import Pool
from .pooler import pooler_of, tried
from .sessions import PostgresSessions
from .tables import SETTINGS, PostgresTables
from .tools import Toolbox

ROLE = "select rolsuper, rolcreatedb, rolbypassrls from pg_roles where rolname = current_user"


class PostgresEngine:
    """One server through one user. Builds without I/O; see the ports for what each call promises.

    `bin_dir` is where pg_dump and pg_restore lie, none to search; `lock_seconds` how long a dump waits for locks;
    `connect_seconds` how long a connection may take; `outbound` judges the address;
    `own` answers the marks of databases that are the console's own; `maker` makes collections (none: what all of them
    need) for a login that may make nothing, the endpoint's.
    """

    kind = EngineKind.POSTGRESQL

    def __init__(
        self,
        endpoint: Endpoint,
        password: str | None,
        *,
        bin_dir: Path | None = None,
        lock_seconds: float = LOCK_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
        outbound: Outbound | None = None,
        own: OwnMarks | None = None,
        maker: Callable[[Endpoint, str | None], Awaitable[None]] | None = None,
    ) -> None:
        self._dialer = Dialer(endpoint, password, connect_seconds, outbound)
        self._pool = Pool(self._dialer)
        self._toolbox = Toolbox(bin_dir)
        self._databases = PostgresDatabases(self._dialer, self._pool, own, self._let_go, self._gone)
        self.databases = self._databases
        self._collections = PostgresCollections(
            self._dialer, self._databases.refuse_own, None if maker is None else partial(maker, endpoint)
        )
        self.collections: Collections | None = self._collections
        logins = PostgresLogins(self._pool, self._collections)
        self._guests = Guests(self._dialer, self._pool, logins, self._databases.refuse_own, SETTINGS)
        self.tables: PostgresTables | None = PostgresTables(self._pool, self._guests)
        self._pooler = pooler_of(endpoint, password, connect_seconds, outbound)
        self._sessions = PostgresSessions(self._dialer, self._databases.refuse_own, self._pooler)
        self.sessions: Sessions | None = self._sessions
        self.documents: Documents | None = None
        self.logins: PostgresLogins | None = logins
        self.backup: PostgresBackup | None = PostgresBackup(
            self._dialer, self._toolbox, self._databases, lock_seconds
        )

    async def check(self) -> tuple[CheckStep, ...]:
        steps = await Check(self._dialer).run()
        if self._pooler is None or any(step.status is StepStatus.FAILED for step in steps):
            return steps
        return (*steps, await tried(self._pooler))

    async def health(self) -> Health:
        async def ask() -> Health:
            async with self._pool.admin() as connection:
                began = time.perf_counter()
                await connection.fetchval("select 1")
                return Health(True, since(began), version_text(connection))

        return await probed(ask, self._dialer.connect_seconds + PROBE_SECONDS)

    async def info(self) -> EngineInfo:
        async with self._pool.admin() as connection:
            version = version_text(connection)
            major = connection.get_server_version().major
            role = await connection.fetchrow(ROLE)
        superuser, creates, bypasses = tuple(role) if role is not None else (False, False, False)
        try:
            tools = await self._toolbox.fitting(major, self._dialer.endpoint.tls)
            backup = Capability("backup", True, f"pg_dump {tools.major}")
        except ToolMissing as error:
            backup = Capability("backup", False, f"{error.detail} {error.hint}")
        user = self._dialer.user
        encrypted = self._dialer.endpoint.tls is not TlsMode.DISABLE
        return EngineInfo(
            version,
            (
                backup,
                _able("databases.create", superuser or creates, f"No CREATEDB. {createdb_hint(user)}"),
                _able("restore_owners_and_grants", superuser, "The user is not a superuser."),
                _able("bypass_row_security", superuser or bypasses, "The user has no BYPASSRLS."),
                _able("encrypted_connection", encrypted, "tls is set to disable."),
            ),
        )

    def location(self, name: str) -> str:
        return self._databases.location(name)

    async def marks(self, name: str | None = None) -> frozenset[str]:
        return await self._databases.marks(name)

    def bound(self, database: str, connections: int | None) -> None:
        self._collections.pools.bound(database, connections)
        self._sessions.bound(database, connections)

    def _let_go(self, database: str) -> None:
        self._collections.forget(database)
        self._guests.forget(database)

    async def _gone(self, database: str) -> None:
        await self._guests.gone(database)

    async def close(self) -> None:
        self._collections.close()
        await self._guests.close()
        await self._sessions.close()
        await self._pool.close()


def _able(name: str, present: bool, reason: str) -> Capability:
    return Capability(name, present, "" if present else reason)
