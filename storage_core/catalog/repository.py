"""Rows of one kind inside a transaction, as domain objects."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.errors import Conflict, InUse, NameTaken, VersionConflict
from ..domain.page import Page, Query, Value
from .keys import hold
from .mapping import Mapper
from .paging import Listing

T = TypeVar("T")

#: Told about each change: topic, verb, id, tenant.
Announce = Callable[[str, str, str, str | None], Awaitable[None]]
#: Told what a row was and is: noun, id, before, after.
Note = Callable[[str, str, Any, Any], None]


class Rows(Generic[T]):
    """The repository of one table in one unit of work. Remembers the version of each row it read."""

    def __init__(
        self,
        connection: AsyncConnection,
        mapper: Mapper[T],
        listing: Listing,
        announce: Announce | None,
        note: Note,
    ) -> None:
        self._connection, self._mapper, self._listing, self._announce = connection, mapper, listing, announce
        self._table, self._note = mapper.table, note
        self._versions: dict[str, int] = {}
        self._known: dict[str, T] = {}

    async def add(self, row: T) -> None:
        values = self._mapper.row(row)
        try:
            # A savepoint keeps the transaction usable after a refused insert, on PostgreSQL as well.
            async with self._connection.begin_nested():
                await self._connection.execute(insert(self._table).values(**values, row_version=1))
        except IntegrityError as error:
            raise self._translated(error, values) from None
        self._versions[values["id"]] = 1
        await self._tell("added", values, None, row)

    async def get(self, id: str) -> T | None:
        return await self.one(id=id)

    async def one(self, **where: Value) -> T | None:
        tests = [
            self._table.c[k] == v if v is not None else self._table.c[k].is_(None) for k, v in where.items()
        ]
        found = (
            (await self._connection.execute(select(self._table).where(and_(*tests)).limit(1)))
            .mappings()
            .first()
        )
        return None if found is None else self._read(found)

    async def save(self, row: T) -> None:
        values = self._mapper.row(row)
        id = values["id"]
        if id not in self._versions:
            await self.get(id)
        if id not in self._versions:
            raise VersionConflict(f"{self._table.name}: the row is gone.")
        version = self._versions[id]
        statement = (
            update(self._table)
            .where(self._table.c.id == id, self._table.c.row_version == version)
            .values(**values, row_version=version + 1)
        )
        try:
            async with self._connection.begin_nested():
                changed = (await self._connection.execute(statement)).rowcount
        except IntegrityError as error:
            raise self._translated(error, values) from None
        if changed != 1:
            raise VersionConflict(f"{self._table.name}: the row was changed by somebody else.")
        self._versions[id] = version + 1
        await self._tell("changed", values, self._known[id], row)

    async def remove(self, id: str) -> None:
        found = await self.get(id)
        if found is None:
            return
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(delete(self._table).where(self._table.c.id == id))
        except IntegrityError:
            raise InUse(f"{self._table.name}: other rows still refer to it.") from None
        del self._versions[id]
        await self._tell("removed", self._mapper.row(found), found, None)

    async def find(self, query: Query) -> Page[T]:
        rows, count = self._listing.page(query)
        found = (await self._connection.execute(rows)).mappings().all()
        total = (await self._connection.execute(count)).scalar_one()
        shown = found[: query.limit]
        more = self._listing.cursor(shown[-1], query.sort) if len(found) > query.limit else None
        return Page(tuple(self._read(r) for r in shown), more, total)

    def _read(self, row: Any) -> T:
        value = self._mapper.value(row)
        self._versions[row["id"]], self._known[row["id"]] = row["row_version"], value
        return value

    async def _tell(self, verb: str, values: dict[str, Any], before: T | None, after: T | None) -> None:
        self._note(self._table.name, values["id"], before, after)
        if after is not None:
            self._known[values["id"]] = after
        if self._announce is not None:
            # A tenant's own row belongs to that tenant, like the rows that name it.
            owner = values.get(self._listing.reach.get("tenants", "tenant_id"))
            await self._announce(self._table.name, verb, values["id"], owner)

    def _translated(self, error: IntegrityError, values: dict[str, Any]) -> Conflict:
        text = str(error.orig).lower()
        if "foreign key" in text:
            return Conflict(f"{self._table.name}: what the row refers to does not exist any more.")
        name = values.get("name") or values.get("username") or values["id"]
        return NameTaken(f"{self._table.name[:-1]} {name!r} exists already.", field="name")


class SealedRows(Rows[T]):
    """Rows that hold an envelope: their key is in use until the commit, or they are not written."""

    async def add(self, row: T) -> None:
        await self._hold(row)
        await super().add(row)

    async def save(self, row: T) -> None:
        await self._hold(row)
        await super().save(row)

    async def _hold(self, row: T) -> None:
        key_id = self._mapper.row(row)["key_id"]
        if key_id:
            await hold(self._connection, key_id)
