"""What lies on a shared provider is for those who may on all of it: others learn nothing, and take nothing over."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from storage_core.bootstrap import Core
from storage_core.domain.context import Context
from storage_core.domain.errors import Forbidden, NotFound, StorageError
from storage_core.domain.naming import file_name, physical_name
from storage_core.domain.permission import Grant, Role, Scope, ScopeKind
from storage_core.domain.provider import Provider
from storage_core.domain.tenant import Tenant
from storage_core.services.databases import (
    AdoptDatabase,
    CreateDatabase,
    DatabaseSchemaRequest,
    DeleteDatabase,
    ExistingDatabases,
    GetDatabase,
)
from storage_core.services.tenants import CreateTenant
from tests.integration.homes import a_provider, opened, settings_of, somebody


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with opened(settings_of(tmp_path / "home")) as opening:
        yield opening


@pytest.fixture
async def shared(core: Core, tmp_path: Path) -> Provider:
    """A provider with somebody's database on it, which the console does not manage."""
    provider = await a_provider(core, tmp_path / "root")
    a_file(tmp_path / "root" / "theirs.sqlite3")
    return provider


@pytest.fixture
async def tenant(core: Core) -> Tenant:
    return await core.tenants.create(somebody(), CreateTenant(name="acme"))


def a_file(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table secret (word text)")
    return path.read_bytes()


def holding(*grants: tuple[Role, ScopeKind, str]) -> Context:
    held = tuple(Grant(role, Scope(kind, id)) for role, kind, id in grants)
    return replace(somebody(), grants=held)


async def test_a_tenant_s_admin_adopts_nothing_and_learns_nothing(
    core: Core, shared: Provider, tenant: Tenant
) -> None:
    admin = (Role.ADMIN, ScopeKind.TENANT, tenant.id)
    for caller in (holding(admin), holding(admin, (Role.VIEWER, ScopeKind.PROVIDER, shared.id))):
        answers = set()
        for provider, name in ((shared.id, "theirs.sqlite3"), (shared.id, "no.sqlite3"), ("none", "x")):
            request = AdoptDatabase(
                provider_id=provider, name="mine", physical_name=name, tenant_id=tenant.id
            )
            with pytest.raises(Forbidden) as refused:
                await core.databases.adopt(caller, request)
            answers.add((refused.value.detail, refused.value.hint))
        assert len(answers) == 1
        with pytest.raises(StorageError) as hidden:
            await core.databases.existing(caller, ExistingDatabases(provider_id=shared.id))
        assert isinstance(hidden.value, NotFound | Forbidden)


async def test_whoever_may_on_the_whole_provider_adopts_for_a_tenant(
    core: Core, shared: Provider, tenant: Tenant
) -> None:
    caller = holding((Role.ADMIN, ScopeKind.PROVIDER, shared.id))
    there = await core.databases.existing(caller, ExistingDatabases(provider_id=shared.id))
    assert [d.physical_name for d in there] == ["theirs.sqlite3"]
    request = AdoptDatabase(
        provider_id=shared.id, name="mine", physical_name="theirs.sqlite3", tenant_id=tenant.id
    )
    row = await core.databases.adopt(caller, request)
    assert (row.tenant_id, row.adopted) == (tenant.id, True)


async def test_a_name_that_is_somebody_s_is_neither_told_nor_taken(
    core: Core, shared: Provider, tenant: Tenant, tmp_path: Path
) -> None:
    usual = file_name(shared.kind, tenant.id, physical_name(tenant.id, tenant.name, None, "orders"))
    before = a_file(tmp_path / "root" / usual)
    operator = holding((Role.OPERATOR, ScopeKind.TENANT, tenant.id))
    create = CreateDatabase(provider_id=shared.id, name="orders", tenant_id=tenant.id)
    row = await core.databases.create(operator, create)
    assert row.physical_name != usual
    again = await core.databases.get(somebody(), GetDatabase(id=row.id))
    assert again.physical_name == row.physical_name
    schema = await core.databases.schema(operator, DatabaseSchemaRequest(id=row.id))
    assert schema.objects == ()
    await core.databases.delete(somebody(), DeleteDatabase(id=row.id, confirm="orders"))
    assert (tmp_path / "root" / usual).read_bytes() == before
    assert not (tmp_path / "root" / row.physical_name).exists()
