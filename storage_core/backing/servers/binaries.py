"""Where the engines' programs lie, and what every private engine answers."""

import importlib.util
import json
from pathlib import Path
from typing import Protocol

from ...domain.errors import ToolMissing
from .files import Kept, write_private

HOST = "127.0.0.1"
EXTRA_HINT = "Install the optional extra: pip install 'storage-console[engines]' (Linux x86-64)."


class PrivateEngine(Protocol):
    """How one kind of server is made and started. `place` is the server's folder; all calls block."""

    kind: str
    user: str
    database: str
    replica_set: str | None
    stop_signal: str

    def prepare(self, place: Path) -> None:
        """Make the data directory, once; a half-made one of an earlier crash is replaced."""
        ...

    def command(self, place: Path, port: int) -> list[str]:
        """The server's command line; ToolMissing when its program is not installed."""
        ...

    def clear(self, place: Path) -> None:
        """Remove what a crashed server left; called only while nobody holds the data."""
        ...

    def ready(self, place: Path, port: int, kept: Kept) -> bool:
        """Whether the running server takes sign-ins; settles what only a running server can be told."""
        ...


def program(package: str, path: str, name: str) -> Path:
    """A program inside an installed wheel; ToolMissing otherwise."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (found := Path(root) / path).is_file():
            return found
    raise ToolMissing(f"The private {name} server's programs are not installed.", hint=EXTRA_HINT)


def login_of(place: Path, user: str) -> tuple[str, str]:
    """Who signs in to a server, and the password: what was adopted last, else `user` as the server was made with."""
    try:
        adopted = json.loads((place / "login.json").read_text())
        return adopted["user"], adopted["password"]
    except FileNotFoundError:
        return user, (place / "password").read_text().strip()


def adopt_login(place: Path, user: str, password: str) -> None:
    """Sign in like this from now on."""
    write_private(place / "login.json", json.dumps({"user": user, "password": password}))
