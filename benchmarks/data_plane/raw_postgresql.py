"""asyncpg as one would write it by hand: prepared statements, orjson for jsonb, COPY for many."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

TABLE = """create table raw_orders (id text primary key, version bigint not null, created_at timestamptz not null,
    updated_at timestamptz not null, body jsonb not null)"""
INDEX = "create index on raw_orders ((body->>'user_id'), (body->>'status'))"
INSERT = "insert into raw_orders values ($1, 1, $2, $2, $3)"
GET = "select id, version, created_at, updated_at, body from raw_orders where id = $1"
FIND = f"{GET.rpartition(' where ')[0]} where body->>'user_id' = $1 and body->>'status' = $2 order by id limit 20"
UPDATE = """update raw_orders set body = body || $3, version = version + 1, updated_at = $4
    where id = $1 and version = $2 returning id, version, created_at, updated_at, body"""
DELETE = "delete from raw_orders where id = $1"


async def connected(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn, statement_cache_size=1024)
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(memoryview(raw)[1:]),
    )
    return connection


class RawPostgres:
    """One connection, or several behind a bare queue: the least that tasks can share."""

    name = "asyncpg"

    def __init__(self, dsn: str, connections: int = 1) -> None:
        self._dsn, self._count = dsn, connections
        self._free: asyncio.Queue[asyncpg.Connection] = asyncio.Queue()

    async def open(self) -> None:
        for _ in range(self._count):
            self._free.put_nowait(await connected(self._dsn))
        await self._do("execute", "drop table if exists raw_orders")
        await self._do("execute", TABLE)
        await self._do("execute", INDEX)

    async def _do(self, method: str, *given: Any) -> Any:
        connection = await self._free.get()
        try:
            return await getattr(connection, method)(*given)
        finally:
            self._free.put_nowait(connection)

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        await self._do("execute", INSERT, id, datetime.now(UTC), data)

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        now = datetime.now(UTC)
        records = [(id, 1, now, now, data) for id, data in items]
        connection = await self._free.get()
        try:
            await connection.copy_records_to_table("raw_orders", records=records)
        finally:
            self._free.put_nowait(connection)

    async def get(self, id: str) -> Any:
        assert await self._do("fetchrow", GET, id) is not None

    async def find(self, user: int, status: str) -> Any:
        return await self._do("fetch", FIND, str(user), status)

    async def update(self, id: str, version: int, qty: int) -> Any:
        assert await self._do("fetchrow", UPDATE, id, version, {"qty": qty}, datetime.now(UTC)) is not None

    async def delete(self, id: str) -> Any:
        assert await self._do("execute", DELETE, id) == "DELETE 1"

    async def close(self) -> None:
        while not self._free.empty():
            await self._free.get_nowait().close()
