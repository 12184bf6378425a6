"""Collections in SQLite: ours against aiosqlite doing the same, on files alike, with the same pragmas.

The opponent is the fastest that aiosqlite can: one hop to its thread for each call, one statement with autocommit for
each write, orjson, the same table and index. Both are durable (WAL, synchronous=FULL). They take turns in one
process, so that a busy machine slows both; ratios are medians of the rounds'. The engine is measured bare.
"""

import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosqlite
import orjson

from storage_core.domain.provider import Endpoint
from storage_core.domain.query import Compare, Op
from storage_core.domain.record import Find, Index, Write
from storage_core.ports.collection import Collection
from storage_core.providers.sqlite.engine import SqliteEngine

ROUNDS = 5
DOCUMENTS, BULK, READS, WRITES, FINDS, TASKS = 10_000, 1000, 3000, 300, 400, 16
#: The same expression that an application would index by hand.
USER = "json_extract(body, '$.user_id')"
TABLE = (
    "CREATE TABLE docs (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, created_at TEXT NOT NULL, "
    "updated_at TEXT NOT NULL, tagged INTEGER NOT NULL, body TEXT NOT NULL)"
)
Call = Callable[[int], Awaitable[Any]]


def body(number: int) -> dict[str, Any]:
    """About 470 bytes, as an order has them."""
    return {
        "sku": f"A{number:06}",
        "qty": number % 17,
        "price": number % 1000 / 8,
        "user_id": number % 500,
        "status": ("new", "paid", "sent")[number % 3],
        "note": "lorem ipsum dolor sit amet " * 10,
        "tags": ["a", "b", str(number % 9)],
        "address": {"city": "Bern", "zip": str(3000 + number % 99)},
    }


class Raw:
    """aiosqlite, used well."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db

    @classmethod
    async def open(cls, path: Path) -> "Raw":
        db = await aiosqlite.connect(path, isolation_level=None)
        await db.execute("PRAGMA journal_mode=WAL")
        await db.execute("PRAGMA synchronous=FULL")
        await db.execute(TABLE)
        await db.execute(f"CREATE INDEX by_user ON docs ({USER}, id)")
        return cls(db)

    async def close(self) -> None:
        await self._db.close()

    async def insert(self, number: int) -> None:
        await self._db.execute_fetchall(
            "INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?)", self._row(f"i{number:07}", number)
        )

    async def bulk(self, number: int) -> None:
        rows = [self._row(f"b{number:04}{i:05}", i) for i in range(BULK)]
        await self._db.execute_fetchall("BEGIN IMMEDIATE")
        await self._db.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?)", rows)
        await self._db.execute_fetchall("COMMIT")

    async def get(self, number: int) -> Any:
        rows = list(
            await self._db.execute_fetchall(
                "SELECT version, created_at, updated_at, body FROM docs WHERE id = ?", (f"d{number:06}",)
            )
        )
        return orjson.loads(rows[0][3])

    async def find(self, number: int) -> Any:
        rows = await self._db.execute_fetchall(
            f"SELECT id, version, created_at, updated_at, body FROM docs WHERE {USER} = ? ORDER BY id LIMIT 20",
            (number % 500,),
        )
        return [(id, version, made, changed, orjson.loads(text)) for id, version, made, changed, text in rows]

    async def update(self, number: int) -> Any:
        rows = list(
            await self._db.execute_fetchall(
                "UPDATE docs SET body = json_set(body, '$.qty', ?), version = version + 1, updated_at = ? "
                "WHERE id = ? RETURNING version, created_at, body",
                (number, _now().isoformat(), f"d{number % DOCUMENTS:06}"),
            )
        )
        return orjson.loads(rows[0][2])

    async def replace(self, number: int) -> Any:
        return await self._db.execute_fetchall(
            "UPDATE docs SET body = ?, version = version + 1, updated_at = ? "
            "WHERE id = ? RETURNING version, created_at",
            (_text(body(number)), _now().isoformat(), f"d{number % DOCUMENTS:06}"),
        )

    async def delete(self, number: int) -> None:
        await self._db.execute_fetchall("DELETE FROM docs WHERE id = ?", (f"i{number:07}",))

    @staticmethod
    def _row(id: str, number: int) -> tuple[Any, ...]:
        moment = _now().isoformat()
        return (id, 1, moment, moment, 0, _text(body(number)))


class Ours:
    """The engine's collection."""

    def __init__(self, docs: Collection) -> None:
        self._docs = docs

    async def insert(self, number: int) -> None:
        await self._docs.insert(f"i{number:07}", body(number), _now())

    async def bulk(self, number: int) -> None:
        await self._docs.insert_many([Write(f"b{number:04}{i:05}", body(i)) for i in range(BULK)], _now())

    async def get(self, number: int) -> Any:
        return await self._docs.get(f"d{number:06}")

    async def find(self, number: int) -> Any:
        return await self._docs.find(Find(Compare(("user_id",), Op.EQ, number % 500), limit=20))

    async def update(self, number: int) -> Any:
        return await self._docs.patch(f"d{number % DOCUMENTS:06}", {("qty",): number}, _now())

    async def replace(self, number: int) -> Any:
        return await self._docs.replace(f"d{number % DOCUMENTS:06}", body(number), _now())

    async def delete(self, number: int) -> None:
        await self._docs.delete(f"i{number:07}")


