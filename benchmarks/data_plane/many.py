"""A thousand tenants in one process: opening again, memory, and what many active ones cost each other."""

import gc
import random
import time
from collections.abc import Sequence
from statistics import median

import psutil

from storage_core.storage import Collection

from .measure import ROUNDS, document
from .stage import Stage

TENANTS, CALLS = 1000, 3000


async def many(stage: Stage, kind: str) -> dict[str, float | str]:
    """SQLite's files, one for each tenant: the harshest case, as nothing of a pool is shared."""
    provider = await stage.files(kind) if kind not in {p.name for p in stage.folder.iterdir()} else None
    assert provider is not None
    ids: list[str] = []
    for n in range(TENANTS):
        tenant = await stage.tenant(f"many-{n:04d}")
        await stage.database(tenant, provider)
        ids.append(tenant.id)
    before = _rss()
    storages = [await stage.factory.get_storage("main", tenant_id=id) for id in ids]
    opened = (_rss() - before) / TENANTS / 1e3
    again = [await _again(stage, ids) for _ in range(ROUNDS)]
    collections = [storage.collection("orders") for storage in storages]
    for collection in collections:
        await collection.insert(document(1), "o-1")
    used = (_rss() - before) / TENANTS / 1e3
    return {
        "tenants_open_again_us": median(again),
        "tenants_rss_opened_kb": opened,
        "tenants_rss_used_kb": used,
        **await _compared(collections),
    }


async def _again(stage: Stage, ids: Sequence[str]) -> float:
    began = time.perf_counter()
    for id in ids:
        await stage.factory.get_storage("main", tenant_id=id)
    return (time.perf_counter() - began) / len(ids) * 1e6


async def _compared(collections: Sequence[Collection]) -> dict[str, float | str]:
    chance = random.Random(7)
    crowds = {"10": collections[:10], "64": collections[:64], "1000": collections}
    speeds: dict[str, list[float]] = {name: [] for name in crowds}
    for turn in range(ROUNDS + 1):
        for name, crowd in crowds.items():
            chosen = [chance.choice(crowd) for _ in range(CALLS)]
            for collection in crowd if len(crowd) < 100 else ():
                await collection.get("o-1")  # they are the active ones now
            began = time.perf_counter()
            for n, collection in enumerate(chosen):
                if n % 10:
                    await collection.get("o-1")
                else:
                    await collection.update("o-1", {"qty": n})
            if turn:
                speeds[name].append(CALLS / (time.perf_counter() - began))
    return {
        "tenants_10_active_us": 1e6 / median(speeds["10"]),
        "tenants_64_active_x_10": median(a / b for a, b in zip(speeds["64"], speeds["10"], strict=True)),
        "tenants_uniform_1000_x_10": median(a / b for a, b in zip(speeds["1000"], speeds["10"], strict=True)),
    }


def _rss() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss)
