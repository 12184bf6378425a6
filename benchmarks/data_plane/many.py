"""A thousand tenants in one process: opening again, memory, and what many active ones cost each other."""

import ctypes
import gc
import random
import time
from collections.abc import Sequence
from statistics import median

import psutil

from storage_core.storage import Collection

from .measure import ROUNDS, SLICES, document
from .stage import Stage

TENANTS, CALLS = 1000, 3200


async def many(stage: Stage, kind: str) -> dict[str, float | str]:
    """SQLite's files, one for each tenant: the harshest case, as nothing of a pool is shared."""
    provider = await stage.files(kind)
    ids = await stage.crowd(provider, TENANTS)
    before = _rss()
    storages = [await stage.factory.get_storage("main", tenant_id=id) for id in ids]
    opened = _rss()
    again = [await _again(stage, ids) for _ in range(ROUNDS)]
    collections = [storage.collection("orders") for storage in storages]
    for collection in collections:
        await collection.insert(document(1), "o-1")
    used = _rss()
    out: dict[str, float | str] = {
        "tenants_open_again_us": median(again),
        "tenants_rss_opened_kb": (opened - before) / TENANTS / 1e3,
        "tenants_rss_with_pool_kb": (used - before) / TENANTS / 1e3,
        "tenants_64_active_x_10": await _compared(collections[:10], collections[:64]),
        "tenants_uniform_1000_x_10": await _compared(collections[:10], collections),
    }
    await stage.core.kernel.engines.forget(provider.id)  # as when all have been idle for a while
    return {**out, "tenants_rss_idle_kb": (_rss() - before) / TENANTS / 1e3}


async def _again(stage: Stage, ids: Sequence[str]) -> float:
    began = time.perf_counter()
    for id in ids:
        await stage.factory.get_storage("main", tenant_id=id)
    return (time.perf_counter() - began) / len(ids) * 1e6


async def _compared(few: Sequence[Collection], many: Sequence[Collection]) -> float:
    """The speed with many active tenants as a multiple of that with few; in short turns."""
    chance = random.Random(7)
    found: list[float] = []
    for turn in range(ROUNDS + 1):
        seconds = {len(few): 0.0, len(many): 0.0}
        for _ in range(SLICES):
            for crowd in (few, many):
                if crowd is few:
                    for collection in few:
                        await collection.get("o-1")  # they are the active ones now
                chosen = [chance.choice(crowd) for _ in range(CALLS // SLICES)]
                began = time.perf_counter()
                for n, collection in enumerate(chosen):
                    if n % 10:
                        await collection.get("o-1")
                    else:
                        await collection.update("o-1", {"qty": n})
                seconds[len(crowd)] += time.perf_counter() - began
        if turn:
            found.append(seconds[len(few)] / seconds[len(many)])
    return median(found)


def _rss() -> float:
    """Bytes that are in use: what is free already goes back to the system first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss)
