"""Who may execute jobs: one process of a home, by the home's name."""

import fcntl
import os
from pathlib import Path
from typing import Any

from .sources import new_id

_BORROWED = "borrowed"


class WorkerLock:
    """The home's worker lock: on SQLite exactly one process executes jobs. A killed holder's lock is free."""

    def __init__(self, home: Path) -> None:
        self._path = home / "worker.lock"
        self._file: Any = None

    def acquire(self, *, borrowed: bool = False) -> bool:
        """Take the lock if it is free; answers whether this process holds it.

        Who takes it for one command only says so: a worker waits for such a holder, and refuses beside another worker.
        """
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            self._file = None
            return False
        self._file.truncate(0)
        self._file.write(_BORROWED if borrowed else "")
        self._file.flush()
        return True

    @property
    def is_borrowed(self) -> bool:
        """Whether its holder is one command that will soon be done."""
        return self._path.exists() and self._path.read_text("ascii") == _BORROWED

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def home_id(home: Path) -> str:
    """This home's name: stable, so that its jobs resume, and its own, so that nobody else's do."""
    path = home / "worker.id"
    known = path.read_text("ascii").strip() if path.exists() else ""
    if not known:
        known = new_id()
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(known)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    return known
