"""The collections port in memory: what every engine means, and faults on demand."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage_core.domain.errors import NameTaken, NotFound, StorageError, VersionConflict
from storage_core.domain.patch import patched
from storage_core.domain.query import Node, Path, matches, order_of, projected, value_at
from storage_core.domain.record import Ability, Find, Index, Outcome, Quota, Row, SortKey, Write


@dataclass
class Faults:
    """What goes wrong next. `before` fails a call that was not done, `after` one that was; `held` lets calls wait."""

    before: list[BaseException] = field(default_factory=list)
    after: list[BaseException] = field(default_factory=list)
    held: asyncio.Event | None = None
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)

    async def begin(self, call: str) -> None:
        self.calls.append(call)
        if self.held is not None:
            self.waiting.set()
            await self.held.wait()
        if self.before:
            raise self.before.pop(0)

    def end(self) -> None:
        if self.after:
            raise self.after.pop(0)


class MemoryCollection:
    def __init__(self, rows: dict[str, Row], indexes: dict[str, Index], faults: Faults) -> None:
        self.rows, self.by_name, self.faults = rows, indexes, faults

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        await self.faults.begin("insert")
        self._insert(id, body, at, tagged)
        self.faults.end()

    async def get(self, id: str) -> Row | None:
        await self.faults.begin("get")
        row = self.rows.get(id)
        self.faults.end()
        return None if row is None else _copy(row)

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        await self.faults.begin("replace")
        row = self._change(id, dict(body), at, version, tagged)
        self.faults.end()
        return row

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
        await self.faults.begin("patch")
        row = self._there(id, version)
        row = self._change(id, patched(row.body, changes, unset), at, version, tagged or row.tagged)
        self.faults.end()
        return row

    async def delete(self, id: str, *, version: int | None = None) -> None:
        await self.faults.begin("delete")
        self._there(id, version)
        del self.rows[id]
        self.faults.end()

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        await self.faults.begin("insert_many")
        return [self._outcome(write, at, new=True) for write in writes]

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        await self.faults.begin("change_many")
        return [self._outcome(write, at, new=False) for write in writes]

    async def find(self, find: Find) -> list[Row]:
        await self.faults.begin("find")
        found = [
            row
            for row in self.rows.values()
            if find.where is None or matches(find.where, row.body, _own(row))
        ]
        found.sort(key=lambda row: row.id)
        for key in reversed(find.sort):
            found.sort(key=lambda row, key=key: order_of(_value(row, key)), reverse=key.descending)
        if find.after is not None:
            *values, id = find.after
            found = [row for row in found if _is_after(row, find.sort, values, id)]
        rows = [_copy(row) for row in found[: find.limit]]
        for row in rows if find.fields is not None else ():
            row.body = projected(row.body, find.fields or ())
        return rows

    async def count(self, where: Node | None) -> int:
        await self.faults.begin("count")
        return sum(where is None or matches(where, row.body, _own(row)) for row in self.rows.values())

    async def create_index(self, index: Index) -> None:
        await self.faults.begin("create_index")
        if self.by_name.setdefault(index.name, index) != index:
            raise NameTaken("There is another index of this name.", field="name")

    async def indexes(self) -> tuple[Index, ...]:
        return tuple(self.by_name.values())

    async def drop_index(self, name: str) -> None:
        if self.by_name.pop(name, None) is None:
            raise NotFound("There is no such index.", field="name")

    def _there(self, id: str, version: int | None) -> Row:
        row = self.rows.get(id)
        if row is None:
            raise NotFound(f"There is no document {id!r}.", field="id")
        if version not in (None, row.version):
            raise VersionConflict(f"The document {id!r} is at version {row.version}.", field="version")
        return row

    def _insert(self, id: str, body: Mapping[str, Any], at: datetime, tagged: bool) -> None:
        if id in self.rows:
            raise NameTaken(f"There is a document {id!r} already.", field="id")
        self.rows[id] = Row(id, 1, at, at, dict(body), tagged)

    def _change(self, id: str, body: dict[str, Any], at: datetime, version: int | None, tagged: bool) -> Row:
        row = self._there(id, version)
        self.rows[id] = Row(id, row.version + 1, row.created_at, at, body, tagged)
        return _copy(self.rows[id])

    def _outcome(self, write: Write, at: datetime, *, new: bool) -> Outcome:
        try:
            if new:
                self._insert(write.id, write.body or {}, at, write.tagged)
                return Outcome(write.id, 1)
            row = self._there(write.id, write.version)
            if write.body is None and write.changes is None and not write.unset:
                del self.rows[write.id]
                return Outcome(write.id)
            body = (
                dict(write.body)
                if write.body is not None
                else patched(row.body, write.changes or {}, write.unset)
            )
            return Outcome(write.id, self._change(write.id, body, at, write.version, write.tagged).version)
        except StorageError as error:
            return Outcome(write.id, error=error)


class MemoryCollections:
    """Collections of any number of databases."""

    abilities = frozenset({Ability.TRANSACTIONS})
    prefix = ""

    def __init__(self) -> None:
        self.faults = Faults()
        self.kept: dict[tuple[str, str], tuple[dict[str, Row], dict[str, Index]]] = {}

    def collection(self, database: str, name: str, quota: Quota | None = None) -> MemoryCollection:
        rows, indexes = self.kept.setdefault((database, name), ({}, {}))
        return MemoryCollection(rows, indexes, self.faults)

    async def names(self, database: str) -> tuple[str, ...]:
        await self.faults.begin("names")
        return tuple(sorted(name for held, name in self.kept if held == database))

    async def drop(self, database: str, name: str) -> None:
        await self.faults.begin("drop")
        self.kept.pop((database, name), None)

    @asynccontextmanager
    async def transaction(self, database: str, quota: Quota | None = None) -> AsyncIterator[Any]:
        await self.faults.begin("transaction")
        yield _Session(self, database)


class _Session:
    def __init__(self, collections: MemoryCollections, database: str) -> None:
        self._collections, self._database = collections, database

    def collection(self, name: str) -> MemoryCollection:
        return self._collections.collection(self._database, name)


def _copy(row: Row) -> Row:
    return Row(row.id, row.version, row.created_at, row.updated_at, dict(row.body), row.tagged)


def _own(row: Row) -> dict[str, Any]:
    return {"id": row.id, "version": row.version, "created_at": row.created_at, "updated_at": row.updated_at}


def _value(row: Row, key: SortKey) -> Any:
    value = value_at(row.body, key.path) if key.path is not None else _own(row)[key.own or "id"]
    return value.timestamp() if isinstance(value, datetime) else value


def _is_after(row: Row, sort: tuple[SortKey, ...], values: list[Any], id: str) -> bool:
    for key, value in zip(sort, values, strict=True):
        mine = order_of(_value(row, key))
        theirs = order_of(value.timestamp() if isinstance(value, datetime) else value)
        if mine != theirs:
            return (mine < theirs) == key.descending
    return row.id > id
