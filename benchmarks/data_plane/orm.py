"""SQLAlchemy's ORM and Beanie, as their documentation shows them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from beanie import Document, init_beanie
from pydantic import Field
from pymongo import AsyncMongoClient
from sqlalchemy import JSON, Index, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON().with_variant(JSONB(), "postgresql")}


class Order(Base):
    __tablename__ = "orm_orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    body: Mapped[dict[str, Any]]

    __mapper_args__ = {"version_id_col": version}


Index("orm_by_user", Order.body["user_id"].as_string(), Order.body["status"].as_string())


class Orm:
    """A session for each piece of work, as for each request."""

    name = "orm"

    def __init__(self, address: str, connections: int = 4) -> None:
        self._engine: AsyncEngine = create_async_engine(address, pool_size=connections, max_overflow=0)
        self._session: async_sessionmaker[AsyncSession] = async_sessionmaker(
            self._engine, expire_on_commit=False
        )

    async def open(self) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        async with self._session.begin() as session:
            session.add(_row(id, data))

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        async with self._session.begin() as session:
            session.add_all(_row(id, data) for id, data in items)

    async def get(self, id: str) -> Any:
        async with self._session() as session:
            assert await session.get(Order, id) is not None

    async def find(self, user: int, status: str) -> Any:
        mine = Order.body["user_id"].as_string() == str(user), Order.body["status"].as_string() == status
        async with self._session() as session:
            return (await session.scalars(select(Order).where(*mine).order_by(Order.id).limit(20))).all()

    async def update(self, id: str, version: int, qty: int) -> Any:
        async with self._session.begin() as session:
            order = await session.get_one(Order, id)
            order.body = {**order.body, "qty": qty}
            order.updated_at = _now()

    async def delete(self, id: str) -> Any:
        async with self._session.begin() as session:
            await session.delete(await session.get_one(Order, id))

    async def close(self) -> None:
        await self._engine.dispose()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _row(id: str, data: dict[str, Any]) -> Order:
    return Order(id=id, created_at=_now(), updated_at=_now(), body=data)


class BeanieOrder(Document):
    id: str = Field(alias="_id")
    version: int = 1
    created_at: datetime
    updated_at: datetime
    body: dict[str, Any]

    class Settings:
        name = "beanie_orders"
        indexes = [[("body.user_id", 1), ("body.status", 1)]]


class Beanie:
    name = "beanie"

    def __init__(self, address: str) -> None:
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(address, tz_aware=True)

    async def open(self) -> None:
        await self._client.drop_database("beanie_bench")
        await init_beanie(self._client["beanie_bench"], document_models=[BeanieOrder])

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        await _order(id, data).insert()

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        await BeanieOrder.insert_many([_order(id, data) for id, data in items])

    async def get(self, id: str) -> Any:
        assert await BeanieOrder.get(id) is not None

    async def find(self, user: int, status: str) -> Any:
        query = {"body.user_id": user, "body.status": status}
        return await BeanieOrder.find(query).sort("_id").limit(20).to_list()

    async def update(self, id: str, version: int, qty: int) -> Any:
        order = await BeanieOrder.find_one({"_id": id, "version": version})
        assert order is not None
        await order.set({"body.qty": qty, "version": version + 1, "updated_at": datetime.now(UTC)})

    async def delete(self, id: str) -> Any:
        order = await BeanieOrder.get(id)
        assert order is not None
        await order.delete()

    async def close(self) -> None:
        await self._client.drop_database("beanie_bench")
        await self._client.close()


def _order(id: str, data: dict[str, Any]) -> BeanieOrder:
    now = datetime.now(UTC)
    return BeanieOrder(_id=id, created_at=now, updated_at=now, body=data)
