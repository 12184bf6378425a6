"""The work, and how it is measured: contenders take turns in short chunks, so that noise falls on all alike."""

import asyncio
import gc
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Protocol

ROUNDS, SLICES = 5, 16
#: BENCH_CLOCK=cpu counts this process's own time alone: what the client costs, on a machine that others use, too.
CLOCK = time.process_time if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter
BASE = 10_000
USERS, STATES = 100, ("new", "paid", "sent", "done", "gone")
ROWS = ("insert", "bulk", "get", "find", "update", "delete")


def document(i: int) -> dict[str, Any]:
    """About 470 bytes as JSON; a user and a state together find 20 of 10 000."""
    return {
        "sku": f"SKU-{i:08d}",
        "qty": i % 17,
        "price": i / 8,
        "user_id": i % USERS,
        "status": STATES[(i // USERS) % len(STATES)],
        "active": i % 2 == 0,
        "tags": ["red", "large", "2026"],
        "address": {"street": "Bundesgasse 3", "city": "Bern", "zip": "3003", "country": "CH"},
        "lines": [{"sku": f"S-{n}", "qty": n, "price": 9.5 + n} for n in range(3)],
        "note": "Leave it with the neighbours, second floor, please ring twice. " * 2,
    }


class Contender(Protocol):
    """One way to do the work. `open` makes an empty collection with an index over user_id and status."""

    name: str

    async def open(self) -> None: ...

    async def insert(self, id: str, data: dict[str, Any]) -> Any: ...

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any: ...

    async def get(self, id: str) -> Any: ...

    async def find(self, user: int, status: str) -> Any:
        """At most 20 documents."""
        ...

    async def update(self, id: str, version: int, qty: int) -> Any:
        """One field, by compare and set on the version."""
        ...

    async def delete(self, id: str) -> Any: ...

    async def close(self) -> None: ...


@dataclass
class Lane:
    """A contender at work: what it has stored, and how much it does in one chunk."""

    contender: Contender
    share: float = 1.0
    ids: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    count: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def fill(self, documents: int) -> None:
        await self.contender.open()
        for start in range(0, documents, 1000):
            items = [self._item() for _ in range(min(1000, documents - start))]
            await self.contender.bulk(items)
            self.ids += [id for id, _ in items]

    def _item(self) -> tuple[str, dict[str, Any]]:
        self.count += 1
        return f"{self.contender.name[:3]}-{self.count:09d}", document(self.count)

    def jobs(self, row: str, count: int) -> list[Callable[[], Awaitable[Any]]]:
        """So many calls of one kind, ready to be made."""
        c, chance = self.contender, self.chance
        if row == "insert":
            items = [self._item() for _ in range(count)]
            self.fresh += [id for id, _ in items]
            return [partial(c.insert, *item) for item in items]
        if row == "bulk":
            batch = [self._item() for _ in range(count)]
            self.fresh += [id for id, _ in batch]
            return [partial(c.bulk, batch)]
        if row == "get":
            return [partial(c.get, chance.choice(self.ids)) for _ in range(count)]
        if row == "find":
            return [partial(c.find, chance.randrange(USERS), chance.choice(STATES)) for _ in range(count)]
        if row == "update":
            chosen = chance.sample(self.ids, count)
            versions = [self.versions.get(id, 1) for id in chosen]
            self.versions.update({id: v + 1 for id, v in zip(chosen, versions, strict=True)})
            return [partial(c.update, id, v, v + 100) for id, v in zip(chosen, versions, strict=True)]
        doomed, self.fresh = self.fresh[:count], self.fresh[count:]
        return [partial(c.delete, id) for id in doomed]


async def paced(jobs: Sequence[Callable[[], Awaitable[Any]]], tasks: int) -> float:
    """Seconds for all calls, made by so many tasks at once."""
    began = CLOCK()
    if tasks == 1:
        for job in jobs:
            await job()
    else:
        waiting = iter(jobs)

        async def work() -> None:
            for job in waiting:
                await job()

        await asyncio.gather(*(work() for _ in range(tasks)))
    return CLOCK() - began


Speeds = dict[str, dict[str, list[float]]]


async def race(lanes: Sequence[Lane], counts: Mapping[str, int], tasks: int = 1) -> Speeds:
    """Calls (documents, for bulk) per second of each lane for each row, round by round."""
    speeds: Speeds = {row: {lane.contender.name: [] for lane in lanes} for row in counts}
    for turn in range(ROUNDS + 1):
        for row, count in counts.items():
            for lane, speed in zip(lanes, await _round(lanes, row, count, tasks), strict=True):
                if turn:  # the first round warms up
                    speeds[row][lane.contender.name].append(speed)
    return speeds


async def _round(lanes: Sequence[Lane], row: str, count: int, tasks: int) -> list[float]:
    """One row once: each lane's calls in short slices by turns, so that whatever else the machine does hits all."""
    gc.collect()
    gc.disable()
    try:
        seconds, done = [0.0] * len(lanes), [0] * len(lanes)
        for turn in range(SLICES):
            order = range(len(lanes)) if turn % 2 else reversed(range(len(lanes)))
            for at in order:
                size = max(tasks, int(count * lanes[at].share / SLICES))
                jobs = lanes[at].jobs(row, size)
                seconds[at] += await paced(jobs, tasks)
                done[at] += size if row == "bulk" else len(jobs)
        return [n / s for n, s in zip(done, seconds, strict=True)]
    finally:
        gc.enable()


def ratios(
    speeds: Mapping[str, Mapping[str, Sequence[float]]],
    sdk: str,
    raw: str,
    others: Sequence[str],
    prefix: str,
) -> dict[str, float | str]:
    """For each row: the raw driver's and the SDK's microseconds, the SDK's speed as a multiple of the others'."""
    out: dict[str, float | str] = {}
    for row, by_name in speeds.items():
        mine = by_name[sdk]
        out[f"{prefix}_{row}_raw_us"] = 1e6 / median(by_name[raw])
        out[f"{prefix}_{row}_sdk_us"] = 1e6 / median(mine)
        for other in (raw, *others):
            pairs = zip(mine, by_name[other], strict=True)
            out[f"{prefix}_{row}_x_{other}"] = median(a / b for a, b in pairs)
    return out
