"""Databases of a directory: SQLite files made, found, tuned and described."""

import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from ...domain.database import DatabaseSchema, DatabaseStats, ExistingDatabase, OptimizeReport
from ...domain.errors import StorageError
from .connect import Halt, in_thread, reading, translated, writing
from .place import Place, publish, remove, size_of
from .schema import counted, inspect
from .settings import DEFAULTS, checked, configure

#: Above this size rows are estimated from the highest key instead of counted.
COUNT_LIMIT = 64 << 20


class SqliteDatabases:
    """The databases below one directory; a name is a path relative to it."""

    def __init__(self, place: Place, release: Callable[[str], Awaitable[None]]) -> None:
        """:param release: closes a file that this process keeps open for its collections."""
        self._place, self._release = place, release

    async def create(self, name: str, settings: Mapping[str, str]) -> str:
        """Make an empty database, in WAL mode unless the settings say otherwise; answers its absolute path."""
        wanted = {**DEFAULTS, **checked(settings)}
        return await in_thread(lambda: _create(self._place, name, wanted))

    async def drop(self, name: str) -> None:
        """Remove the file and its companions; programs that have it open keep a file without a name."""
        await self._release(name)
        await in_thread(lambda: _drop(self._place, name))

    async def existing(self) -> tuple[ExistingDatabase, ...]:
        return await in_thread(lambda: _existing(self._place))

    async def stats(self, name: str) -> DatabaseStats:
        halt = Halt()
        return await in_thread(lambda: _stats(self._place.file(name), halt), halt)

    async def schema(self, name: str) -> DatabaseSchema:
        halt = Halt()
        return await in_thread(lambda: _schema(self._place.file(name), halt), halt)

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        wanted, halt = checked(settings), Halt()
        await self._release(name)
        await in_thread(lambda: configure(self._place.file(name), wanted, halt), halt)

    async def optimize(self, name: str) -> OptimizeReport:
        """Rebuild the file without free space, renew the planner's statistics, empty the log."""
        halt = Halt()
        return await in_thread(lambda: _optimize(self._place.file(name), halt), halt)


def _create(place: Place, name: str, settings: Mapping[str, str]) -> str:
    target = place.vacancy(name)
    made = place.scratch(target)
    try:
        with translated(target):
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            configure(made, settings, Halt())
            publish(made, target)
    finally:
        remove(made)
    return str(target)


def _drop(place: Place, name: str) -> None:
    if path := place.doomed(name):
        with translated(path):
            remove(path)


def _existing(place: Place) -> tuple[ExistingDatabase, ...]:
    return tuple(
        ExistingDatabase(name, size) for name, path, size in place.candidates() if _is_database(path)
    )


def _is_database(path: Path) -> bool:
    """Whether SQLite knows the header.

    Asked through SQLite, not by reading: closing a descriptor of our own would drop the locks this process holds
    on the file (POSIX), in the middle of somebody's dump.
    """
    try:
        with reading(path, untouched=True) as db:
            return db.execute("PRAGMA schema_version").fetchone() is not None
    except StorageError:
        return False


def _stats(path: Path, halt: Halt) -> DatabaseStats:
    with reading(path, halt) as db:
        db.execute("BEGIN")
        size = size_of(path)
        entries = db.execute("SELECT type, name, rootpage FROM sqlite_schema").fetchall()
        tables = [name for kind, name, root in entries if kind == "table" and root]
        rows = sum(counted(db, name, exact=size <= COUNT_LIMIT) or 0 for name in tables)
        pragmas = ("page_size", "page_count", "freelist_count", "journal_mode", "auto_vacuum", "encoding")
        details = [(pragma, db.execute(f"PRAGMA {pragma}").fetchone()[0]) for pragma in pragmas]
        details += [
            ("file_bytes", path.stat().st_size),
            ("tables", len(tables)),
            ("indexes", sum(1 for kind, _, _ in entries if kind == "index")),
        ]
        return DatabaseStats(size, len(entries), rows, None, tuple(details))


def _schema(path: Path, halt: Halt) -> DatabaseSchema:
    with reading(path, halt) as db:
        db.execute("BEGIN")
        return inspect(db, small=size_of(path) <= COUNT_LIMIT)


def _optimize(path: Path, halt: Halt) -> OptimizeReport:
    before = size_of(path)
    steps: list[str] = []
    with writing(path, halt) as db:
        pages = _pages(db)
        db.execute("VACUUM")
        steps.append(f"VACUUM: {pages} pages before, {_pages(db)} after")
        db.execute("ANALYZE")
        db.execute("PRAGMA optimize")
        steps.append("ANALYZE and PRAGMA optimize: the planner's statistics are new")
        if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            busy, log, moved = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            outcome = "a reader kept part of it" if busy else "the log is empty"
            steps.append(
                f"wal_checkpoint(TRUNCATE): {max(moved, 0)} of {max(log, 0)} frames moved, {outcome}"
            )
    return OptimizeReport(tuple(steps), before, size_of(path))


def _pages(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA page_count").fetchone()[0]
