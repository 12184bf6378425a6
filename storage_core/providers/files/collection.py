"""Collections in files: reads from memory, writes through the shelf."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ...domain.errors import Conflict, NameTaken, NotFound, StorageError
from ...domain.patch import patched
from ...domain.query import Node, Path
from ...domain.record import Find, Index, Outcome, Quota, Row, Write
from .asking import refuse_foreign
from .shelf import Shelf
from .shelves import Shelves
from .state import Batch
from .stored import Indexed, Stored, Unindexed, encoded, utc
from .table import Search, Table
from .tree import Tree

T = TypeVar("T")

#: Rows that are looked at on the spot; for more a thread is worth its price.
AT_ONCE = 2000


class FileCollection:
    """One collection of a database. Costs nothing to make: the database is opened by the first call."""

    __slots__ = ("_database", "_live", "_name", "_quota", "_shelves")

    def __init__(self, shelves: Shelves, database: str, name: str, quota: Quota | None) -> None:
        self._shelves, self._live = shelves, shelves.live
        self._database, self._name, self._quota = database, name, quota

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        at = utc(at)
        stored = Stored(id, 1, at, at, encoded(body), tagged)
        await self._write(lambda batch: self._insert(batch, stored))

    async def get(self, id: str) -> Row | None:
        shelf = self._live.get(self._database)
        if shelf is None or shelf.closed or shelf.behind():
            shelf = await self._shelves.shelf(self._database)
        table = shelf.state.tables.get(self._name)
        stored = None if table is None else table.rows.get(id)
        return None if stored is None else stored.row()

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        raw = encoded(body)

        def work(batch: Batch) -> Stored:
            old = batch.there(self._name, id, version)
            return self._next(batch, old, raw, at, tagged)

        return (await self._write(work)).row()

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
        def work(batch: Batch) -> Stored:
            old = batch.there(self._name, id, version)
            raw = encoded(patched(old.body, changes, unset))
            return self._next(batch, old, raw, at, tagged or old.tagged)

        return (await self._write(work)).row()

    async def delete(self, id: str, *, version: int | None = None) -> None:
        await self._write(lambda batch: batch.remove(self._name, batch.there(self._name, id, version)))

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        at = utc(at)
        items = [Stored(w.id, 1, at, at, w.text or encoded(w.body or {}), w.tagged) for w in writes]
        if not items:
            return []
        return await self._write(lambda batch: [self._inserted(batch, item) for item in items])

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        if not writes:
            return []
        return await self._write(lambda batch: [self._changed(batch, write, at) for write in writes])

    async def find(self, find: Find) -> list[Row]:
        refuse_foreign(find.where)
        table = await self._table()
        return [] if table is None else await self._answer(table.find(find))

    async def count(self, where: Node | None) -> int:
        refuse_foreign(where)
        table = await self._table()
        return 0 if table is None else await self._answer(table.count(where))

    async def create_index(self, index: Index) -> None:
        async def work(shelf: Shelf) -> None:
            Batch(shelf.state).claim(self._name)
            table = shelf.state.tables.get(self._name) or Table()
            there = table.trees.get(index.name)
            if there is not None and there.index == index:
                return
            if there is not None:
                raise NameTaken(f"There is another index {index.name}.", field="name", hint="Drop it first.")
            rows = list(table.rows.values())
            tree = await shelf.offline(lambda: Tree(index, rows))
            if index.unique and (key := tree.first_twice()) is not None:
                shown = ", ".join(repr(value)[:60] for _, value in key)
                raise Conflict(
                    f"Several documents hold {shown}.",
                    field="unique",
                    hint="Change all but one of them first.",
                )
            await shelf.commit([Indexed(self._name, index, tree)])

        shelf = await self._shelves.writing(self._database)
        await shelf.exclusively(work)

    async def indexes(self) -> tuple[Index, ...]:
        table = await self._table() or Table()
        return tuple(tree.index for _, tree in sorted(table.trees.items()))

    async def drop_index(self, name: str) -> None:
        async def work(shelf: Shelf) -> None:
            table = shelf.state.tables.get(self._name)
            if table is None or name not in table.trees:
                raise NotFound(f"There is no index {name!r}.", field="name")
            await shelf.commit([Unindexed(self._name, name)])

        shelf = await self._shelves.writing(self._database)
        await shelf.exclusively(work)

    async def _write(self, work: Callable[[Batch], T]) -> T:
        shelf = await self._shelves.writing(self._database)
        return await shelf.submit(work)

    async def _table(self) -> Table | None:
        shelf = await self._shelves.shelf(self._database)
        return shelf.state.tables.get(self._name)

    async def _answer(self, search: Search[T]) -> T:
        return search.run() if search.cost <= AT_ONCE else await self._shelves.offline(search.run)

    def _insert(self, batch: Batch, stored: Stored) -> None:
        if batch.get(self._name, stored.id) is not None:
            raise NameTaken(f"There is a document {stored.id!r} already.", field="id")
        batch.put(self._name, stored, self._quota)

    def _next(self, batch: Batch, old: Stored, raw: bytes, at: datetime, tagged: bool) -> Stored:
        stored = Stored(old.id, old.version + 1, old.created_at, utc(at), raw, tagged)
        batch.put(self._name, stored, self._quota)
        return stored

    def _inserted(self, batch: Batch, stored: Stored) -> Outcome:
        try:
            self._insert(batch, stored)
        except StorageError as error:
            return Outcome(stored.id, error=error)
        return Outcome(stored.id, 1)

    def _changed(self, batch: Batch, write: Write, at: datetime) -> Outcome:
        try:
            old = batch.there(self._name, write.id, write.version)
            if write.body is None and write.changes is None and not write.unset:
                batch.remove(self._name, old)
                return Outcome(write.id)
            if write.body is not None:
                raw, tagged = encoded(write.body), write.tagged
            else:
                raw = encoded(patched(old.body, write.changes or {}, write.unset))
                tagged = write.tagged or old.tagged
            return Outcome(write.id, self._next(batch, old, raw, at, tagged).version)
        except StorageError as error:
            return Outcome(write.id, error=error)
