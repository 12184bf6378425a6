"""Private servers: real ones, killed in every way."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from storage_core.backing.servers.files import read_kept
from storage_core.backing.servers.processes import alive, await_end, identify
from storage_core.backing.servers.servers import LocalServers
from storage_core.domain.errors import Conflict, InvalidRequest, NotFound, ToolMissing
from storage_core.domain.provider import Endpoint

pytestmark = pytest.mark.servers
KINDS = ["postgresql", "mongodb"]


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path
    servers = LocalServers(tmp_path, durable=False)
    for server in await servers.list():
        await servers.stop(server.name)
    assert leftovers(tmp_path) == []


@pytest.fixture
def servers(home: Path) -> LocalServers:
    return LocalServers(home, durable=False)


@pytest.fixture
def durable_servers(home: Path) -> LocalServers:
    return LocalServers(home)


def leftovers(home: Path) -> list[list[str]]:
    """Processes whose command line speaks of this home."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(home) in part for part in line):
            found.append(line)
    return found


def mongo(where: Endpoint, password: str) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(
        where.host, where.port, username=where.user, password=password, authSource=where.database,
        replicaSet=where.replica_set, serverSelectionTimeoutMS=10_000,
    )  # fmt: skip


async def remember(kind: str, where: Endpoint, password: str, word: str) -> None:
    if kind == "postgresql":
        connection = await sql(where, password)
        await connection.execute("create table if not exists words (word text)")
        await connection.execute("insert into words values ($1)", word)
        await connection.close()
    else:
        async with mongo(where, password) as client:
            await client["test"]["words"].insert_one({"word": word})


async def recall(kind: str, where: Endpoint, password: str) -> list[str]:
    if kind == "postgresql":
        connection = await sql(where, password)
        rows = await connection.fetch("select word from words order by word")
        await connection.close()
        return [row["word"] for row in rows]
    async with mongo(where, password) as client:
        return sorted([row["word"] async for row in client["test"]["words"].find()])