def _now() -> datetime:
    return datetime.now(UTC)


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


async def run(size_mb: int) -> dict[str, float | str]:
    """Operations per second of ours, and its ratio to the raw driver; `size_mb` is not looked at."""
    with tempfile.TemporaryDirectory() as folder:
        engine = SqliteEngine(Endpoint(path=folder), None)
        raw = await Raw.open(Path(folder) / "raw.sqlite3")
        try:
            await engine.databases.create("ours.sqlite3", {})
            assert engine.collections is not None
            docs = engine.collections.collection("ours.sqlite3", "docs")
            await docs.create_index(Index("by_user", (("user_id",),)))
            return await _measured(Ours(docs), raw)
        finally:
            await raw.close()
            await engine.close()


async def _measured(ours: Ours, raw: Raw) -> dict[str, float | str]:
    for side in (ours, raw):
        await _fill(side)
    numbers = itertools.count()
    report: dict[str, float | str] = {}
    for name, count in (
        ("insert", WRITES),
        ("bulk", 5),
        ("get", READS),
        ("find", FINDS),
        ("update", WRITES),
        ("replace", WRITES),
        ("delete", WRITES),
    ):
        rates: dict[str, list[float]] = {"ours": [], "raw": []}
        for turn in range(ROUNDS + 1):  # the first warms everything up
            first = next(numbers) * 10_000
            wanted = _wanted(name, count, first)
            sides = [("ours", ours), ("raw", raw)]
            for label, side in sides if turn % 2 else reversed(sides):
                if name == "delete":
                    await asyncio.gather(*(side.insert(number) for number in wanted))
                rates[label].append(await _rate(getattr(side, name), wanted))
        _report(report, name, rates, BULK if name == "bulk" else 1)
    for label, call in (("insert", "insert"), ("get", "get"), ("find", "find"), ("update", "update")):
        rates = {"ours": [], "raw": []}
        for turn in range(ROUNDS + 1):
            wanted = _wanted(call, WRITES * 4, next(numbers) * 10_000)
            sides = [("ours", ours), ("raw", raw)]
            for side_label, side in sides if turn % 2 else reversed(sides):
                rates[side_label].append(await _together(getattr(side, call), wanted))
        _report(report, f"{TASKS} tasks {label}", rates, 1)
    return report


async def _fill(side: Any) -> None:
    for start in range(0, DOCUMENTS, BULK):
        if isinstance(side, Ours):
            await side._docs.insert_many(
                [Write(f"d{i:06}", body(i)) for i in range(start, start + BULK)], _now()
            )
        else:
            rows = [side._row(f"d{i:06}", i) for i in range(start, start + BULK)]
            await side._db.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?)", rows)


def _wanted(name: str, count: int, first: int) -> list[int]:
    if name == "get":
        return random.Random(first).choices(range(DOCUMENTS), k=count)
    return (
        list(range(first, first + count))
        if name != "bulk"
        else list(range(first // 1000, first // 1000 + count))
    )


async def _rate(call: Call, numbers: list[int]) -> float:
    started = time.perf_counter()
    for number in numbers:
        await call(number)
    return len(numbers) / (time.perf_counter() - started)


async def _together(call: Call, numbers: list[int]) -> float:
    async def task(mine: list[int]) -> None:
        for number in mine:
            await call(number)

    started = time.perf_counter()
    await asyncio.gather(*(task(numbers[i::TASKS]) for i in range(TASKS)))
    return len(numbers) / (time.perf_counter() - started)


def _report(report: dict[str, float | str], name: str, rates: dict[str, list[float]], each: int) -> None:
    ours, raw = rates["ours"][1:], rates["raw"][1:]
    report[f"{name}, ops/s"] = round(statistics.median(ours) * each)
    report[f"{name}, ratio"] = round(statistics.median(a / b for a, b in zip(ours, raw, strict=True)), 2)
