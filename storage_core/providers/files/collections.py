"""The collections of an engine of files."""

from contextlib import AbstractAsyncContextManager

from ...domain.record import Ability, Quota
from ...ports.collection import Session
from .collection import FileCollection
from .session import transaction
from .shelf import Shelf
from .shelves import Shelves
from .stored import Dropped


class FileCollections:
    """Collections of the databases below one directory. Patterns and full-text search are beyond files."""

    abilities = frozenset({Ability.TRANSACTIONS})

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves

    def collection(self, database: str, name: str, quota: Quota | None = None) -> FileCollection:
        return FileCollection(self._shelves, database, name, quota)

    def prefix(self, database: str) -> str:
        return ""

    async def names(self, database: str) -> tuple[str, ...]:
        shelf = await self._shelves.shelf(database)
        return tuple(sorted(shelf.state.tables))

    async def drop(self, database: str, name: str) -> None:
        async def work(shelf: Shelf) -> None:
            if name in shelf.state.tables:
                await shelf.commit([Dropped(name)])

        shelf = await self._shelves.writing(database)
        await shelf.exclusively(work)

    def transaction(self, database: str, quota: Quota | None = None) -> AbstractAsyncContextManager[Session]:
        return transaction(self._shelves, database, quota)
