"""The audit log: verifying a million entries on both catalogs, and what appending costs an operation."""

import asyncio
import hashlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from storage_core.backing.servers.servers import LocalServers
from storage_core.bootstrap import Core, migrate, new_id, open_core
from storage_core.domain.audit import GENESIS, RAW, AuditEntry, Change, Phase, canonical_raw, raw
from storage_core.domain.context import local_context
from storage_core.services.audits import VerifyAudit
from storage_core.settings import Settings

#: So many entries for each MB asked for: a million at the usual 200.
PER_MB = 5000
BATCH = 50_000
APPENDS, AT_ONCE = 400, 8
START = datetime(2026, 1, 1, tzinfo=UTC)
CHAIN = "system"


def entry(n: int, chain: str = CHAIN) -> AuditEntry:
    """An entry such as an update leaves."""
    changes = (Change("tenants.title", f"Tenant {n}", f"Tenant {n} & Söhne"),)
    return AuditEntry(
        chain, n, START + timedelta(seconds=n), Phase.OUTCOME, "tenants.update", f"{n:036x}", "anna", "Admin", "rest",
        f"{n:032x}", "ok", target_kind="tenant", target_id=f"{n:036x}", target_name=f"tenant-{n}",
        address="203.0.113.7", digest=f"{n:064x}", changes=changes,
    )  # fmt: skip


def rows(count: int) -> Iterator[list[tuple[Any, ...]]]:
    """A whole chain as raw rows, batch by batch."""
    previous, batch = GENESIS, list[tuple[Any, ...]]()
    for n in range(1, count + 1):
        row = raw(replace(entry(n), previous=previous))
        previous = hashlib.sha256(canonical_raw(row)).hexdigest()
        batch.append((*row[:-1], previous))
        if len(batch) == BATCH or n == count:
            yield batch
            batch = []


def fill_sqlite(path: Path, count: int) -> None:
    marks, at = ", ".join("?" * len(RAW)), RAW.index("at")
    with closing(sqlite3.connect(path)) as catalog:
        last: tuple[Any, ...] = ()
        for batch in rows(count):
            stored = [(*r[:at], r[at][:-1].replace("T", " "), *r[at + 1 :]) for r in batch]
            catalog.executemany(f"insert into audit ({', '.join(RAW)}) values ({marks})", stored)
            last = batch[-1]
        catalog.execute("insert into audit_heads values (?, ?, ?)", (CHAIN, count, last[-1]))
        catalog.commit()


async def fill_postgresql(url: str, count: int) -> None:
    connection, at = await asyncpg.connect(url), RAW.index("at")
    last: tuple[Any, ...] = ()
    for batch in rows(count):
        stored = [(*r[:at], datetime.fromisoformat(r[at]), *r[at + 1 :]) for r in batch]
        await connection.copy_records_to_table("audit", records=stored, columns=list(RAW))
        last = batch[-1]
    await connection.execute("insert into audit_heads values ($1, $2, $3)", CHAIN, count, last[-1])
    await connection.execute("analyze audit")
    await connection.close()


async def measured(core: Core, count: int, name: str) -> dict[str, float | str]:
    """Verification's time and the longest the loop waited for it; appends a second, alone and together."""
    context = local_context("bench", new_id())
    await core.heads.export()
    worst, running = 0.0, True

    async def tick() -> None:
        nonlocal worst
        while running:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - began - 0.005)

    ticking, began = asyncio.create_task(tick()), time.perf_counter()
    found = await core.audit.verify(context, VerifyAudit())
    took, running = time.perf_counter() - began, False
    await ticking
    assert found.ok, found
    assert found.entries >= count
    alone = [await append(core, n, CHAIN) for n in range(APPENDS)]
    together = await crowd(core, lambda _: CHAIN)
    spread = await crowd(core, lambda n: f"chain-{n % AT_ONCE}")
    return {
        f"{name}: verify {count:,} entries, s": took,
        f"{name}: loop's longest wait, ms": worst * 1000,
        f"{name}: one append, p50 ms": statistics.median(alone) * 1000,
        f"{name}: appends/s, {AT_ONCE} at once, one chain": together,
        f"{name}: appends/s, {AT_ONCE} at once, {AT_ONCE} chains": spread,
    }


async def append(core: Core, n: int, chain: str) -> float:
    began = time.perf_counter()
    async with core.kernel.catalog.write() as uow:
        await uow.audit.append(entry(n, chain))
    return time.perf_counter() - began


async def crowd(core: Core, chain: Any) -> float:
    """Appends a second while several append at once."""

    async def one(first: int) -> None:
        for n in range(first, APPENDS, AT_ONCE):
            await append(core, n, chain(first))

    began = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(AT_ONCE)))
    return APPENDS / (time.perf_counter() - began)


async def sqlite(home: Path, count: int) -> dict[str, float | str]:
    settings = Settings(home=home / "sqlite")
    await migrate(settings)
    await asyncio.to_thread(fill_sqlite, settings.home / "catalog.sqlite3", count)
    async with open_core(settings) as core:
        return await measured(core, count, "sqlite")


async def postgresql(home: Path, count: int) -> dict[str, float | str]:
    servers = LocalServers(home / "servers")
    server = await servers.start("postgresql", "bench")
    try:
        endpoint, password = await servers.endpoint(server.name)
        url = f"postgresql://{endpoint.user}:{password}@{endpoint.host}:{endpoint.port}/postgres"
        settings = Settings(home=home / "postgresql", catalog_url=url)
        await migrate(settings)
        await fill_postgresql(url, count)
        async with open_core(settings) as core:
            return await measured(core, count, "postgresql")
    finally:
        await servers.stop(server.name)


async def run(size_mb: int) -> dict[str, float | str]:
    count = size_mb * PER_MB
    with tempfile.TemporaryDirectory(prefix="sc-bench-") as folder:
        return {**await sqlite(Path(folder), count), **await postgresql(Path(folder), count)}
