"""SQLite as an engine: a directory of files."""

import asyncio
import os
import sqlite3
import time
from pathlib import Path

from ...domain.errors import MissingPrivilege, StorageError
from ...domain.health import Health
from ...domain.provider import Capability, CheckStep, Endpoint, EngineInfo, EngineKind, StepStatus
from ...ports.collection import Collections
from ...ports.logins import Logins
from ...ports.sessions import Sessions
from ..files.own import Own
from ..probe import PROBE_SECONDS, probed, since
from .backup import SqliteBackup
from .connect import in_thread
from .databases import SqliteDatabases
from .place import Place
from .sessions import SqliteSessions
from .tables import SqliteTables

_NO_SERVER = "Skipped: not a server."


class SqliteEngine:
    """One directory of databases. Between calls only sessions stay open, for a while."""

    kind = EngineKind.SQLITE

    def __init__(self, endpoint: Endpoint, password: str | None, *, own: Own | None = None) -> None:
        """:param password: refused nowhere, used nowhere: files have none.
        :param own: what of the disk is the console's own, which no directory may hold or lie in.
        """
        self._place = Place(endpoint.path, own)
        self.databases = SqliteDatabases(self._place)
        self.tables: SqliteTables | None = SqliteTables(self._place)
        self.collections: Collections | None = None
        self._sessions = SqliteSessions(self._place)
        self.sessions: Sessions | None = self._sessions
        self.logins: Logins | None = None  # whoever may open the files may open the databases
        self.backup: SqliteBackup | None = SqliteBackup(self._place)

    async def check(self) -> tuple[CheckStep, ...]:
        name = await in_thread(self._check_name)
        skipped = tuple(CheckStep(step, StepStatus.SKIPPED, _NO_SERVER) for step in ("tcp", "tls", "sign_in"))
        if name.status is StepStatus.FAILED:
            last = CheckStep("privileges", StepStatus.SKIPPED, "Skipped: there is no directory to look at.")
        else:
            last = await in_thread(self._check_privileges)
        return (name, *skipped, last)

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

    async def close(self) -> None:
        await self._sessions.close()

    def _check_name(self) -> CheckStep:
        started = time.perf_counter()
        try:
            root = self._place.root()
        except StorageError as error:
            return _failed("name", error, started)
        return CheckStep("name", StepStatus.PASSED, f"{root} is a directory.", milliseconds=since(started))

    def _check_privileges(self) -> CheckStep:
        started = time.perf_counter()
        try:
            _write_probe(self._place)
        except StorageError as error:
            return _failed("privileges", error, started)
        detail = "Files can be made and removed there."
        return CheckStep("privileges", StepStatus.PASSED, detail, milliseconds=since(started))


def _write_probe(place: Place) -> None:
    root = place.root()
    probe: Path = place.scratch(root / "probe")
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        probe.unlink()
    except OSError as error:
        raise MissingPrivilege(
            f"{root} cannot be written: {error.strerror}.",
            hint="Give the account that runs this write access.",
        ) from error


def _failed(step: str, error: StorageError, started: float) -> CheckStep:
    return CheckStep(step, StepStatus.FAILED, error.detail, error.hint, error.code, since(started))
