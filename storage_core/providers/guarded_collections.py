"""Collections behind the gate of their engine. Each call is written out: a closure per call would cost what it saves."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from ..domain.errors import NameTaken, NotFound, StorageError, VersionConflict
from ..domain.query import Node, Path
from ..domain.record import Ability, Find, Index, Outcome, Quota, Row, Write
from ..ports.collection import Collection, Collections, Session
from ..telemetry.watch import WATCH
from .gate import TROUBLE, Errand, Gate


class GuardedCollections:
    """The collections of an engine, every one of them behind the same gate."""

    def __init__(self, collections: Collections, gate: Gate) -> None:
        self._collections, self._gate = collections, gate
        self.abilities: frozenset[Ability] = collections.abilities

    def prefix(self, database: str) -> str:
        return self._collections.prefix(database)

    def collection(self, database: str, name: str, quota: Quota | None = None) -> Collection:
        inner = self._collections.collection(database, name, quota)
        return GuardedCollection(inner, self._gate, (database, name))

    async def names(self, database: str) -> tuple[str, ...]:
        work = partial(self._collections.names, database)
        return await self._gate.careful(Errand("names", (database, ""), work, safe=True))

    async def drop(self, database: str, name: str) -> None:
        work = partial(self._collections.drop, database, name)
        await self._gate.careful(Errand("drop", (database, name), work, safe=True))

    def transaction(self, database: str, quota: Quota | None = None) -> AbstractAsyncContextManager[Session]:
        return self._transaction(database, quota)

    @asynccontextmanager
    async def _transaction(self, database: str, quota: Quota | None) -> AsyncGenerator[Session]:
        """Beginning it counts for the breaker, and each call inside; nothing inside is repeated."""
        breaker = self._gate.breaker
        async with AsyncExitStack() as stack:
            stack.enter_context(breaker.busy())
            session = await breaker.call(
                lambda: stack.enter_async_context(self._collections.transaction(database, quota))
            )
            yield GuardedSession(session, self._gate, database)


class GuardedSession:
    """A transaction's collections, behind the gate."""

    def __init__(self, session: Session, gate: Gate, database: str) -> None:
        self._session, self._gate, self._database = session, gate, database

    def collection(self, name: str) -> Collection:
        inner = self._session.collection(name)
        return GuardedCollection(inner, self._gate, (self._database, name), alone=False)


