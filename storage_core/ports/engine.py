"""The engine port: one registered server or directory, and the databases on it."""

from collections.abc import Mapping
from typing import Protocol

from ..domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from ..domain.health import Health
from ..domain.provider import CheckStep, EngineInfo, EngineKind
from .backup import Backup
from .collection import Collections
from .documents import Documents
from .logins import Logins
from .sessions import Sessions
from .tables import Tables


class Databases(Protocol):
    """Databases of one engine, by physical name.

    `create` raises NameTaken when it exists; `drop` is idempotent and ends sessions that hold the database.
    `configure` takes the engine's own setting names, refuses unknown ones (InvalidRequest naming the field)
    and applies all or none. Names are data: whatever they contain, they name that one database.
    """

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        """Create an empty database and answer its location."""
        ...

    async def drop(self, name: str) -> None: ...

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        """Databases people made, without the engine's own."""
        ...

    async def stats(self, name: str) -> DatabaseStats: ...

    async def schema(self, name: str) -> DatabaseSchema: ...

    async def configure(self, name: str, settings: Mapping[str, str]) -> None: ...

    async def optimize(self, name: str) -> OptimizeReport: ...


class Engine(Protocol):
    """A live engine. Built without I/O; connects on first use; pools are its own and bounded.

    Every failure surfaces as a domain error (Unreachable, NameUnresolved, TlsMismatch, SignInRejected,
    MissingPrivilege, NotFound, EngineFailure); driver errors never pass. `backup` is None where the engine
    cannot be backed up, `logins` where it knows none, `collections` where it keeps no documents, `tables` where
    nothing is there but collections, `sessions` where SQLAlchemy does not speak to it, `documents` where Beanie does
    not. Calls are safe to repeat unless a facet says otherwise; the wrappers retry only transient errors of calls that
    read.
    """

    kind: EngineKind
    databases: Databases
    backup: Backup | None
    logins: Logins | None
    collections: Collections | None
    tables: Tables | None
    sessions: Sessions | None
    documents: Documents | None

    async def check(self) -> tuple[CheckStep, ...]:
        """Test step by step: name, tcp, tls, sign_in, privileges; stops at the first failure, the rest skipped."""
        ...

    async def health(self) -> Health:
        """One probe, not repeated. An engine that cannot be reached or refuses the sign-in is an answer, no error:
        ``online=False`` with what happened and the way out in `problem`. At most 5 s beyond connecting."""
        ...

    async def info(self) -> EngineInfo: ...

    def location(self, name: str) -> str:
        """Where a database lies: a file's absolute path, or ``host:port/name``."""
        ...

    async def marks(self, name: str | None = None) -> frozenset[str]:
        """What tells this engine, or one of its databases, from every other, however its address is spelled.

        Two that share a mark are one. They hold while the server runs: ask both sides, keep none. Empty for a
        database that is not there.
        """
        ...

    def bound(self, database: str, connections: int | None) -> None:
        """Keep at most so many connections to a database for its collections, and as many for its sessions.

        None is the engine's own measure. Engines whose connections belong to no database have none to bound.
        """
        ...

    async def close(self) -> None:
        """Close every connection; idempotent."""
        ...
