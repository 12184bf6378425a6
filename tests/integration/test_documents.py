"""Beanie's documents in tenants' databases: two tenants at once, on a real replica set."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from beanie import (
    BackLink,
    BulkWriter,
    DeleteRules,
    Document,
    Indexed,
    Insert,
    Link,
    WriteRules,
    before_event,
)
from pydantic import BaseModel, Field
from pymongo.errors import DuplicateKeyError

from storage_core import AuditedDocument, DocumentMigration, tenant_scope
from storage_core.domain.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    TenantMismatch,
    TenantRequired,
    TenantSuspended,
    Unavailable,
    Unsupported,
    VersionConflict,
)
from storage_core.domain.provider import Endpoint
from storage_core.services.databases import CreateDatabase
from storage_core.services.providers import CreateProvider
from storage_core.services.tenants import SuspendTenant
from storage_core.storage import Storage
from storage_core.storage.document_migrations import COLLECTION, migrate_documents
from tests.contract.mongodb.support import Client, plain_client
from tests.integration.homes import somebody, until
from tests.integration.storage_homes import Ground, ground_at

pytestmark = pytest.mark.servers


class City(Document):
    name: str


class Author(Document):
    name: Indexed(str, unique=True)  # type: ignore[valid-type]
    city: Link[City] | None = None
    books: list[BackLink["Book"]] = Field(default=[], json_schema_extra={"original_field": "author"})

    class Settings:
        name = "authors"


class Book(Document):
    title: str
    author: Link[Author] | None = None
    shouted: str = ""

    class Settings:
        name = "books"

    @before_event(Insert)
    def shout(self) -> None:
        self.shouted = self.title.upper()


class Shape(Document):
    class Settings:
        name = "shapes"
        is_root = True


class Circle(Shape):
    radius: int


class Invoice(AuditedDocument):
    total: int = 0

    class Settings:
        name = "invoices"
        use_state_management = True


class Totals(BaseModel):
    id: str | None = Field(None, alias="_id")
    count: int


@dataclass
class Two:
    """Storage of two tenants on one server."""

    ground: Ground
    one: Storage
    two: Storage
    client: Client

    def raw(self, storage: Storage) -> Any:
        return self.client[storage.database.physical_name]


@pytest.fixture(scope="module")
async def two(
    tmp_path_factory: pytest.TempPathFactory, mongodb_server: tuple[Endpoint, str]
) -> AsyncIterator[Two]:
    async with ground_at(tmp_path_factory.mktemp("documents")) as ground:
        endpoint, password = mongodb_server
        words = ("host", "port", "user", "database")
        connection = {word: getattr(endpoint, word) for word in words if getattr(endpoint, word)}
        request = {"name": "mongo", "kind": "mongodb", "connection": {**connection, "password": password}}
        provider = await ground.core.providers.create(somebody(), CreateProvider.model_validate(request))
        made = []
        for _ in range(2):
            tenant = await ground.tenant()
            await ground.core.databases.create(
                somebody(), CreateDatabase(provider_id=provider.id, name="main", tenant_id=tenant.id)
            )
            made.append(await ground.factory.get_storage(tenant_id=tenant.id))
        client = plain_client(mongodb_server)
        yield Two(ground, *made, client)
        for storage in made:
            await client.drop_database(storage.database.physical_name)
        await client.close()


async def test_two_tenants_work_at_once_each_in_its_own_database(two: Two) -> None:
    async def work(storage: Storage, mark: str) -> list[str]:
        books = await storage.documents(Book)
        for number in range(10):
            await books(title=f"{mark}{number}").insert()
            await asyncio.sleep(0)
        await books.insert_many([books(title=f"{mark}x"), books(title=f"{mark}y")])
        return [book.title async for book in books.find(books.title != "none", sort=books.title)]

    first, second = await asyncio.gather(work(two.one, "a"), work(two.two, "b"))
    assert first == [f"a{n}" for n in range(10)] + ["ax", "ay"]
    assert second == [f"b{n}" for n in range(10)] + ["bx", "by"]
    assert await two.raw(two.one).books.count_documents({}) == 12
    stored = await two.raw(two.two).books.find_one({"title": "b3"})
    assert stored is not None and stored["shouted"] == "B3"
    books = await two.one.documents(Book)
    assert await books.find(books.title == "b1").count() == 0
    totals = await books.aggregate([{"$group": {"_id": None, "count": {"$sum": 1}}}], Totals).to_list()
    assert totals[0].count == 12
    assert await books.find({"title": {"$regex": "^a[0-4]$"}}).update({"$set": {"shouted": "!"}})
    assert await books.find(books.shouted == "!").count() == 5
    async with BulkWriter(object_class=books) as writer:
        await books.insert_one(books(title="bulk"), bulk_writer=writer)
        await books.find_one(books.title == "a1").update({"$set": {"shouted": "bulk"}}, bulk_writer=writer)
    assert {book.title async for book in books.find({"shouted": "bulk"})} == {"a1"}
    assert await books.find_one(books.title == "bulk") is not None


async def test_documents_stay_with_their_tenant_whatever_is_in_force_later(two: Two) -> None:
    books = await two.one.documents(Book)
    await two.two.documents(Book)
    with tenant_scope(two.one.tenant.name):
        mine = await Book(title="kept").insert()
        assert (await Book.get(mine.id)) is not None
    with tenant_scope(two.two.tenant.name):
        assert await Book.get(mine.id) is None
        mine.title = "still kept"
        await mine.save()
        read = await books.get(mine.id)
        assert read is not None and isinstance(read, Book) and read == mine
        await read.set({Book.title: "set"})
        await mine.sync()
    assert mine.title == "set"
    assert await two.raw(two.two).books.find_one({"_id": mine.id}) is None
    assert (await two.raw(two.one).books.find_one({"_id": mine.id}))["title"] == "set"
    await read.delete()
    assert await books.get(mine.id) is None


async def test_without_a_tenant_a_model_reaches_nothing(two: Two) -> None:
    books = await two.one.documents(Book)
    loose = Book(title="loose")
    for call in (loose.insert, loose.save, Book.find_all().to_list, Book.find_one({}).count):
        with pytest.raises(TenantRequired):
            await call()
    assert await books.insert_one(books(title="bound")) is not None
    tenant = await two.ground.tenant()
    with tenant_scope(tenant.name), pytest.raises(TenantRequired):
        await Book.find_all().to_list()
    with tenant_scope(tenant.name), pytest.raises(TenantMismatch):
        await two.one.documents(Book)


async def test_links_lead_within_the_tenants_database(two: Two) -> None:
    for storage, place in ((two.one, "Bern"), (two.two, "Rome")):
        books, authors, cities = [await storage.documents(model) for model in (Book, Author, City)]
        author = authors(name="Ann", city=cities(name=place))
        book = books(title="linked", author=author)
        await book.insert(link_rule=WriteRules.WRITE)
        assert await two.raw(storage).City.count_documents({"name": place}) == 1
    books, authors = await two.one.documents(Book), await two.one.documents(Author)
    with tenant_scope(two.two.tenant.name):
        book = await books.find_one(books.title == "linked")
        assert book is not None and isinstance(book.author, Link)
        author = await book.author.fetch()
        assert isinstance(author, Author)
        await author.fetch_all_links()
        assert isinstance(author.city, City) and author.city.name == "Bern"
        assert [one.title for one in author.books] == ["linked"]
        author.city.name = "Basel"
        await author.city.save()
        nested = await books.find_one(books.title == "linked", fetch_links=True, nesting_depth=3)
        assert nested is not None and nested.author.city.name == "Basel"
        nested.author.name = "Anne"
        await nested.author.save()
        with pytest.raises(TenantMismatch):
            (await two.two.documents(Book))(title="x", author=nested.author)
        assert await authors.find(authors.name == "Anne").count() == 1
        found = await books.find(books.author.name == "Anne", fetch_links=True).to_list()
        assert [one.title for one in found] == ["linked"]
        whole = await books.get(book.id, fetch_links=True)
        assert whole is not None
        await whole.delete(link_rule=DeleteRules.DELETE_LINKS)
    assert await two.raw(two.one).authors.count_documents({}) == 0
    assert await two.raw(two.two).authors.count_documents({"name": "Ann"}) == 1
    assert await two.raw(two.two).City.count_documents({"name": "Rome"}) == 1


async def test_models_that_share_a_collection_keep_their_classes(two: Two) -> None:
    shapes, circles = await two.one.documents(Shape), await two.one.documents(Circle)
    await circles(radius=2).insert()
    await shapes().insert()
    found = await shapes.find_all(with_children=True).to_list()
    assert sorted(type(one).__name__ for one in found) == ["Circle", "Shape"]
    circle = next(one for one in found if isinstance(one, Circle))
    await circle.inc({Circle.radius: 1})
    assert [one.radius async for one in circles.find_all()] == [3]


async def test_indexes_are_each_databases_own(two: Two) -> None:
    for storage in (two.one, two.two):
        authors = await storage.documents(Author)
        assert "name_1" in await two.raw(storage).authors.index_information()
        await authors(name="Unique").insert()
        with pytest.raises(DuplicateKeyError):
            await authors(name="Unique").insert()


async def test_changes_and_transactions_are_the_tenants(two: Two) -> None:
    books, others = await two.one.documents(Book), await two.two.documents(Book)
    async with await books.watch(full_document="updateLookup") as stream:
        await others(title="not mine").insert()
        mine = await books(title="mine").insert()
        event = await asyncio.wait_for(stream.next(), 20)
    assert event["documentKey"]["_id"] == mine.id
    client = books.get_pymongo_collection().database.client
    with pytest.raises(ZeroDivisionError):
        async with client.start_session() as session, await session.start_transaction():
            await books(title="undone").insert(session=session)
            await mine.set({"title": "undone"}, session=session)
            raise ZeroDivisionError
    assert await books.find(books.title == "undone").count() == 0
    async with client.start_session() as session, await session.start_transaction():
        await books(title="done").insert(session=session)
    assert await books.find(books.title == "done").count() == 1


async def test_an_audited_document_knows_whose_it_is_and_its_version(two: Two) -> None:
    invoices = await two.one.documents(Invoice)
    invoice = await invoices(total=1).insert()
    assert (invoice.version, invoice.tenant_id) == (1, two.one.tenant.id)
    same = await invoices.get(invoice.id)
    assert same is not None and same.created_at is not None
    await invoice.set({Invoice.total: 2})
    assert (invoice.version, invoice.total) == (2, 2)
    assert invoice.updated_at is not None and invoice.created_at is not None
    for late in (
        same.save,
        same.replace,
        lambda: same.inc({Invoice.total: 5}),
        lambda: same.set({"version": 9}),
    ):
        same.total = 9
        with pytest.raises(VersionConflict) as told:
            await late()
        assert told.value.field == "version" and same.version == 1
    again = await invoices.get(invoice.id)
    assert again is not None and again.total == 2
    again.total = 3
    await again.save()
    again.total = 4
    await again.save_changes()
    again.total = 5
    await again.replace()
    assert again.version == 5
    stored = await two.raw(two.one).invoices.find_one({"_id": invoice.id})
    assert stored is not None and (stored["version"], stored["total"]) == (5, 5)
    await invoices.find_one(invoices.id == invoice.id).delete()
    with pytest.raises(NotFound):
        await again.save()
    many = [invoices(total=n) for n in range(3)]
    await invoices.insert_many(many)
    assert await invoices.find(invoices.version == 1, invoices.tenant_id == two.one.tenant.id).count() == 3


async def test_of_many_who_change_one_version_one_wins(two: Two) -> None:
    invoices = await two.one.documents(Invoice)
    invoice = await invoices(total=0).insert()

    async def add() -> None:
        while True:
            mine = await invoices.get(invoice.id)
            assert mine is not None
            mine.total += 1
            try:
                await mine.save()
                return
            except VersionConflict:
                continue

    await asyncio.gather(*[add() for _ in range(12)])
    await invoice.sync()
    assert (invoice.total, invoice.version) == (12, 13)


async def test_an_audited_document_refuses_another_tenant_and_none(two: Two) -> None:
    mine, others = await two.one.documents(Invoice), await two.two.documents(Invoice)
    with pytest.raises(TenantRequired):
        await Invoice(total=1).insert()
    with pytest.raises(TenantMismatch):
        await mine(total=1, tenant_id=two.two.tenant.id).insert()
    invoice = await others(total=1).insert()
    await two.raw(two.one).invoices.insert_one(await two.raw(two.two).invoices.find_one({"_id": invoice.id}))
    with pytest.raises(TenantMismatch):
        await mine.get(invoice.id)
    await two.raw(two.one).invoices.delete_one({"_id": invoice.id})


async def test_a_suspended_tenant_is_refused_through_classes_held_before(
    two: Two, mongodb_server: tuple[Endpoint, str]
) -> None:
    tenant = await two.ground.tenant()
    await two.ground.core.databases.create(
        somebody(),
        CreateDatabase(provider_id=two.one.database.provider_id, name="main", tenant_id=tenant.id),
    )
    storage = await two.ground.factory.get_storage(tenant_id=tenant.id)
    books = await storage.documents(Book)
    book = await books(title="x").insert()
    storage.link.stale()
    with pytest.raises(Unavailable):
        await book.save()
    assert await storage.documents(Book) is books
    await book.save()
    await two.ground.core.tenants.suspend(somebody(), SuspendTenant(id=tenant.id, confirm=tenant.name))

    async def refused() -> bool:
        try:
            await books.find_all().to_list()
        except Unavailable:
            return True
        return False

    await until(two.ground.core, refused)
    with pytest.raises(TenantSuspended):
        await storage.documents(Book)
    await two.client.drop_database(storage.database.physical_name)


async def test_what_is_no_model_or_no_mongodb_is_refused(two: Two) -> None:
    with pytest.raises(InvalidRequest):
        await two.one.documents(Totals)  # type: ignore[type-var]
    tenant = await two.ground.tenant()
    await two.ground.database(tenant)
    files = await two.ground.factory.get_storage(tenant_id=tenant.id)
    with pytest.raises(Unsupported):
        await files.documents(Book)


def renamed(document: dict[str, Any]) -> dict[str, Any] | None:
    if "old" not in document:
        return None
    document["new"] = document.pop("old") + 1
    return document


async def test_a_migration_runs_once_in_each_database(two: Two) -> None:
    for storage in (two.one, two.two):
        await two.raw(storage).things.insert_many([{"old": n} for n in range(450)] + [{"new": 0}])
    step = DocumentMigration(1, "rename", "things", renamed)
    [done] = await two.one.migrate_documents([step])
    assert (done.seen, done.changed) == (451, 450)
    assert await two.raw(two.one).things.count_documents({"old": {"$exists": True}}) == 0
    assert await two.raw(two.two).things.count_documents({"old": {"$exists": True}}) == 450
    assert await two.one.migrate_documents([step]) == ()
    with pytest.raises(Conflict, match="'rename'"):
        await two.one.migrate_documents([DocumentMigration(1, "other", "things", renamed)])
    with pytest.raises(InvalidRequest):
        await two.one.migrate_documents([step, step])


CHILD = """
import asyncio, sys, time
from datetime import UTC, datetime, timedelta
from pymongo import AsyncMongoClient
from storage_core.storage.document_migrations import DocumentMigration, migrate_documents

