"""A real console of a test's own: `storage-console up` on a free port with a fresh home."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from storage_core.backing.servers.servers import LocalServers

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "storage-console"
START = 90  # seconds until it answers, on a busy machine
STOP = 45  # seconds until every process of it is gone
TRUSTED = httpx.create_ssl_context()  # once: each client would read every certificate, for plain http
ADMIN, PASSWORD = "admin", "a long one for the tests"


@dataclass
class Console:
    """The running console: where it listens, how the first start begins, and its other doors."""

    folder: Path
    url: str
    env: dict[str, str]
    process: asyncio.subprocess.Process
    setup_link: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def host(self) -> str:
        """Host and port, as a Host header has them."""
        return self.url.removeprefix("http://")

    async def cli(self, *words: str) -> Any:
        """Run a command on this console's home; answers its JSON."""
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *words,
            "--json",
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{' '.join(words)}: {err.decode()}"
        return json.loads(out)

    @asynccontextmanager
    async def signed_in(self, username: str = ADMIN, password: str = PASSWORD) -> AsyncIterator["Rest"]:
        """An HTTP client with a session's cookie and the same-origin proof a browser gives."""
        same = {"Origin": self.url}
        async with httpx.AsyncClient(base_url=self.url, headers=same, timeout=60, verify=TRUSTED) as http:
            answer = await http.post("/api/auth/login", json={"username": username, "password": password})
            assert answer.status_code == 200, answer.text
            yield Rest(http)


@dataclass(frozen=True)
class Rest:
    """Operations over HTTP; whatever is refused fails the test."""

    http: httpx.AsyncClient

    @property
    def cookie(self) -> str:
        return self.http.cookies["sc_session"]

    async def get(self, path: str, **query: Any) -> Any:
        return self._read(await self.http.get(f"/api/storage/{path}", params=query))

    async def post(self, path: str, **body: Any) -> Any:
        return self._read(await self.http.post(f"/api/storage/{path}", json=body))

    @staticmethod
    def _read(answer: httpx.Response) -> Any:
        assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
        return answer.json()


def build_pages() -> None:
    """Compile the pages, unless nothing they depend on has changed."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "build_frontend.py"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[Console]:
    """`up` until the block ends; afterwards nothing it ever started is left, private engines included."""
    await asyncio.to_thread(build_pages)
    env = {name: value for name, value in os.environ.items() if not name.startswith("STORAGE_")}
    env |= {"STORAGE_HOME": str(folder / "home"), "STORAGE_PORT": str(_free_port()), **settings}
    with (folder / "stderr.log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            COMMAND, "up", env=env, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    console = Console(folder, f"http://127.0.0.1:{env['STORAGE_PORT']}", env, process)
    reader = asyncio.create_task(_read(console))
    try:
        await _await_start(console)
        yield console
    finally:
        try:
            await _end(console)
        finally:
            reader.cancel()


async def _read(console: Console) -> None:
    assert console.process.stdout is not None
    async for line in console.process.stdout:
        console.said.append(line.decode().rstrip())
        if "/setup?token=" in console.said[-1]:
            console.setup_link = console.said[-1].rpartition(" ")[2]


async def _await_start(console: Console) -> None:
    """Until it is alive and has said how to begin; fails with its own words when it ends before."""
    first = "STORAGE_ADMIN_PASSWORD" not in console.env
    try:
        async with httpx.AsyncClient(base_url=console.url) as http, asyncio.timeout(START):
            while not (await _alive(http) and (console.setup_link or not first)):
                assert console.process.returncode is None, "the console ended"
                await asyncio.sleep(0.1)  # another process: there is nothing to be notified by
    except (TimeoutError, AssertionError) as error:
        log = (console.folder / "stderr.log").read_text(errors="replace")[-4000:]
        raise AssertionError(f"The console did not start: {console.said}\n{log}") from error


async def _alive(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health/live")).is_success
    except httpx.TransportError:
        return False


async def _end(console: Console) -> None:
    """Ends it as Ctrl-C would; whatever outlives that is ended by its id and fails the test."""
    family = await asyncio.to_thread(_family, console)
    with suppress(ProcessLookupError):
        console.process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(console.process.wait(), STOP)
    try:
        servers = LocalServers(console.home)  # what `engines stop` calls, without a process for each
        for server in await servers.list():
            await servers.stop(server.name)
    finally:
        left = [p for p in [*family, *await asyncio.to_thread(_at_home, console)] if _lives(p)]
        names = [p.name() for p in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    assert not left, f"still running after the end: {names}"


def _family(console: Console) -> list[psutil.Process]:
    """`up` and all below it."""
    try:
        first = psutil.Process(console.process.pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _at_home(console: Console) -> list[psutil.Process]:
    """Whatever was started on a file of this console's home: keepers and engines."""
    home = str(console.home)
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if any(home in word for word in p.info["cmdline"] or ())]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
