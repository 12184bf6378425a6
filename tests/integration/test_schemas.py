"""Databases that are schemas of one shared database: whole like any other, and closed to each other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, text

from storage_core import tenant_scope
from storage_core.bootstrap import open_worker
from storage_core.domain.backup import BackupStatus
from storage_core.domain.database import Database
from storage_core.domain.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from storage_core.domain.job import JobStatus
from storage_core.domain.naming import SHARED, schema_in
from storage_core.domain.tenant import Tenant
from storage_core.services.backups import RestoreBackup
from storage_core.services.databases import (
    AdoptDatabase,
    ConfigureDatabase,
    DatabaseSchemaRequest,
    DatabaseStatsRequest,
    DeleteDatabase,
    ExistingDatabases,
    GetDatabase,
    OptimizeDatabase,
)
from storage_core.services.leases import LeaseLogin, ReleaseLogin
from storage_core.services.records import ListPlaces, QueryRecords
from storage_core.services.tenants import TenantPolicies
from tests.integration.homes import a_backup, ended, somebody
from tests.integration.servers import Server, connected
from tests.integration.storage_homes import Ground, ground_at
from tests.integration.store_models import Base, Line, Order

#: How a connection says that the server ended it.
ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
async def ground(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: Server
) -> AsyncIterator[Ground]:
    async with ground_at(tmp_path_factory.mktemp("schemas")) as opened:
        await opened.serve("postgresql", postgresql_server)
        opened.factory.register(Base.metadata)
        async with open_worker(opened.core):
            yield opened


@pytest.fixture(scope="module")
async def sql(postgresql_server: Server, ground: Ground) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who may see everything in the shared database."""
    await a_schema(ground)
    connection = await connected(postgresql_server, SHARED)
    yield connection
    await connection.close()


async def a_schema(ground: Ground, **more: Any) -> tuple[Tenant, Database]:
    tenant = await ground.tenant()
    return tenant, await ground.database(tenant, "main", "postgresql", isolation="schema", **more)


async def filled(ground: Ground, tenant: Tenant) -> None:
    """The same ids and keys for every tenant: what is another's would be seen."""
    with tenant_scope(tenant.name):
        storage = await ground.factory.get_storage("main")
        orders = storage.collection("orders")
        await orders.create_index("sku", unique=True)
        await orders.insert({"sku": "A1", "of": tenant.name}, "o-1")
        await orders.insert_many([{"sku": f"B{n}", "of": tenant.name} for n in range(20)])
        await storage.create_tables()
        async with storage.session() as session:
            session.add(Order(id=1, number=tenant.name, lines=[Line(id=1, text="x")]))


async def seen(ground: Ground, tenant: Tenant, name: str = "main") -> set[str]:
    """Whose documents and rows there are, also by a statement that names no schema."""
    with tenant_scope(tenant.name):
        storage = await ground.factory.get_storage(name)
        whose = {document.data["of"] async for document in storage.collection("orders").query()}
        async with storage.session("read") as session:
            whose |= set(await session.scalars(select(Order.number)))
            whose |= set(await session.scalars(text("select number from orders")))
        return whose


async def test_two_tenants_share_a_database_and_see_nothing_of_each_other(
    ground: Ground, sql: asyncpg.Connection
) -> None:
    (one, first), (other, second) = await a_schema(ground), await a_schema(ground)
    assert first.physical_name.startswith(f"{SHARED}/sc_")
    assert first.location is not None and first.location.endswith(first.physical_name)
    await asyncio.gather(filled(ground, one), filled(ground, other))
    looks = [seen(ground, tenant) for _ in range(5) for tenant in (one, other)]
    assert await asyncio.gather(*looks) == [{one.name}, {other.name}] * 5
    with tenant_scope(one.name):
        orders = (await ground.factory.get_storage("main")).collection("orders")
        with pytest.raises(Conflict, match="sku"):
            await orders.insert({"sku": "A1"})
        assert [index.name for index in await orders.indexes()] == ["sku"]
    schema = await ground.core.databases.schema(somebody(), DatabaseSchemaRequest(id=first.id))
    assert {o.name.partition(".")[0] for o in schema.objects} == {schema_in(first.physical_name)}
    theirs = await ground.core.databases.stats(somebody(), DatabaseStatsRequest(id=second.id))
    assert 0 < theirs.size_bytes < 10**6 and theirs.connections is None
    assert not await sql.fetchval("select has_database_privilege('public', current_database(), 'connect')")
    ticket = await ground.core.databases.optimize(somebody(), OptimizeDatabase(id=first.id))
    assert (await ended(ground.core, ticket.job_id)).status is JobStatus.SUCCEEDED


