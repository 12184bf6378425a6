"""PostgreSQL: a restored database gets its statistics, and health is an answer within a bounded time."""

import asyncio
import time

import pytest

from storage_core.domain.backup import compare
from storage_core.domain.provider import Endpoint
from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.postgresql.support import Admin, Server, backup_of, round_trip

pytestmark = pytest.mark.servers

COUNT = "select count(*) from pg_stats where tablename = 't'"
ROWS = "select reltuples from pg_class where relname = 't'"


async def test_statistics_are_there_after_the_finish(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    await admin.run(
        source,
        "create table t as select g as a, g % 10 as b from generate_series(1, 5000) g",
        "create statistics s on a, b from t",
        # a copy carries its source's settings: none of them may keep it from being finished
        f'alter database "{source}" set statement_timeout = 1',
        f'alter database "{source}" set default_transaction_read_only = on',
        f'alter database "{source}" set search_path = nowhere',
    )
    manifest, _ = await round_trip(pg, source, copy)
    async with admin.at(copy) as connection:
        await connection.execute("set statement_timeout = 0")
        assert await connection.fetchval(COUNT) == 0
    for _ in range(2):
        assert await backup_of(pg).finish(copy) == ()
        async with admin.at(copy) as connection:
            await connection.execute("set statement_timeout = 0")
            assert await connection.fetchval(COUNT) == 2
            assert await connection.fetchval(ROWS) == 5000
    assert compare(manifest, await backup_of(pg).measure(copy, manifest)) == ()


async def test_health_of_a_server_that_never_answers_comes_in_time() -> None:
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    async with server:
        endpoint = Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        engine = PostgresEngine(endpoint, "secret", connect_seconds=0.5)
        began = time.monotonic()
        health = await engine.health()
        assert time.monotonic() - began < 5.5
        assert not health.online
        assert "did not answer" in (health.problem or "") and "Check host and port" in (health.problem or "")
        await engine.close()


async def test_health_of_a_server_that_refuses_the_sign_in(postgresql_server: Server) -> None:
    engine = PostgresEngine(postgresql_server[0], "wrong-password")
    health = await engine.health()
    assert not health.online
    assert "password authentication failed" in (health.problem or "")
    assert "Check user and password" in (health.problem or "")
    assert "wrong-password" not in (health.problem or "")
    await engine.close()
