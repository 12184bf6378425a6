"""A real PgBouncer before a test's server: the machine's own, or Debian's package unpacked for the run."""

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from storage_core.domain.provider import Endpoint

PACKAGES = ("pgbouncer", "libevent-2.1-7", "libc-ares2")


@contextlib.asynccontextmanager
async def pgbouncer(server: tuple[Endpoint, str]) -> AsyncIterator[int | None]:
    """The port of a PgBouncer in transaction mode with two connections to each database; none where there is none."""
    home = _home()
    try:
        program = shutil.which("pgbouncer") or await asyncio.to_thread(_unpacked, home)
        if program is None:
            yield None
            return
        port = free_port()
        _configure(home, server, port)
        process = await asyncio.create_subprocess_exec(
            program, str(home / "pgbouncer.ini"), env={**os.environ, "LD_LIBRARY_PATH": _libraries(home)},
            stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, **_nobody(),
        )  # fmt: skip
        try:
            assert process.stderr is not None
            async with asyncio.timeout(20):
                while b"process up" not in await process.stderr.readline():
                    assert process.returncode is None, "PgBouncer ended"
            reading = asyncio.create_task(process.stderr.read())
            yield port
        finally:
            process.terminate()
            await process.wait()
        await reading
    finally:
        shutil.rmtree(home)


def _home() -> Path:
    """A folder that others may read: whoever PgBouncer runs as."""
    home = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    home.chmod(0o755)
    return home


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _configure(home: Path, server: tuple[Endpoint, str], port: int) -> None:
    endpoint, password = server
    (home / "users").write_text(f'"{endpoint.user}" "{password}"\n')
    (home / "users").chmod(0o644)
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={endpoint.host} port={endpoint.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {home}/users\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nserver_check_delay = 0\n"
    )


def _unpacked(home: Path) -> str | None:
    """Debian's packages, without installing them."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return None
    got = subprocess.run(["apt-get", "download", *PACKAGES], cwd=home, capture_output=True, check=False)
    if got.returncode:
        return None
    for package in home.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, home / "root"], check=True)
    return str(home / "root/usr/sbin/pgbouncer")


def _libraries(home: Path) -> str:
    return ":".join(str(path) for path in (home / "root/usr/lib").glob("*-linux-gnu"))


def _nobody() -> dict[str, int | list[int]]:
    """PgBouncer refuses to run as root."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
