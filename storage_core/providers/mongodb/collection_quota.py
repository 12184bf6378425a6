"""Quotas: what a database's collections hold is counted, and what would be too much is refused.

The count is one document of the database, `sc_quota`, changed on condition. On a replica set that happens in the
write's own transaction. A standalone server has none: there the count comes first and is given back when the write
fails; what a crash leaves between the two is swept when the next process counts anew. Each process counts anew when it
first meets a database's quota: writers without one do not count.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import orjson
from pymongo.asynchronous.client_session import AsyncClientSession

from ...domain.errors import Conflict, NotFound, QuotaExceeded, StorageError, VersionConflict
from ...domain.naming import said
from ...domain.patch import patched
from ...domain.query import Node, Path
from ...domain.record import Find, Index, Outcome, Quota, Row, Write
from .collection import RACES, Handles, MongoCollection
from .collection_form import BODY, PREFIX
from .collection_session import under_way
from .collection_update import unfound
from .link import Link

COLLECTION, USAGE = "sc_quota", "usage"
#: How often a transaction is repeated that met another process's.
REPEATS = 50
WAIT = 0.005
BATCH = 1000

Worked = Callable[[MongoCollection], Awaitable[Any]]


def size_of(body: Mapping[str, Any]) -> int:
    return len(orjson.dumps(body))


class Books:
    """The counts of a deployment's databases."""

    def __init__(
        self,
        link: Link,
        transactional: Callable[[], Awaitable[bool]],
        handle: Callable[[str, str], Handles],
    ) -> None:
        self.link, self.transactional, self._handle = link, transactional, handle
        self._counted: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def turn(self, database: str) -> AsyncGenerator[None]:
        """This process's writers one after the other: they would only meet at the count. Counts first, if need be."""
        lock = self._locks.setdefault(database, asyncio.Lock())
        async with lock:
            if database not in self._counted:
                await self._count(database)
                self._counted.add(database)
            yield

    async def forget(self, database: str) -> None:
        """What the database holds has changed otherwise: it is counted anew, whoever writes next."""
        self._counted.discard(database)
        async with self.link.speaking() as client:
            await self._handle(database, COLLECTION)(client).delete_one({"_id": USAGE})

    async def book(
        self, database: str, documents: int, size: int, quota: Quota, session: AsyncClientSession | None
    ) -> None:
        """Add to the count; QuotaExceeded where that would be more than the quota."""
        wanted: dict[str, Any] = {"_id": USAGE}
        if documents > 0 and quota.documents is not None:
            wanted["documents"] = {"$lte": quota.documents - documents}
        if size > 0 and quota.bytes is not None:
            wanted["bytes"] = {"$lte": quota.bytes - size}
        async with self.link.speaking() as client:
            handle = self._handle(database, COLLECTION)(client)
            change = {"$inc": {"documents": documents, "bytes": size}}
            if (await handle.update_one(wanted, change, session=session)).matched_count:
                return
            usage = await handle.find_one({"_id": USAGE}, session=session)
        if usage is None:
            self._counted.discard(database)
            raise Conflict("What the database holds is being counted anew.", hint="Try again.")
        full = (
            "documents"
            if "documents" in wanted and usage["documents"] + documents > (quota.documents or 0)
            else "bytes"
        )
        raise QuotaExceeded(
            f"The database holds {usage[full]} {full}; with this write it would be more than the quota of "
            f"{quota.documents if full == 'documents' else quota.bytes}.",
            field=full,
        )

    async def _count(self, database: str) -> None:
        """Count everything; what others book meanwhile is added."""
        async with self.link.speaking() as client:
            usage = self._handle(database, COLLECTION)(client)
            await usage.update_one(
                {"_id": USAGE}, {"$setOnInsert": {"documents": 0, "bytes": 0}}, upsert=True
            )
            before = await usage.find_one({"_id": USAGE}) or {}
            documents = size = 0
            names = await client[database].list_collection_names()
            for name in (name for name in names if name.startswith(PREFIX)):
                found = self._handle(database, name)(client).find({}, {BODY: 1}, batch_size=BATCH)
                async for document in found:
                    documents += 1
                    size += size_of(document.get(BODY, {}))
            change = {"documents": documents - before["documents"], "bytes": size - before["bytes"]}
            await usage.update_one({"_id": USAGE}, {"$inc": change})


