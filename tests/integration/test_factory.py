"""The factory: whose storage is opened, who is refused, and what reaches handles that are held open."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from storage_core import StorageFactory, tenant_scope
from storage_core.domain.audit import Phase
from storage_core.domain.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    StorageError,
    TenantMismatch,
    TenantRequired,
    TenantSuspended,
)
from storage_core.domain.page import Clause, Query, Test
from storage_core.services.databases import ConfigureDatabase, DeleteDatabase
from storage_core.services.tenants import ResumeTenant, SuspendTenant
from storage_core.storage import Storage
from tests.integration.homes import somebody, until
from tests.integration.storage_homes import Ground, ground_at


@pytest.fixture(scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    async with ground_at(tmp_path_factory.mktemp("factory")) as opened:
        yield opened


async def test_without_a_tenant_nothing_opens(ground: Ground) -> None:
    with pytest.raises(TenantRequired):
        await ground.factory.get_storage()
    with pytest.raises(TenantRequired):
        await ground.factory.get_storage("main", namespace="eu")


async def test_the_tenant_in_force_is_the_authority(ground: Ground) -> None:
    mine, other = await ground.tenant(), await ground.tenant()
    await ground.database(mine)
    await ground.database(other)
    with tenant_scope(mine.name):
        storage = await ground.factory.get_storage()
        assert storage.tenant.id == mine.id
        by_id = await ground.factory.get_storage(tenant_id=mine.id)
        assert by_id.database.id == storage.database.id
        for said in (other.id, other.name):
            with pytest.raises(TenantMismatch) as refused:
                await ground.factory.get_storage(tenant_id=said)
            assert refused.value.field == "tenant_id"
    assert (await ground.factory.get_storage(tenant_id=other.name)).tenant.id == other.id


async def test_the_namespace_in_force_is_the_authority_too(ground: Ground) -> None:
    tenant = await ground.tenant()
    eu = await ground.database(tenant, namespace="eu")
    us = await ground.database(tenant, namespace="us")
    with tenant_scope(tenant.name, "eu"):
        assert (await ground.factory.get_storage("main")).database.id == eu.id
        assert (await ground.factory.get_storage()).database.id == eu.id
        with pytest.raises(TenantMismatch):
            await ground.factory.get_storage("main", namespace="us")
    with tenant_scope(tenant.name):
        assert (await ground.factory.get_storage("main", namespace="us")).database.id == us.id
        with pytest.raises(NotFound):
            await ground.factory.get_storage("main")


async def test_a_handle_refuses_to_work_in_another_tenants_scope(ground: Ground) -> None:
    mine, other = await ground.tenant(), await ground.tenant()
    await ground.database(mine)
    storage = await ground.factory.get_storage(tenant_id=mine.id)
    with tenant_scope(other.name):
        with pytest.raises(TenantMismatch):
            storage.collection("orders")
        with pytest.raises(TenantMismatch):
            await storage.collections()
        with pytest.raises(TenantMismatch):
            await storage.drop_collection("orders")


async def test_the_default_database_is_the_marked_one_or_the_only_one(ground: Ground) -> None:
    tenant = await ground.tenant()
    with tenant_scope(tenant.name), pytest.raises(NotFound, match="no database"):
        await ground.factory.get_storage()
    first = await ground.database(tenant, "first")
    with tenant_scope(tenant.name):
        assert (await ground.factory.get_storage()).database.id == first.id
        second = await ground.database(tenant, "second")

        async def noticed() -> bool:
            try:
                await ground.factory.get_storage()
            except Conflict as error:
                return "2 databases" in error.detail and "default" in error.hint
            return False

        await until(ground.core, noticed)
        await ground.core.databases.configure(somebody(), ConfigureDatabase(id=second.id, default=True))
        assert (await ground.factory.get_storage()).database.id == second.id
        assert (await ground.factory.get_storage("first")).database.id == first.id


@pytest.mark.parametrize(
    ("field", "given"),
    [("name", "no such/name"), ("namespace", ""), ("tenant_id", "A"), ("name", 7)],
)
async def test_what_is_no_name_is_refused_by_its_field(ground: Ground, field: str, given: object) -> None:
    asked = {"tenant_id": "acme", field: given}
    with pytest.raises(InvalidRequest) as refused:
        await ground.factory.get_storage(**asked)  # type: ignore[arg-type]
    assert refused.value.field == field


async def test_unknown_tenants_and_databases_are_not_found(ground: Ground) -> None:
    with pytest.raises(NotFound) as refused:
        await ground.factory.get_storage(tenant_id="nobody")
    assert refused.value.field == "tenant_id"
    tenant = await ground.tenant()
    await ground.database(tenant)
    with pytest.raises(NotFound) as refused:
        await ground.factory.get_storage("other", tenant_id=tenant.id)
    assert refused.value.field == "name"


async def test_twenty_first_calls_at_once_open_one_storage_and_leave_one_entry(ground: Ground) -> None:
    tenant = await ground.tenant()
    database = await ground.database(tenant)

    async def ask() -> Storage:
        with tenant_scope(tenant.name):
            return await ground.factory.get_storage("main")

    storages = await asyncio.gather(*(ask() for _ in range(20)))
    assert len({id(storage.link) for storage in storages}) == 1
    async with ground.core.kernel.catalog.read() as uow:
        where = (
            Clause("operation", Test.ANY_OF, ("databases.open",)),
            Clause("target_id", Test.ANY_OF, (database.id,)),
        )
        entries = (await uow.audit.find(Query(where, sort="-at"))).items
    assert [(e.phase, e.result, e.door, e.chain) for e in entries] == [(Phase.READ, "ok", "sdk", tenant.id)]


async def test_a_suspended_tenant_is_refused_at_handles_held_open_and_served_again(ground: Ground) -> None:
    tenant = await ground.tenant()
    await ground.database(tenant)
    storage = await ground.factory.get_storage("main", tenant_id=tenant.id)

    async def refused() -> bool:
        try:
            await storage.link.current()
        except TenantSuspended:
            return True
        return False

    assert not await refused()
    await ground.core.tenants.suspend(somebody(), SuspendTenant(id=tenant.id, confirm=tenant.name))
    await until(ground.core, refused)
    with pytest.raises(TenantSuspended):
        await ground.factory.get_storage("main", tenant_id=tenant.id)
    await ground.core.tenants.resume(somebody(), ResumeTenant(id=tenant.id))

    async def served() -> bool:
        return not await refused()

    await until(ground.core, served)
    assert await ground.factory.get_storage("main", tenant_id=tenant.id) is storage


async def test_a_deleted_database_is_gone_for_handles_held_open(ground: Ground) -> None:
    tenant = await ground.tenant()
    database = await ground.database(tenant)
    storage = await ground.factory.get_storage(tenant_id=tenant.id)
    await ground.core.databases.delete(somebody(), DeleteDatabase(id=database.id, confirm=database.name))

    async def gone() -> bool:
        try:
            await storage.link.current()
        except (NotFound, Conflict):
            return True
        return False

    await until(ground.core, gone)
    with pytest.raises(StorageError):
        await ground.factory.get_storage("main", tenant_id=tenant.id)


async def test_storages_that_nobody_holds_are_let_go_beyond_the_limit(ground: Ground) -> None:
    tenants = [await ground.tenant() for _ in range(4)]
    for tenant in tenants:
        await ground.database(tenant)
    async with StorageFactory(ground.core, kept=2).running() as factory:
        held = await factory.get_storage(tenant_id=tenants[0].id)
        for tenant in tenants[1:]:
            await factory.get_storage(tenant_id=tenant.id)
        assert factory.kept == 2
        assert (await factory.get_storage(tenant_id=tenants[0].id)).link is held.link


async def test_handles_follow_to_the_engine_that_takes_the_place_of_theirs(ground: Ground) -> None:
    tenant = await ground.tenant()
    database = await ground.database(tenant)
    storage = await ground.factory.get_storage("main", tenant_id=tenant.id)
    before = storage.link.standing.engine
    await ground.core.kernel.engines.forget(database.provider_id)
    assert storage.link.stamp is None
    assert (await storage.link.current()).engine is not before
    assert await ground.factory.get_storage("main", tenant_id=tenant.id) is storage
