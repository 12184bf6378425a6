"""Collections in SQLite files: one table for each, written by one lane, read by connections that can only read."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any

import orjson

from ...domain.query import Node, Path, projected
from ...domain.record import Find, Index, Outcome, Quota, Row, Write
from . import collection_index as indexing
from . import documents
from .collection_files import SLOW, Files, Reader
from .collection_query import count_statement, find_statement
from .collection_table import collection_table, found
from .documents import admit, as_row, dumped, exists, utc_text, within
from .writer import Lane

Step = Callable[[sqlite3.Connection], Any]


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
        rows = [(w.id, 1, moment, moment, w.tagged, dumped(w.body or {})) for w in writes]
        outcomes: list[Outcome] = await self._run(
            partial(documents.insert_all, self._table, self._quota, rows)
        )
        return outcomes

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        work = partial(documents.change_all, self._table, self._quota, writes, utc_text(at))
        outcomes: list[Outcome] = await self._run(work)
        return outcomes

    async def find(self, find: Find) -> list[Row]:
        sql, operands = find_statement(self._table, find)
        rows: list[Row] = await self._read(partial(_rows, sql=sql, operands=operands, find=find), [])
        return rows

    async def count(self, where: Node | None) -> int:
        sql, operands = count_statement(self._table, where)
        number: int = await self._read(lambda db: db.execute(sql, operands).fetchone()[0], 0)
        return number

    async def create_index(self, index: Index) -> None:
        def create(lane: Lane, db: sqlite3.Connection) -> None:
            admit(lane, db, self._table)
            indexing.create(db, self._table, index)

        await self._run(create)

    async def indexes(self) -> tuple[Index, ...]:
        found: tuple[Index, ...] = await self._read(partial(indexing.listed, table=self._table), ())
        return found

    async def drop_index(self, name: str) -> None:
        await self._run(lambda _lane, db: indexing.drop(db, self._table, name))

    async def _change(self, id: str, step: Step) -> Any:
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

        return await self._one(work)

    async def _write(self, step: Step) -> Any:
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

        return await self._one(work)

    async def _one(self, work: Callable[[Lane, sqlite3.Connection], Any]) -> Any:
        """One statement that changes, and with a quota its count."""
        lane = self._files.file(self._database).lane
        free = self._quota is None
        return await lane.run(work, single=free, lone=self._table.name if free else "")

    async def _run(self, work: Callable[[Lane, sqlite3.Connection], Any]) -> Any:
        return await self._files.file(self._database).lane.run(work)

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

    async def _one(self, work: Callable[[Lane, sqlite3.Connection], Any]) -> Any:
        return await self._lane.inside(self._token, work, single=self._quota is None)

    async def _run(self, work: Callable[[Lane, sqlite3.Connection], Any]) -> Any:
        return await self._lane.inside(self._token, work)

    async def _read(self, work: Step, nothing: Any) -> Any:
        def look(lane: Lane, db: sqlite3.Connection) -> Any:
            return work(db) if exists(lane, db, self._table) else nothing

        return await self._lane.inside(self._token, look, single=True)


def _rows(db: sqlite3.Connection, sql: str, operands: list[Any], find: Find) -> list[Row]:
    loads, moment = orjson.loads, documents.parsed_moment
    rows = [
        Row(id, version, moment(created), moment(updated), loads(body), tagged == 1)
        for id, version, created, updated, tagged, body in db.execute(sql, operands).fetchall()
    ]
    if find.fields is not None:
        for row in rows:
            row.body = projected(row.body, find.fields)
    return rows
