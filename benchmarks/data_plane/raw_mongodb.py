"""PyMongo's async driver as one would write it by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient, ReturnDocument


class RawMongo:
    name = "pymongo"

    def __init__(self, address: str, database: str = "raw_bench") -> None:
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(address, tz_aware=True)
        self._database = database

    async def open(self) -> None:
        await self._client.drop_database(self._database)
        self._orders = self._client[self._database]["orders"]
        await self._orders.create_index([("body.user_id", 1), ("body.status", 1)])

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        await self._orders.insert_one(_made(id, data))

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        await self._orders.insert_many([_made(id, data) for id, data in items], ordered=False)

    async def get(self, id: str) -> Any:
        assert await self._orders.find_one({"_id": id}) is not None

    async def find(self, user: int, status: str) -> Any:
        query = {"body.user_id": user, "body.status": status}
        return await self._orders.find(query).sort("_id", 1).limit(20).to_list()

    async def update(self, id: str, version: int, qty: int) -> Any:
        change = {"$set": {"body.qty": qty, "updated_at": datetime.now(UTC)}, "$inc": {"version": 1}}
        found = await self._orders.find_one_and_update(
            {"_id": id, "version": version}, change, return_document=ReturnDocument.AFTER
        )
        assert found is not None

    async def delete(self, id: str) -> Any:
        assert (await self._orders.delete_one({"_id": id})).deleted_count == 1

    async def close(self) -> None:
        await self._client.drop_database(self._database)
        await self._client.close()


def _made(id: str, data: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"_id": id, "version": 1, "created_at": now, "updated_at": now, "body": data}
