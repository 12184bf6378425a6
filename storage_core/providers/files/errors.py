"""Errors of the disk in our words."""

import contextlib
import errno
from collections.abc import Generator
from pathlib import Path

from ...domain.errors import EngineFailure, MissingPrivilege, NotFound, StorageError, StorageFull
from ...domain.naming import said


@contextlib.contextmanager
def translated(path: Path) -> Generator[None]:
    """Errors of the operating system stop here."""
    try:
        yield
    except OSError as error:
        raise of_system(error, path.name) from error


def of_system(error: OSError, name: str) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"No space left for {name}.", hint="Free space on the provider's disk.")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return MissingPrivilege(
            f"{name} may not be used: {error.strerror}.", hint="Check the file's mode and owner."
        )
    if error.errno == errno.EMFILE:
        return EngineFailure(
            "Too many files are open.", hint="Raise the limit of open files (ulimit -n) of this process."
        )
    return EngineFailure(f"The disk reported for {name}: {error.strerror}.")


def damaged(path: Path, what: str) -> EngineFailure:
    return EngineFailure(
        f"{said(path.name, 200)} is damaged: {what}.", hint="Restore the database's last backup."
    )


def nowhere(name: str) -> NotFound:
    return NotFound(f"There is no database {said(name, 200)}.", hint="Check its name.")
