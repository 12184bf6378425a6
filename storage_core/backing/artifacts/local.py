"""The artifacts store on a local disk."""

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ...domain.errors import NotFound, StorageError, StorageFull, StoreFailure
from ...ports.artifacts import Stored
from .keys import FRESH, checked_parts

T = TypeVar("T")

CHUNK = 2 << 20
IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


class LocalArtifacts:
    """Objects as files below `root`: 0600 in folders of 0700, complete and on the disk before they have a name."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    async def put(self, key: str, data: AsyncIterable[bytes]) -> Stored:
        write = _Write(key, self._path(key), self._root)
        try:
            await _finished(write.open, key)
            async with _closing(aiter(data)) as source:
                async for parts in _batches(source):
                    await _finished(lambda parts=parts: write.append(parts), key)
            return await _finished(write.publish, key)
        finally:
            await _finished(write.discard, key)

    async def get(self, key: str) -> AsyncGenerator[bytes]:
        read = _Read(self._path(key), self._root)
        try:
            await _finished(read.open, key)
            ahead = _start(read.next)
            try:
                # the disk reads the next chunk while the caller is busy with this one
                while chunk := await _translated(asyncio.shield(ahead), key):
                    ahead = _start(read.next)
                    yield chunk
            finally:
                await _ended(ahead)
        finally:
            read.close()

    async def stat(self, key: str) -> Stored:
        path = self._path(key)
        return await _finished(lambda: _stored(key, _status(path, self._root)), key)

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await _finished(lambda: self._delete(path), key)

    async def list(self, prefix: str) -> tuple[Stored, ...]:
        return await _finished(lambda: self._list(prefix), prefix)

    def location(self, key: str) -> str:
        return str(self._path(key))

    async def reap(self, older_than: datetime) -> int:
        return await _finished(lambda: self._reap(older_than), "")

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*checked_parts(key))

    def _delete(self, path: Path) -> None:
        try:
            _refuse_links(path, self._root)
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        for folder in path.parents:  # folders that are empty by now; somebody may be writing into one
            if folder == self._root or not _removed(folder):
                return

    def _list(self, prefix: str) -> tuple[Stored, ...]:
        found = ((path.relative_to(self._root).as_posix(), path) for path in _files(self._root))
        wanted = ((key, path) for key, path in found if key.startswith(prefix) and not _is_fresh(path))
        return tuple(sorted(_existing(wanted), key=lambda stored: stored.key))

    def _reap(self, older_than: datetime) -> int:
        count = 0
        for path in _files(self._root):
            if not _is_fresh(path):
                continue
            try:
                if path.lstat().st_mtime < older_than.timestamp():
                    path.unlink()
                    count += 1
            except FileNotFoundError:
                continue  # finished, or reaped by somebody else
        return count


class _Read:
    """A file being read: `open`, `next` until it answers nothing, `close`."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path, self._root = path, root
        self._fd: int | None = None

    def open(self) -> os.stat_result:
        _refuse_links(self._path, self._root)
        try:
            # without O_NONBLOCK a pipe that somebody put there would hold us for ever
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | NO_FOLLOW)
        except NotADirectoryError as error:
            raise FileNotFoundError(errno.ENOENT, "not found", str(self._path)) from error
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "no file", str(self._path))
        return status

    def next(self) -> bytes:
        return b"" if self._fd is None else os.read(self._fd, CHUNK)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class _Write:
    """A file on its way: `open`, `append`, then `publish`; `discard` removes it unless it was published."""

    def __init__(self, key: str, path: Path, root: Path) -> None:
        self._key, self._path, self._root = key, path, root
        self._fresh = path.with_name(f"{FRESH}{secrets.token_hex(8)}")
        self._fd: int | None = None

    def open(self) -> None:
        for _ in range(100):
            try:
                _make_folders(self._path.parent, self._root)
                _refuse_links(self._path, self._root)
                self._fd = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600)
                return
            except FileNotFoundError:
                continue  # a delete took an empty folder away in between
        raise StoreFailure(f"The folder for {self._key} disappears again and again.")

    def append(self, parts: list[bytes]) -> None:
        view = memoryview(b"".join(parts))
        while view:
            view = view[os.write(self._opened(), view) :]

    def publish(self) -> Stored:
        """Make it durable, then give it its name, then make the name durable."""
        os.fsync(self._opened())
        try:
            self._fresh.replace(self._path)
        except FileNotFoundError as error:
            raise StoreFailure(
                f"The unfinished {self._key} was taken away; it stood still for too long."
            ) from error
        with suppress(FileNotFoundError):  # somebody deleted it at once, and its folder with it
            _sync_folder(self._path.parent)
        return _stored(self._key, os.fstat(self._opened()))

    def discard(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._fresh.unlink(missing_ok=True)

    def _opened(self) -> int:
        if self._fd is None:
            raise StoreFailure(f"{self._key} is not open for writing.")
        return self._fd


def _make_folders(folder: Path, root: Path) -> None:
    """Make what is missing below and including the root, each 0700 and durable."""
    missing = [each for each in (folder, *folder.parents) if each.is_relative_to(root) and not each.exists()]
    root.parent.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(each.parent)


def _refuse_links(path: Path, root: Path) -> None:
    """A link below the root would lead a key out of the store."""
    for each in (path, *path.parents):
        if each == root:
            return
        if each.is_symlink():
            raise StoreFailure(
                f"{each.relative_to(root)} in the artifacts store is a link, which is refused."
            )


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _files(root: Path) -> Iterator[Path]:
    """Every plain file below the root, links neither followed nor named."""
    for folder, _, names in os.walk(root, followlinks=False):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                yield path


def _is_fresh(path: Path) -> bool:
    return path.name.startswith(FRESH)


def _existing(wanted: Iterator[tuple[str, Path]]) -> Iterator[Stored]:
    for key, path in wanted:
        try:
            yield _stored(key, path.lstat())
        except FileNotFoundError:
            continue  # deleted since the walk


def _status(path: Path, root: Path) -> os.stat_result:
    read = _Read(path, root)
    try:
        return read.open()
    finally:
        read.close()


def _stored(key: str, status: os.stat_result) -> Stored:
    return Stored(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _start(work: Callable[[], T]) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(None, work)


async def _finished(work: Callable[[], T], key: str) -> T:
    """Run blocking work in a thread and wait for its end even when cancelled, so that no thread works on."""
    running = _start(work)
    try:
        return await _translated(asyncio.shield(running), key)
    except asyncio.CancelledError:
        await _ended(running)
        raise


async def _ended(running: "asyncio.Future[Any]") -> None:
    """Wait until a thread is done, come what may; a cancellation meanwhile is raised at the end."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    running.exception()  # seen: whoever waited for the result has it, or has gone
    if cancelled is not None:
        raise cancelled


async def _translated(running: Awaitable[T], key: str) -> T:
    try:
        return await running
    except OSError as error:
        raise _failure(error, key) from error


def _failure(error: OSError, key: str) -> StorageError:
    if error.errno in FULL:
        return StorageFull(f"There is no space left to store {key}.")
    if error.errno == errno.ENOENT:
        return NotFound(f"{key} is not in the artifacts store.")
    if error.errno in IN_THE_WAY:
        return StoreFailure(f"{key} cannot be stored: a file or folder is in the way.")
    return StoreFailure(f"The artifacts store failed at {key or 'its root'}: {error.strerror or error}.")


async def _batches(data: AsyncIterable[bytes]) -> AsyncGenerator[list[bytes]]:
    """Parts gathered until they are worth a trip to the disk."""
    parts: list[bytes] = []
    size = 0
    async for part in data:
        parts.append(part)
        size += len(part)
        if size >= CHUNK:
            yield parts.copy()
            parts.clear()
            size = 0
    yield parts


def _closing(source: AsyncIterable[T]) -> AbstractAsyncContextManager[AsyncIterable[T]]:
    """Close a generator of the caller's when we leave early; other iterators have nothing to close."""
    closable: Any = source
    return aclosing(closable) if hasattr(source, "aclose") else nullcontext(source)
