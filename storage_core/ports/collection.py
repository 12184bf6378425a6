"""The collections port: documents by id, with versions, queries and indexes, in one database of an engine."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from ..domain.query import Node, Path
from ..domain.record import Ability, Find, Index, Outcome, Quota, Row, Write


class Collection(Protocol):
    """One collection. It comes into being with its first write; reading one that is not there finds nothing.

    Bodies are plain JSON values (`domain.value` made them); `at` is the moment written, aware, UTC. The first version
    is 1; every change adds one. A call is atomic and, once it returns, as durable as the database's own commits.
    A `version` that is given must be the stored one: VersionConflict otherwise. What is not there: NotFound, or none
    from `get`. A value that a unique index holds already, or an id: NameTaken, naming the field. Cancelling a call
    leaves it done or not done, never half, and leaks no connection.
    """

    async def insert(
        self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False
    ) -> None: ...

    async def get(self, id: str) -> Row | None: ...

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        """Write another body; answers the row as it is now."""
        ...

    async def patch(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        *,
        unset: Sequence[Path] = (),
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        """Set the values at these paths, remove those of `unset`; answers the row as it is now.

        Dictionaries on the way are made; InvalidRequest naming the path where something else is in the way.
        `tagged`: some of the values are tagged; a row that was tagged stays so.
        """
        ...

    async def delete(self, id: str, *, version: int | None = None) -> None: ...

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        """Insert all that can be, in order; an item that fails says why and stops no other."""
        ...

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        """Replace, patch or delete, in order; an item that fails says why and stops no other."""
        ...

    async def find(self, find: Find) -> list[Row]:
        """See `Find`. The same answer on every engine; Unsupported, before reading, for what this one cannot."""
        ...

    async def count(self, where: Node | None) -> int: ...

    async def create_index(self, index: Index) -> None:
        """Make it, without stopping writers where the engine can; the same index again changes nothing.

        NameTaken for another index of this name, Conflict where stored values are not unique.
        """
        ...

    async def indexes(self) -> tuple[Index, ...]: ...

    async def drop_index(self, name: str) -> None:
        """NotFound where there is none of that name."""
        ...


class Session(Protocol):
    """A transaction: what its collections write is seen together or not at all."""

    def collection(self, name: str) -> Collection: ...


class Collections(Protocol):
    """The collections of an engine's databases, by the databases' physical names.

    `collection` costs no I/O and little time: it may be called for every use. Pools are the engine's own, shared by
    its databases, bounded, and closed when idle.
    """

    abilities: frozenset[Ability]

    def collection(self, database: str, name: str, quota: Quota | None = None) -> Collection:
        """With a quota, writes are counted and refused (QuotaExceeded) in their own transaction, whoever writes at
        the same time; what the database holds is counted anew when a quota is first met."""
        ...

    def prefix(self, database: str) -> str:
        """How the names begin of what holds collections, among the objects of the database's schema."""
        ...

    async def names(self, database: str) -> tuple[str, ...]:
        """The collections there are, in order of name."""
        ...

    async def drop(self, database: str, name: str) -> None:
        """Remove a collection with its documents and indexes; idempotent."""
        ...

    def transaction(self, database: str, quota: Quota | None = None) -> AbstractAsyncContextManager[Session]:
        """Committed when the block ends, rolled back when it raises; Unsupported where `abilities` lacks it.

        Two that collide: one of them gets Conflict and may be repeated whole.
        """
        ...
