"""What the tests of MongoDB share: a plain driver, users, servers of their own, round trips."""

import asyncio
import contextlib
import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from storage_core.backing.servers.binaries import program
from storage_core.domain.backup import Manifest, compare
from storage_core.domain.errors import StorageError
from storage_core.domain.provider import Endpoint, StepStatus
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.engine_contract import dumped, no_progress, replay

Server = tuple[Endpoint, str]
Client = AsyncMongoClient[dict[str, Any]]

#: Seconds a server that does not answer is waited for, where a test makes it not answer.
IMPATIENT = 0.5


def plain_client(server: Server) -> Client:
    endpoint, password = server
    return AsyncMongoClient(
        host=endpoint.host,
        port=endpoint.port,
        username=endpoint.user,
        password=password,
        authSource=endpoint.database or "admin",
        directConnection=True,
    )


@contextlib.asynccontextmanager
async def user(server: Server, client: Client, *roles: str) -> AsyncIterator[MongoEngine]:
    """An engine signed in as a user with these roles; both go afterwards."""
    name = f"u_{secrets.token_hex(5)}"
    await client.admin.command({"createUser": name, "pwd": "pw", "roles": list(roles)})
    engine = MongoEngine(replace(server[0], user=name, database="admin"), "pw")
    try:
        yield engine
    finally:
        await engine.close()
        await client.admin.command({"dropUser": name})


async def round_trip(engine: MongoEngine, source: str, copy: str) -> Manifest:
    """Back up, restore and prove without a difference."""
    pieces, manifest = await dumped(engine.backup, source)
    await engine.backup.restore(replay(pieces), copy, manifest, no_progress)
    assert compare(manifest, await engine.backup.measure(copy, manifest)) == ()
    return manifest


async def names(engine: MongoEngine) -> set[str]:
    return {found.physical_name for found in await engine.databases.existing()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mongod(folder: Path, *options: str) -> Iterator[Endpoint]:
    """A mongod below `folder`, ended with the block."""
    port, data = free_port(), folder / "data"
    data.mkdir()
    command = [
        *(
            str(program("fiftyone", "db/bin/mongod", "MongoDB")),
            "--dbpath",
            str(data),
            "--bind_ip",
            "127.0.0.1",
        ),
        *("--port", str(port), "--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", "0.25"),
        *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=16MB)", *options),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for _ in range(400):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield Endpoint(host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait(20)


async def failing(endpoint: Endpoint) -> tuple[str | None, str, StorageError]:
    """The failed step's name and code, and the error of an ordinary call."""
    engine = MongoEngine(endpoint, "sesame-secret", patience=IMPATIENT)

    async def refused() -> StorageError:
        with pytest.raises(StorageError) as caught:
            await engine.databases.existing()
        return caught.value

    steps, error, health = await asyncio.gather(engine.check(), refused(), engine.health())
    assert not health.online
    assert health.milliseconds < 5500
    assert error.detail in (health.problem or "") and error.hint in (health.problem or "")
    await engine.close()
    failed = next(s for s in steps if s.status is StepStatus.FAILED)
    assert failed.detail and failed.fix and failed.milliseconds is not None
    after = steps[[s.name for s in steps].index(failed.name) + 1 :]
    assert all(s.status is StepStatus.SKIPPED for s in after)
    said = "".join([f"{s}" for s in steps] + [error.detail, error.hint])
    assert "sesame" not in said and "mongodb://" not in said
    return failed.code, failed.name, error
