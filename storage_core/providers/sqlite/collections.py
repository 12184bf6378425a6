"""The collections of a directory's databases."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from ...domain.record import Ability, Quota
from ...ports.collection import Collection, Session
from . import collection_index as indexing
from . import quota as counting
from .collection import SqliteCollection, SqliteSessionCollection
from .collection_files import Files, Reader
from .collection_table import PREFIX, collection_table, collections
from .connect import quoted
from .documents import exists
from .writer import Lane


class SqliteCollections:
    """See the port. Patterns and full-text search are left out: without an index they would read everything."""

    abilities = frozenset({Ability.TRANSACTIONS})

    def __init__(self, files: Files) -> None:
        self._files = files

    def collection(self, database: str, name: str, quota: Quota | None = None) -> Collection:
        return SqliteCollection(self._files, database, name, quota)

    def prefix(self, database: str) -> str:
        return PREFIX

    async def names(self, database: str) -> tuple[str, ...]:
        def look(reader: Reader) -> tuple[str, ...]:
            return tuple(collections(reader.db))

        names: tuple[str, ...] = await self._files.file(database).read(look)
        return names

    async def drop(self, database: str, name: str) -> None:
        table = collection_table(name)

        def drop(lane: Lane, db: sqlite3.Connection) -> None:
            if exists(lane, db, table):
                counting.forget_table(db, table.name)
                indexing.forget(db, table)
                db.execute(f"DROP TABLE {quoted(table.name)}")
                lane.known.discard(table.name)

        await self._files.file(database).lane.run(drop)

    def transaction(self, database: str, quota: Quota | None = None) -> AbstractAsyncContextManager[Session]:
        return self._transaction(database, quota)

    @asynccontextmanager
    async def _transaction(self, database: str, quota: Quota | None) -> AsyncGenerator[Session]:
        lane = self._files.file(database).lane
        token = await lane.hold()
        try:
            yield SqliteSession(self._files, database, quota, (lane, token))
        except BaseException:
            lane.cut(token)
            raise
        await lane.release(token)


class SqliteSession:
    """A transaction that holds the database's lane."""

    def __init__(self, files: Files, database: str, quota: Quota | None, hold: tuple[Lane, object]) -> None:
        self._files, self._database, self._quota, self._hold = files, database, quota, hold

    def collection(self, name: str) -> Collection:
        return SqliteSessionCollection(self._files, self._database, name, self._quota, self._hold)
