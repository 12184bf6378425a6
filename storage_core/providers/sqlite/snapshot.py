"""One moment of a SQLite file, held while it is copied and hashed."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path

from ...domain.backup import ManifestObject
from ...domain.errors import EngineFailure, Locked
from ..files.place import private_file
from .connect import Halt, reading, translated, writing
from .content import describe

#: Pages per step of the copy: 4 MiB of usual pages, then a look whether to stop.
STEP = 1024


class Snapshot:
    """Two connections in read transactions of the same moment: one is copied from, the other hashed.

    SQLite's backup reads through its connection's open transaction, so writers do not restart it and the copy is
    that moment. In WAL mode writers go on; in rollback mode they wait until copy and hashes are made.
    Every method blocks; `close` may be called at any time and more than once.
    """

    def __init__(self, path: Path, scratch: Path, halt: Halt) -> None:
        self._path = path
        self._scratch = scratch
        self._halt = halt
        self._stack = contextlib.ExitStack()
        self._copied: sqlite3.Connection | None = None
        self._hashed: sqlite3.Connection | None = None
        self._file: int | None = None

    def open(self) -> None:
        """Hold the database as it is now.

        A write lock, held for the instant in which both connections begin, makes sure that nobody commits between
        them. Where it cannot be had (a read-only file, a writer that does not end) one connection does both jobs.
        """
        self._copied = self._stack.enter_context(reading(self._path, self._halt))
        with _no_commits(self._path) as quiet:
            _begin(self._copied)
            self._hashed = self._copied
            if quiet:
                self._hashed = self._stack.enter_context(reading(self._path, self._halt))
                _begin(self._hashed)

    def describe(self) -> tuple[ManifestObject, ...]:
        """What the database held at that moment."""
        assert self._hashed is not None  # noqa: S101 - `open` comes first
        with translated(self._path):
            return describe(self._hashed)

    def copy(self) -> int:
        """Copy the moment to a private file without a name; answers its bytes.

        Its name is taken away before the first page, so that even ``kill -9`` leaves nothing.
        """
        assert self._copied is not None  # noqa: S101 - `open` comes first
        with translated(self._path):
            self._file = private_file(self._scratch)
            try:
                target = sqlite3.connect(self._scratch, isolation_level=None, cached_statements=0)
                target.execute("PRAGMA locking_mode=EXCLUSIVE")
                target.execute("PRAGMA journal_mode=OFF")
                target.execute("PRAGMA synchronous=OFF")
            finally:
                self._scratch.unlink()
            with contextlib.closing(target):
                self._copied.backup(target, pages=STEP, progress=_watching(self._halt))
            size = os.fstat(self._file).st_size
        if not size:
            raise EngineFailure(
                f"{self._path.name} is an empty file.", hint="Its first write makes it a database."
            )
        return size

    def read(self, count: int, offset: int) -> bytes:
        """Bytes of the copy; empty at its end."""
        assert self._file is not None  # noqa: S101 - `copy` comes first
        with translated(self._path):
            return os.pread(self._file, count, offset)

    def close(self) -> None:
        self._stack.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextlib.contextmanager
def _no_commits(path: Path) -> Generator[bool]:
    """Keep every writer out for a moment; False where that is not possible."""
    with contextlib.ExitStack() as stack:
        quiet = os.access(path, os.W_OK)
        if quiet:
            try:
                lock = stack.enter_context(writing(path))
                lock.execute("BEGIN IMMEDIATE")
            except (sqlite3.OperationalError, Locked):
                quiet = False
        yield quiet


def _begin(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # a transaction begins with its first read


def _watching(halt: Halt) -> Callable[[int, int, int], None]:
    def step(_status: int, _remaining: int, _total: int) -> None:
        if halt.asked():
            raise InterruptedError("stopped")

    return step
