"""MongoDB: the contract of every engine."""

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from storage_core.domain.provider import Endpoint, EngineKind
from storage_core.ports.engine import Engine
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.engine_contract import EngineContract
from tests.contract.mongodb.samples import make_everything
from tests.contract.mongodb.support import IMPATIENT, Server, free_port, plain_client

pytestmark = pytest.mark.servers


class TestMongoDB(EngineContract):
    kind = EngineKind.MONGODB
    good_setting = ("profiling", "off")
    awkward_names = (
        "größe-数据",
        "it's;drop()--",
        "host=evil,other=1",
        "mongodb+srv=user@x",
        "%s{0}",
        "--eval",
        "n" * 63,
    )
    hostile_names = (
        *("", "a\x00b", "a b", "a.b", "a/b", "a\\b", "a$b", 'a"b', "a*b", "a<b", "a|b", "a:b", "a?b"),
        *("n" * 64, "ü" * 32, "admin", "local", "config", "Admin", "\ud800"),
    )
    exempt: ClassVar = {}

    @pytest.fixture
    async def engine(self, mongodb_server: Server) -> AsyncIterator[Engine]:
        engine = MongoEngine(*mongodb_server)
        self.client = plain_client(mongodb_server)
        yield engine
        await self.client.close()
        await engine.close()

    @pytest.fixture
    async def unreachable(self) -> AsyncIterator[Engine]:
        endpoint = Endpoint(host="127.0.0.1", port=free_port())
        yield MongoEngine(endpoint, "secret", patience=IMPATIENT)

    async def fill(self, name: str) -> dict[str, int]:
        return await make_everything(self.client, name)

    async def plant(self, name: str, fault: str) -> None:
        indexed = self.client[name].indexed
        match fault:
            case "flipped_row":
                await indexed.update_one({"_id": 7}, {"$set": {"at.0": 0.71}})
            case "extra_row":
                await indexed.insert_one({"_id": 1000, "email": "new@x.org"})
            case "lost_row":
                await indexed.delete_one({"_id": 499})
            case "duplicated_pair":
                await self.client[name]["größe/ & 100% 'x'"].insert_many([{"n": 9}, {"n": 9}])
            case "swapped_values":
                await indexed.update_one({"_id": 1}, {"$set": {"maybe": 3}})
                await indexed.update_one({"_id": 3}, {"$set": {"maybe": 1}})
            case "changed_type":
                await indexed.update_one({"_id": 5}, {"$set": {"maybe": 5.0}})
            case "lost_table":
                await self.client[name].clustered.drop()
            case "extra_table":
                await self.client[name].create_collection("more")
            case "lost_index":
                await indexed.drop_index("partial")
            case _:
                raise AssertionError(fault)

    async def prepare_writes(self, name: str) -> None:
        for side in ("left", "right"):
            await self.client[name].create_collection(side)

    async def write_pair(self, name: str, number: int) -> None:
        async with self.client.start_session() as session, await session.start_transaction():
            for side in ("left", "right"):
                await self.client[name][side].insert_one({"_id": number, "pad": "x" * 300}, session=session)

    async def pairs(self, name: str) -> tuple[int, int]:
        database = self.client[name]
        return await database.left.count_documents({}), await database.right.count_documents({})
