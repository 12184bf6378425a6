"""Sealing against plain ``zstd -1`` on the same data, and the way back."""

import asyncio
import random
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from backports import zstd

from storage_core.backing.archive import SealedArchive
from storage_core.ports.backup import Piece

KEY, LABEL, MIB, ROUNDS = bytes(range(32)), b"benchmark", 1 << 20, 5


def rows(seed: int) -> bytes:
    """A MiB of text such as a dump of a table holds."""
    rng = random.Random(seed)
    words = [f"{rng.getrandbits(40):x}" for _ in range(4000)]
    out: list[str] = []
    size = 0
    while size < MIB:
        line = f"{rng.randrange(10**9)}\t{rng.choice(words)} {rng.choice(words)}\t2026-11-22 08:15:{rng.random() * 60:09.6f}+00\tpaid\n"
        out.append(line)
        size += len(line)
    return "".join(out).encode()[:MIB]


def blocks(size_mb: int) -> Iterator[bytes]:
    kinds = [rows(seed) for seed in range(8)]
    for number in range(size_mb):
        yield kinds[number % 8][number % 1000 :] + kinds[number % 8][: number % 1000]


async def run(size_mb: int) -> dict[str, float | str]:
    data = list(blocks(size_mb))
    raw = sum(map(len, data))
    sealed: list[bytes] = []
    archive = SealedArchive()

    async def pieces() -> AsyncIterator[Piece]:
        for block in data:
            yield Piece("rows", block)

    async def stored() -> AsyncIterator[bytes]:
        for part in sealed:
            yield part

    async def plain() -> int:
        return await asyncio.to_thread(compressed, data)

    async def seal() -> int:
        sealed.clear()
        sealed.extend([part async for part in archive.seal(pieces(), KEY, LABEL)])
        return sum(map(len, sealed))

    async def verify() -> int:
        return await archive.verify(stored(), KEY, LABEL)

    async def unseal() -> int:
        return sum([len(piece.data) async for piece in archive.open(stored(), KEY, LABEL)])

    speeds, sizes = await measure({"zstd -1": plain, "seal": seal, "verify": verify, "open": unseal}, raw)
    return {
        **{f"{name} MB/s": speed for name, speed in speeds.items()},
        "seal against zstd -1": speeds["seal"] / speeds["zstd -1"],
        "zstd -1 ratio": raw / sizes["zstd -1"],
        "seal ratio": raw / sizes["seal"],
        "loop stall ms (worst)": await worst_stall(seal),
        "peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def compressed(data: list[bytes]) -> int:
    compressor = zstd.ZstdCompressor(level=1)
    return sum(len(compressor.compress(block)) for block in data) + len(compressor.flush())


async def measure(
    works: dict[str, Callable[[], Awaitable[int]]], raw: int
) -> tuple[dict[str, float], dict[str, int]]:
    """The median speed of each (MB/s of raw data), rounds interleaved, and the size each answered."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, work in works.items():
            began = time.perf_counter()
            sizes[name] = await work()
            seconds[name].append(time.perf_counter() - began)
    return {name: raw / 1e6 / statistics.median(taken) for name, taken in seconds.items()}, sizes


async def worst_stall(work: Callable[[], Awaitable[int]]) -> float:
    """The longest time the loop did not get to run during the work, in milliseconds."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - began - 0.001)

    ticking = asyncio.create_task(tick())
    try:
        await work()
    finally:
        ticking.cancel()
    return worst * 1000
