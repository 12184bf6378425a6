"""Collections on PostgreSQL, the engine alone, against bare asyncpg on the same server: one task, then 16 on 4 connections.

``x_asyncpg`` is the engine's speed as a multiple of the driver's, the median of five rounds in short turns. `sdk` shows
what remains with everything on that wraps the engine.

Client and server share one processor where the system allows it. On several, which of the connections happens to wake
its peer on the same one decides more (a factor of two for short calls) than all there is to measure.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.query import All, Compare, Op
from storage_core.domain.record import Find, Index, Quota, Write
from storage_core.ports.collection import Collection
from storage_core.ports.engine import Engine
from storage_core.providers.postgresql.engine import PostgresEngine

from .data_plane.measure import BASE, Contender, Lane, race, ratios
from .data_plane.raw_postgresql import RawPostgres

DATABASE = "sc_bench"
COUNTS = {"insert": 1600, "bulk": 8000, "get": 3200, "find": 640, "update": 1600, "delete": 1600}
#: What must remain of the driver's speed before anything wraps the engine.
FLOORS = {"insert": 0.75, "bulk": 0.85, "get": 0.88, "find": 0.88, "update": 0.85, "delete": 0.85}
TASKS, CONNECTIONS = 16, 4


class Port:
    """The engine's collection, without anything around it."""

    def __init__(self, engine: Engine, name: str = "engine", quota: Quota | None = None) -> None:
        self._engine, self.name, self._quota = engine, name, quota
        self._orders: Collection

    async def open(self) -> None:
        assert self._engine.collections is not None
        self._orders = self._engine.collections.collection(DATABASE, f"orders_{self.name}", self._quota)
        await self._orders.create_index(Index("find", (("user_id",), ("status",))))

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        await self._orders.insert(id, data, datetime.now(UTC))

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        writes = [Write(id, data) for id, data in items]
        outcomes = await self._orders.insert_many(writes, datetime.now(UTC))
        assert all(outcome.error is None for outcome in outcomes)

    async def get(self, id: str) -> Any:
        assert await self._orders.get(id) is not None

    async def find(self, user: int, status: str) -> Any:
        where = All((Compare(("user_id",), Op.EQ, user), Compare(("status",), Op.EQ, status)))
        return await self._orders.find(Find(where, limit=20))

    async def update(self, id: str, version: int, qty: int) -> Any:
        await self._orders.patch(id, {("qty",): qty}, datetime.now(UTC), version=version)

    async def delete(self, id: str) -> Any:
        await self._orders.delete(id)

    async def close(self) -> None: ...


async def run(size_mb: int) -> dict[str, float | str]:
    """Start a private server and race; the size does not matter here."""
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    if processors:
        os.sched_setaffinity(0, {max(processors)})
    try:
        return await _measured()
    finally:
        if processors:
            os.sched_setaffinity(0, processors)


async def _measured() -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as home:
        servers = LocalServers(Path(home), durable=False)
        await servers.start("postgresql", "bench")
        try:
            endpoint, password = await servers.endpoint("bench")
            engine = PostgresEngine(endpoint, password)
            await engine.databases.create(DATABASE, {})
            dsn = f"postgresql://{quote(endpoint.user or '')}:{quote(password)}@{endpoint.host}:{endpoint.port}/{DATABASE}"
            try:
                quota = Quota(documents=10**9, bytes=10**12)
                several: list[Contender] = [Port(engine), Port(engine, "counted", quota)]
                out = await _raced("one_task", [RawPostgres(dsn), *several], 1)
                return out | await _raced(
                    "16_tasks", [RawPostgres(dsn, CONNECTIONS), Port(engine, "e16")], TASKS
                )
            finally:
                await engine.close()
        finally:
            await servers.stop("bench")


async def _raced(title: str, contenders: list[Contender], tasks: int) -> dict[str, float | str]:
    lanes = [Lane(contender) for contender in contenders]
    for lane in lanes:
        await lane.fill(BASE)
    speeds = await race(lanes, COUNTS, tasks)
    raw, engine, *counted = (contender.name for contender in contenders)
    out = ratios(speeds, engine, raw, counted, title)
    out |= {
        f"{title}_{row}_passed": str(float(out[f"{title}_{row}_x_{raw}"]) >= floor)
        for row, floor in FLOORS.items()
    }
    for lane in lanes:
        await lane.contender.close()
    return out


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(0)), indent=2))
