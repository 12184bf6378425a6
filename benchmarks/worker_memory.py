"""The worker's peak memory above idle while it backs up and proves databases."""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import psutil

from benchmarks.backup_postgresql import MIB, NAME, fill
from benchmarks.backup_sqlite import _fill
from storage_core.domain.provider import Endpoint

COMMAND = Path(sys.executable).parent / "storage-console"
LIMIT_MIB = 256
SERVER = "bench"


async def run(size_mb: int) -> dict[str, float | str]:
    """Peak resident MiB above idle for each engine, children (pg_dump and the like) included."""
    with tempfile.TemporaryDirectory() as folder:
        home, files = Path(folder) / "home", Path(folder) / "files"
        files.mkdir()
        env = {**os.environ, "STORAGE_HOME": str(home), "STORAGE_ADMIN_PASSWORD": "benchmark-password"}
        try:
            databases = {
                "sqlite": await sqlite_database(env, files, size_mb),
                "postgresql": await postgresql_database(env, size_mb),
            }
            worker = await asyncio.create_subprocess_exec(
                COMMAND, "worker", env=env, stdin=asyncio.subprocess.PIPE
            )
            try:
                idle = await settled(worker.pid)
                result: dict[str, float | str] = {"idle_mib": idle / MIB}
                for engine, database in databases.items():
                    backup, top = await backed_up(env, database, worker.pid)
                    above = (top - idle) / MIB
                    result |= {
                        f"{engine}_megabytes": backup["size_raw"] / 1e6,
                        f"{engine}_status": backup["status"],
                        f"{engine}_peak_above_idle_mib": above,
                        f"{engine}_within_256_mib": str(above <= LIMIT_MIB),
                    }
            finally:
                worker.terminate()
                await worker.wait()
        finally:
            await cli(env, "engines", "stop", SERVER)
    return result


async def sqlite_database(env: dict[str, str], files: Path, size_mb: int) -> str:
    await asyncio.to_thread(_fill, files / "big.sqlite3", size_mb)
    provider = await cli(
        env, "providers", "create", "--name", "files", "--kind", "sqlite", "--connection.path", files
    )
    return await adopted(env, provider["id"], "big.sqlite3")


async def postgresql_database(env: dict[str, str], size_mb: int) -> str:
    server = await cli(env, "engines", "start", "postgresql", "--name", SERVER)
    dsn = urlsplit(server["dsn"])
    connection = await asyncpg.connect(server["dsn"])
    await connection.execute(f"create database {NAME}")
    await connection.close()
    endpoint = Endpoint(host=dsn.hostname, port=dsn.port, user=dsn.username)
    await fill(endpoint, unquote(dsn.password or ""), size_mb)
    return await adopted(env, server["provider_id"], NAME)


async def adopted(env: dict[str, str], provider_id: str, physical_name: str) -> str:
    words = (
        "--provider-id",
        provider_id,
        "--physical-name",
        physical_name,
        "--name",
        physical_name.partition(".")[0],
    )
    database = await cli(env, "databases", "adopt", *words)
    return str(database["id"])


async def backed_up(env: dict[str, str], database_id: str, pid: int) -> tuple[Any, int]:
    """The proven backup, and the most that the worker and its children held meanwhile."""
    watching = asyncio.create_task(peak(pid))
    backup = await cli(env, "backups", "create", "--database-id", database_id, "--wait")
    watching.cancel()
    return backup, HIGHEST[pid]


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
