"""Transactions: calls that gather in a draft, and become one line of the journal or nothing.

Nobody is locked out meanwhile. What the draft looked at must be the same when it is committed; searches look at a whole
collection. So transactions are serializable, and of two that collide the second gets Conflict.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from ...domain.errors import Unsupported
from ...domain.record import Index, Quota, Row
from .collection import FileCollection
from .shelf import Shelf
from .shelves import Shelves
from .state import Batch, Draft
from .table import Table

T = TypeVar("T")


class FileSession:
    """What the block of a transaction works with."""

    def __init__(self, shelves: Shelves, database: str, draft: Draft, quota: Quota | None) -> None:
        self._shelves, self._database, self._draft, self._quota = shelves, database, draft, quota

    def collection(self, name: str) -> "DraftCollection":
        return DraftCollection(self._shelves, self._database, name, self._quota, self._draft)


class DraftCollection(FileCollection):
    """A collection as a transaction sees it."""

    __slots__ = ("_draft",)

    def __init__(self, shelves: Shelves, database: str, name: str, quota: Quota | None, draft: Draft) -> None:
        super().__init__(shelves, database, name, quota)
        self._draft = draft

    async def get(self, id: str) -> Row | None:
        stored = self._draft.get(self._name, id)
        return None if stored is None else stored.row()

    async def create_index(self, index: Index) -> None:
        raise Unsupported("Indexes are not made in transactions.", hint="Make it before.")

    async def drop_index(self, name: str) -> None:
        raise Unsupported("Indexes are not dropped in transactions.", hint="Drop it before.")

    async def _write(self, work: Callable[[Batch], T]) -> T:
        return work(self._draft)

    async def _table(self) -> Table | None:
        return self._draft.searched(self._name)


@asynccontextmanager
async def transaction(shelves: Shelves, database: str, quota: Quota | None) -> AsyncGenerator[FileSession]:
    shelf = await shelves.shelf(database)
    draft = Draft(shelf.state)
    yield FileSession(shelves, database, draft, quota)
    if not draft.changes:
        return

    async def commit(shelf: Shelf) -> None:
        if changes := draft.settled(shelf.state, quota):
            await shelf.commit(changes)

    await (await shelves.writing(database)).exclusively(commit)
