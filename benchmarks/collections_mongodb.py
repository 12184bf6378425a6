"""Collections on MongoDB against the bare driver on the same server, each call interleaved with its yardstick."""

import asyncio
import json
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient, UpdateOne, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection

from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.provider import Endpoint
from storage_core.domain.query import Compare, Op
from storage_core.domain.record import Find, Index, SortKey, Write
from storage_core.ports.collection import Collection
from storage_core.providers.mongodb.engine import MongoEngine

DATABASE = "sc_bench"
DOCUMENTS, CALLS, BULK, ROUNDS = 10_000, 200, 1_000, 5
FLOOR, BULK_FLOOR = 0.92, 0.85
AT = datetime.now(UTC)

Call = Callable[[int], Awaitable[object]]


def body(draw: random.Random, number: int) -> dict[str, Any]:
    """A document of about 470 bytes."""
    return {
        "user_id": number % 500,
        "status": draw.choice(["new", "paid", "sent"]),
        "total": draw.random() * 100,
        "tags": draw.sample(["red", "green", "blue", "black"], 2),
        "address": {"city": f"city {number % 50}", "street": "x" * 40},
        "note": "n" * 240,
    }


def calls(ours: Collection, raw: AsyncCollection[dict[str, Any]]) -> dict[str, tuple[int, Call, Call]]:
    """By name: how many documents a call is about, ours, the driver's."""
    draw = random.Random(3)
    fresh = iter(range(10**9))
    spare = [body(draw, n) for n in range(1000)]

    def key(number: int) -> str:
        return f"{number * 7919 % DOCUMENTS:06}"

    async def insert_many(number: int) -> None:
        await ours.insert_many([Write(f"m{next(fresh)}", item) for item in spare[:BULK]], AT)

    async def raw_insert_many(number: int) -> None:
        await raw.insert_many([{"_id": f"m{next(fresh)}", **item} for item in spare[:BULK]], ordered=False)

    async def change_many(number: int) -> None:
        total = draw.random()
        writes = [Write(f"{n:06}", changes={("total",): total}) for n in range(number, number + BULK)]
        await ours.change_many(writes, AT)

    async def raw_change_many(number: int) -> None:
        total = draw.random()
        requests = [
            UpdateOne({"_id": f"{n:06}"}, {"$set": {"total": total}}) for n in range(number, number + BULK)
        ]
        await raw.bulk_write(requests, ordered=False)

    async def raw_find(number: int) -> None:
        await raw.find({"user_id": number % 500}, sort=[("_id", 1)], limit=20).to_list()

    async def raw_sorted(number: int) -> None:
        await raw.find({}, sort=[("user_id", 1), ("_id", 1)], limit=20).to_list()

    where = [Compare(("user_id",), Op.EQ, n) for n in range(500)]
    by_user = (SortKey(("user_id",)),)
    return {
        "get": (1, lambda n: ours.get(key(n)), lambda n: raw.find_one({"_id": key(n)})),
        "find_20": (1, lambda n: ours.find(Find(where[n % 500], limit=20)), raw_find),
        "sorted_20": (1, lambda n: ours.find(Find(sort=by_user, limit=20)), raw_sorted),
        "insert": (
            1,
            lambda n: ours.insert(f"s{next(fresh)}", spare[n % 1000], AT),
            lambda n: raw.insert_one({"_id": f"s{next(fresh)}", **spare[n % 1000]}),
        ),
        "update": (
            1,
            lambda n: ours.patch(key(n), {("total",): float(n)}, AT),
            lambda n: raw.update_one({"_id": key(n)}, {"$set": {"total": float(n)}}),
        ),
        "update_version": (
            1,
            lambda n: ours.patch(f"v{n:06}", {("total",): float(n)}, AT, version=1),
            lambda n: raw.update_one(
                {"_id": f"v{n:06}", "version": 1}, {"$set": {"total": float(n)}, "$inc": {"version": 1}}
            ),
        ),
        "delete": (
            1,
            lambda n: ours.delete(f"x{n:06}"),
            lambda n: raw.delete_one({"_id": f"x{n:06}"}),
        ),
        "bulk_insert": (BULK, insert_many, raw_insert_many),
        "bulk_update": (BULK, change_many, raw_change_many),
    }


async def timed(call: Call, number: int) -> float:
    begun = time.perf_counter()
    await call(number)
    return time.perf_counter() - begun


async def compared(ours: Collection, raw: AsyncCollection[dict[str, Any]]) -> dict[str, float | str]:
    draw = random.Random(1)
    bodies = [body(draw, n) for n in range(DOCUMENTS)]
    deletable = ROUNDS * CALLS
    for prefix, count in (("", DOCUMENTS), ("x", deletable), ("v", deletable)):
        named = [(f"{prefix}{n:06}", bodies[n % DOCUMENTS]) for n in range(count)]
        await ours.insert_many([Write(id, item) for id, item in named], AT)
        await raw.insert_many([{"_id": id, "version": 1, **item} for id, item in named])
    await ours.create_index(Index("user", (("user_id",),)))
    await raw.create_index([("user_id", 1), ("_id", 1)])
    result: dict[str, float | str] = {}
    for name, (documents, mine, theirs) in calls(ours, raw).items():
        times = CALLS if documents == 1 else 8
        ratios, speeds = [], []
        for turn in range(ROUNDS):
            # turn about: what else the machine does meets both alike
            mine_took: list[float] = []
            theirs_took: list[float] = []
            for number in range(turn * times, (turn + 1) * times):
                if number % 2:
                    mine_took.append(await timed(mine, number))
                theirs_took.append(await timed(theirs, number))
                if not number % 2:
                    mine_took.append(await timed(mine, number))
            ratios.append(statistics.median(theirs_took) / statistics.median(mine_took))
            speeds.append(documents / statistics.median(mine_took))
        result[f"{name}_per_s"] = round(statistics.median(speeds))
        result[f"{name}_ratio"] = round(statistics.median(ratios), 3)
        floor = FLOOR if documents == 1 else BULK_FLOOR
        result[f"{name}_passed"] = str(statistics.median(ratios) >= floor)
    return result


async def compare_all(endpoint: Endpoint, password: str) -> dict[str, float | str]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        host=endpoint.host,
        port=endpoint.port,
        username=endpoint.user,
        password=password,
        directConnection=True,
    )
    engine = MongoEngine(endpoint, password)
    try:
        result: dict[str, float | str] = {}
        # The set's default waits for the journal, which hides what the client costs; w=1 shows it.
        for title, concern in (("", None), ("w1_", WriteConcern(w=1))):
            if concern is not None:
                default = {"setDefaultRWConcern": 1, "defaultWriteConcern": {"w": 1}}
                await client.admin.command(default)
            await client.drop_database(DATABASE)
            ours = engine.collections.collection(DATABASE, "orders")
            figures = await compared(ours, client[DATABASE]["raw"])
            result |= {title + name: value for name, value in figures.items()}
        return result
    finally:
        await engine.close()
        await client.close()


async def run(size_mb: int) -> dict[str, float | str]:
    """Start a private server and compare; the size does not matter here."""
    with tempfile.TemporaryDirectory() as home:
        servers = LocalServers(Path(home), durable=False)
        name = f"bench-{secrets.token_hex(3)}"
        await servers.start("mongodb", name)
        try:
            return await compare_all(*await servers.endpoint(name))
        finally:
            await servers.stop(name)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(0)), indent=2))
