"""Collections in SQLite files: one table for each, written by one lane, read by connections that can only read."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

import orjson

from ...domain.query import All, Compare, Node, Op, Path, projected
from ...domain.record import Find, Index, Outcome, Quota, Row, Write
from . import collection_index as indexing
from . import documents
from .collection_files import SLOW, Files, Reader
from .collection_query import count_statement, find_statement
from .collection_table import collection_table, found
from .documents import admit, as_row, dumped, exists, utc_text, within
from .writer import Lane

Step = Callable[[sqlite3.Connection], Any]

#: Rows that may be read on the loop at once, and the steps of SQLite's that this may take; plans kept for each file.
FEW, FEW_STEPS, PLANS = 50, 5000, 512
#: Characters of documents in one answer beyond which the next one comes from a thread.
HEAVY = 200_000
#: Documents in one call from which on it has a commit of its own.
LARGE = 32


class SqliteCollection:
    """One collection of a file; see the port. Made for each use: it holds names and nothing open."""

    __slots__ = ("_database", "_files", "_quota", "_table")

    def __init__(self, files: Files, database: str, name: str, quota: Quota | None) -> None:
        self._files, self._database, self._quota = files, database, quota
        self._table = collection_table(name)

    async def get(self, id: str) -> Row | None:
        """Read on the loop where that surely takes microseconds (see `File`), else on a thread."""
        file = self._files.open.get(self._database)
        if file is not None:
            now = perf_counter()
            if now < file.trusted and (point := file.point) is not None and self._table.name in point.known:
                try:
                    row = point.db.execute(self._table.get, (id,)).fetchone()
                except sqlite3.Error:
                    file.slowed(now)  # the thread meets the same, and says what it is
                else:
                    file.used = after = perf_counter()
                    if after - now > SLOW:
                        file.slowed(after)
                    elif file.strikes:
                        file.strikes = 0
                    if now > file.renew:
                        file.look_again(point)
                    return None if row is None else as_row(id, row)
        return await self._read(partial(documents.read_row, table=self._table, id=id), None)

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        moment = utc_text(at)
        row = (id, 1, moment, moment, tagged, dumped(body))
        await self._write(partial(documents.insert, self._table, row))

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        moment, text = utc_text(at), dumped(body)
        step = partial(documents.replace, self._table, id, text, moment, tagged, version)
        made, created = await self._change(id, step)
        times = datetime.fromisoformat(created), datetime.fromisoformat(moment)
        return Row(id, made, *times, dict(body), tagged)

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
        write = Write(id, changes=changes, unset=tuple(unset), version=version, tagged=tagged)
        row: Row = await self._change(id, partial(documents.patch, self._table, write, utc_text(at)))
        return row

    async def delete(self, id: str, *, version: int | None = None) -> None:
        await self._change(id, partial(documents.delete, self._table, id, version))

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        moment = utc_text(at)
        rows = [(w.id, 1, moment, moment, w.tagged, documents.text_of(w)) for w in writes]
        work = partial(documents.insert_all, self._table, self._quota, rows)
        outcomes: list[Outcome] = await self._run(work, large=len(rows) >= LARGE)
        return outcomes

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        work = partial(documents.change_all, self._table, self._quota, writes, utc_text(at))
        outcomes: list[Outcome] = await self._run(work, large=len(writes) >= LARGE)
        return outcomes

    async def find(self, find: Find) -> list[Row]:
        """Few rows of equal values that an index holds are read like one row by its id, see `get`."""
        sql, operands = find_statement(self._table, find)
        equals = _equalities(find.where) if find.limit <= FEW else 0
        if equals:
            now = self._few(sql, operands, find)
            if now is not None:
                return now
        narrow = self._files.file(self._database).narrow if equals else None
        work = partial(_rows, sql=sql, operands=operands, find=find, narrow=narrow, equals=equals)
        rows: list[Row] = await self._read(work, [])
        return rows

    def _few(self, sql: str, operands: list[Any], find: Find) -> list[Row] | None:
        """The rows, read on the loop; none where that might take long, or did."""
        file = self._files.open.get(self._database)
        if file is None or not file.narrow.get(sql):
            return None
        now = perf_counter()
        point = file.point
        if now >= file.trusted or point is None or self._table.name not in point.known:
            return None
        calls = (
            count()
        )  # SQLite counts a statement's steps over all its runs: the first call may come at once
        point.db.set_progress_handler(lambda: next(calls) > 0, FEW_STEPS)
        try:
            found = point.db.execute(sql, operands).fetchall()
        except sqlite3.Error:
            file.narrow.pop(sql, None)  # the thread meets the same, or takes the time it needs
            return None
        finally:
            point.db.set_progress_handler(None, 0)
        file.used = after = perf_counter()
        if sum(len(row[5]) for row in found) > HEAVY:
            file.narrow[sql] = False  # such documents are for threads
        if after - now > SLOW:
            file.slowed(after)
        elif file.strikes:
            file.strikes = 0
        if now > file.renew:
            file.look_again(point)
        return _made(found, find)

    async def count(self, where: Node | None) -> int:
        sql, operands = count_statement(self._table, where)
        number: int = await self._read(lambda db: db.execute(sql, operands).fetchone()[0], 0)
        return number

    async def create_index(self, index: Index) -> None:
        def create(lane: Lane, db: sqlite3.Connection) -> None:
            admit(lane, db, self._table)
            indexing.create(db, self._table, index)

        await self._run(create)
        self._files.file(self._database).narrow.clear()

    async def indexes(self) -> tuple[Index, ...]:
        found: tuple[Index, ...] = await self._read(partial(indexing.listed, table=self._table), ())
        return found

    async def drop_index(self, name: str) -> None:
        await self._run(lambda _lane, db: indexing.drop(db, self._table, name))
        self._files.file(self._database).narrow.clear()

    def _change(self, id: str, step: Step) -> Awaitable[Any]:
        """A step on a document that must be there."""

        def work(lane: Lane, db: sqlite3.Connection) -> Any:
            if not exists(lane, db, self._table):
                raise documents.not_there(id)
            try:
                return within(self._quota, step, lane, db)
            except sqlite3.OperationalError as error:
                if not documents.is_gone(lane, self._table, error):
                    raise
                raise documents.not_there(id) from error

        return self._one(work)

    def _write(self, step: Step) -> Awaitable[Any]:
        """A step that makes the collection if need be."""

        def work(lane: Lane, db: sqlite3.Connection) -> Any:
            try:
                admit(lane, db, self._table)
                return within(self._quota, step, lane, db)
            except sqlite3.OperationalError as error:
                if not documents.is_gone(lane, self._table, error):
                    raise
            admit(lane, db, self._table)
            return within(self._quota, step, lane, db)

        return self._one(work)

    def _one(self, work: Callable[[Lane, sqlite3.Connection], Any]) -> Awaitable[Any]:
        """One statement that changes, and with a quota its count."""
        lane = self._files.file(self._database).lane
        free = self._quota is None
        return lane.run(work, single=free, lone=self._table.name if free else "")

    def _run(self, work: Callable[[Lane, sqlite3.Connection], Any], *, large: bool = False) -> Awaitable[Any]:
        return self._files.file(self._database).lane.run(work, large=large)

    async def _read(self, work: Step, nothing: Any) -> Any:
        """Read on a thread; `nothing` where there is no such collection."""
        table = self._table

        def look(reader: Reader) -> Any:
            if table.name not in reader.known:
                if not found(reader.db, table):
                    return nothing
                reader.known.add(table.name)
            try:
                return work(reader.db)
            except sqlite3.OperationalError as error:
                if not documents.is_gone(reader, table, error):
                    raise
                return nothing

        return await self._files.file(self._database).read(look)


class SqliteSessionCollection(SqliteCollection):
    """A collection inside a transaction: everything, reading too, goes through the connection that holds it."""

    __slots__ = ("_lane", "_token")

    def __init__(
        self, files: Files, database: str, name: str, quota: Quota | None, hold: tuple[Lane, object]
    ) -> None:
        super().__init__(files, database, name, quota)
        self._lane, self._token = hold

    async def get(self, id: str) -> Row | None:
        row: Row | None = await self._read(partial(documents.read_row, table=self._table, id=id), None)
        return row

    def _few(self, sql: str, operands: list[Any], find: Find) -> list[Row] | None:
        return None  # what the transaction wrote is seen by its own connection alone

    def _one(self, work: Callable[[Lane, sqlite3.Connection], Any]) -> Awaitable[Any]:
        return self._lane.inside(self._token, work, single=self._quota is None)

    def _run(self, work: Callable[[Lane, sqlite3.Connection], Any], *, large: bool = False) -> Awaitable[Any]:
        return self._lane.inside(self._token, work)

    async def _read(self, work: Step, nothing: Any) -> Any:
        def look(lane: Lane, db: sqlite3.Connection) -> Any:
            return work(db) if exists(lane, db, self._table) else nothing

        return await self._lane.inside(self._token, look, single=True)


def _equalities(where: Node | None) -> int:
    """How many values a filter asks for, if it asks for nothing else; otherwise none."""
    nodes = where.nodes if isinstance(where, All) else (where,)
    equal = all(isinstance(n, Compare) and n.op is Op.EQ and n.value is not None for n in nodes)
    return len(nodes) if equal else 0


def _rows(
    db: sqlite3.Connection,
    sql: str,
    operands: list[Any],
    find: Find,
    narrow: dict[str, bool] | None,
    equals: int,
) -> list[Row]:
    if narrow is not None and sql not in narrow:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", operands)]
        if len(narrow) >= PLANS:
            narrow.clear()
        searched = len(plan) == 1 and plan[0].startswith("SEARCH") and " USING INDEX " in plan[0]
        narrow[sql] = searched and plan[0].count("=?") == equals
    return _made(db.execute(sql, operands).fetchall(), find)


def _made(found: list[Any], find: Find) -> list[Row]:
    loads, moment = orjson.loads, documents.parsed_moment
    rows = [
        Row(id, version, moment(created), moment(updated), loads(body), tagged == 1)
        for id, version, created, updated, tagged, body in found
    ]
    if find.fields is not None:
        for row in rows:
            row.body = projected(row.body, find.fields)
    return rows
