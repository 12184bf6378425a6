"""Real servers for the tests: the product's own private servers, one of each kind per process, on demand."""

import shutil
from collections.abc import AsyncIterator

import pytest

from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.provider import Endpoint


@pytest.fixture(scope="session")
async def local_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalServers]:
    """Private servers of this test run; they do not wait for the disk, and end with the session."""
    home = tmp_path_factory.mktemp("home")
    servers = LocalServers(home, durable=False)
    yield servers
    for server in await servers.list():
        await servers.stop(server.name)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
async def postgresql_server(local_servers: LocalServers) -> tuple[Endpoint, str]:
    """Where a real PostgreSQL listens, and its password."""
    await local_servers.start("postgresql", "postgresql")
    return await local_servers.endpoint("postgresql")


@pytest.fixture(scope="session")
async def mongodb_server(local_servers: LocalServers) -> tuple[Endpoint, str]:
    """Where a real MongoDB listens, and its password."""
    await local_servers.start("mongodb", "mongodb")
    return await local_servers.endpoint("mongodb")
