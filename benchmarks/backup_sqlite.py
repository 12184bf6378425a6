"""SQLite backups: ours (snapshot, hashes, archive sealed with a key) against the raw pipe people use.

The raw pipe is ``sqlite3.Connection.backup`` into a file, read and piped into ``zstd -1``: no hashes, no encryption.
Both run in one process, one after the other in turns, so that a busy machine slows both.
"""

import asyncio
import os
import random
import sqlite3
import statistics
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from storage_core.backing.archive import SealedArchive
from storage_core.domain.backup import Manifest, compare
from storage_core.domain.provider import Endpoint
from storage_core.providers.sqlite.engine import SqliteEngine

ROUNDS = 5
NAME = "bench.sqlite3"
PIECE = 1 << 20
_NOTHING = Manifest("sqlite", "0", "none", ())  # SQLite restores without looking at it


async def run(size_mb: int) -> dict[str, float | int | bool]:
    """Compare both on a database of about `size_mb` MB; rates in MB/s, `ratio` is ours to raw (median of rounds)."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / NAME
        await asyncio.to_thread(_fill, source, size_mb)
        engine = SqliteEngine(Endpoint(path=folder), None)
        raw: list[float] = []
        ours: list[float] = []
        stored = proven = 0
        for _ in range(ROUNDS + 1):  # the first warms the page cache
            raw.append(await asyncio.to_thread(_raw, source, Path(folder)))
            seconds, stored, proven = await _ours(engine, Path(folder) / "sealed.bin")
            ours.append(seconds)
        megabytes = source.stat().st_size / 1e6
        return {
            "megabytes": round(megabytes, 1),
            "raw_mb_per_s": round(megabytes / statistics.median(raw[1:]), 1),
            "ours_mb_per_s": round(megabytes / statistics.median(ours[1:]), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(raw[1:], ours[1:], strict=True)), 3),
            "ratio_best": round(min(raw[1:]) / min(ours[1:]), 3),
            "stored_mb": round(stored / 1e6, 1),
            "rows": proven,
            "equal": await _proves(engine),
        }


def _fill(path: Path, size_mb: int) -> None:
    """Orders: a key, words, numbers, a few random bytes; compresses about as business data does."""
    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefghijklmnopqrst", k=chance.randrange(3, 10))) for _ in range(400)]
    lines = [" ".join(chance.choices(words, k=50)) for _ in range(3000)]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, qty INTEGER, body TEXT, raw BLOB)"
        )
        db.execute("CREATE INDEX by_customer ON orders (customer)")
        number = 0
        while path.stat().st_size < size_mb * 1_000_000:
            db.execute("BEGIN")
            for _ in range(10_000):
                number += 1
                row = (number, f"customer {chance.randrange(9999)}", chance.random(), number % 13)
                text = chance.choice(lines) + str(number)
                db.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", (*row, text, chance.randbytes(16)))
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _raw(source: Path, folder: Path) -> float:
    copy = folder / "raw.tmp"
    started = time.perf_counter()
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(copy)) as target:
        db.backup(target, pages=-1)
    with (folder / "raw.zst").open("wb") as out, copy.open("rb") as data:
        pipe = subprocess.Popen(["zstd", "-1", "-c", "-q"], stdin=subprocess.PIPE, stdout=out)
        assert pipe.stdin is not None
        while block := data.read(PIECE):
            pipe.stdin.write(block)
        pipe.stdin.close()
        assert pipe.wait() == 0
    seconds = time.perf_counter() - started
    copy.unlink()
    return seconds


async def _ours(engine: SqliteEngine, out: Path) -> tuple[float, int, int]:
    assert engine.backup is not None
    started = time.perf_counter()
    stored = 0
    with out.open("wb") as file:
        async with engine.backup.dump(NAME, lambda done, total: None) as dump:
            async for sealed in SealedArchive().seal(dump.pieces(), os.urandom(32), b"benchmark"):
                await asyncio.to_thread(file.write, sealed)
                stored += len(sealed)
            manifest = dump.manifest
    return time.perf_counter() - started, stored, manifest.rows


async def _proves(engine: SqliteEngine) -> bool:
    assert engine.backup is not None
    async with engine.backup.dump(NAME, lambda done, total: None) as dump:
        await engine.backup.restore(dump.pieces(), "again.sqlite3", _NOTHING, lambda done, total: None)
        manifest = dump.manifest
    return compare(manifest, await engine.backup.measure("again.sqlite3", manifest)) == ()
