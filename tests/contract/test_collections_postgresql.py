"""PostgreSQL's collections: the contract, and what is particular to tables."""

import secrets
from collections.abc import AsyncIterator

import pytest

from storage_core.domain.provider import Endpoint
from storage_core.ports.collection import Collections
from storage_core.ports.engine import Engine
from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.collection_contract import CollectionContract

pytestmark = pytest.mark.servers
Server = tuple[Endpoint, str]


@pytest.fixture(scope="module")
async def engine(postgresql_server: Server) -> AsyncIterator[Engine]:
    engine = PostgresEngine(*postgresql_server)
    yield engine
    await engine.close()


class TestPostgresql(CollectionContract):
    @pytest.fixture
    def collections(self, engine: Engine) -> Collections:
        assert engine.collections is not None
        return engine.collections

    @pytest.fixture
    async def database(self, engine: Engine) -> AsyncIterator[str]:
        name = f"sc_collections_{secrets.token_hex(4)}"
        await engine.databases.create(name, {})
        yield name
        await engine.databases.drop(name)
