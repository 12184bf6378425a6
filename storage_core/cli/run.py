"""Running an operation from the command line: on the local home, or on a server."""

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from ..domain.context import Context, local_context
from ..domain.errors import Conflict, StorageError, StoreFailure, Unauthenticated, revive
from ..domain.job import ENDED, Job, JobStatus
from ..services.declared import OPERATIONS
from ..services.jobs import GetJob
from ..services.operation import Operation
from ..services.request import Request
from ..wire import adapter, to_json
from .progress import bar

if TYPE_CHECKING:
    from ..bootstrap import Core
    from ..client import Client

POLL_SECONDS = 0.2

GET_JOB = next(op for op in OPERATIONS if op.name == "jobs.get")


class Detached(Conflict):
    """Ctrl-C while following a job: the job goes on, or waits for a worker."""

    code, title = "detached", "Stopped following"


class Target(Protocol):
    """Where the command runs."""

    async def call(self, op: Operation, request: Request) -> Any:
        """Run an operation; answers JSON values."""
        ...

    def stream(self, op: Operation, request: Request) -> Any:
        """A context that gives a file's pieces."""
        ...

    def working(self) -> Any:
        """A context in which somebody executes jobs."""
        ...


class LocalHome:
    """The home of this machine's user, without a server."""

    def __init__(self, core: "Core") -> None:
        self.core = core

    def context(self) -> Context:
        return local_context(getpass.getuser(), self.core.correlation())

    async def call(self, op: Operation, request: Request) -> Any:
        return to_json(op, await self.core.operations[op.name][1](self.context(), request))

    @asynccontextmanager
    async def stream(self, op: Operation, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        yield (await self.core.operations[op.name][1](self.context(), request)).pieces

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Execute jobs here if no worker lives; otherwise that worker does."""
        from ..bootstrap import WorkerLock, open_worker

        lock = WorkerLock(self.core.settings.home)
        if not lock.acquire(borrowed=True):
            yield
            return
        try:
            async with open_worker(self.core):
                yield
        finally:
            lock.release()


class Server:
    """A console elsewhere, by STORAGE_URL and STORAGE_TOKEN."""

    def __init__(self, client: "Client") -> None:
        self.client = client

    async def call(self, op: Operation, request: Request) -> Any:
        return await self.client.call_json(op, request)

    def stream(self, op: Operation, request: Request) -> Any:
        return self.client.stream(op, request)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        yield


@asynccontextmanager
async def opened() -> AsyncIterator[Target]:
    """The server if STORAGE_URL is set, else the local home."""
    url = os.environ.get("STORAGE_URL")
    if not url:
        async with local() as home:
            yield home
        return
    from ..client import Client

    token = os.environ.get("STORAGE_TOKEN")
    if not token:
        raise Unauthenticated(
            "STORAGE_URL is set, but STORAGE_TOKEN is not.", hint="Make a token: tokens create."
        )
    async with Client(url, token) as client:
        yield Server(client)


@asynccontextmanager
async def local() -> AsyncIterator[LocalHome]:
    """The local home, brought to this version first."""
    from ..bootstrap import migrate, open_core
    from ..settings import Settings
    from ..telemetry import configure

    settings = Settings.load()
    configure("WARNING" if settings.log_level == "INFO" else settings.log_level, None, settings.diagnostics)
    await migrate(settings)
    async with open_core(settings) as core:
        yield LocalHome(core)


async def run(op: Operation, request: Request, *, wait: bool, quiet: bool) -> Any:
    """Run an operation and, if asked, wait for the job it started; answers JSON values."""
    async with opened() as target:
        if not wait:
            return await target.call(op, request)
        async with target.working():
            ticket = await target.call(op, request)
            try:
                job = await _follow(target, ticket["job_id"], quiet=quiet)
            except asyncio.CancelledError:
                raise _detached(ticket["job_id"]) from None
    if job.status is JobStatus.SUCCEEDED:
        return job.result
    error = job.error
    raise (
        revive(error.code, error.detail, error.hint)
        if error
        else StorageError(f"The job ended {job.status}.")
    )


async def save(op: Operation, request: Request, output: str) -> dict[str, Any]:
    """Write the file an operation answers to a path, or to standard output for `-`; answers where and how much."""
    async with opened() as target, target.stream(op, request) as pieces:
        if output == "-":
            return {"output": output, "bytes": await _copied(pieces, sys.stdout.buffer)}
        try:
            size = await _saved(pieces, Path(output))
        except OSError as error:
            raise StoreFailure(
                f"{output} cannot be written: {error.strerror}.", hint="Choose another path."
            ) from error
    return {"output": output, "bytes": size}


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


async def _saved(pieces: AsyncIterator[bytes], path: Path) -> int:
    """Write a file that is complete before it has its name; into a pipe or device that is there, directly."""
    if _is_device(path):
        with path.open("wb") as file:
            return await _copied(pieces, file)
    part = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            size = await _copied(pieces, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size


async def _copied(pieces: AsyncIterator[bytes], file: BinaryIO) -> int:
    size = 0
    async for piece in pieces:
        file.write(piece)
        size += len(piece)
    return size


def _detached(job_id: str) -> Detached:
    return Detached(
        f"The job {job_id} is not cancelled.",
        hint=f"It goes on with the next worker. Look: jobs get --id {job_id}; stop it: jobs cancel --id {job_id}.",
    )


async def _follow(target: Target, job_id: str, *, quiet: bool) -> Job:
    with bar(quiet=quiet or not sys.stderr.isatty()) as show:
        while True:
            job: Job = adapter(Job).validate_python(await target.call(GET_JOB, GetJob(id=job_id)))
            show(job.progress)
            if job.status in ENDED:
                return job
            await asyncio.sleep(POLL_SECONDS)
