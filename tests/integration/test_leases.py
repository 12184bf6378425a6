"""A leased login reaches its tenant's database, that one alone, for its time, and through the engine itself."""

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from storage_core.bootstrap import Core
from storage_core.domain.database import Database
from storage_core.domain.errors import NotFound, PolicyRefused, Unsupported
from storage_core.domain.lease import LeasedLogin
from storage_core.domain.provider import Endpoint, Provider
from storage_core.domain.tenant import Tenant
from storage_core.services.databases import CreateDatabase
from storage_core.services.leases import LeaseLogin, ListLeases, ReleaseLogin
from storage_core.services.providers import CreateProvider
from storage_core.services.records import InsertRecord
from storage_core.services.tenants import CreateTenant, SuspendTenant, TenantPolicies
from tests.integration.homes import opened, settings_of, somebody

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
Server = tuple[Endpoint, str]
#: How a connection says that the server ended it.
ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


async def provided(core: Core, kind: str, server: Server) -> Provider:
    endpoint, password = server
    connection = {
        "host": endpoint.host, "port": endpoint.port, "user": endpoint.user, "password": password,
        "database": endpoint.database, "replica_set": endpoint.replica_set, "tls": "disable",
    }  # fmt: skip
    request = {"name": f"p-{secrets.token_hex(3)}", "kind": kind, "connection": connection}
    return await core.providers.create(somebody(), CreateProvider.model_validate(request))


async def tenant_with(core: Core, provider: Provider) -> tuple[Tenant, Database]:
    tenant = await core.tenants.create(somebody(), CreateTenant(name=f"t-{secrets.token_hex(4)}"))
    request = CreateDatabase(provider_id=provider.id, name="main", tenant_id=tenant.id)
    row = await core.databases.create(somebody(), request)
    insert = InsertRecord(database_id=row.id, name="orders", id="o-1", data={"qty": 3})
    await core.records.insert(somebody(), insert)
    return tenant, row


async def leased(core: Core, row: Database, **more: Any) -> LeasedLogin:
    return await core.leases.lease(somebody(), LeaseLogin(id=row.id, **more))


async def ended(core: Core, ahead: timedelta) -> None:
    """The upkeep, as if so much time had passed."""
    now = core.kernel.now
    object.__setattr__(core.kernel, "now", lambda: now() + ahead)
    await core.leases.settle()
    object.__setattr__(core.kernel, "now", now)


class TestPostgresql:
    @pytest.fixture
    async def provider(self, core: Core, postgresql_server: Server) -> Provider:
        return await provided(core, "postgresql", postgresql_server)

    async def test_it_reads_its_own_database_alone(self, core: Core, provider: Provider) -> None:
        _, mine = await tenant_with(core, provider)
        _, theirs = await tenant_with(core, provider)
        login = await leased(core, mine)
        assert login.password not in repr(login)
        connection = await asyncpg.connect(login.url, ssl=False)
        assert await connection.fetchval("select body ->> 'qty' from collections.orders") == "3"
        for refused in (
            "delete from collections.orders",
            "create table collections.x (a int)",
            "create table public.x (a int)",
            "select rolpassword from pg_authid",
            "create role stronger superuser",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(refused)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(login.url.replace(mine.physical_name, theirs.physical_name), ssl=False)
        listed = await core.leases.leases(somebody(), ListLeases(database_id=mine.id))
        assert [lease.user for lease in listed.items] == [login.user]
        await core.leases.release(somebody(), ReleaseLogin(id=mine.id, lease_id=login.id))
        with pytest.raises(ENDED):
            await connection.fetchval("select 1")
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await asyncpg.connect(login.url, ssl=False)

    async def test_what_it_wrote_stays_when_its_time_is_over(self, core: Core, provider: Provider) -> None:
        _, row = await tenant_with(core, provider)
        login = await leased(core, row, write=True, seconds=60)
        connection = await asyncpg.connect(login.url, ssl=False)
        await connection.execute("update collections.orders set body = body || '{\"qty\": 4}'")
        for made in ("create table public.mine (a int)", "create view collections.v as select 1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(made)
        await ended(core, timedelta(seconds=30))
        assert await connection.fetchval("select body ->> 'qty' from collections.orders") == "4"
        await ended(core, timedelta(seconds=90))
        with pytest.raises(ENDED):
            await connection.fetchval("select 1")
        again = await leased(core, row)
        connection = await asyncpg.connect(again.url, ssl=False)
        assert await connection.fetchval("select body ->> 'qty' from collections.orders") == "4"
        await connection.close()
        assert (await core.leases.leases(somebody(), ListLeases())).total == 1

    async def test_a_suspended_tenant_s_logins_end(self, core: Core, provider: Provider) -> None:
        tenant, row = await tenant_with(core, provider)
        login = await leased(core, row)
        await core.tenants.suspend(somebody(), SuspendTenant(id=tenant.id, confirm=tenant.name))
        await core.leases.settle()
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await asyncpg.connect(login.url, ssl=False)

    async def test_nobody_leases_past_a_policy_or_ends_what_is_elsewhere(
        self, core: Core, provider: Provider
    ) -> None:
        tenant, mine = await tenant_with(core, provider)
        _, theirs = await tenant_with(core, provider)
        login = await leased(core, mine)
        with pytest.raises(NotFound):
            await core.leases.release(somebody(), ReleaseLogin(id=theirs.id, lease_id=login.id))
        await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, encryption=True))
        with pytest.raises(PolicyRefused):
            await leased(core, mine)


async def test_on_mongodb(core: Core, mongodb_server: Server) -> None:
    provider = await provided(core, "mongodb", mongodb_server)
    _, mine = await tenant_with(core, provider)
    _, theirs = await tenant_with(core, provider)
    reading, writing = await leased(core, mine), await leased(core, mine, write=True)
    one: AsyncMongoClient[Any] = AsyncMongoClient(reading.url)
    two: AsyncMongoClient[Any] = AsyncMongoClient(writing.url)
    assert await one[mine.physical_name]["sc_documents.orders"].count_documents({}) == 1
    await two[mine.physical_name]["other"].insert_one({"a": 1})
    with pytest.raises(OperationFailure):
        await one[mine.physical_name]["sc_documents.orders"].delete_many({})
    for client in (one, two):
        with pytest.raises(OperationFailure):
            await client[theirs.physical_name]["sc_documents.orders"].find_one()
    await ended(core, timedelta(hours=2))
    for client in (one, two):
        with pytest.raises(OperationFailure):
            await client[mine.physical_name]["sc_documents.orders"].find_one()
        await client.close()


async def test_files_have_no_logins(core: Core, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    request = {"name": "files", "kind": "sqlite", "connection": {"path": str(tmp_path / "files")}}
    provider = await core.providers.create(somebody(), CreateProvider.model_validate(request))
    tenant = await core.tenants.create(somebody(), CreateTenant(name="files"))
    create = CreateDatabase(provider_id=provider.id, name="main", tenant_id=tenant.id)
    with pytest.raises(Unsupported):
        await leased(core, await core.databases.create(somebody(), create))
