"""The indexes of a database's collections: made, listed, dropped, and known to those who ask."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from ...domain.errors import Unsupported
from ...domain.query import Path
from ...domain.record import Index
from . import collection_index
from .dial import Connection

if TYPE_CHECKING:
    from .collections import PostgresCollections

#: How long it is believed which indexes a collection has: other processes make and drop some, too.
BELIEVED_SECONDS = 30.0
#: Collections of whose indexes something is known.
MOST = 4096


@dataclass(frozen=True, slots=True)
class Known:
    """The indexes of a collection: the paths whose order one has, and what finds words, if one does."""

    until: float
    ordered: frozenset[Path]
    words: str | None


class Indexes:
    """A collection's indexes, each made, listed or dropped by itself."""

    def __init__(self, collections: "PostgresCollections", database: str) -> None:
        self._collections, self._database = collections, database

    async def create(self, collection: str, index: Index) -> None:
        await self._collections.make(self._database, collection)
        async with self._asking() as connection:
            await collection_index.create(connection, collection, index)
        self._collections.known.pop((self._database, collection), None)

    async def list(self, collection: str) -> tuple[Index, ...]:
        async with self._asking() as connection:
            return await collection_index.listed(connection, collection)

    async def drop(self, collection: str, name: str) -> None:
        self._collections.known.pop((self._database, collection), None)
        async with self._asking() as connection:
            await collection_index.drop(connection, collection, name)

    async def ordered(self, collection: str) -> frozenset[Path]:
        return (await self._known(collection)).ordered

    async def words(self, collection: str) -> str | None:
        return (await self._known(collection)).words

    async def _known(self, collection: str) -> Known:
        everything, place = self._collections.known, (self._database, collection)
        known, now = everything.get(place), monotonic()
        if known is None or known.until < now:
            async with self._asking() as connection:
                single = [
                    i.paths[0]
                    for i in await collection_index.listed(connection, collection)
                    if len(i.paths) == 1
                ]
                words = await collection_index.words(connection, collection)
            if len(everything) >= MOST:
                everything.clear()
            known = everything[place] = Known(now + BELIEVED_SECONDS, frozenset(single), words)
        return known

    @asynccontextmanager
    async def _asking(self) -> AsyncGenerator[Connection]:
        async with self._collections.connection(self._database) as connection:
            yield connection


class NoIndexes(Indexes):
    """Inside a transaction, where none can be changed."""

    def __init__(self, collections: "PostgresCollections", database: str, connection: Connection) -> None:
        super().__init__(collections, database)
        self._connection = connection

    async def create(self, collection: str, index: Index) -> None:
        raise _outside()

    async def list(self, collection: str) -> tuple[Index, ...]:
        raise _outside()

    async def drop(self, collection: str, name: str) -> None:
        raise _outside()

    @asynccontextmanager
    async def _asking(self) -> AsyncGenerator[Connection]:
        """The transaction's own connection: another one might wait for those who wait for it."""
        yield self._connection


def _outside() -> Unsupported:
    return Unsupported("A transaction has nothing to do with indexes.", hint="Look at them outside of it.")
