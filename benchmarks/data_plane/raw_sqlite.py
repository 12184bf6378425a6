"""aiosqlite as one would write it by hand: one connection, WAL, orjson."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosqlite
import orjson

TABLE = "create table orders (id text primary key, version integer, created_at text, updated_at text, body text) without rowid"
INDEX = "create index by_user on orders (body->>'user_id', body->>'status')"
INSERT = "insert into orders values (?, 1, ?, ?, ?)"
GET = "select id, version, created_at, updated_at, body from orders where id = ?"
FIND = (
    f"{GET.rpartition(' where ')[0]} where body->>'user_id' = ? and body->>'status' = ? order by id limit 20"
)
UPDATE = """update orders set body = json_patch(body, ?), version = version + 1, updated_at = ?
    where id = ? and version = ? returning id, version, created_at, updated_at, body"""
DELETE = "delete from orders where id = ?"


class RawSqlite:
    """:param synchronous: NORMAL, or FULL for writes that are on the disk once they return."""

    name = "aiosqlite"

    def __init__(self, path: Path, synchronous: str) -> None:
        self._path, self._synchronous = path, synchronous

    async def open(self) -> None:
        self._db = await aiosqlite.connect(self._path, isolation_level=None)
        for pragma in ("journal_mode=WAL", f"synchronous={self._synchronous}"):
            await self._db.execute_fetchall(f"pragma {pragma}")
        await self._db.execute_fetchall(TABLE)
        await self._db.execute_fetchall(INDEX)

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        now = datetime.now(UTC).isoformat()
        await self._db.execute_fetchall(INSERT, (id, now, now, orjson.dumps(data).decode()))

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        now = datetime.now(UTC).isoformat()
        await self._db.execute_fetchall("begin immediate")
        await self._db.executemany(
            INSERT, [(id, now, now, orjson.dumps(data).decode()) for id, data in items]
        )
        await self._db.execute_fetchall("commit")

    async def get(self, id: str) -> Any:
        [row] = await self._db.execute_fetchall(GET, (id,))
        return _read(row)

    async def find(self, user: int, status: str) -> Any:
        return [_read(row) for row in await self._db.execute_fetchall(FIND, (user, status))]

    async def update(self, id: str, version: int, qty: int) -> Any:
        now = datetime.now(UTC).isoformat()
        changes = orjson.dumps({"qty": qty}).decode()
        [row] = await self._db.execute_fetchall(UPDATE, (changes, now, id, version))
        return _read(row)

    async def delete(self, id: str) -> Any:
        await self._db.execute_fetchall(DELETE, (id,))

    async def close(self) -> None:
        await self._db.close()


def _read(row: Any) -> tuple[Any, ...]:
    id, version, created, updated, body = row
    return id, version, datetime.fromisoformat(created), datetime.fromisoformat(updated), orjson.loads(body)
