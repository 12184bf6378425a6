"""An engine whose databases are files of documents: all but the files' form is the same."""

import asyncio
import time

from ...domain.health import Health
from ...domain.provider import Capability, CheckStep, Endpoint, EngineInfo, EngineKind
from ...ports.backup import Backup
from ...ports.collection import Collections
from ...ports.documents import Documents
from ...ports.logins import Logins
from ...ports.sessions import Sessions
from ...ports.tables import Tables
from ..probe import PROBE_SECONDS, probed, since
from .backup import FileBackup, Measure
from .check import checked
from .collections import FileCollections
from .databases import FileDatabases
from .form import Form
from .own import Own
from .place import Place
from .shelves import Shelves


class FileEngine:
    """One directory of databases. What is used stays open, bounded, until `close`."""

    kind: EngineKind

    def __init__(self, form: Form, measure: Measure, endpoint: Endpoint, own: Own | None) -> None:
        """:param own: what of the disk is the console's own, which no directory may hold or lie in."""
        self._form, self._place = form, Place(form.shape, endpoint.path, own)
        self._shelves = Shelves(form, self._place)
        self.databases = FileDatabases(self._shelves)
        self.collections: Collections | None = FileCollections(self._shelves)
        self.backup: Backup | None = FileBackup(self._shelves, measure)
        self.logins: Logins | None = None  # whoever may open the files may open the databases
        self.tables: Tables | None = None
        self.sessions: Sessions | None = None
        self.documents: Documents | None = None

    async def check(self) -> tuple[CheckStep, ...]:
        return await checked(self._place)

    async def health(self) -> Health:
        async def ask() -> Health:
            started = time.perf_counter()
            # a disk that hangs keeps the thread, and nobody waits for it
            await asyncio.to_thread(self._place.root)
            return Health(True, since(started), self._form.version)

        return await probed(ask, PROBE_SECONDS)

    async def info(self) -> EngineInfo:
        label = self._form.shape.label
        capabilities = (
            Capability("backup", True),
            Capability("consistent_dump", True),
            Capability("change_feed", False, f"The changes of {label} are not followed yet."),
            Capability("replication", False, "Files have no standby servers."),
        )
        return EngineInfo(self._form.version, capabilities)

    def location(self, name: str) -> str:
        return str(self._place.located(name))

    async def marks(self, name: str | None = None) -> frozenset[str]:
        return await asyncio.to_thread(self._place.marks, name)

    def bound(self, database: str, connections: int | None) -> None: ...

    async def close(self) -> None:
        await self._shelves.close()
