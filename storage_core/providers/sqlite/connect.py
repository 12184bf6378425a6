"""Connections to SQLite files: guarded against what a file may contain, errors in our words, off the loop."""

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from ...domain.errors import EngineFailure, Locked, MissingPrivilege, StorageError, StorageFull, Unreachable

T = TypeVar("T")

BUSY_SECONDS = 10.0
#: SQLite asks our progress handler after this many of its instructions: some milliseconds.
PROGRESS_STEPS = 200_000

#: Pragmas that read when they have no argument, and those whose argument only says what to read.
_BARE_PRAGMAS = frozenset(
    [
        "application_id",
        "auto_vacuum",
        "data_version",
        "encoding",
        "freelist_count",
        "journal_mode",
        "page_count",
        "page_size",
        "schema_version",
        "user_version",
    ]
)
_ASKING_PRAGMAS = frozenset(
    ["index_info", "index_list", "index_xinfo", "quick_check", "table_info", "table_xinfo"]
)
_READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION}
)
#: Refused by name, wherever they stand. ``trusted_schema=OFF`` would be the wider guard, but up to SQLite 3.40 it takes
#: the JSON functions for unsafe, and every file with an index or a generated column over one for damaged.
_DANGEROUS_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})


def quoted(name: str) -> str:
    """A name as an SQL identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def uri_of(path: Path, mode: str) -> str:
    """How SQLite is told of a file, whatever its name contains."""
    return f"file:{quote(os.fsencode(path))}?{mode}"


def _connect(
    path: Path, mode: str, *, wait: float = BUSY_SECONDS, statements: int = 0, cache: int = 0
) -> sqlite3.Connection:
    db = sqlite3.connect(
        uri_of(path, mode),
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=wait,
        cached_statements=statements,
    )
    try:
        db.execute("PRAGMA cell_size_check=ON")
        if cache:
            db.execute(f"PRAGMA cache_size={-cache}")
    except BaseException:
        db.close()
        raise
    return db


def _only_reading(
    action: int, first: str | None, second: str | None, _db: str | None, _via: str | None
) -> int:
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _DANGEROUS_FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and (
        first in _ASKING_PRAGMAS or (first in _BARE_PRAGMAS and not second)
    ):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


#: What triggers, views and the shadow tables of indexes may do while rows are changed, and nothing else.
_CHANGING = _READING | {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_SAVEPOINT,
}


def _only_rows(action: int, first: str | None, second: str | None, db: str | None, via: str | None) -> int:
    if action in _CHANGING:
        return sqlite3.SQLITE_OK
    return _only_reading(action, first, second, db, via)


def let_only_rows_change(db: sqlite3.Connection) -> None:
    """From now on: no attaching, no setting, no table made, changed or dropped, by whatever the file brings along."""
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.set_authorizer(_only_rows)


def _nothing_dangerous(
    action: int, _first: str | None, second: str | None, _db: str | None, _via: str | None
) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _DANGEROUS_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def stand_in_for_collations(db: sqlite3.Connection) -> None:
    """Let tables be scanned whose key is ordered by a collation that only their application has.

    A whole scan compares nothing, so any order will do; without one SQLite refuses to plan it.
    """
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0").fetchall()
    for (table,) in tables:
        for _, index, _, origin, _ in db.execute(f"PRAGMA index_list({quoted(table)})").fetchall():
            if origin == "pk":
                _stand_in(db, {row[4] for row in db.execute(f"PRAGMA index_xinfo({quoted(index)})")})


def _stand_in(db: sqlite3.Connection, names: set[str | None]) -> None:
    for name in names - {None, "BINARY", "NOCASE", "RTRIM"}:
        db.create_collation(name or "", _by_bytes)


def _by_bytes(a: str, b: str) -> int:
    return (a > b) - (a < b)


class Halt:
    """Stops the SQLite work of a thread: on `now()`, or when its time is up."""

    def __init__(self, seconds: float | None = None) -> None:
        self._stopped = threading.Event()
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def now(self) -> None:
        self._stopped.set()

    def asked(self) -> bool:
        return self._stopped.is_set() or (self._deadline is not None and time.monotonic() > self._deadline)

    def watch(self, db: sqlite3.Connection) -> None:
        db.set_progress_handler(lambda: 1 if self.asked() else 0, PROGRESS_STEPS)


def open_reader(
    path: Path, *, untouched: bool = False, wait: float = BUSY_SECONDS, statements: int = 0, cache: int = 0
) -> sqlite3.Connection:
    """A connection that can only read: no attaching, no schema that runs code. Its errors are SQLite's.

    The file is opened for writing where that is allowed, so that its log is tidied up on closing.
    :param untouched: nobody else has the file; read it without locks, log or companions.
    :param wait: seconds to wait for who holds the file.
    :param statements: how many prepared statements to keep.
    :param cache: KiB of pages to keep at most; SQLite's own measure if 0.
    """
    mode = "mode=ro&immutable=1" if untouched else "mode=rw" if os.access(path, os.W_OK) else "mode=ro"
    db = _connect(path, mode, wait=wait, statements=statements, cache=cache)
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        db.execute("PRAGMA query_only=ON")
        db.set_authorizer(_only_reading)
    except BaseException:
        db.close()
        raise
    return db


def open_writer(path: Path, *, statements: int = 0, cache: int = 0) -> sqlite3.Connection:
    """A connection that changes an existing file. Its errors are SQLite's; `statements`, `cache`: see `open_reader`."""
    db = _connect(path, "mode=rw", statements=statements, cache=cache)
    db.set_authorizer(_nothing_dangerous)
    return db