async def sql(where: Endpoint, password: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=where.host, port=where.port, user=where.user, database=where.database, password=password
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_restart_keeps_port_password_and_data(servers: LocalServers, home: Path, kind: str) -> None:
    started = await servers.start(kind, "one")
    assert started.running and started.host == "127.0.0.1" and started.pid is not None
    assert Path(started.data_dir).is_relative_to(home)
    where, password = await servers.endpoint("one")
    await remember(kind, where, password, "kept")
    assert await servers.start(kind, "one") == started

    stopped = await servers.stop("one")
    assert not stopped.running and stopped.pid is None and leftovers(home) == []
    assert await servers.stop("one") == stopped
    assert await servers.list() == (stopped,)

    assert await servers.endpoint("one") == (where, password)
    assert await recall(kind, where, password) == ["kept"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_ends_with_its_killed_keeper(
    durable_servers: LocalServers, home: Path, kind: str
) -> None:
    await durable_servers.start(kind, "one")
    where, password = await durable_servers.endpoint("one")
    await remember(kind, where, password, "kept")
    kept = read_kept(home / "servers/one")
    assert kept is not None

    os.kill(kept.keeper.pid, signal.SIGKILL)
    assert await asyncio.to_thread(await_end, kept.server, 20)
    assert [s.running for s in await durable_servers.list()] == [False]
    assert await recall(kind, *await durable_servers.endpoint("one")) == ["kept"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_killed_server_comes_back_on_demand(
    durable_servers: LocalServers, home: Path, kind: str
) -> None:
    started = await durable_servers.start(kind, "one")
    where, password = await durable_servers.endpoint("one")
    await remember(kind, where, password, "kept")
    kept = read_kept(home / "servers/one")
    assert kept is not None and kept.server.pid == started.pid

    os.kill(kept.server.pid, signal.SIGKILL)
    again = await durable_servers.endpoint("one")
    assert again == (where, password)
    assert await recall(kind, *again) == ["kept"]
    assert not alive(kept.keeper)


async def test_a_server_ends_when_its_guard_is_killed(servers: LocalServers, home: Path) -> None:
    await servers.start("postgresql", "one")
    kept = read_kept(home / "servers/one")
    assert kept is not None
    guard = psutil.Process(kept.server.pid).parent()
    assert guard is not None and guard.pid != kept.keeper.pid
    guard.kill()
    assert await asyncio.to_thread(await_end, kept.server, 20)
    assert await asyncio.to_thread(await_end, kept.keeper, 20)


@pytest.mark.parametrize("kind", KINDS)
async def test_concurrent_starts_make_one_server(servers: LocalServers, home: Path, kind: str) -> None:
    others = [servers, LocalServers(home, durable=False), servers]
    started = await asyncio.gather(*(each.start(kind, "one") for each in others))
    assert len({server.pid for server in started}) == 1
    keepers = [line for line in leftovers(home) if any(part.endswith("servers.keeper") for part in line)]
    assert len(keepers) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_password_is_required(servers: LocalServers, home: Path, kind: str) -> None:
    await servers.start(kind, "one")
    where, password = await servers.endpoint("one")
    assert len(password) >= 32
    assert (home / "servers/one/password").stat().st_mode & 0o777 == 0o600
    assert (home / "servers/one").stat().st_mode & 0o777 == 0o700
    assert not any(password in part for line in leftovers(home) for part in line)
    for wrong in (password[:-1], "x"):
        if kind == "postgresql":
            with pytest.raises(asyncpg.InvalidPasswordError):
                await sql(where, wrong)
        else:
            with pytest.raises(OperationFailure):
                await recall(kind, where, wrong)
    if kind == "mongodb":
        async with AsyncMongoClient(where.host, where.port, directConnection=True) as stranger:
            for attempt in (
                lambda: stranger["test"]["words"].find_one(),
                lambda: stranger["admin"].command("createUser", "mallory", pwd="x", roles=["root"]),
            ):
                with pytest.raises(OperationFailure):
                    await attempt()


@pytest.mark.parametrize("kind", KINDS)
async def test_it_listens_on_loopback_only(servers: LocalServers, kind: str) -> None:
    started = await servers.start(kind, "one")
    assert started.pid is not None
    listening = [
        c for c in psutil.Process(started.pid).net_connections("all") if c.status == psutil.CONN_LISTEN or isinstance(c.laddr, str)
    ]  # fmt: skip
    assert [(c.laddr.ip, c.laddr.port) for c in listening if not isinstance(c.laddr, str)] == [
        ("127.0.0.1", started.port)
    ]
    assert [c for c in listening if isinstance(c.laddr, str) and c.laddr] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_taken_port_is_replaced(servers: LocalServers, kind: str) -> None:
    started = await servers.start(kind, "one")
    await remember(kind, *await servers.endpoint("one"), "kept")
    await servers.stop("one")
    # it hangs up on whoever calls; a silent one would hold mongod for half a minute in its search for itself
    async with await asyncio.start_server(lambda _, out: out.close(), "127.0.0.1", started.port):
        where, password = await servers.endpoint("one")
        assert where.port != started.port
        assert await recall(kind, where, password) == ["kept"]
    assert (await servers.list())[0].port == where.port


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stale_state_of_a_reused_pid_is_not_believed(
    durable_servers: LocalServers, home: Path, kind: str
) -> None:
    await durable_servers.start(kind, "one")
    where, password = await durable_servers.endpoint("one")
    await remember(kind, where, password, "kept")
    place = home / "servers/one"
    kept = read_kept(place)
    assert kept is not None
    os.kill(kept.keeper.pid, signal.SIGKILL)
    await asyncio.to_thread(await_end, kept.server, 20)
    # as if after a reboot this very test had got the pids
    mine = str(os.getpid())
    text = (place / "keeper.json").read_text()
    (place / "keeper.json").write_text(
        text.replace(str(kept.keeper.pid), mine).replace(str(kept.server.pid), mine)
    )
    if kind == "postgresql":
        (place / "data/postmaster.pid").write_text(
            f"{mine}\n{place / 'data'}\n0\n{where.port}\n\n\n\nready\n"
        )
    assert await recall(kind, *await durable_servers.endpoint("one")) == ["kept"]


async def test_several_side_by_side_and_what_they_are_bound_to(servers: LocalServers) -> None:
    first, second = await asyncio.gather(servers.start("postgresql", "a"), servers.start("postgresql", "b"))
    assert first.port != second.port and first.data_dir != second.data_dir
    await servers.bind("b", "provider-7")
    await servers.stop("a")
    assert [(s.name, s.running, s.provider_id) for s in await servers.list()] == [
        ("a", False, None),
        ("b", True, "provider-7"),
    ]
    assert (await servers.endpoint("a"))[1] != (await servers.endpoint("b"))[1]


async def test_what_is_refused(servers: LocalServers) -> None:
    calls: list[tuple[type[Exception], Callable[[], Awaitable[object]]]] = [
        (NotFound, lambda: servers.endpoint("nobody")),
        (NotFound, lambda: servers.stop("nobody")),
        (NotFound, lambda: servers.bind("nobody", "p")),
        (InvalidRequest, lambda: servers.start("oracle", "one")),
        (InvalidRequest, lambda: servers.start("postgresql", "../one")),
        (InvalidRequest, lambda: servers.endpoint("..")),
    ]
    for error, call in calls:
        with pytest.raises(error):
            await call()
    assert await servers.list() == ()
    await servers.start("postgresql", "one")
    with pytest.raises(Conflict):
        await servers.start("mongodb", "one")


async def test_missing_programs_name_the_extra(
    servers: LocalServers, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for kind in KINDS:
        with pytest.raises(ToolMissing) as refused:
            await servers.start(kind, "one")
        assert "storage-console[engines]" in refused.value.hint
    assert not (home / "servers/one").exists()


async def test_a_missing_system_library_is_named(
    servers: LocalServers, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = home / "mongod"
    loader.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object"
        " file: No such file or directory' >&2\nexit 127\n"
    )
    loader.chmod(0o755)
    monkeypatch.setattr("storage_core.backing.servers.mongodb.program", lambda *_: loader)
    with pytest.raises(ToolMissing) as refused:
        await servers.start("mongodb", "one")
    assert "libcurl.so.4" in refused.value.detail and "libcurl4" in refused.value.hint


AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def nobody_can_run_python() -> bool:
    return (
        subprocess.run([*AS_NOBODY, "/bin/sh", "-c", '"$0" -V', sys.executable], check=False).returncode == 0
    )


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become somebody else"
)
async def test_an_ordinary_user_can_run_them() -> None:
    """In a process of its own, as a user without any right."""
    if not nobody_can_run_python():
        pytest.skip("this Python lies where only root may read")
    script = (
        "import asyncio, sys, pathlib\n"
        "from storage_core.backing.servers.servers import LocalServers\n"
        "async def main():\n"
        "    servers = LocalServers(pathlib.Path(sys.argv[1]), durable=False)\n"
        "    for kind in ('postgresql', 'mongodb'):\n"
        "        print((await servers.start(kind, kind)).running)\n"
        "        print((await servers.stop(kind)).running)\n"
        "asyncio.run(main())\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, 65534, 65534)
        child = await asyncio.create_subprocess_exec(
            *AS_NOBODY, sys.executable, "-c", script, folder,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd="/",
        )  # fmt: skip
        out, err = await child.communicate()
        assert out.split() == [b"True", b"False"] * 2, err.decode()


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert identify(pid) is None
    os.waitpid(pid, 0)
    me = identify(os.getpid())
    assert alive(me)
