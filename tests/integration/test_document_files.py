"""TinyDB and local files through the product: a tenant's documents, backups with their proof, what is adopted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import tinydb

from storage_core import tenant_scope
from storage_core.bootstrap import open_worker
from storage_core.domain.backup import BackupStatus
from storage_core.domain.errors import Conflict, InvalidRequest, Unsupported
from storage_core.domain.job import JobStatus
from storage_core.services.backups import RestoreBackup
from storage_core.services.databases import (
    AdoptDatabase,
    CreateDatabase,
    DatabaseSchemaRequest,
    ExistingDatabases,
    GetDatabase,
    OptimizeDatabase,
)
from storage_core.services.providers import CreateProvider
from storage_core.services.records import InsertRecord, QueryRecords
from tests.integration.homes import a_backup, ended, somebody
from tests.integration.storage_homes import Ground, ground_at

KINDS = ("tinydb", "localfile")


@pytest.fixture(scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    home = tmp_path_factory.mktemp("documents")
    async with ground_at(home) as opened, open_worker(opened.core):
        yield opened


@pytest.mark.parametrize("kind", KINDS)
async def test_documents_are_backed_up_proven_and_restored(ground: Ground, kind: str) -> None:
    core, me, tenant = ground.core, somebody(), await ground.tenant()
    database = await ground.database(tenant, kind=kind)
    assert database.location is not None and tenant.id in database.location
    with tenant_scope(tenant.name):
        storage = await ground.factory.get_storage()
        orders = storage.collection("orders")
        order = await orders.insert({"sku": "A1", "qty": 3}, id="o-1")
        await orders.update(order.id, {"qty": 4}, version=order.version)
        for n in range(40):
            await orders.insert({"sku": f"B{n}", "qty": n})
    job, backup = await a_backup(core, database)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN), (
        job.error,
        backup.reason,
    )
    assert backup.manifest is not None and backup.manifest.rows == 41
    with tenant_scope(tenant.name):
        await (await ground.factory.get_storage()).collection("orders").delete("o-1")
    ticket = await core.backups.restore(me, RestoreBackup(id=backup.id, name="again"))
    assert (await ended(core, ticket.job_id)).status is JobStatus.SUCCEEDED
    with tenant_scope(tenant.name):
        again = (await ground.factory.get_storage("again")).collection("orders")
        found = await again.get("o-1")
        assert found is not None and found.data == {"sku": "A1", "qty": 4} and found.version == 2
    page = await core.records.query(me, QueryRecords(database_id=database.id, name="orders", limit=10))
    assert len(page.items) == 10
    schema = await core.databases.schema(me, DatabaseSchemaRequest(id=database.id))
    assert [(found.name, found.kind, found.rows) for found in schema.objects] == [
        ("orders", "collection", 40)
    ]
    ticket = await core.databases.optimize(me, OptimizeDatabase(id=database.id))
    assert (await ended(core, ticket.job_id)).status is JobStatus.SUCCEEDED


async def test_a_file_of_tinydb_is_adopted_and_keeps_its_tables(ground: Ground, tmp_path: Path) -> None:
    core, me = ground.core, somebody()
    with tinydb.TinyDB(tmp_path / "books.json") as db:
        db.insert({"title": "Momo"})
        db.table("authors").insert({"name": "Michael Ende"})
    (tmp_path / "notes.json").write_text('["no database"]')
    request = CreateProvider.model_validate(
        {"name": "books", "kind": "tinydb", "connection": {"path": str(tmp_path)}}
    )
    provider = await core.providers.create(me, request)
    there = await core.databases.existing(me, ExistingDatabases(provider_id=provider.id))
    assert [found.physical_name for found in there] == ["books.json"]
    books = await core.databases.adopt(
        me, AdoptDatabase(provider_id=provider.id, name="books", physical_name="books.json")
    )
    await core.records.insert(me, InsertRecord(database_id=books.id, name="loans", data={"book": 1}))
    job, backup = await a_backup(core, books)
    assert backup.status is BackupStatus.PROVEN, (job.error, backup.reason)
    ticket = await core.databases.optimize(me, OptimizeDatabase(id=books.id))
    await ended(core, ticket.job_id)
    with tinydb.TinyDB(tmp_path / "books.json") as db:
        assert db.all() == [{"title": "Momo"}]
        assert db.table("authors").all() == [{"name": "Michael Ende"}]
        assert [document["book"] for document in db.table("loans")] == [1]
    assert (await core.databases.get(me, GetDatabase(id=books.id))).location == str(tmp_path / "books.json")


@pytest.mark.parametrize("kind", KINDS)
async def test_programs_have_transactions_and_a_clear_word_on_what_is_not_there(
    ground: Ground, kind: str
) -> None:
    tenant = await ground.tenant()
    await ground.database(tenant, kind=kind)
    with tenant_scope(tenant.name):
        storage = await ground.factory.get_storage()
        accounts = storage.collection("accounts")
        await accounts.insert({"sum": 5}, id="a")
        with pytest.raises(Conflict):
            async with storage.transaction() as transaction:
                inside = transaction.collection("accounts")
                await inside.update("a", {"sum": 4})
                await inside.insert({"sum": 1}, id="b")
                await accounts.update("a", {"sum": 9})
        async with storage.transaction() as transaction:
            await transaction.collection("accounts").insert({"sum": 1}, id="b")
        assert [one.data["sum"] async for one in accounts.query(sort="id")] == [9, 1]
        with pytest.raises(Unsupported):
            async with storage.session():
                pass
        with pytest.raises(Unsupported):
            _ = [one async for one in accounts.query(where={"sum": {"$regex": "x"}})]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_console_s_own_ground_is_nobody_s(ground: Ground, kind: str) -> None:
    request = {"name": f"own-{kind}", "kind": kind, "connection": {"path": str(ground.core.kernel.home)}}
    with pytest.raises(InvalidRequest) as refused:
        await ground.core.providers.create(somebody(), CreateProvider.model_validate(request))
    assert refused.value.field == "connection.path"


@pytest.mark.parametrize("kind", KINDS)
async def test_there_are_no_settings(ground: Ground, kind: str) -> None:
    provider = await ground.provider(kind)
    with pytest.raises(InvalidRequest) as refused:
        await ground.core.databases.create(
            somebody(), CreateDatabase(provider_id=provider.id, name="tuned", settings={"journal": "no"})
        )
    assert refused.value.field == "settings.journal"
