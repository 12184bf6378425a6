"""The driver's databases for Beanie."""

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from .link import Link
from .names import checked


class MongoDocuments:
    """See `ports.documents.Documents`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def open(self, database: str) -> AsyncDatabase[dict[str, Any]]:
        return (await self._link.open())[checked(database)]
