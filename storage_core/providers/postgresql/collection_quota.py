"""Quotas of a database's collections: one row of counters, which each write changes in its own statement.

The row is locked first, so that all writes of a database wait for each other in one order; it is changed only where the
quota allows what the write adds, and nothing is written where it was not. Bytes are those of the bodies as PostgreSQL
writes them as text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...domain.errors import NotFound, QuotaExceeded
from ...domain.naming import schema_in
from ...domain.record import Quota, Write
from .collection import Indexes, PostgresCollection, Runner
from .collection_index import place_of
from .collection_table import (
    COLLECTION_PREFIX,
    FIELDS,
    MAKING,
    OURS,
    SCHEMA,
    Statements,
    packed,
    parts_of,
    schema_of,
    statements_of,
)
from .collection_trust import number_of_ours
from .dial import Connection
from .sql import ident

if TYPE_CHECKING:
    from .collections import PostgresCollections

COLUMNS = (
    "(one boolean primary key default true check (one), documents bigint not null, bytes bigint not null)"
)


def counters_in(schema: str) -> str:
    """The table of counters as SQL names it."""
    return f"{ident(schema)}.{'' if schema == SCHEMA else COLLECTION_PREFIX}_quota"


async def prepare(connection: Connection, database: str) -> None:
    """Make the schema of collections and its counters. One that is there already asks for no right to make it.

    NotFound for a database that is a schema, and gone: writing does not bring it back.
    """
    schema = schema_of(database)
    counters = counters_in(schema)
    if await connection.fetchval("select to_regnamespace($1) is null", ident(schema)):
        if schema_in(database) is not None:
            raise NotFound("The database is not there any more.")
        await connection.execute(f"create schema {ident(schema)}")
    await number_of_ours(connection, schema)
    await connection.execute(f"create table if not exists {counters} {COLUMNS}")
    await connection.execute(
        f"insert into {counters} (documents, bytes) values (0, 0) on conflict (one) do nothing"  # noqa: S608 - quoted
    )


@lru_cache(4096)
def counted_statements_of(name: str) -> Statements:
    """As `statements_of`, each counted; the limits, documents and bytes, follow the other parameters."""
    plain, counters = statements_of(name), counters_in(parts_of(name)[0])
    insert = (
        f"insert into {place_of(name)} ({', '.join(FIELDS)}) "  # noqa: S608 - quoted
        "select $1::text, 1, $2::timestamptz, $2, $3::jsonb, $4::boolean where (select ok from quota) returning *"
    )

    def change(statement: str, given: int, version: bool, gone: bool = False) -> str:
        match = f"id = $1::text{f' and version = ${given}::bigint' if version else ''}"
        here = f"{place_of(name)} where {match} and (select ok from quota) for update"  # noqa: S608 - quoted
        before = f"before as materialized (select octet_length(body::text) as size from {here}), "  # noqa: S608 - quoted
        written = statement.replace("WHERE ", "WHERE exists (select from before) and ", 1)
        documents, size = ("-count(*)", "0") if gone else ("0", "sum(octet_length(body::text))")
        fields = "id, version" if gone else ", ".join(FIELDS)
        less = f"{size} - (select size from before)"  # noqa: S608 - constants
        answer = f"select {fields} from written where"  # noqa: S608 - constants
        return _counted(counters, before, written, (documents, less), given, answer)

    return replace(
        plain,
        insert=_counted(
            counters, "", insert, ("count(*)", "sum(octet_length(body::text))"), 4, "select where"
        ),
        replace=change(plain.replace, 4, False),
        replace_at=change(plain.replace_at, 5, True),
        patch=change(plain.patch, 4, False),
        patch_at=change(plain.patch_at, 5, True),
        prune=change(plain.prune, 5, False),
        prune_at=change(plain.prune_at, 6, True),
        delete=change(plain.delete, 1, False, gone=True),
        delete_at=change(plain.delete_at, 2, True, gone=True),
    )


def _counted(counters: str, before: str, written: str, more: tuple[str, str], given: int, answer: str) -> str:
    """A statement that divides by zero, and so does nothing, where the counters could not be changed."""
    return f"""with quota as materialized (select true as ok from {counters} where one for update),
{before}written as ({written}),
more as (select {more[0]} as documents, coalesce({more[1]}, 0) as bytes from written),
counted as (update {counters} q set documents = q.documents + m.documents, bytes = q.bytes + m.bytes from more m
  where q.one and (m.documents <= 0 or ${given + 1}::bigint is null or q.documents + m.documents <= ${given + 1})
  and (m.bytes <= 0 or ${given + 2}::bigint is null or q.bytes + m.bytes <= ${given + 2}) returning true)
{answer} 1 / (select count(*) from counted) = 1"""  # noqa: S608 - statements of our own


class Counting:
    """A runner whose writes are counted against a quota; see `Runner`."""

    __slots__ = ("_collections", "_database", "_limits", "_quota", "_runner")

    def __init__(
        self, collections: "PostgresCollections", database: str, quota: Quota, runner: Runner
    ) -> None:
        self._collections, self._database, self._quota, self._runner = collections, database, quota, runner
        self._limits = (quota.documents, quota.bytes)

    async def read(self, name: str, method: str, *args: Any) -> Any:
        return await self._runner.read(name, method, *args)

    async def write(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        if self._database not in self._collections.counted:
            await self.count()
        try:
            return await self._runner.write(name, method, *self._with_limits(method, args), **more)
        except QuotaExceeded as error:
            raise await self._refused(name) from error

    async def change(self, name: str, method: str, *args: Any) -> Any:
        if self._database not in self._collections.counted:
            await self.count()
        try:
            return await self._runner.change(name, method, *self._with_limits(method, args))
        except QuotaExceeded as error:
            raise await self._refused(name) from error

    def _with_limits(self, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if method != "fetchmany":
            return (*args, *self._limits)
        statement, items = args
        return statement, [(*item, *self._limits) for item in items]

    async def _refused(self, name: str) -> QuotaExceeded:
        asked = f"select documents, bytes from {counters_in(parts_of(name)[0])} where one"  # noqa: S608 - quoted
        held = await self._runner.read(name, "fetchrow", asked)
        documents, size = (0, 0) if held is None else held
        parts = [
            f"{has} {what} of {most}"
            for what, has, most in (
                ("documents", documents, self._quota.documents),
                ("bytes", size, self._quota.bytes),
            )
            if most is not None
        ]
        return QuotaExceeded(
            f"The database holds {' and '.join(parts)}; this would be more than it may hold."
        )

    async def count(self) -> None:
        """Count what is there when this process meets the quota first: others may have written without one."""
        if self._collections.maker is not None:
            await self._collections.maker(None)
        else:
            await self._recount()
        self._collections.counted.add(self._database)

    async def _recount(self) -> None:
        async with self._collections.apart(self._database) as connection:
            await connection.execute(f"select pg_advisory_xact_lock({MAKING})")
            await prepare(connection, self._database)
            schema = schema_of(self._database)
            counters = counters_in(schema)
            # before the snapshot of what follows
            await connection.execute(f"lock table {counters} in exclusive mode")
            documents = size = 0
            for (table,) in await connection.fetch(OURS, schema):
                count, taken = await connection.fetchrow(  # type: ignore[misc]  # an aggregate always answers
                    "select count(*), coalesce(sum(octet_length(body::text)), 0)::int8"  # noqa: S608 - quoted
                    f" from {ident(schema)}.{ident(table)}"
                )
                documents, size = documents + count, size + taken
            await connection.execute(
                f"update {counters} set documents = $1, bytes = $2 where one",  # noqa: S608 - quoted
                documents,
                size,
            )


class CountedCollection(PostgresCollection):
    """The collection port, every write of it counted."""

    __slots__ = ()

    def __init__(self, runner: Counting, name: str, indexes: Indexes) -> None:
        super().__init__(runner, name, indexes)
        self._sql = counted_statements_of(name)

    async def _insert_all(self, writes: Sequence[Write], at: datetime) -> None:
        items: list[tuple[str, datetime, bytes, bool]] = []
        for write in writes:
            body: Mapping[str, Any] = write.body or {}
            items.append((write.id, at, packed(body, write.text), write.tagged))
        await self._runner.write(self._name, "fetchmany", self._sql.insert, items)
