"""Fixtures of the tests of PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.postgresql.support import Admin, Server, temporary


@pytest.fixture
def admin(postgresql_server: Server) -> Admin:
    return Admin(postgresql_server)


@pytest.fixture
async def pg(postgresql_server: Server) -> AsyncIterator[PostgresEngine]:
    engine = PostgresEngine(*postgresql_server)
    yield engine
    await engine.close()


@pytest.fixture
async def source(pg: PostgresEngine) -> AsyncIterator[str]:
    async with temporary(pg) as name:
        yield name


@pytest.fixture
async def copy(pg: PostgresEngine) -> AsyncIterator[str]:
    async with temporary(pg, made=False) as name:
        yield name
