"""The documents port: the driver's own databases, for the object-document mapper of applications."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase


class Documents(Protocol):
    """Databases as the engine's own driver knows them, by physical name, over the engine's one bounded pool.

    Errors of the driver come as they are: what runs on them is the application's own code.
    """

    async def open(self, database: str) -> "AsyncDatabase[dict[str, Any]]":
        """The database; without I/O. It works until the engine is closed."""
        ...
