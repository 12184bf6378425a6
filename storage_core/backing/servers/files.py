"""Small files that survive a crash, and locks that end with their holder. Standard library only."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .processes import ProcessId

KEEPER_FILE = "keeper.json"
KEEPER_LOCK = "keeper.lock"


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, mode 0600, durable."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def hold(path: Path, seconds: float) -> Iterator[int]:
    """Hold an exclusive lock on a file and hand out its descriptor; TimeoutError when it stays taken.

    The lock belongs to the open file: whoever inherits the descriptor holds it too, until the last one ends.
    """
    deadline = time.monotonic() + seconds
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path.name} stays locked") from None
                time.sleep(0.01)
        yield fd
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a keeper says of itself: its own process and its server's."""

    keeper: ProcessId
    server: ProcessId


def write_kept(place: Path, kept: Kept) -> None:
    write_private(place / KEEPER_FILE, json.dumps(asdict(kept)))


def read_kept(place: Path) -> Kept | None:
    """The last keeper's word, which may be stale; none when there was no keeper."""
    try:
        told = json.loads((place / KEEPER_FILE).read_text())
        return Kept(ProcessId(**told["keeper"]), ProcessId(**told["server"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