async def test_records_are_those_of_the_schema_alone(ground: Ground) -> None:
    (one, first), (other, second) = await a_schema(ground), await a_schema(ground)
    await filled(ground, one)
    await filled(ground, other)
    places = await ground.core.records.list(somebody(), ListPlaces(database_id=first.id))
    mine, theirs = schema_in(first.physical_name), schema_in(second.physical_name)
    assert [place.name for place in places] == ["orders", f"{mine}.lines", f"{mine}.orders"]

    async def asked(name: str) -> Any:
        return await ground.core.records.query(somebody(), QueryRecords(database_id=first.id, name=name))

    assert {record.data["of"] for record in (await asked("orders")).items} == {one.name}
    assert [record.data["number"] for record in (await asked(f"{mine}.orders")).items] == [one.name]
    for name in (f"{theirs}.orders", f"{theirs}._c_orders", "pg_catalog.pg_class"):
        with pytest.raises(NotFound):
            await asked(name)


async def test_a_quota_counts_the_schema_alone(ground: Ground) -> None:
    (one, _), (other, _) = await a_schema(ground), await a_schema(ground)
    for tenant, most in ((one, 22), (other, 1)):
        await ground.core.tenants.policies(somebody(), TenantPolicies(id=tenant.id, documents=most))
    await filled(ground, one)
    for tenant in (one, other):
        with tenant_scope(tenant.name):
            orders = (await ground.factory.get_storage("main")).collection("orders")
            answers = await asyncio.gather(
                *(orders.insert({"n": n}) for n in range(50)), return_exceptions=True
            )
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert sum(isinstance(answer, QuotaExceeded) for answer in answers) == 49


