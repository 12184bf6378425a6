"""The directory of a SQLite provider, and how its files get and lose their names."""

import contextlib
import os
from pathlib import Path

from ...domain.errors import NameTaken
from ...domain.naming import said
from ..files.names import Shape
from ..files.own import Own
from ..files.place import Place as FilePlace
from ..files.place import settle
from .names import COMPANIONS, SUFFIXES

_MIN_PAGE = 512


def _may_be_database(path: Path, found: os.stat_result) -> bool:
    """Whole pages; or nothing yet, which SQLite takes as an empty database, under a name that says so."""
    size = found.st_size
    if size == 0:
        return path.suffix.lower() in SUFFIXES
    return size >= _MIN_PAGE and size % _MIN_PAGE == 0


SHAPE = Shape("SQLite", COMPANIONS, _may_be_database)


class Place(FilePlace):
    """One provider's root, with SQLite files below it."""

    def __init__(self, path: str | None, own: Own | None = None) -> None:
        super().__init__(SHAPE, path, own)


def publish(made: Path, target: Path) -> None:
    """Give a finished file its name, never over another one; durable when this returns."""
    if not os.path.lexists(target):
        remove_companions(target)  # a journal without its database would be replayed into the new one
    try:
        os.link(made, target, follow_symlinks=False)
    except FileExistsError as error:
        raise NameTaken(f"{said(target.name, 200)} exists already.") from error
    made.unlink()
    settle(target.parent)


def remove(path: Path) -> None:
    """Remove a database with its companions: those first, so that no journal outlives its database."""
    remove_companions(path)
    path.unlink(missing_ok=True)


def remove_companions(path: Path) -> None:
    for suffix in COMPANIONS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a database with its write-ahead log."""
    total = path.stat().st_size
    with contextlib.suppress(FileNotFoundError):  # its last user took it away, maybe just now
        total += path.with_name(path.name + COMPANIONS[0]).stat().st_size
    return total
