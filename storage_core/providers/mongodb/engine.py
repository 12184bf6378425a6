"""MongoDB servers and replica sets as an engine."""

import time

from ...domain.health import Health
from ...domain.provider import Capability, CheckStep, Endpoint, EngineInfo, EngineKind
from ...ports.collection import Collections
from ...ports.outbound import Outbound
from ...ports.sessions import Sessions
from ..probe import PROBE_SECONDS, probed, since
from . import check
from .backup import MongoBackup
from .collections import MongoCollections
from .databases import MongoDatabases
from .documents import MongoDocuments
from .link import PATIENCE, Link
from .logins import MongoLogins
from .names import checked
from .tables import MongoTables

STANDALONE = "A standalone server cannot be read at one moment; make it a replica set (one member is enough)."


class MongoEngine:
    """One MongoDB deployment.

    Without `endpoint.replica_set` exactly the named server is used (direct connection); with it, the set's
    members are discovered by the addresses they announce. `patience` is how many seconds a server is waited for;
    `outbound` judges every address, the announced ones too.
    """

    kind = EngineKind.MONGODB

    def __init__(
        self,
        endpoint: Endpoint,
        password: str | None,
        *,
        patience: float = PATIENCE,
        outbound: Outbound | None = None,
    ) -> None:
        self._link = Link(endpoint, password, check.explain, patience, outbound)
        self.databases: MongoDatabases = MongoDatabases(self._link)
        self.backup: MongoBackup = MongoBackup(self._link)
        self.tables: MongoTables = MongoTables(self._link)
        self.collections: Collections = MongoCollections(self._link)
        self.sessions: Sessions | None = None
        self.documents: MongoDocuments | None = MongoDocuments(self._link)
        self.logins: MongoLogins = MongoLogins(self._link)

    async def check(self) -> tuple[CheckStep, ...]:
        return await check.run(self._link)

    async def health(self) -> Health:
        async def ask() -> Health:
            begun = time.perf_counter()
            topology = await self._link.topology()
            return Health(True, since(begun), topology.version)

        return await probed(ask, self._link.patience + PROBE_SECONDS)

    async def info(self) -> EngineInfo:
        topology = await self._link.topology()
        reason = "" if topology.snapshots else STANDALONE
        return EngineInfo(
            topology.version,
            (
                Capability("backup", True),
                Capability("consistent_backup", topology.snapshots, reason),
                Capability("change_feed", topology.snapshots, reason),
            ),
        )

    def location(self, name: str) -> str:
        return self.databases.location(name)

    async def marks(self, name: str | None = None) -> frozenset[str]:
        own = await self._link.marks()
        if name is None:
            return own
        there = checked(name) in await self._link.existing()
        return frozenset(f"{mark}/{name}" for mark in own) if there else frozenset()

    def bound(self, database: str, connections: int | None) -> None: ...

    async def close(self) -> None:
        await self._link.close()
