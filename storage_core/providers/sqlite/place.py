"""The directory of a provider: which file a name means, and nothing outside."""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ...domain.errors import InvalidRequest, MissingPrivilege, NameTaken, NotFound, StorageError, Unreachable
from ...domain.naming import said
from .names import COMPANIONS, PRIVATE, SUFFIXES, parts
from .own import Own

#: A private file untouched for so long may be a dead process's.
REAP_SECONDS = 600.0

NOT_YOURS = "Only databases of people's are managed here."

MAX_DEPTH = 8
MAX_FILES = 20_000
_MIN_PAGE = 512


class Place:
    """One provider's root. Every path it answers lies below the root, through real directories only.

    :param path: the endpoint's path, an absolute directory.
    :param own: what is the console's own; looked at whenever a file is, since both may move meanwhile.
    """

    def __init__(self, path: str | None, own: Own | None = None) -> None:
        self._path = path
        self._own = own or Own()

    def root(self) -> Path:
        """The root, made (mode 0700) when only its parent exists.

        :raises InvalidRequest: no path, a relative one, a symlink, not a directory, or the console's own files there.
        :raises Unreachable: it does not exist and neither does its parent.
        :raises MissingPrivilege: it cannot be read or made.
        """
        root = self._named_root()
        self._refuse_own(root)
        try:
            found = root.lstat()
        except FileNotFoundError:
            return _make_root(root)
        except OSError as error:
            raise _refused(root, error) from error
        if stat.S_ISLNK(found.st_mode):
            raise _bad_root(f"{root} is a symbolic link.", "Name the directory it points to.")
        if not stat.S_ISDIR(found.st_mode):
            raise _bad_root(f"{root} is not a directory.", "Name a directory; databases are files below it.")
        if not os.access(root, os.R_OK | os.X_OK):
            raise MissingPrivilege(
                f"{root} cannot be read.", hint="Give the account that runs this read access."
            )
        return root

    def _named_root(self) -> Path:
        if not self._path or not Path(self._path).is_absolute() or "\x00" in self._path:
            raise _bad_root("The path of a SQLite provider must be absolute.", "Begin it with /.")
        if ".." in Path(self._path).parts:
            raise _bad_root("The path of a SQLite provider must not contain `..`.", "Write it out.")
        return Path(self._path)

    def _refuse_own(self, root: Path) -> None:
        if (mine := self._own.within(root)) is not None:
            raise _bad_root(
                f"The console's own files lie in {root}: {mine}.",
                "Name a directory of its own for databases, such as a new one beside them.",
            )
        if (mine := self._own.around(root)) is not None:
            raise _bad_root(
                f"{root} lies in a folder that is the console's own: {mine}.",
                "Name a directory outside of it.",
            )

    def located(self, name: str) -> Path:
        """Where a name lies, without looking; InvalidRequest when it could lead out of the root."""
        return self._named_root().joinpath(*parts(name))

    def file(self, name: str) -> Path:
        """An existing database's file; NotFound when there is none."""
        path = self._walked(name)
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"There is no database {said(name, 200)}.", hint="Check its name.") from error
        if not stat.S_ISREG(found.st_mode):
            raise InvalidRequest(
                f"{said(name, 200)} is not a regular file.", hint="Links and devices are refused."
            )
        if (found.st_dev, found.st_ino) in self._own.file_marks():
            raise InvalidRequest(
                f"{said(name, 200)} is a file of the console's own.", hint=NOT_YOURS, field="name"
            )
        return path

    def doomed(self, name: str) -> Path | None:
        """The file of a database that may be gone already: then None."""
        try:
            return self.file(name)
        except NotFound:
            return None

    def marks(self, name: str | None) -> frozenset[str]:
        """Device and number of the root's or a database's file: the same through every link and mount."""
        path = self.root() if name is None else self.doomed(name)
        if path is None:
            return frozenset()
        found = path.lstat()
        return frozenset({f"file:{found.st_dev}:{found.st_ino}"})

    def vacancy(self, name: str) -> Path:
        """Where a new database will lie, its directories made; NameTaken when something is there."""
        path = self._walked(name)
        if os.path.lexists(path):
            raise NameTaken(f"{said(name, 200)} exists already.")
        try:
            self._make_folders(path.parent)
            reap(path.parent)
        except FileExistsError as error:
            raise NameTaken(f"A file is in the way of {said(name, 200)}.") from error
        except OSError as error:
            raise _refused(path.parent, error) from error
        return path

    def scratch(self, beside: Path) -> Path:
        """An unused private name in the directory of a database."""
        return beside.with_name(f"{PRIVATE}{secrets.token_hex(8)}")

    def _make_folders(self, folder: Path) -> None:
        root = self.root()
        for parent in reversed([p for p in (folder, *folder.parents) if root in p.parents]):
            parent.mkdir(mode=0o700, exist_ok=True)

    def _walked(self, name: str) -> Path:
        """The path of a name, every directory on the way looked at."""
        way, own = parts(name), self._own.folder_marks()
        path = root = self.root()
        for part in way[:-1]:
            path /= part
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                break
            if stat.S_ISLNK(found.st_mode):
                raise InvalidRequest(
                    f"{said(name, 200)} leads through a symbolic link.", hint="Links are refused."
                )
            if (found.st_dev, found.st_ino) in own:
                raise InvalidRequest(
                    f"{said(name, 200)} leads into a folder of the console's own.",
                    hint=NOT_YOURS,
                    field="name",
                )
        return root.joinpath(*way)

    def candidates(self) -> Iterator[tuple[str, Path, int]]:
        """Name, path and size of every file that may be a database, by its size; bounded in depth and number."""
        root = self.root()
        own = self._own.file_marks() | self._own.folder_marks()
        seen = 0
        folders = [(root, 0)]
        while folders:
            folder, depth = folders.pop()
            reap(folder)
            for entry in _entries(folder):
                seen += 1
                if seen > MAX_FILES:
                    return
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if (found.st_dev, found.st_ino) in own:
                    continue
                path = Path(entry.path)
                if stat.S_ISDIR(found.st_mode):
                    if depth < MAX_DEPTH:
                        folders.append((path, depth + 1))
                elif stat.S_ISREG(found.st_mode) and _may_be_database(entry.name, found.st_size):
                    yield path.relative_to(root).as_posix(), path, found.st_size


