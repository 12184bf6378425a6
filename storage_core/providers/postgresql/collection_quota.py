"""Quotas of a database's collections: one row of counters, locked and kept right by every write's own transaction.

Bytes are those of the bodies as PostgreSQL writes them as text.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...domain.errors import QuotaExceeded
from ...domain.query import Node, Path
from ...domain.record import Find, Index, Outcome, Quota, Row, Write
from .collection import PostgresCollection, is_delete, outcome_of
from .collection_index import place_of
from .collection_sql import MAKING, OURS, SCHEMA, statements_of
from .dial import Connection
from .sql import ident

if TYPE_CHECKING:
    from .collections import PostgresCollections, TransactionRunner

TABLE = f"{ident(SCHEMA)}._quota"
SETUP = (
    f"create schema if not exists {ident(SCHEMA)}",
    (
        f"create table if not exists {TABLE}"
        " (one boolean primary key default true check (one), documents bigint not null, bytes bigint not null)"
    ),
)
LOCK = f"select documents, bytes from {TABLE} where one for update"  # noqa: S608 - a constant
KEEP = f"""
insert into {TABLE} (documents, bytes) values ($1, $2)
on conflict (one) do update set documents = excluded.documents, bytes = excluded.bytes
"""  # noqa: S608 - a constant


@dataclass(slots=True)
class Held:
    """The counters, locked: what the database holds, as this transaction leaves it."""

    connection: Connection
    runner: "TransactionRunner"
    documents: int
    bytes: int


class Counter:
    """Counts one database's documents and bytes against a quota.

    :param within: the transaction that everything belongs to; otherwise every write has its own.
    """

    def __init__(
        self,
        collections: "PostgresCollections",
        database: str,
        quota: Quota,
        within: "tuple[Connection, TransactionRunner] | None" = None,
    ) -> None:
        self.collections, self.database, self.quota, self._within = collections, database, quota, within

    @asynccontextmanager
    async def begin(self, name: str) -> AsyncGenerator[Held]:
        """Lock the counters; what is left in `Held` when the block ends is checked and written with the rest."""
        await self._counted(name)
        if self._within is not None:
            connection, runner = self._within
            async with connection.transaction(), self._kept(connection, runner) as held:
                yield held
            return
        async with self.collections.connection(self.database) as connection, connection.transaction():
            runner = self.collections.runner(self.database, connection)
            async with self._kept(connection, runner) as held:
                yield held

    @asynccontextmanager
    async def _kept(self, connection: Connection, runner: "TransactionRunner") -> AsyncGenerator[Held]:
        row = await connection.fetchrow(LOCK)
        before = (0, 0) if row is None else (row[0], row[1])
        held = Held(connection, runner, *before)
        yield held
        for what, was, now, most in (
            ("documents", before[0], held.documents, self.quota.documents),
            ("bytes", before[1], held.bytes, self.quota.bytes),
        ):
            if most is not None and now > most and now > was:
                raise QuotaExceeded(f"The database may hold {most} {what}, and this would make it {now}.")
        await connection.execute(KEEP, held.documents, held.bytes)

    async def _counted(self, name: str) -> None:
        """Count what is there when this process meets the quota first: others may have written without one."""
        if (self.database, name) in self.collections.counted:
            return
        await self.collections.make(self.database, name)
        async with self.collections.apart(self.database) as connection:
            await connection.execute(f"select pg_advisory_xact_lock({MAKING})")
            for statement in SETUP:
                await connection.execute(statement)
            await connection.execute(
                f"lock table {TABLE} in exclusive mode"
            )  # before the snapshot of what follows
            names = [row[0] for row in await connection.fetch(OURS)]
            documents = size = 0
            for held in names:
                count, taken = await connection.fetchrow(  # type: ignore[misc]  # an aggregate always answers
                    f"select count(*), coalesce(sum(octet_length(body::text)), 0)::int8 from {place_of(held)}"  # noqa: S608
                )
                documents, size = documents + count, size + taken
            await connection.execute(KEEP, documents, size)
        self.collections.counted.add((self.database, name))


class CountedCollection:
    """The collection port, every write of it counted."""

    def __init__(self, plain: PostgresCollection, counter: Counter, name: str) -> None:
        self._plain, self._counter, self._name = plain, counter, name
        self._size = statements_of(name).size

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        async with self._changing(id) as inside:
            await inside.insert(id, body, at, tagged=tagged)

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
        async with self._changing(id) as inside:
            return await inside.replace(id, body, at, version=version, tagged=tagged)

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
        async with self._changing(id) as inside:
            return await inside.patch(id, changes, at, unset=unset, version=version, tagged=tagged)

    async def delete(self, id: str, *, version: int | None = None) -> None:
        async with self._changing(id) as inside:
            await inside.delete(id, version=version)

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return [await outcome_of(write, self._inserted(write, at)) for write in writes]

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return [await outcome_of(write, self._changed(write, at)) for write in writes]

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

    async def _inserted(self, write: Write, at: datetime) -> int:
        await self.insert(write.id, write.body or {}, at, tagged=write.tagged)
        return 1

    async def _changed(self, write: Write, at: datetime) -> int | None:
        async with self._changing(write.id) as inside:
            [outcome] = await inside.change_many([write], at)
            if outcome.error is not None:
                raise outcome.error
            return None if is_delete(write) else outcome.version

    @asynccontextmanager
    async def _changing(self, id: str) -> AsyncGenerator[PostgresCollection]:
        """The collection inside a transaction that counts what becomes of one document."""
        async with self._counter.begin(self._name) as held:
            before = await held.connection.fetchval(self._size, id)
            yield self._counter.collections.inside(held.runner, self._name)
            after = await held.connection.fetchval(self._size, id)
            held.documents += (after is not None) - (before is not None)
            held.bytes += (after or 0) - (before or 0)
