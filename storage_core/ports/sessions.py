"""The sessions port: SQLAlchemy's connections to an engine's databases, for models that applications declare."""

from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class Access(StrEnum):
    """What a unit of work does: `read` changes nothing, `write` changes rows, `shape` tables."""

    READ = "read"
    WRITE = "write"
    SHAPE = "shape"


class Sessions(Protocol):
    """Connections of SQLAlchemy, by the databases' physical names.

    Pools are the engine's own, small, bounded over all its databases and closed when idle, so that a database stays
    droppable. `locking` is a statement that keeps everybody else who runs it on the same database waiting until the
    transaction ends; none where beginning to write does so already.
    """

    locking: str | None

    def schema(self, database: str) -> str | None:
        """Where an application's tables lie in a database; none where the engine knows no schemas."""
        ...

    def connection(
        self, database: str, access: Access = Access.WRITE
    ) -> AbstractAsyncContextManager["AsyncConnection"]:
        """A connection for one unit of work, outside of any transaction; what is not committed when the block ends
        is rolled back.

        Entering raises domain errors: Unreachable, NotFound, SignInRejected…, TooManyRequests where every connection
        stays in use. Inside, a connection that breaks, a busy file and a full disk are domain errors, too; all else
        stays SQLAlchemy's own. Cancelling leaks no connection. Where the engine allows one writer at a time, `write`
        and `shape` wait for their turn when they begin; with `read` a transaction that changes something fails.
        """
        ...
