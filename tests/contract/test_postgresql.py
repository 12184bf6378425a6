"""PostgreSQL: the contract of every engine."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest

from storage_core.domain.provider import EngineKind
from storage_core.ports.engine import Engine
from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.engine_contract import EngineContract
from tests.contract.postgresql import rich_schema
from tests.contract.postgresql.support import (
    Admin,
    Server,
    fill_rich,
    programs,
)

pytestmark = pytest.mark.servers

PLANTS = {
    "flipped_row": "update customers set score = 5 where id = 3",
    "extra_row": "insert into dropped values (2, 'y')",
    "lost_row": "delete from orders where id = 1",
    "duplicated_pair": "insert into dropped values (9, 'z'), (9, 'z')",
    "swapped_values": "update orders o set amount = (select amount from orders x where x.id = 3 - o.id)"
    " where id in (1, 2)",
    "changed_type": "update kinds set a_numeric = 1.00 where a_numeric = 1 and scale(a_numeric) = 0",
    "lost_table": "drop table scratchpad",
    "extra_table": "create table extra (a int)",
    "lost_index": "drop index customers_lower",
}


class TestPostgresql(EngineContract):
    kind = EngineKind.POSTGRESQL
    good_setting = ("statement_timeout", "30s")
    awkward_names = (
        'quo"te',
        "host=nowhere.invalid dbname=postgres",
        "back\\slash 'and' quote",
        "größe 💡",
        "-dash",
        "--help",
        "%s:x$1",
        "postgresql://nowhere.invalid/x",
        "line\nbreak",
        "b" * 63,
    )
    hostile_names = ("", "a\x00b", "c" * 64, "ü" * 40)
    exempt: Mapping[str, str] = {}

    @pytest.fixture
    async def engine(self, postgresql_server: Server) -> AsyncIterator[Engine]:
        self.admin = Admin(postgresql_server)
        engine = PostgresEngine(*postgresql_server)
        yield engine
        await engine.close()

    @pytest.fixture
    async def unreachable(self, postgresql_server: Server) -> AsyncIterator[Engine]:
        endpoint, password = postgresql_server
        yield PostgresEngine(replace(endpoint, port=1), password, connect_seconds=0.5)

    async def fill(self, name: str) -> dict[str, int]:
        await fill_rich(self.admin, name)
        return rich_schema.ROWS

    async def plant(self, name: str, fault: str) -> None:
        await self.admin.run(name, PLANTS[fault])

    async def prepare_writes(self, name: str) -> None:
        await self.admin.run(name, "create table lefts (n int)", "create table rights (n int)")

    async def write_pair(self, name: str, number: int) -> None:
        await self.admin.run(
            name, f"begin; insert into lefts values ({number}); insert into rights values ({number}); commit"
        )

    async def pairs(self, name: str) -> tuple[int, int]:
        async with self.admin.at(name) as connection:
            row = await connection.fetchrow(
                "select (select count(*) from lefts), (select count(*) from rights)"
            )
        return row[0], row[1]

    async def leftovers(self, name: str) -> list[str]:
        """Programs, and sessions that still hold the database, after the moment the server needs to notice."""
        left: list[str] = []
        for _ in range(50):
            async with self.admin.at() as connection:
                sessions = await connection.fetch(
                    "select application_name, query from pg_stat_activity where datname = $1", name
                )
            left = [str(process) for process in programs()] + [str(dict(row)) for row in sessions]
            if not left:
                break
            await asyncio.sleep(0.1)
        return left