def _may_be_database(name: str, size: int) -> bool:
    """Whole pages; or nothing yet, which SQLite takes as an empty database, under a name that says so."""
    if name.endswith(COMPANIONS):
        return False
    if size == 0:
        return Path(name).suffix.lower() in SUFFIXES
    return size >= _MIN_PAGE and size % _MIN_PAGE == 0


def reap(folder: Path) -> None:
    """Remove private files of processes that died: old, and not locked by anybody (see `private_file`)."""
    try:
        with os.scandir(folder) as found:
            private = [
                Path(e.path) for e in found if e.name.startswith(PRIVATE) and e.is_file(follow_symlinks=False)
            ]
    except OSError:
        return  # not readable for us, so nothing of ours
    for path in private:
        with contextlib.suppress(OSError):  # gone meanwhile, or its owner lives
            if time.time() - path.stat().st_mtime > REAP_SECONDS:
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(file)


def private_file(path: Path) -> int:
    """Make a private file, locked for as long as its descriptor is open."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def publish(made: Path, target: Path) -> None:
    """Give a finished file its name, never over another one; durable when this returns."""
    if not os.path.lexists(target):
        remove_companions(target)  # a journal without its database would be replayed into the new one
    try:
        os.link(made, target, follow_symlinks=False)
    except FileExistsError as error:
        raise NameTaken(f"{said(target.name, 200)} exists already.") from error
    made.unlink()
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not e.name.startswith(PRIVATE)), key=lambda e: e.name)
    except OSError:
        return []  # not readable for us, so nothing of ours


def _make_root(root: Path) -> Path:
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        return root
    except FileNotFoundError as error:
        if root.parent.exists():  # a file system that makes no directories, such as /proc
            raise _refused(root, error) from error
        raise Unreachable(
            f"{root} does not exist, nor does its parent.",
            hint="Make the parent directory, or correct the path.",
        ) from error
    except OSError as error:
        raise _refused(root, error) from error
    return root


def _refused(path: Path, error: OSError) -> StorageError:
    return MissingPrivilege(
        f"{path} cannot be used: {error.strerror}.", hint="Give the account that runs this access to it."
    )


def _bad_root(detail: str, hint: str) -> InvalidRequest:
    return InvalidRequest(detail, hint=hint, field="connection.path")
