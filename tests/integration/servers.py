"""Databases with rows of their own on real servers, registered like any other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pymongo import AsyncMongoClient

from storage_core.bootstrap import Core
from storage_core.domain.database import Database
from storage_core.domain.provider import Endpoint
from storage_core.ports.engine import Engine
from storage_core.services.databases import CreateDatabase
from storage_core.services.providers import CreateProvider
from tests.integration.homes import somebody

Server = tuple[Endpoint, str]

#: More than the pipes between us and pg_dump hold, so that the program is met while it writes.
ROWS, WIDTH = 2000, 10_000


async def registered(core: Core, kind: str, server: Server) -> tuple[Database, Engine]:
    """An empty database on a real server, and the engine it is on."""
    endpoint, password = server
    words = ("host", "port", "user", "database", "tls", "replica_set")
    connection = {word: getattr(endpoint, word) for word in words if getattr(endpoint, word)}
    request = {"name": kind, "kind": kind, "connection": {**connection, "password": password}}
    provider = await core.providers.create(somebody(), CreateProvider.model_validate(request))
    name = f"cancel-{core.kernel.new_id()[:8]}"
    made = CreateDatabase(provider_id=provider.id, name=name)
    database = await core.databases.create(somebody(), made)
    return database, await core.databases.engine_of(provider)


async def connected(server: Server, name: str) -> asyncpg.Connection:
    endpoint, password = server
    where = {"host": endpoint.host, "port": endpoint.port, "user": endpoint.user}
    return await asyncpg.connect(**where, password=password, database=name)


@asynccontextmanager
async def on_postgresql(core: Core, server: Server) -> AsyncIterator[tuple[Database, Engine]]:
    database, engine = await registered(core, "postgresql", server)
    db = await connected(server, database.physical_name)
    await db.execute("create table orders (id int primary key, body text)")
    await db.execute(
        "insert into orders select i, repeat(md5(i::text), $1) from generate_series(1, $2) i",
        WIDTH // 32, ROWS,
    )  # fmt: skip
    await db.close()
    yield database, engine
    await engine.databases.drop(database.physical_name)


@asynccontextmanager
async def on_mongodb(core: Core, server: Server) -> AsyncIterator[tuple[Database, Engine]]:
    database, engine = await registered(core, "mongodb", server)
    endpoint, password = server
    async with AsyncMongoClient[dict[str, Any]](
        endpoint.host, endpoint.port, username=endpoint.user, password=password, directConnection=True
    ) as client:
        rows = [{"_id": i, "body": str(i) * 2000} for i in range(ROWS)]
        await client[database.physical_name]["orders"].insert_many(rows)
    yield database, engine
    await engine.databases.drop(database.physical_name)