@contextlib.contextmanager
def reading(
    path: Path, halt: Halt | None = None, *, untouched: bool = False
) -> Generator[sqlite3.Connection]:
    """A reader (see `open_reader`) for a block; errors translated."""
    with translated(path):
        db = open_reader(path, untouched=untouched)
        try:
            if halt is not None:
                halt.watch(db)
            yield db
        finally:
            db.close()


@contextlib.contextmanager
def writing(path: Path, halt: Halt | None = None) -> Generator[sqlite3.Connection]:
    """A connection that changes an existing file; errors translated."""
    with translated(path):
        db = open_writer(path)
        try:
            db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches its copy
            if halt is not None:
                halt.watch(db)
            yield db
        finally:
            db.close()


@contextlib.contextmanager
def translated(path: Path) -> Generator[None]:
    """Driver errors stop here."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path.name) from error
    except OSError as error:
        raise translate_system(error, path.name) from error


def translate(error: sqlite3.Error, name: str) -> StorageError:
    """The domain error of a driver error, by its primary result code."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(f"{name} is busy.", hint="Another program holds it; try again when that is done.")
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"No space left for {name}.", hint="Free space on the provider's disk.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return MissingPrivilege(
            f"{name} may not be used that way: {error}.", hint="Check the file's mode and owner."
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return Unreachable(f"{name} cannot be opened.", hint="Check the file's mode, its owner and the disk.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return EngineFailure(
            f"{name} is damaged or no SQLite database: {error}.", hint="Restore its last backup."
        )
    if code == sqlite3.SQLITE_INTERRUPT:
        return EngineFailure(f"Work on {name} was stopped: it took too long.", hint="Run it again.")
    return EngineFailure(f"SQLite reported for {name}: {error}.")


def translate_system(error: OSError, name: str) -> StorageError:
    """The domain error of what the disk reported."""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return StorageFull(f"No space left for {name}.", hint="Free space on the provider's disk.")
    if isinstance(error, PermissionError):
        return MissingPrivilege(
            f"{name} may not be used: {error.strerror}.", hint="Check the file's mode and owner."
        )
    return EngineFailure(f"The disk reported for {name}: {error.strerror}.")


async def in_thread(work: Callable[[], T], halt: Halt | None = None) -> T:
    """Run blocking work in a thread; when cancelled, stop it and wait until it has let go of its files."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if halt is not None:
            halt.now()
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen, so that nobody warns of it
        raise