class GuardedCollection:
    """A collection behind the gate.

    What reads is repeated after errors that pass. What writes is repeated where it surely was not done, or where a
    repetition shows what became of the attempt before: an insertion by its id, a change by the version it asks for.
    """

    __slots__ = ("_alone", "_breaker", "_gate", "_inner", "_meters", "_place")

    def __init__(self, inner: Collection, gate: Gate, place: tuple[str, str], *, alone: bool = True) -> None:
        """:param alone: its calls are transactions of their own; parts of one are never repeated."""
        self._inner, self._gate, self._place, self._alone = inner, gate, place, alone
        self._breaker, self._meters = gate.breaker, gate.meters

    async def get(self, id: str) -> Row | None:
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._reading("get", partial(self._inner.get, id), id))
        task = gate.depart()
        try:
            return await self._inner.get(id)
        except TROUBLE as error:
            return await gate.mend(task, error, self._reading("get", partial(self._inner.get, id), id))
        finally:
            gate.land(task, self._meters.get)

    async def find(self, find: Find) -> list[Row]:
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._reading("find", partial(self._inner.find, find), repr(find)))
        task = gate.depart()
        try:
            return await self._inner.find(find)
        except TROUBLE as error:
            return await gate.mend(task, error, self._reading("find", partial(self._inner.find, find)))
        finally:
            gate.land(task, self._meters.find)

    async def count(self, where: Node | None) -> int:
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._reading("count", partial(self._inner.count, where), repr(where)))
        task = gate.depart()
        try:
            return await self._inner.count(where)
        except TROUBLE as error:
            return await gate.mend(task, error, self._reading("count", partial(self._inner.count, where)))
        finally:
            gate.land(task, self._meters.count)

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._inserting(id, body, at, tagged))
        task = gate.depart()
        try:
            await self._inner.insert(id, body, at, tagged=tagged)
        except TROUBLE as error:
            return await gate.mend(task, error, self._inserting(id, body, at, tagged))
        finally:
            gate.land(task, self._meters.insert)

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._replacing(id, body, at, version, tagged))
        task = gate.depart()
        try:
            return await self._inner.replace(id, body, at, version=version, tagged=tagged)
        except TROUBLE as error:
            return await gate.mend(task, error, self._replacing(id, body, at, version, tagged))
        finally:
            gate.land(task, self._meters.replace)

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
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._patching(id, changes, at, unset, version, tagged))
        task = gate.depart()
        try:
            return await self._inner.patch(id, changes, at, unset=unset, version=version, tagged=tagged)
        except TROUBLE as error:
            return await gate.mend(task, error, self._patching(id, changes, at, unset, version, tagged))
        finally:
            gate.land(task, self._meters.patch)

    async def delete(self, id: str, *, version: int | None = None) -> None:
        gate = self._gate
        if WATCH.on or not self._breaker.calm:
            return await gate.careful(self._deleting(id, version))
        task = gate.depart()
        try:
            await self._inner.delete(id, version=version)
        except TROUBLE as error:
            return await gate.mend(task, error, self._deleting(id, version))
        finally:
            gate.land(task, self._meters.delete)

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return await self._several("insert_many", partial(self._inner.insert_many, writes, at), len(writes))

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return await self._several("change_many", partial(self._inner.change_many, writes, at), len(writes))

    async def create_index(self, index: Index) -> None:
        """Takes as long as it takes: no deadline."""
        await self._breaker.call(lambda: self._inner.create_index(index))

    async def indexes(self) -> tuple[Index, ...]:
        return await self._gate.careful(self._reading("indexes", self._inner.indexes))

    async def drop_index(self, name: str) -> None:
        work = partial(self._inner.drop_index, name)
        await self._gate.careful(Errand("drop_index", self._place, work, told=(name,)))

    async def _several(self, operation: str, work: Any, count: int) -> list[Outcome]:
        """A bulk call: worth the careful way, and never repeated after it may have been done in part."""
        return await self._gate.careful(Errand(operation, self._place, work, told=(count,)))

    def _reading(self, operation: str, work: Any, *told: Any) -> Errand[Any]:
        return Errand(operation, self._place, work, safe=self._alone, told=told)

    def _inserting(self, id: str, body: Mapping[str, Any], at: datetime, tagged: bool) -> Errand[None]:
        async def settle(error: StorageError) -> None:
            row = await self._inner.get(id) if isinstance(error, NameTaken) else None
            if row is None or row.version != 1 or row.created_at != at or row.body != body:
                raise error

        work = partial(self._inner.insert, id, body, at, tagged=tagged)
        return Errand("insert", self._place, work, self._alone, settle, (id, body))

    def _replacing(
        self, id: str, body: Mapping[str, Any], at: datetime, version: int | None, tagged: bool
    ) -> Errand[Row]:
        work = partial(self._inner.replace, id, body, at, version=version, tagged=tagged)
        return self._versioned("replace", work, id, at, version, (id, body, version))

    def _patching(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        unset: Sequence[Path],
        version: int | None,
        tagged: bool,
    ) -> Errand[Row]:
        work = partial(self._inner.patch, id, changes, at, unset=unset, version=version, tagged=tagged)
        told = (id, {".".join(path): value for path, value in changes.items()}, version)
        return self._versioned("patch", work, id, at, version, told)

    def _versioned(
        self, operation: str, work: Any, id: str, at: datetime, version: int | None, told: tuple[Any, ...]
    ) -> Errand[Row]:
        async def settle(error: StorageError) -> Row:
            row = await self._inner.get(id) if isinstance(error, VersionConflict) else None
            if row is None or row.version != (version or 0) + 1 or row.updated_at != at:
                raise error
            return row

        return Errand(operation, self._place, work, self._alone and version is not None, settle, told)

    def _deleting(self, id: str, version: int | None) -> Errand[None]:
        async def settle(error: StorageError) -> None:
            if not isinstance(error, NotFound):
                raise error

        work = partial(self._inner.delete, id, version=version)
        return Errand("delete", self._place, work, self._alone and version is not None, settle, (id, version))
