"""Sessions of SQLAlchemy: each tenant's own rows, one unit of work each, on files and on a server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import MetaData, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import SQLModel
from sqlmodel import select as select_models

from storage_core import tenant_scope
from storage_core.domain.errors import InvalidRequest, NotFound, StorageError, TenantMismatch
from storage_core.services.databases import DeleteDatabase
from storage_core.storage import Storage
from tests.integration.homes import somebody, until
from tests.integration.servers import Server
from tests.integration.storage_homes import Ground, ground_at
from tests.integration.store_models import Base, Entry, Line, Note, Order

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def ground(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: Server
) -> AsyncIterator[Ground]:
    async with ground_at(tmp_path_factory.mktemp("sessions")) as opened:
        await opened.serve("postgresql", postgresql_server)
        opened.factory.register(Base.metadata, _only(Note, Entry))
        yield opened


def _only(*models: type[SQLModel]) -> MetaData:
    """Tables of this file's models alone: the program's own are declared in the same place."""
    metadata = MetaData()
    for model in models:
        model.__table__.to_metadata(metadata)
    return metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def opened(ground: Ground, kind: str) -> Storage:
    tenant = await ground.tenant()
    await ground.database(tenant, kind=kind)
    storage = await ground.factory.get_storage(tenant_id=tenant.id)
    await storage.create_tables()
    return storage


async def numbers(storage: Storage) -> list[str]:
    async with storage.session("read") as session:
        return list(await session.scalars(select(Order.number).order_by(Order.number)))


async def test_each_tenant_has_its_own_rows(ground: Ground, kind: str) -> None:
    one, two = await opened(ground, kind), await opened(ground, kind)
    async with one.session() as mine, two.session() as theirs:
        mine.add(Order(number="A", lines=[Line(text="x"), Line(text="y")]))
        theirs.add(Order(number="B"))
    assert (await numbers(one), await numbers(two)) == (["A"], ["B"])
    async with one.session() as session:
        order = (await session.scalars(select(Order).options(selectinload(Order.lines)))).one()
        assert [line.text for line in order.lines] == ["x", "y"]
        await session.delete(order)
    async with one.session("read") as session:
        assert await session.scalar(select(func.count()).select_from(Line)) == 0


async def test_what_raises_leaves_nothing_behind(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)
    with pytest.raises(RuntimeError):
        async with storage.session() as session:
            session.add(Order(number="lost"))
            await session.flush()
            raise RuntimeError
    with pytest.raises(IntegrityError):
        async with storage.session() as session:
            session.add_all([Order(number="twice"), Order(number="twice")])
    assert await numbers(storage) == []


async def test_a_reading_session_changes_nothing(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)
    with pytest.raises(DBAPIError):
        async with storage.session("read") as session:
            session.add(Order(number="no"))
    async with storage.session() as session:
        session.add(Order(number="yes"))
    assert await numbers(storage) == ["yes"]
    with pytest.raises(InvalidRequest) as refused:
        async with storage.session("shape"):  # type: ignore[arg-type]  # what a careless caller writes
            pass
    assert refused.value.field == "access"


async def test_models_of_sqlmodel_work_as_they_are(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)
    async with storage.session() as session:
        session.add(Note(text="hello"))
    async with storage.session() as session:
        note = (await session.exec(select_models(Note))).one()
        note.text = "goodbye"
    async with storage.session() as session:
        assert (await session.exec(select_models(Note.text))).all() == ["goodbye"]


async def test_an_object_of_another_tenant_is_refused(ground: Ground, kind: str) -> None:
    one, two = await opened(ground, kind), await opened(ground, kind)
    async with one.session() as session:
        session.add(Order(number="mine"))
    async with one.session() as session:
        order = (await session.scalars(select(Order).options(selectinload(Order.lines)))).one()
    for way in ("add", "merge", "beneath"):
        with pytest.raises(TenantMismatch):
            async with two.session() as session:
                if way == "merge":
                    await session.merge(order)
                elif way == "add":
                    session.add(order)
                else:
                    session.add(Line(text="beneath", order=order))
    assert await numbers(two) == []
    async with one.session() as session:
        session.add(order)
        order.number = "still mine"
    assert await numbers(one) == ["still mine"]


async def test_a_session_refuses_to_work_in_another_tenants_scope(ground: Ground, kind: str) -> None:
    one, two = await opened(ground, kind), await opened(ground, kind)
    with pytest.raises(TenantMismatch):
        async with one.session() as session:
            with tenant_scope(two.tenant.name):
                await session.scalars(select(Order))
    with pytest.raises(TenantMismatch), tenant_scope(two.tenant.name):
        async with one.session() as session:
            pass


async def test_audited_rows_are_filled_in_on_every_way_of_writing(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)
    before = datetime.now(UTC)
    async with storage.session() as session:
        session.add(Order(number="1"))
        await session.execute(insert(Order), [{"number": "2"}, {"number": "3"}])
        await session.execute(insert(Order).values(number="4"))
    async with storage.session() as session:
        orders = (await session.scalars(select(Order).order_by(Order.number))).all()
        assert {(o.tenant_id, o.version) for o in orders} == {(storage.tenant.id, 1)}
        assert all(before <= o.created_at == o.updated_at <= datetime.now(UTC) for o in orders)
        orders[0].number = "0"
        await session.execute(update(Order).where(Order.number == "4").values(number="5"))
    async with storage.session("read") as session:
        changed = (await session.scalars(select(Order).order_by(Order.number))).all()
        assert [o.version for o in changed] == [2, 1, 1, 2]
        assert changed[0].updated_at > changed[0].created_at < changed[3].updated_at


async def test_audited_rows_keep_their_tenant_and_their_version(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)
    async with storage.session() as session:
        session.add(Order(number="1"))
    async with storage.session() as session:
        stale = (await session.scalars(select(Order))).one()
    async with storage.session() as session:
        (await session.scalars(select(Order))).one().number = "2"
    with pytest.raises(StaleDataError):
        async with storage.session() as session:
            session.add(stale)
            stale.number = "3"
    for wrong in ({"tenant_id": "somebody"}, {"created_at": datetime.now(UTC)}):
        with pytest.raises(StorageError) as refused:
            async with storage.session() as session:
                order = (await session.scalars(select(Order))).one()
                for field, value in wrong.items():
                    setattr(order, field, value)
        assert refused.value.field == next(iter(wrong))
    with pytest.raises(TenantMismatch):
        async with storage.session() as session:
            session.add(Order(number="9", tenant_id="somebody"))
    async with storage.session() as session:
        await session.execute(text("update orders set tenant_id = 'somebody'"))
    with pytest.raises(TenantMismatch):
        async with storage.session() as session:
            (await session.scalars(select(Order))).one()


async def test_audited_models_of_sqlmodel_are_looked_after_alike(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)
    before = datetime.now(UTC)
    async with storage.session() as session:
        session.add(Entry(text="1"))
        await session.execute(insert(Entry), [{"text": "2"}])
    async with storage.session() as session:
        one, two = (await session.exec(select_models(Entry).order_by(Entry.text))).all()
        assert {(e.tenant_id, e.version) for e in (one, two)} == {(storage.tenant.id, 1)}
        assert before <= one.created_at == one.updated_at <= datetime.now(UTC)
    async with storage.session() as session:
        (await session.exec(select_models(Entry).where(Entry.text == "2"))).one().text = "3"
        await session.execute(update(Entry).where(Entry.text == "1").values(text="0"))
    with pytest.raises(StaleDataError):
        async with storage.session() as session:
            session.add(one)
            one.text = "late"
    async with storage.session("read") as session:
        found = (await session.exec(select_models(Entry).order_by(Entry.text))).all()
        assert [(e.text, e.version, e.updated_at > e.created_at) for e in found] == [
            ("0", 2, True),
            ("3", 2, True),
        ]
    with pytest.raises(TenantMismatch):
        async with storage.session() as session:
            session.add(Entry(text="9", tenant_id="somebody"))


async def test_tables_are_made_once_however_many_ask(ground: Ground, kind: str) -> None:
    tenant = await ground.tenant()
    await ground.database(tenant, kind=kind)
    storage = await ground.factory.get_storage(tenant_id=tenant.id)
    await asyncio.gather(*(storage.create_tables() for _ in range(6)))
    async with storage.session() as session:
        session.add(Order(number="1"))
    await storage.create_tables()
    assert await numbers(storage) == ["1"]


async def test_a_database_that_comes_back_under_its_name_is_another_one(ground: Ground, kind: str) -> None:
    tenant = await ground.tenant()
    row = await ground.database(tenant, kind=kind)
    storage = await ground.factory.get_storage(tenant_id=tenant.id)
    await storage.create_tables()
    async with storage.session() as session:
        session.add(Order(number="gone"))
    await ground.core.databases.delete(somebody(), DeleteDatabase(id=row.id, confirm=row.name))
    with pytest.raises(NotFound):
        async with storage.session():
            pass
    again = await ground.database(tenant, kind=kind)
    assert again.physical_name == row.physical_name

    async def found() -> Storage | None:
        storage = await ground.factory.get_storage(tenant_id=tenant.id)
        return storage if storage.database.id == again.id else None

    anew = await until(ground.core, found)
    await anew.create_tables()
    assert await numbers(anew) == []


async def test_cancelled_work_leaves_no_connection_and_no_lock(ground: Ground, kind: str) -> None:
    storage = await opened(ground, kind)

    async def work(number: int) -> None:
        async with storage.session() as session:
            session.add(Order(number=str(number)))
            await session.flush()
            await session.scalars(select(Order))

    for number in range(60):
        task = asyncio.create_task(work(number))
        for _ in range(number % 30):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*(work(1000 + number) for number in range(8)))
    sessions: Any = storage.link.standing.engine.sessions
    assert sessions._sessions._sessions.pools.busy == 0
