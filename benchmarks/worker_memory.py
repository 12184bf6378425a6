"""The worker's peak memory above idle while it backs up and proves a database."""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.backup_sqlite import _fill

COMMAND = Path(sys.executable).parent / "storage-console"
LIMIT_MIB = 256


async def run(size_mb: int) -> dict[str, float | str]:
    """Peak resident MiB above idle, children (pg_dump and the like) included."""
    with tempfile.TemporaryDirectory() as folder:
        home, files = Path(folder) / "home", Path(folder) / "files"
        files.mkdir()
        await asyncio.to_thread(_fill, files / "big.sqlite3", size_mb)
        env = {**os.environ, "STORAGE_HOME": str(home), "STORAGE_ADMIN_PASSWORD": "benchmark-password"}
        provider = await cli(
            env, "providers", "create", "--name", "files", "--kind", "sqlite", "--connection.path", files
        )
        database = await cli(
            env,
            "databases",
            "adopt",
            "--provider-id",
            provider["id"],
            "--physical-name",
            "big.sqlite3",
            "--name",
            "big",
        )
        worker = await asyncio.create_subprocess_exec(
            COMMAND, "worker", env=env, stdin=asyncio.subprocess.PIPE
        )
        try:
            idle = await settled(worker.pid)
            watching = asyncio.create_task(peak(worker.pid))
            backup = await cli(env, "backups", "create", "--database-id", database["id"], "--wait")
            watching.cancel()
            top = HIGHEST[worker.pid]
        finally:
            worker.terminate()
            await worker.wait()
    above = (top - idle) / 2**20
    return {
        "megabytes": backup["size_raw"] / 1e6,
        "idle_mib": idle / 2**20,
        "peak_above_idle_mib": above,
        "within_256_mib": str(above <= LIMIT_MIB),
        "status": backup["status"],
    }


HIGHEST: dict[int, int] = {}


async def cli(env: dict[str, str], *words: str | Path) -> Any:
    process = await asyncio.create_subprocess_exec(
        COMMAND, *words, "--json", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(err.decode())
    return json.loads(out)


def resident(pid: int) -> int:
    process = psutil.Process(pid)
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


async def settled(pid: int) -> int:
    """Resident memory once the worker has stopped growing."""
    last = 0
    while (now := resident(pid)) > last * 1.01:
        last = now
        await asyncio.sleep(1.5)
    return now


async def peak(pid: int) -> None:
    HIGHEST[pid] = 0
    while True:
        HIGHEST[pid] = max(HIGHEST[pid], resident(pid))
        await asyncio.sleep(0.02)
