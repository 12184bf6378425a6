"""Fixtures of the tests of MongoDB."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from storage_core.domain.provider import Endpoint
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.mongodb.support import Client, Server, mongod, plain_client


@pytest.fixture
async def mongo(mongodb_server: Server) -> AsyncIterator[MongoEngine]:
    engine = MongoEngine(*mongodb_server)
    yield engine
    await engine.close()


@pytest.fixture
async def client(mongodb_server: Server) -> AsyncIterator[Client]:
    client = plain_client(mongodb_server)
    yield client
    await client.close()


@pytest.fixture
async def source(mongo: MongoEngine) -> AsyncIterator[str]:
    name = f"sc_own_{secrets.token_hex(5)}"
    await mongo.databases.create(name, {})
    yield name
    await mongo.databases.drop(name)


@pytest.fixture
async def copy(mongo: MongoEngine) -> AsyncIterator[str]:
    """The name of a database that does not exist yet, dropped afterwards."""
    name = f"sc_copy_{secrets.token_hex(5)}"
    yield name
    await mongo.databases.drop(name)


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server without replica set and sign-in that looks for expired documents every second."""
    with mongod(tmp_path_factory.mktemp("standalone"), "--setParameter", "ttlMonitorSleepSecs=1") as endpoint:
        yield endpoint
