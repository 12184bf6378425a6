"""A database on its way in: written under a private name, looked at as hostile, then given its name."""

import os
import sqlite3
import struct
from pathlib import Path

from ...domain.errors import DamagedArtifact, EngineFailure
from ..files.place import private_file
from .connect import Halt, reading, translate, translated
from .place import Place, publish, remove

MAGIC = b"SQLite format 3\x00"
_HEADER = struct.Struct(">H")
_COUNTERS = struct.Struct(">II")


class Arrival:
    """One file being restored. Every method blocks; `withdraw` may be called at any time and undoes all."""

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self._name = name
        self._target: Path | None = None
        self._path: Path | None = None
        self._file: int | None = None
        self._published = False
        self.size = 0

    def open(self) -> None:
        """Make the private file; NameTaken when a database has the name already."""
        self._target = self._place.vacancy(self._name)
        self._path = self._place.scratch(self._target)
        with translated(self._target):
            self._file = private_file(self._path)

    def write(self, data: bytes) -> int:
        """Append; answers the bytes so far. The first bytes must be a SQLite header."""
        assert self._file is not None  # noqa: S101 - nobody writes after `settle`
        if self.size == 0 and not data.startswith(MAGIC[: len(data)]):
            raise DamagedArtifact("The backup holds no SQLite database.")
        rest = memoryview(data)
        with translated(Path(self._name)):
            while rest:
                rest = rest[os.write(self._file, rest) :]
        self.size += len(data)
        return self.size

    def settle(self, halt: Halt) -> tuple[str, ...]:
        """Make the bytes durable and check that they are a sound database.

        Answers in words what could not be checked: a constraint that needs a function of the application.
        :raises DamagedArtifact: it is none, or a broken one.
        """
        assert self._file is not None and self._path is not None  # noqa: S101 - `open` comes first
        with translated(Path(self._name)):
            os.fsync(self._file)
            _check_header(self._path, self.size)
        return _check_structure(self._path, halt)

    def publish(self) -> None:
        """Give the file its name; NameTaken when somebody else took it meanwhile."""
        assert self._path is not None and self._target is not None  # noqa: S101 - `open` comes first
        self._close()  # before it is a database: closing later would drop locks that SQLite holds on it
        with translated(self._target):
            publish(self._path, self._target)
        self._published = True

    def withdraw(self) -> None:
        self._close()
        if self._path is not None:
            remove(self._path)
        if self._published and self._target is not None:
            remove(self._target)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _check_header(path: Path, size: int) -> None:
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(MAGIC):
        raise DamagedArtifact("The backup holds no SQLite database.")
    (page,) = _HEADER.unpack_from(head, 16)
    page = 65536 if page == 1 else page
    changes, pages = _COUNTERS.unpack_from(head, 24)
    (valid_for,) = struct.unpack_from(">I", head, 92)
    if page < 512 or page & (page - 1) or size % page or (changes == valid_for and pages * page != size):
        raise DamagedArtifact(
            "The restored file's length does not fit its header: bytes are missing or too many."
        )


def _check_structure(path: Path, halt: Halt) -> tuple[str, ...]:
    with reading(path, halt, untouched=True) as db:
        try:
            found = [str(row[0]) for row in db.execute("PRAGMA quick_check(10)")]
        except sqlite3.DatabaseError as error:
            if halt.asked():
                raise EngineFailure(
                    "Checking the restored file took too long.", hint="Run it again."
                ) from error
            if "function" in str(error) or "collation" in str(error):
                return (f"The structure check needs something of the application's own: {error}.",)
            raise DamagedArtifact(translate(error, "The restored file").detail) from error
    if found != ["ok"]:
        raise DamagedArtifact(f"The restored file is not sound: {found[0][:200]}")
    return ()
