"""MongoDB: our dump with manifest and seal against raw batches piped into zstd, interleaved in one run."""

import asyncio
import json
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from backports import zstd
from pymongo import AsyncMongoClient

from storage_core.backing.archive.archive import SealedArchive
from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.backup import compare
from storage_core.domain.provider import Endpoint
from storage_core.providers.mongodb.engine import MongoEngine

ROUNDS = 7
NAME = "sc_bench"
FLOOR = 0.9


def progress(done: int, expected: int | None) -> None: ...


async def fill(client: AsyncMongoClient[dict[str, Any]], size_mb: int) -> float:
    """Documents of about half a KiB until the size is reached; answers the size in MB."""
    draw = random.Random(7)
    words = ["".join(draw.choices("abcdefghij", k=8)) for _ in range(500)]
    orders = client[NAME].orders
    number = 0
    while True:
        batch = [
            {
                "_id": number + n,
                "name": draw.choice(words),
                "mail": f"{draw.choice(words)}@x.org",
                "price": draw.random(),
                "tags": draw.choices(words, k=10),
                "note": " ".join(draw.choices(words, k=22)),
            }
            for n in range(5000)
        ]
        await orders.insert_many(batch)
        number += len(batch)
        size = (await client[NAME].command("dbStats"))["dataSize"] / 1e6
        if size >= size_mb:
            return float(size)


async def raw_piped(client: AsyncMongoClient[dict[str, Any]]) -> int:
    """The yardstick: raw batches, each compressed by zstd level 1 before the next is asked for."""
    compressor, out = zstd.ZstdCompressor(level=1), 0
    async for batch in client[NAME].orders.find_raw_batches({}):
        out += len(await asyncio.to_thread(compressor.compress, batch))
    return out + len(compressor.flush())


async def sealed(engine: MongoEngine) -> int:
    out = 0
    async with engine.backup.dump(NAME, progress) as dump:
        async for chunk in SealedArchive().seal(dump.pieces(), bytes(32), b"bench"):
            out += len(chunk)
        assert dump.manifest.rows
    return out


async def manifest_only(engine: MongoEngine) -> int:
    async with engine.backup.dump(NAME, progress) as dump:
        return sum([len(piece.data) async for piece in dump.pieces()])


async def proven(engine: MongoEngine) -> dict[str, float]:
    """Seconds to restore and to measure; the copy must be equal."""
    begun = time.perf_counter()
    async with engine.backup.dump(NAME, progress) as dump:
        pieces = [piece async for piece in dump.pieces()]
        manifest = dump.manifest

    async def replay() -> Any:
        for piece in pieces:
            yield piece

    begun = time.perf_counter()
    await engine.backup.restore(replay(), NAME + "_copy", manifest, progress)
    restored = time.perf_counter()
    differences = compare(manifest, await engine.backup.measure(NAME + "_copy", manifest))
    assert differences == ()
    return {"restore_s": restored - begun, "measure_s": time.perf_counter() - restored}


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def compare_all(endpoint: Endpoint, password: str, size_mb: int) -> dict[str, Any]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        host=endpoint.host,
        port=endpoint.port,
        username=endpoint.user,
        password=password,
        directConnection=True,
    )
    engine = MongoEngine(endpoint, password)
    try:
        size = await fill(client, size_mb)
        contenders: dict[str, Callable[[], Awaitable[object]]] = {
            "raw_zstd": lambda: raw_piped(client),
            "sealed": lambda: sealed(engine),
            "manifest": lambda: manifest_only(engine),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, work in contenders.items():
                times[name].append(await timed(work))
        speeds = {f"{name}_mb_s": size / statistics.median(t) for name, t in times.items()}
        ratio = statistics.median(
            [base / ours for base, ours in zip(times["raw_zstd"], times["sealed"], strict=True)]
        )
        took = await proven(engine)
        return {
            "size_mb": round(size, 1),
            "rounds": ROUNDS,
            **{key: round(value, 1) for key, value in speeds.items()},
            "restore_mb_s": round(size / took["restore_s"], 1),
            "measure_mb_s": round(size / took["measure_s"], 1),
            "ratio": round(ratio, 3),
            "floor": FLOOR,
            "passed": ratio >= FLOOR,
        }
    finally:
        await engine.close()
        await client.close()


async def run(size_mb: int) -> dict[str, Any]:
    """Start a private server, compare, stop it; `ratio` is the median of our speed over the yardstick's."""
    with tempfile.TemporaryDirectory() as home:
        servers = LocalServers(Path(home), durable=False)
        name = f"bench-{secrets.token_hex(3)}"
        await servers.start("mongodb", name)
        try:
            endpoint, password = await servers.endpoint(name)
            return await compare_all(endpoint, password, size_mb)
        finally:
            await servers.stop(name)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 200)), indent=2))
