"""What of this machine's disk is the console's own: no provider's directory, and none of its files a database."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: What SQLite itself lays beside a database; the console's own are such.
_COMPANIONS = ("-wal", "-shm", "-journal")

#: A path, or the device and number of what lies there: two spellings of one thing share one of them.
Mark = str | tuple[int, int]


@dataclass(frozen=True, slots=True)
class Own:
    """The console's home, single files of its own (a catalog, a key) and folders that are its own to the bottom.

    They need not exist. Paths are compared as they really are, so links, mounts and other spellings lead nowhere.
    """

    home: Path | None = None
    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()

    def within(self, root: Path) -> Path | None:
        """The first of the console's own things that lies at or below `root`."""
        at = _marks(root)
        return next((thing for thing in self._things() if _marks_upwards(thing) & at), None)

    def around(self, root: Path) -> Path | None:
        """The console's own folder that `root` is, or lies in."""
        above = _marks_upwards(root)
        return next((folder for folder in self.folders if _marks(folder) & above), None)

    def folder_marks(self) -> frozenset[tuple[int, int]]:
        """What tells the home and the console's folders from all others, wherever they are mounted once more."""
        places = self.folders if self.home is None else (self.home, *self.folders)
        return frozenset(mark for mark in map(_inode, places) if mark is not None)

    def file_marks(self) -> frozenset[tuple[int, int]]:
        """What tells the single files, with SQLite's companions, from all others, hard links included."""
        found = (
            _inode(path.with_name(path.name + suffix)) for path in self.files for suffix in ("", *_COMPANIONS)
        )
        return frozenset(mark for mark in found if mark is not None)

    def _things(self) -> Iterator[Path]:
        if self.home is not None:
            yield self.home
        yield from self.folders
        yield from self.files


def _marks(path: Path) -> set[Mark]:
    real = os.path.realpath(path)
    inode = _inode(real)
    return {real} if inode is None else {real, inode}


def _marks_upwards(path: Path) -> set[Mark]:
    """The marks of a path and of every directory it lies in."""
    real = Path(os.path.realpath(path))
    out: set[Mark] = set()
    for each in (real, *real.parents):
        out |= _marks(each)
    return out


def _inode(path: Path | str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