async def test_a_leased_login_reaches_its_schema_alone(ground: Ground, sql: asyncpg.Connection) -> None:
    (one, first), (other, second) = await a_schema(ground), await a_schema(ground)
    await filled(ground, one)
    await filled(ground, other)
    login = await ground.core.leases.lease(somebody(), LeaseLogin(id=first.id, write=True))
    assert login.database == SHARED
    connection = await asyncpg.connect(login.url, ssl=False)
    assert await connection.fetchval("select number from orders") == one.name
    assert await connection.fetchval("update orders set version = version + 1 returning 1") == 1
    theirs = schema_in(second.physical_name)
    for statement in (
        f"select * from {theirs}.orders",
        f"select * from {theirs}._c_orders",
        f"create table {schema_in(first.physical_name)}.mine (id int)",
        "create schema mine",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await ground.core.leases.release(somebody(), ReleaseLogin(id=first.id, lease_id=login.id))
    assert await sql.fetchval("select 1 from pg_roles where rolname = $1", login.user) is None
    await connection.close()


async def test_a_backup_of_a_schema_is_proven_and_comes_back_as_a_database(
    ground: Ground, sql: asyncpg.Connection
) -> None:
    (one, first), (other, _) = await a_schema(ground), await a_schema(ground)
    await filled(ground, one)
    await filled(ground, other)
    mine = schema_in(first.physical_name)
    await sql.execute(f"""
        create type {mine}.mood as enum ('good', 'bad');
        create domain {mine}.small as int check (value < 10);
        create table {mine}.more (id serial primary key, m {mine}.mood default 'good', s {mine}.small, d date);
        insert into {mine}.more (s, d) select n % 10, '2026-01-01' from generate_series(1, 500) n;
        comment on table {mine}.more is 'more of it';
        comment on domain {mine}.small is 'less than ten';
        create view {mine}.busy as select * from {mine}.more where s > 3;
        create function {mine}.twice(n int) returns int language sql as 'select n * 2 from {mine}.more limit 1';
        create index on {mine}.more (s) where d is not null""")
    job, backup = await a_backup(ground.core, first)
    assert job.status is JobStatus.SUCCEEDED and backup.status is BackupStatus.PROVEN, job.error
    assert backup.manifest is not None and backup.proof is not None and not backup.proof.skipped
    kinds = {o.kind for o in backup.manifest.objects}
    assert {"table", "index", "type", "view", "routine", "comment", "sequence", "schema", "owner"} <= kinds
    assert not [o for o in backup.manifest.objects if other.name.replace("-", "_") in o.name]
    assert {o.name: o.rows for o in backup.manifest.objects if o.kind == "table"}[f"{mine}.more"] == 500

    ticket = await ground.core.backups.restore(somebody(), RestoreBackup(id=backup.id, name="again"))
    assert (await ended(ground.core, ticket.job_id)).status is JobStatus.SUCCEEDED
    copy = await ground.core.databases.get(somebody(), GetDatabase(id=ticket.id))
    assert schema_in(copy.physical_name) is None
    with tenant_scope(one.name):
        orders = (await ground.factory.get_storage("again")).collection("orders")
        assert await orders.count() == 21 and [index.name for index in await orders.indexes()] == ["sku"]
        with pytest.raises(Conflict, match="sku"):
            await orders.insert({"sku": "A1"})
        await orders.drop_index("sku")
        await orders.insert({"sku": "A1", "of": one.name})
    assert await seen(ground, one, "again") == {one.name}
    names = {p.name for p in await ground.core.records.list(somebody(), ListPlaces(database_id=copy.id))}
    assert {"orders", "public.more", "public.orders", "public.busy"} <= names


async def test_a_schema_that_needs_others_is_not_backed_up(ground: Ground, sql: asyncpg.Connection) -> None:
    (_, first), (_, second) = await a_schema(ground), await a_schema(ground)
    mine, theirs = schema_in(first.physical_name), schema_in(second.physical_name)
    await sql.execute(f"create type {theirs}.mood as enum ('good')")
    await sql.execute(f"create table {mine}.t (m {theirs}.mood)")
    job, backup = await a_backup(ground.core, first)
    assert backup.status is BackupStatus.FAILED
    assert job.error is not None and f"type {theirs}.mood" in job.error.detail


async def test_a_deleted_schema_takes_nothing_else_along_and_does_not_come_back(
    ground: Ground, sql: asyncpg.Connection, postgresql_server: Server
) -> None:
    (one, first), (other, _) = await a_schema(ground), await a_schema(ground)
    await filled(ground, one)
    await filled(ground, other)
    mine = schema_in(first.physical_name)
    engine = (await ground.core.databases.opened(first.id))[1]
    assert engine.collections is not None
    late = engine.collections.collection(first.physical_name, "orders")
    holder = await connected(postgresql_server, SHARED)
    await holder.execute(f"begin; select * from {mine}.orders")
    await ground.core.databases.delete(somebody(), DeleteDatabase(id=first.id, confirm=first.name))
    with pytest.raises(ENDED):
        await holder.execute("commit")
    with pytest.raises(NotFound):
        await late.insert("o-2", {}, ground.core.kernel.now())
    assert await sql.fetchval("select to_regnamespace($1)", mine) is None
    assert await seen(ground, other) == {other.name}
    await engine.databases.drop(first.physical_name)


async def test_what_is_not_a_schema_s_is_refused(ground: Ground) -> None:
    tenant = await ground.tenant()
    with pytest.raises(InvalidRequest) as caught:
        await ground.database(tenant, "main", "sqlite", isolation="schema")
    assert caught.value.field == "isolation"
    with pytest.raises(InvalidRequest) as caught:
        await ground.database(tenant, "main", "postgresql", isolation="schema", settings={"work_mem": "8MB"})
    assert caught.value.field == "settings"
    row = await ground.database(tenant, "main", "postgresql", isolation="schema")
    with pytest.raises(InvalidRequest) as caught:
        await ground.core.databases.configure(
            somebody(), ConfigureDatabase(id=row.id, settings={"work_mem": "8MB"})
        )
    assert caught.value.field == "settings"


async def test_a_database_s_own_default_hides_nothing_of_it(ground: Ground, sql: asyncpg.Connection) -> None:
    row = await ground.database(await ground.tenant(), "main", "postgresql")
    engine = (await ground.core.databases.opened(row.id))[1]
    assert engine.collections is not None
    await engine.collections.collection(row.physical_name, "orders").insert("a", {}, ground.core.kernel.now())
    await sql.execute(f"alter database {row.physical_name} set storage_console.schema = 'nothing'")
    schema = await ground.core.databases.schema(somebody(), DatabaseSchemaRequest(id=row.id))
    assert "collections.orders" in {o.name for o in schema.objects}
    _, backup = await a_backup(ground.core, row)
    assert backup.manifest is not None and backup.status is BackupStatus.PROVEN
    assert "collections.orders" in {o.name for o in backup.manifest.objects if o.kind == "table"}


async def test_a_schema_that_lies_there_can_be_adopted(ground: Ground, sql: asyncpg.Connection) -> None:
    _, known = await a_schema(ground)
    provider, tenant = await ground.provider("postgresql"), await ground.tenant()
    await sql.execute("create schema legacy; create table legacy.orders (id int, number text)")
    await sql.execute("insert into legacy.orders values (1, 'old')")
    there = await ground.core.databases.existing(somebody(), ExistingDatabases(provider_id=provider.id))
    found = {d.physical_name: d.adopted_as for d in there}
    assert found[f"{SHARED}/legacy"] is None and found[known.physical_name] == known.id
    assert SHARED not in found
    for name in (SHARED, known.physical_name, f"{SHARED}/nothing"):
        request = AdoptDatabase(
            provider_id=provider.id, name="legacy", tenant_id=tenant.id, physical_name=name
        )
        with pytest.raises((Conflict, NotFound)):
            await ground.core.databases.adopt(somebody(), request)
    request = AdoptDatabase(
        provider_id=provider.id, name="legacy", tenant_id=tenant.id, physical_name=f"{SHARED}/legacy"
    )
    row = await ground.core.databases.adopt(somebody(), request)
    page = await ground.core.records.query(somebody(), QueryRecords(database_id=row.id, name="legacy.orders"))
    assert [record.data["number"] for record in page.items] == ["old"]
