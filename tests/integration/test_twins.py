"""One physical database belongs to one database of the console, under whatever spelling its engine is registered."""

import asyncio
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from pymongo import AsyncMongoClient

from storage_core.backing.servers.servers import LocalServers
from storage_core.bootstrap import Core
from storage_core.domain.database import Database
from storage_core.domain.errors import Conflict
from storage_core.domain.provider import Endpoint, Provider
from storage_core.services.databases import AdoptDatabase, ExistingDatabases
from storage_core.services.providers import CreateProvider, UpdateProvider
from tests.integration.homes import opened, settings_of, somebody

pytestmark = [pytest.mark.timeout(180)]
servers = pytest.mark.servers


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


@pytest.fixture
async def second_postgresql(local_servers: LocalServers) -> tuple[Endpoint, str]:
    await local_servers.start("postgresql", "another")
    return await local_servers.endpoint("another")


async def registered(core: Core, kind: str, **connection: object) -> Provider:
    request = CreateProvider.model_validate(
        {"name": f"p-{secrets.token_hex(3)}", "kind": kind, "connection": connection}
    )
    return await core.providers.create(somebody(), request)


async def adopted(core: Core, provider: Provider, name: str) -> Database:
    request = AdoptDatabase(provider_id=provider.id, name=f"a-{secrets.token_hex(3)}", physical_name=name)
    return await core.databases.adopt(somebody(), request)


async def known_as(core: Core, provider: Provider, name: str) -> str | None:
    found = await core.databases.existing(somebody(), ExistingDatabases(provider_id=provider.id))
    return {one.physical_name: one.adopted_as for one in found}[name]


async def is_one(core: Core, first: tuple[Provider, str], second: tuple[Provider, str]) -> None:
    row = await adopted(core, *first)
    assert await known_as(core, *first) == await known_as(core, *second) == row.id
    with pytest.raises(Conflict, match="manages it already"):
        await adopted(core, *second)


@servers
async def test_a_postgresql_database_under_two_hosts_and_users(
    core: Core, postgresql_server: tuple[Endpoint, str]
) -> None:
    endpoint, password = postgresql_server
    name = f"legacy_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database="postgres"
    )
    try:
        await admin.execute(f"create database {name}")
        await admin.execute(f"create role {name} login createdb password 'x'")
        await admin.execute(f"grant connect on database {name} to {name}")
        await admin.execute(f"revoke execute on function pg_control_system() from public, {name}")
        main = await registered(
            core, "postgresql", host="127.0.0.1", port=endpoint.port, user=endpoint.user, password=password
        )
        again = await registered(
            core, "postgresql", host="localhost", port=endpoint.port, user=name, password="x"
        )
        assert main.name in (again.problem or "")
        await is_one(core, (main, name), (again, name))
    finally:
        await admin.execute("grant execute on function pg_control_system() to public")
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.execute(f"drop role if exists {name}")
        await admin.close()


@servers
async def test_a_mongodb_database_under_two_hosts(core: Core, mongodb_server: tuple[Endpoint, str]) -> None:
    endpoint, password = mongodb_server
    name = f"legacy_{secrets.token_hex(4)}"
    async with AsyncMongoClient(
        endpoint.host, endpoint.port, username=endpoint.user, password=password, directConnection=True
    ) as client:
        await client[name].things.insert_one({"a": 1})
        common = {"port": endpoint.port, "user": endpoint.user, "password": password}
        main = await registered(core, "mongodb", host="127.0.0.1", replica_set=endpoint.replica_set, **common)
        again = await registered(core, "mongodb", host="localhost", **common)
        assert main.name in (again.problem or "")
        try:
            await is_one(core, (main, name), (again, name))
        finally:
            await client.drop_database(name)


async def test_a_file_below_two_roots_and_under_two_names(core: Core, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    with closing(sqlite3.connect(root / "sub" / "orders.db")) as db:
        db.execute("create table t (a)")
    os.link(root / "sub" / "orders.db", root / "hard.db")
    outer = await registered(core, "sqlite", path=str(root))
    inner = await registered(core, "sqlite", path=str(tmp_path / "link" / "sub"))
    await is_one(core, (outer, "sub/orders.db"), (inner, "orders.db"))
    with pytest.raises(Conflict, match="manages it already"):
        await adopted(core, outer, "hard.db")


async def test_of_two_who_adopt_it_at_once_one_gets_it(core: Core, tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / "data" / "sub" / "orders.db")) as db:
        db.execute("create table t (a)")
    outer = await registered(core, "sqlite", path=str(tmp_path / "data"))
    inner = await registered(core, "sqlite", path=str(tmp_path / "data" / "sub"))
    outcomes = await asyncio.gather(
        adopted(core, outer, "sub/orders.db"), adopted(core, inner, "orders.db"), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict", "Database"]


@servers
async def test_a_database_of_the_same_name_elsewhere_is_another_one(
    core: Core, postgresql_server: tuple[Endpoint, str], second_postgresql: tuple[Endpoint, str]
) -> None:
    """Also while the other server is away nobody guesses."""
    name = f"legacy_{secrets.token_hex(4)}"
    made: list[Provider] = []
    for endpoint, password in (postgresql_server, second_postgresql):
        connection = {"host": "127.0.0.1", "port": endpoint.port, "user": endpoint.user, "password": password}
        admin = await asyncpg.connect(**connection, database="postgres")
        await admin.execute(f"create database {name}")
        await admin.close()
        made.append(await registered(core, "postgresql", **connection))
    await adopted(core, made[0], name)
    assert await known_as(core, made[1], name) is None

    async with core.kernel.catalog.write() as uow:
        row = await uow.providers.get(made[0].id)
        assert row is not None
        gone = Endpoint(host="127.0.0.1", port=9, user="postgres")
        await uow.providers.save(replace(row, endpoint=gone, revision=row.revision + 1))
    with pytest.raises(Conflict, match="does not answer"):
        await adopted(core, made[1], name)

    endpoint, password = postgresql_server
    back = {"host": "127.0.0.1", "port": endpoint.port, "user": endpoint.user, "password": password}
    await core.providers.update(
        somebody(), UpdateProvider.model_validate({"id": made[0].id, "connection": back})
    )
    assert (await adopted(core, made[1], name)).provider_id == made[1].id
