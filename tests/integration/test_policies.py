"""What a tenant may have holds wherever databases are made, however many are made at once."""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage_core.bootstrap import Core
from storage_core.domain.database import Database
from storage_core.domain.errors import PolicyRefused, QuotaExceeded, StorageError
from storage_core.domain.provider import Endpoint, Provider
from storage_core.domain.tenant import Policy, Tenant
from storage_core.services.databases import AdoptDatabase, CreateDatabase, DeleteDatabase
from storage_core.services.providers import CreateProvider
from storage_core.services.tenants import CreateTenant, TenantPolicies
from storage_core.storage import StorageFactory
from tests.integration.homes import opened, settings_of, somebody


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


@pytest.fixture
async def files(core: Core, tmp_path: Path) -> Provider:
    (tmp_path / "files").mkdir()
    request = CreateProvider.model_validate(
        {"name": "files", "kind": "sqlite", "connection": {"path": str(tmp_path / "files")}}
    )
    return await core.providers.create(somebody(), request)


async def a_tenant(core: Core, **policy: Any) -> Tenant:
    tenant = await core.tenants.create(somebody(), CreateTenant(name=f"t-{secrets.token_hex(4)}"))
    return await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, **policy))


async def a_database(core: Core, provider: Provider, tenant: Tenant) -> Database:
    request = CreateDatabase(provider_id=provider.id, name=f"d-{secrets.token_hex(4)}", tenant_id=tenant.id)
    return await core.databases.create(somebody(), request)


async def test_a_policy_is_set_whole_and_shown(core: Core) -> None:
    tenant = await a_tenant(core, engines=["sqlite"], databases=3, documents=10, bytes=2000)
    assert tenant.policy == Policy(("sqlite",), databases=3, documents=10, bytes=2000)  # type: ignore[arg-type]
    again = await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, encryption=True))
    assert again.policy == Policy(encryption=True)


async def test_an_engine_that_is_not_allowed_gets_no_database(core: Core, files: Provider) -> None:
    tenant = await a_tenant(core, engines=["postgresql", "mongodb"])
    with pytest.raises(PolicyRefused) as refused:
        await a_database(core, files, tenant)
    assert "postgresql, mongodb" in refused.value.hint
    assert refused.value.field == "provider_id"
    await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, engines=("sqlite",)))
    assert (await a_database(core, files, tenant)).tenant_id == tenant.id


async def test_what_exists_is_not_adopted_past_a_policy(core: Core, files: Provider, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "files" / "old.sqlite3")) as db:
        db.execute("create table t (a)")
    tenant = await a_tenant(core, databases=0)
    request = AdoptDatabase(
        provider_id=files.id, name="old", physical_name="old.sqlite3", tenant_id=tenant.id
    )
    with pytest.raises(QuotaExceeded):
        await core.databases.adopt(somebody(), request)
    await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, engines=()))
    with pytest.raises(PolicyRefused):
        await core.databases.adopt(somebody(), request)
    await core.tenants.policies(somebody(), TenantPolicies(id=tenant.id))
    assert (await core.databases.adopt(somebody(), request)).adopted


async def test_the_last_database_of_a_quota_is_given_once(core: Core, files: Provider) -> None:
    tenant = await a_tenant(core, databases=2)
    first = await a_database(core, files, tenant)
    made = await asyncio.gather(*(a_database(core, files, tenant) for _ in range(8)), return_exceptions=True)
    assert len([one for one in made if isinstance(one, Database)]) == 1
    refused = [one for one in made if isinstance(one, StorageError)]
    assert {type(one) for one in refused} == {QuotaExceeded} and len(refused) == 7
    await core.databases.delete(somebody(), DeleteDatabase(id=first.id, confirm=first.name))
    assert isinstance(await a_database(core, files, tenant), Database)


@pytest.mark.servers
async def test_a_database_gets_no_more_connections_than_its_tenant_may_have(
    core: Core, postgresql_server: tuple[Endpoint, str]
) -> None:
    endpoint, password = postgresql_server
    connection = {"host": endpoint.host, "port": endpoint.port, "user": endpoint.user, "password": password}
    request = {"name": "pg", "kind": "postgresql", "connection": connection}
    provider = await core.providers.create(somebody(), CreateProvider.model_validate(request))
    tenant = await a_tenant(core, connections=2)
    row = await a_database(core, provider, tenant)
    held = "select count(*) from pg_stat_activity where datname = $1 and backend_type = 'client backend'"
    asking = await asyncpg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database="postgres"
    )
    async with StorageFactory(core).running() as factory:
        storage = await factory.get_storage(tenant_id=tenant.id)
        orders = storage.collection("orders")
        await asyncio.gather(*(orders.insert({"n": n}) for n in range(20)))
        assert await asking.fetchval(held, row.physical_name) == 2
        assert await orders.count() == 20
    await asking.close()
    await core.databases.delete(somebody(), DeleteDatabase(id=row.id, confirm=row.name))
