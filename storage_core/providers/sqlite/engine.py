"""SQLite as an engine: a directory of files."""

import asyncio
import sqlite3
import time

from ...domain.health import Health
from ...domain.provider import Capability, CheckStep, Endpoint, EngineInfo, EngineKind
from ...ports.collection import Collections
from ...ports.documents import Documents
from ...ports.logins import Logins
from ...ports.sessions import Sessions
from ..files.check import checked
from ..files.own import Own
from ..probe import PROBE_SECONDS, probed, since
from .backup import SqliteBackup
from .collection_files import Files
from .collections import SqliteCollections
from .connect import in_thread
from .databases import SqliteDatabases
from .place import Place
from .sessions import SqliteSessions
from .tables import SqliteTables


class SqliteEngine:
    """One directory of databases. Between calls only sessions, and files whose collections are used, stay open."""

    kind = EngineKind.SQLITE

    def __init__(self, endpoint: Endpoint, password: str | None, *, own: Own | None = None) -> None:
        """:param password: refused nowhere, used nowhere: files have none.
        :param own: what of the disk is the console's own, which no directory may hold or lie in.
        """
        self._place = Place(endpoint.path, own)
        self._files = Files(self._place)
        self.databases = SqliteDatabases(self._place, self._files.release)
        self.tables: SqliteTables | None = SqliteTables(self._place)
        self.collections: Collections | None = SqliteCollections(self._files)
        self._sessions = SqliteSessions(self._place)
        self.sessions: Sessions | None = self._sessions
        self.documents: Documents | None = None
        self.logins: Logins | None = None  # whoever may open the files may open the databases
        self.backup: SqliteBackup | None = SqliteBackup(self._place)

    async def check(self) -> tuple[CheckStep, ...]:
        return await checked(self._place)

    async def health(self) -> Health:
        async def ask() -> Health:
            started = time.perf_counter()
            # not `in_thread`: a disk that hangs keeps the thread, and nobody waits for it
            await asyncio.to_thread(self._place.root)
            return Health(True, since(started), sqlite3.sqlite_version)

        return await probed(ask, PROBE_SECONDS)

    async def info(self) -> EngineInfo:
        capabilities = (
            Capability("backup", True),
            Capability("consistent_dump", True),
            Capability("change_feed", False, "SQLite reports no changes by itself."),
            Capability("replication", False, "SQLite has no standby servers."),
        )
        return EngineInfo(sqlite3.sqlite_version, capabilities)

    def location(self, name: str) -> str:
        return str(self._place.located(name))

    async def marks(self, name: str | None = None) -> frozenset[str]:
        return await in_thread(lambda: self._place.marks(name))

    def bound(self, database: str, connections: int | None) -> None: ...

    async def close(self) -> None:
        await self._sessions.close()
        await self._files.close()
