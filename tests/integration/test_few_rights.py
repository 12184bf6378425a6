"""Engines through users with few rights: what can be done is done, what cannot is said before anything is half made."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import AsyncMongoClient

from storage_core.bootstrap import Core, open_worker
from storage_core.domain.backup import BackupStatus
from storage_core.domain.database import DatabaseStatus
from storage_core.domain.errors import EngineFailure, MissingPrivilege
from storage_core.domain.provider import Endpoint, Provider, StepStatus
from storage_core.services.databases import AdoptDatabase, CreateDatabase, ListDatabases
from storage_core.services.providers import CreateProvider, TestProvider, UpdateProvider
from tests.integration.homes import a_backup, opened, settings_of, somebody

pytestmark = [pytest.mark.timeout(180), pytest.mark.servers]


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening, open_worker(opening):
        yield opening


@dataclass(frozen=True, slots=True)
class Legacy:
    """A database with a table, and a user who may do no more than read it."""

    name: str
    admin: asyncpg.Connection


@pytest.fixture
async def legacy(postgresql_server: tuple[Endpoint, str]) -> AsyncIterator[Legacy]:
    endpoint, password = postgresql_server
    name = f"few_{secrets.token_hex(4)}"
    where: dict[str, Any] = {
        "host": endpoint.host, "port": endpoint.port, "user": endpoint.user, "password": password
    }  # fmt: skip
    admin = await asyncpg.connect(**where, database="postgres")
    await admin.execute(f"create role {name} login password 'few'")
    await admin.execute(f"create database {name}")
    inside = await asyncpg.connect(**where, database=name)
    await inside.execute("create table orders as select i from generate_series(1, 50) i")
    await inside.execute(f"grant select on orders to {name}")
    await inside.close()
    try:
        yield Legacy(name, admin)
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.execute(f"drop role {name}")
        await admin.close()


async def registered(core: Core, endpoint: Endpoint, user: str | None, password: str) -> Provider:
    connection = {"host": endpoint.host, "port": endpoint.port, "user": user, "password": password}
    request = CreateProvider.model_validate(
        {"name": f"p-{secrets.token_hex(3)}", "kind": "postgresql", "connection": connection}
    )
    return await core.providers.create(somebody(), request)


async def test_without_createdb_databases_are_adopted_and_backed_up(
    core: Core, legacy: Legacy, postgresql_server: tuple[Endpoint, str]
) -> None:
    endpoint, password = postgresql_server
    provider = await registered(core, endpoint, legacy.name, "few")
    assert "CREATEDB" in (provider.problem or "")
    steps = await core.providers.test(somebody(), TestProvider(id=provider.id))
    assert [s.status for s in steps][-1] is StepStatus.WARNING

    with pytest.raises(MissingPrivilege) as refused:
        await core.databases.create(somebody(), CreateDatabase(provider_id=provider.id, name="fresh"))
    assert "CREATEDB" in refused.value.hint
    assert (await core.databases.list(somebody(), ListDatabases())).total == 0

    request = AdoptDatabase(provider_id=provider.id, name="legacy", physical_name=legacy.name)
    database = await core.databases.adopt(somebody(), request)
    _, backup = await a_backup(core, database)
    assert backup.status is BackupStatus.STORED
    assert "CREATEDB" in (backup.reason or "")

    prover = await registered(core, endpoint, endpoint.user, password)
    await core.providers.update(somebody(), UpdateProvider(id=provider.id, proof_provider_id=prover.id))
    _, backup = await a_backup(core, database)
    assert (backup.status, backup.reason) == (BackupStatus.PROVEN, None)
    assert backup.proof is not None
    assert backup.proof.provider_id == prover.id


async def test_what_cannot_be_connected_to_is_not_adopted(
    core: Core, legacy: Legacy, postgresql_server: tuple[Endpoint, str]
) -> None:
    endpoint, _ = postgresql_server
    provider = await registered(core, endpoint, legacy.name, "few")
    request = AdoptDatabase(provider_id=provider.id, name="legacy", physical_name=legacy.name)
    await legacy.admin.execute(f"revoke connect on database {legacy.name} from public")
    with pytest.raises(MissingPrivilege) as refused:
        await core.databases.adopt(somebody(), request)
    assert "GRANT CONNECT" in refused.value.hint
    assert (await core.databases.list(somebody(), ListDatabases())).total == 0
    await legacy.admin.execute(f"grant connect on database {legacy.name} to {legacy.name}")
    assert (await core.databases.adopt(somebody(), request)).status is DatabaseStatus.READY


@asynccontextmanager
async def mongo_user(server: tuple[Endpoint, str], name: str) -> AsyncIterator[AsyncMongoClient[Any]]:
    endpoint, password = server
    async with AsyncMongoClient(
        endpoint.host, endpoint.port, username=endpoint.user, password=password, directConnection=True
    ) as client:
        await client.admin.command(
            "createUser", name, pwd="few", roles=["readWriteAnyDatabase", "dbAdminAnyDatabase"]
        )
        try:
            yield client
        finally:
            await client.admin.command("dropUser", name)
            await client.drop_database(name)


async def test_a_mongodb_database_that_may_not_be_read_is_not_adopted(
    core: Core, mongodb_server: tuple[Endpoint, str]
) -> None:
    endpoint, _ = mongodb_server
    name = f"few_{secrets.token_hex(4)}"
    async with mongo_user(mongodb_server, name) as client:
        await client[name].things.insert_one({"a": 1})
        connection = {"host": endpoint.host, "port": endpoint.port, "user": name, "password": "few"}
        provider = await core.providers.create(
            somebody(),
            CreateProvider.model_validate({"name": "mongo", "kind": "mongodb", "connection": connection}),
        )
        request = AdoptDatabase(provider_id=provider.id, name="legacy", physical_name=name)
        for roles in (["clusterMonitor"], ["clusterMonitor", "dbAdminAnyDatabase"]):
            await client.admin.command("updateUser", name, roles=roles)
            with pytest.raises(MissingPrivilege) as refused:
                await core.databases.adopt(somebody(), request)
            assert refused.value.hint
        await client.admin.command("updateUser", name, roles=["readWriteAnyDatabase", "dbAdminAnyDatabase"])
        assert (await core.databases.adopt(somebody(), request)).status is DatabaseStatus.READY


async def test_a_file_that_is_no_database_is_not_adopted(core: Core, tmp_path: Path) -> None:
    root = tmp_path / "files"
    root.mkdir()
    (root / "noise.db").write_bytes(b"x" * 4096)
    provider = await core.providers.create(
        somebody(),
        CreateProvider.model_validate({"name": "files", "kind": "sqlite", "connection": {"path": str(root)}}),
    )
    request = AdoptDatabase(provider_id=provider.id, name="noise", physical_name="noise.db")
    with pytest.raises(EngineFailure):
        await core.databases.adopt(somebody(), request)