class CountedCollection:
    """A collection whose writes are counted against a quota."""

    __slots__ = ("_books", "_database", "_plain", "_quota")

    def __init__(self, plain: MongoCollection, books: Books, database: str, quota: Quota) -> None:
        self._plain, self._books, self._database, self._quota = plain, books, database, quota

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        await self._counted(1, size_of(body), lambda to: to.insert(id, body, at, tagged=tagged))

    async def get(self, id: str) -> Row | None:
        return await self._plain.get(id)

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        return await self._rewritten(id, version, lambda row: body, at, tagged)

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
        def changed(row: Row) -> dict[str, Any]:
            nonlocal tagged
            tagged = tagged or row.tagged
            return patched(row.body, changes, unset)

        return await self._rewritten(id, version, changed, at, None, lambda: tagged)

    async def delete(self, id: str, *, version: int | None = None) -> None:
        for _ in range(RACES):
            row = await self._stored(id, version)
            try:
                freed = -size_of(row.body)
                return await self._counted(-1, freed, lambda to, row=row: to.delete(id, version=row.version))
            except (VersionConflict, NotFound):
                if version is not None:
                    raise
        raise _restless(id)

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        size = sum(size_of(write.body or {}) for write in writes)
        if not writes:
            return []
        try:
            return await self._counted(len(writes), size, lambda to: _all_inserted(to, writes, at))
        except (StorageError, _Partly) as error:
            if isinstance(error, StorageError) and (error.transient or self._plain.session is not None):
                raise
        return [await self._outcome(write, self._insertion(write, at)) for write in writes]

    def _insertion(self, write: Write, at: datetime) -> Callable[[], Awaitable[int | None]]:
        async def insert() -> int:
            await self.insert(write.id, write.body or {}, at, tagged=write.tagged)
            return 1

        return insert

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return [await self._outcome(write, self._change(write, at)) for write in writes]

    def _change(self, write: Write, at: datetime) -> Callable[[], Awaitable[int | None]]:
        async def change() -> int | None:
            if write.body is not None:
                row = await self.replace(write.id, write.body, at, version=write.version, tagged=write.tagged)
            elif write.changes or write.unset:
                row = await self.patch(
                    write.id,
                    write.changes or {},
                    at,
                    unset=write.unset,
                    version=write.version,
                    tagged=write.tagged,
                )
            else:
                await self.delete(write.id, version=write.version)
                return None
            return row.version

        return change

    async def _outcome(self, write: Write, work: Callable[[], Awaitable[int | None]]) -> Outcome:
        try:
            return Outcome(write.id, await work())
        except StorageError as error:
            if error.transient or self._plain.session is not None:
                raise
            return Outcome(write.id, error=error)

    async def find(self, find: Find) -> list[Row]:
        return await self._plain.find(find)

    async def count(self, where: Node | None) -> int:
        return await self._plain.count(where)

    async def create_index(self, index: Index) -> None:
        await self._plain.create_index(index)

    async def indexes(self) -> tuple[Index, ...]:
        return await self._plain.indexes()

    async def drop_index(self, name: str) -> None:
        await self._plain.drop_index(name)

    async def _stored(self, id: str, version: int | None) -> Row:
        row = await self._plain.get(id)
        if row is None or version not in (None, row.version):
            raise unfound(id, version, None if row is None else row.version)
        return row

    async def _rewritten(
        self,
        id: str,
        version: int | None,
        changed: Callable[[Row], Mapping[str, Any]],
        at: datetime,
        tagged: bool | None,
        is_tagged: Callable[[], bool] = bool,
    ) -> Row:
        """Read, change, count the difference and write, if nobody was faster."""
        for _ in range(RACES):
            row = await self._stored(id, version)
            body = changed(row)
            marked = is_tagged() if tagged is None else tagged

            def write(to: MongoCollection, row: Row = row, body: Any = body, marked: bool = marked) -> Any:
                return to.replace(id, body, at, version=row.version, tagged=marked)

            try:
                written: Row = await self._counted(0, size_of(body) - size_of(row.body), write)
                return written
            except (VersionConflict, NotFound):
                if version is not None:
                    raise
        raise _restless(id)

    async def _counted(self, documents: int, size: int, write: Worked) -> Any:
        """The write and its count, both or neither."""
        if self._plain.session is not None:
            done = await write(self._plain)
            await self._books.book(self._database, documents, size, self._quota, self._plain.session)
            return done
        one = self._transacted if await self._books.transactional() else self._reserved
        for attempt in range(REPEATS):
            try:
                async with self._books.turn(self._database):
                    return await one(documents, size, write)
            except Conflict as error:
                if type(error) is not Conflict or attempt + 1 == REPEATS:
                    raise
            await asyncio.sleep(random.random() * WAIT * (attempt + 1))  # noqa: S311 - spreads writers apart
        raise AssertionError("the last attempt raises")

    async def _transacted(self, documents: int, size: int, write: Worked) -> Any:
        async with under_way(self._books.link) as session:
            await self._books.book(self._database, documents, size, self._quota, session)
            done = await write(self._plain.within(session))
        return done

    async def _reserved(self, documents: int, size: int, write: Worked) -> Any:
        """Without transactions: more is booked before the write and given back if it fails, less after it."""
        more = (max(documents, 0), max(size, 0))
        await self._books.book(self._database, *more, self._quota, None)
        try:
            done = await write(self._plain)
        except BaseException:
            await self._books.book(self._database, -more[0], -more[1], self._quota, None)
            raise
        if documents < 0 or size < 0:
            await self._books.book(self._database, min(documents, 0), min(size, 0), self._quota, None)
        return done


class _Partly(Exception):
    """Some items of a bulk call failed: nothing of it is kept."""


async def _all_inserted(to: MongoCollection, writes: Sequence[Write], at: datetime) -> list[Outcome]:
    outcomes = await to.insert_many(writes, at)
    if any(outcome.error is not None for outcome in outcomes):
        raise _Partly
    return outcomes


def _restless(id: str) -> Conflict:
    return Conflict(f"The document {said(id)} is changed by others all the time.", hint="Try again.")
