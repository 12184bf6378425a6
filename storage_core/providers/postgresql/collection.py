"""One collection as a table: see the collections port, and `collection_table` for how it lies there."""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ...domain.errors import (
    Conflict,
    InvalidRequest,
    NameTaken,
    NotFound,
    QuotaExceeded,
    Unsupported,
    VersionConflict,
)
from ...domain.patch import patched
from ...domain.query import Node, Path, Regex, conditions, projected
from ...domain.record import Find, Index, Outcome, Row, Write
from .collection_copy import Copied
from .collection_sql import count_statement, find_statement
from .collection_table import FIELDS, Statements, packed, parts_of, statements_of

#: How often a document that others change at the same moment is read again for a patch of inner fields.
RACES = 50


class Indexes(Protocol):
    """The indexes of collections, as the port has them."""

    async def create(self, collection: str, index: Index) -> None: ...

    async def list(self, collection: str) -> tuple[Index, ...]: ...

    async def drop(self, collection: str, name: str) -> None: ...

    async def ordered(self, collection: str) -> frozenset[Path]:
        """The paths whose order an index has, as far as is known; what is not known costs time alone."""
        ...

    async def words(self, collection: str) -> str | None:
        """What finds words, if there is a full-text index: see `collection_index.words`."""
        ...


class Runner(Protocol):
    """Runs statements about collections: each for itself, or all in one transaction. Errors are domain errors."""

    async def read(self, name: str, method: str, *args: Any) -> Any:
        """One statement, by one of asyncpg's methods; None where the collection is not there."""
        ...

    async def write(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        """One statement; the collection is made first where it is not there."""
        ...

    async def change(self, name: str, method: str, *args: Any) -> Any:
        """One statement that changes what is there; None where the collection is not there."""
        ...


class PostgresCollection:
    """The collection port over a runner."""

    __slots__ = ("_indexes", "_name", "_runner", "_sql")

    def __init__(self, runner: Runner, name: str, indexes: Indexes) -> None:
        self._runner, self._name, self._indexes = runner, name, indexes
        self._sql: Statements = statements_of(name)

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        await self._runner.write(self._name, "execute", self._sql.insert, id, at, packed(body), tagged)

    async def get(self, id: str) -> Row | None:
        found = await self._runner.read(self._name, "fetchrow", self._sql.get, id)
        return None if found is None else Row(*found)

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        given = (id, at, packed(body), tagged)
        if version is None:
            found = await self._runner.change(self._name, "fetchrow", self._sql.replace, *given)
        else:
            found = await self._runner.change(self._name, "fetchrow", self._sql.replace_at, *given, version)
        return Row(*found) if found is not None else await self._refuse(id, version)

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
        fields = _flat(changes, unset)
        if fields is None:
            return await self._deep_patch(id, changes, at, unset, version, tagged)
        sql, given = self._sql, (id, at, packed(fields), tagged)
        if unset:
            statement = sql.prune if version is None else sql.prune_at
            given = (*given, [path[0] for path in unset])
        else:
            statement = sql.patch if version is None else sql.patch_at
        if version is not None:
            given = (*given, version)
        found = await self._runner.change(self._name, "fetchrow", statement, *given)
        return Row(*found) if found is not None else await self._refuse(id, version)

    async def _deep_patch(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        unset: Sequence[Path],
        version: int | None,
        tagged: bool,
    ) -> Row:
        """Read, change, and write if nobody else did meanwhile: only then nothing that lies beside is lost."""
        for _ in range(RACES):
            row = await self.get(id)
            if row is None or version not in (None, row.version):
                return await self._refuse(id, version)
            body = patched(row.body, changes, unset)
            try:
                return await self.replace(id, body, at, version=row.version, tagged=tagged or row.tagged)
            except VersionConflict:
                if version is not None:
                    raise
        raise VersionConflict(f"The document {id!r} is being changed again and again.", field="id")

    async def delete(self, id: str, *, version: int | None = None) -> None:
        if version is None:
            gone = await self._runner.change(self._name, "fetchrow", self._sql.delete, id)
        else:
            gone = await self._runner.change(self._name, "fetchrow", self._sql.delete_at, id, version)
        if gone is None:
            await self._refuse(id, version)

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        if not writes:
            return []
        try:
            await self._insert_all(writes, at)
        except (NameTaken, QuotaExceeded):  # one of them: each for itself, then
            return [await outcome_of(w, self._inserted(w, at)) for w in writes]
        return [Outcome(w.id, 1) for w in writes]

    async def _insert_all(self, writes: Sequence[Write], at: datetime) -> None:
        schema, table = parts_of(self._name)
        await self._runner.write(
            self._name,
            "copy_to_table",
            table,
            source=Copied(writes, at),
            schema_name=schema,
            columns=FIELDS,
            format="binary",
        )

    async def _inserted(self, write: Write, at: datetime) -> int:
        await self.insert(write.id, write.body or {}, at, tagged=write.tagged)
        return 1

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        """Runs of the same kind of change to different documents go together, everything else one by one."""
        outcomes: list[Outcome] = []
        for statement, items, arguments in _runs(writes, at, self._sql):
            done = await self._together(statement, items, arguments) if statement and len(items) > 1 else None
            outcomes += done or [await outcome_of(write, self._changed(write, at)) for write in items]
        return outcomes

    async def _together(
        self, statement: str, writes: list[Write], arguments: list[tuple[Any, ...]]
    ) -> list[Outcome] | None:
        """One round trip for many; none where one of them failed, and so none was done."""
        try:
            found = await self._runner.change(self._name, "fetchmany", statement, arguments)
        except (NameTaken, QuotaExceeded, InvalidRequest):
            return None
        versions = {row[0]: row[1] for row in found or ()}
        return [
            Outcome(write.id, None if is_delete(write) else versions[write.id])
            if write.id in versions
            else await outcome_of(write, self._refuse(write.id, write.version))
            for write in writes
        ]

    async def _changed(self, write: Write, at: datetime) -> int | None:
        if write.body is not None:
            row = await self.replace(write.id, write.body, at, version=write.version, tagged=write.tagged)
            return row.version
        if is_delete(write):
            await self.delete(write.id, version=write.version)
            return None
        row = await self.patch(
            write.id, write.changes or {}, at, unset=write.unset, version=write.version, tagged=write.tagged
        )
        return row.version

    async def find(self, find: Find) -> list[Row]:
        first = find.sort[0].path if find.sort else None
        indexed = first is not None and first in await self._indexes.ordered(self._name)
        try:
            statement, values = find_statement(self._name, find, indexed=indexed)
        except Unsupported:  # it asks for words
            words = await self._indexes.words(self._name)
            statement, values = find_statement(self._name, find, indexed=indexed, words=words)
        try:
            found = await self._runner.read(self._name, "fetch", statement, *values)
        except InvalidRequest as error:
            _place(error, find.where)
            raise
        rows = [Row(*fields) for fields in found or ()]
        if find.fields is not None:
            for row in rows:
                row.body = projected(row.body, find.fields)
        return rows

    async def count(self, where: Node | None) -> int:
        try:
            statement, values = count_statement(self._name, where)
        except Unsupported:
            statement, values = count_statement(self._name, where, await self._indexes.words(self._name))
        try:
            return int(await self._runner.read(self._name, "fetchval", statement, *values) or 0)
        except InvalidRequest as error:
            _place(error, where)
            raise

    async def create_index(self, index: Index) -> None:
        await self._indexes.create(self._name, index)

    async def indexes(self) -> tuple[Index, ...]:
        return await self._indexes.list(self._name)

    async def drop_index(self, name: str) -> None:
        await self._indexes.drop(self._name, name)

    async def _refuse(self, id: str, version: int | None) -> Any:
        """Why nothing was changed: it was not there (whoever made it since), or has another version."""
        stored = None
        if version is not None:
            stored = await self._runner.read(self._name, "fetchval", self._sql.version, id)
        if stored is None:
            raise NotFound(f"There is no document {id!r}.", field="id")
        raise VersionConflict(f"The document {id!r} is at version {stored}, not {version}.", field="version")


def _place(error: InvalidRequest, where: Node | None) -> None:
    """What was wrong with a question, if anything, was its pattern."""
    if where is not None and any(isinstance(node, Regex) for node in conditions(where)):
        error.field = "where.$regex"


def is_delete(write: Write) -> bool:
    return write.body is None and write.changes is None and not write.unset


def _flat(changes: Mapping[Path, Any], unset: Sequence[Path]) -> dict[str, Any] | None:
    """What a patch sets, if it is of whole fields, none of them set and removed at once."""
    fields: dict[str, Any] = {}
    for path, value in changes.items():
        if len(path) > 1 or path in unset:
            return None
        fields[path[0]] = value
    return fields if not unset or all(len(path) == 1 for path in unset) else None


def _prepared(write: Write, at: datetime, sql: Statements) -> tuple[str, tuple[Any, ...]]:
    """The statement of a change and what it takes; an empty one where it takes several."""
    free = write.version is None
    last = () if free else (write.version,)
    if write.body is not None:
        given = (write.id, at, packed(write.body), write.tagged, *last)
        return sql.replace if free else sql.replace_at, given
    if is_delete(write):
        return sql.delete if free else sql.delete_at, (write.id, *last)
    fields = _flat(write.changes or {}, write.unset)
    if fields is None:
        return "", ()
    given = (write.id, at, packed(fields), write.tagged)
    if not write.unset:
        return sql.patch if free else sql.patch_at, (*given, *last)
    return sql.prune if free else sql.prune_at, (*given, [path[0] for path in write.unset], *last)


def _runs(
    writes: Sequence[Write], at: datetime, sql: Statements
) -> Iterator[tuple[str, list[Write], list[tuple[Any, ...]]]]:
    """Neighbours of one statement and of different documents."""
    run: list[Write] = []
    arguments: list[tuple[Any, ...]] = []
    ids: set[str] = set()
    before = ""
    for write in writes:
        statement, given = _prepared(write, at, sql)
        if run and (statement != before or write.id in ids):
            yield before, run, arguments
            run, arguments, ids = list[Write](), list[tuple[Any, ...]](), set[str]()
        run.append(write)
        arguments.append(given)
        ids.add(write.id)
        before = statement
    if run:
        yield before, run, arguments


async def outcome_of(write: Write, work: Awaitable[int | None]) -> Outcome:
    try:
        return Outcome(write.id, await work)
    except (Conflict, InvalidRequest, NotFound) as error:  # this item's own; anything else stops them all
        return Outcome(write.id, error=error)