def slowly(document):
    time.sleep(0.002)
    document["n"] += 1
    return document

async def main():
    client = AsyncMongoClient(sys.argv[1], directConnection=True)
    step = DocumentMigration(7, "add", "counted", slowly)
    await migrate_documents(client[sys.argv[2]], [step], lambda: datetime.now(UTC), batch=10,
                            lease=timedelta(seconds=1))

asyncio.run(main())
"""


async def test_a_killed_migration_goes_on_where_it_was(
    two: Two, mongodb_server: tuple[Endpoint, str]
) -> None:
    endpoint, password = mongodb_server
    name, raw = two.one.database.physical_name, two.raw(two.one)
    await raw.counted.insert_many([{"_id": n, "n": 0} for n in range(300)])
    uri = f"mongodb://{endpoint.user}:{password}@{endpoint.host}:{endpoint.port}/?authSource=admin"
    root = Path(__file__).parents[2]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, uri, name), env={**os.environ, "PYTHONPATH": str(root)}
    )
    step = DocumentMigration(7, "add", "counted", lambda document: {**document, "n": document["n"] + 1})
    try:
        while (note := await raw[COLLECTION].find_one({"_id": 7})) is None or note["seen"] < 50:
            assert child.returncode is None
        with pytest.raises(Conflict, match="Another process"):
            await migrate_documents(raw, [step], lambda: datetime.now(UTC))
    finally:
        child.kill()
        await child.wait()
        # a transaction that it leaves open would hold the server up for a minute
        await two.client.admin.command({"killAllSessions": []})
    later = datetime.now(UTC) + timedelta(days=1)
    [done] = await migrate_documents(raw, [step], lambda: later)
    assert (done.seen, done.changed) == (300, 300)
    assert await raw.counted.distinct("n") == [1]
