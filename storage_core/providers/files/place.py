"""The directory of a provider: which file or folder a name means, and nothing outside."""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ...domain.errors import InvalidRequest, MissingPrivilege, NameTaken, NotFound, StorageError, Unreachable
from ...domain.naming import said
from .names import PRIVATE, Shape, parts
from .own import Own

#: A private file untouched for so long may be a dead process's.
REAP_SECONDS = 600.0

NOT_YOURS = "Only databases of people's are managed here."

MAX_DEPTH = 8
MAX_FILES = 20_000


class Place:
    """One provider's root. Every path it answers lies below the root, through real directories only.

    :param shape: what its databases look like.
    :param path: the endpoint's path, an absolute directory.
    :param own: what is the console's own; looked at whenever a file is, since both may move meanwhile.
    """

    def __init__(self, shape: Shape, path: str | None, own: Own | None = None) -> None:
        self._shape = shape
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
            raise _bad_root(f"{root} is not a directory.", "Name a directory; databases lie below it.")
        if not os.access(root, os.R_OK | os.X_OK):
            raise MissingPrivilege(
                f"{root} cannot be read.", hint="Give the account that runs this read access."
            )
        return root

    def _named_root(self) -> Path:
        if not self._path or not Path(self._path).is_absolute() or "\x00" in self._path:
            raise _bad_root(
                f"The path of a {self._shape.label} provider must be absolute.", "Begin it with /."
            )
        if ".." in Path(self._path).parts:
            raise _bad_root(
                f"The path of a {self._shape.label} provider must not contain `..`.", "Write it out."
            )
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
        return self._named_root().joinpath(*parts(name, self._shape))

    def file(self, name: str) -> Path:
        """An existing database's file, or folder; NotFound when there is none."""
        path = self._walked(name)
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"There is no database {said(name, 200)}.", hint="Check its name.") from error
        shape = self._shape
        if not (stat.S_ISDIR if shape.folder else stat.S_ISREG)(found.st_mode):
            kind = "directory" if shape.folder else "regular file"
            raise InvalidRequest(f"{said(name, 200)} is not a {kind}.", hint="Links and devices are refused.")
        if shape.folder and not shape.may_be(path, found):
            raise NotFound(f"There is no database {said(name, 200)}.", hint="Check its name.")
        if (found.st_dev, found.st_ino) in self._own.file_marks() | self._own.folder_marks():
            raise InvalidRequest(f"{said(name, 200)} is the console's own.", hint=NOT_YOURS, field="name")
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
        way, own = parts(name, self._shape), self._own.folder_marks()
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
            if self._shape.folder and self._shape.may_be(path, found):
                raise InvalidRequest(
                    f"{said(name, 200)} leads into another database.",
                    hint="Name a path beside it.",
                    field="name",
                )
        return root.joinpath(*way)

    def candidates(self) -> Iterator[tuple[str, Path, int]]:
        """Name, path and size of everything that may be a database; bounded in depth and number."""
        root = self.root()
        own = self._own.file_marks() | self._own.folder_marks()
        seen = 0
        folders = [(root, 0)]
        while folders:
            folder, depth = folders.pop()
            reap(folder)
            for entry in entries(folder):
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
                folder = stat.S_ISDIR(found.st_mode)
                wanted = folder if self._shape.folder else stat.S_ISREG(found.st_mode)
                if wanted and self._looks_right(path, found):
                    yield path.relative_to(root).as_posix(), path, found.st_size
                    continue
                if folder and depth < MAX_DEPTH:
                    folders.append((path, depth + 1))

    def _looks_right(self, path: Path, found: os.stat_result) -> bool:
        return not path.name.endswith(self._shape.companions) and self._shape.may_be(path, found)


def reap(folder: Path) -> None:
    """Remove private files and folders of processes that died: old, and not locked by anybody (see `private_file`)."""
    try:
        with os.scandir(folder) as found:
            private = [Path(e.path) for e in found if e.name.startswith(PRIVATE) and not e.is_symlink()]
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
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(file)


def private_file(path: Path) -> int:
    """Make a private file, locked for as long as its descriptor is open."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def private_folder(path: Path) -> int:
    """Make a private folder, locked for as long as its descriptor is open."""
    path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder


def settle(folder: Path) -> None:
    """Make what was named or removed in a folder durable."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def entries(folder: Path) -> list[os.DirEntry[str]]:
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
