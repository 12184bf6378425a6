"""Files with collections that are open: readers and the writer's lane of each, bounded, closed when idle."""

import asyncio
import contextlib
import math
import resource
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from .collection_values import prepare
from .connect import BUSY_SECONDS, open_reader, translate, translate_system
from .place import Place
from .workers import READERS
from .writer import Lane, close_later

#: Readers of one file at once; more wait.
MOST_READERS = 3
#: Seconds after which an unused file is closed.
IDLE = 60.0
#: Seconds in which a reader may answer by key on the loop, and after which a thread looks at the file meanwhile.
TRUST, RENEW = 1.0, 0.25
#: `STRIKES` reads on the loop in a row that took longer than `SLOW` seconds send those of the next `PAUSE` to threads.
SLOW, STRIKES, PAUSE = 0.001, 3, 1.0
STATEMENTS = 256
#: KiB of pages that a connection keeps at most: its share of `ALL_PAGES` among the open files, within bounds.
ALL_PAGES, FEW_PAGES, MANY_PAGES = 64 << 10, 1 << 10, 8 << 10
#: Seconds in which files that are to be looked at gather.
GATHER = 0.05
_RETRY = 0.005

Read = Callable[["Reader"], Any]


def most_files() -> int:
    """How many files may be open: three descriptors for each of its connections, and half of all left to others."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1024
    return max(16, min(1024, soft // 14))


class Reader:
    """A connection that reads one file, and what it knows of it. Used by one job, or by the loop, at a time."""

    __slots__ = ("db", "inode", "known", "wal")

    def __init__(self, path: Path, cache: int) -> None:
        self.db = open_reader(path, wait=0, statements=STATEMENTS, cache=cache)
        try:
            prepare(self.db)
            self.wal = self.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            found = path.stat()
        except BaseException:
            self.db.close()
            raise
        self.inode = (found.st_dev, found.st_ino)
        self.known: set[str] = set()


class ReadJob:
    """Something to be read on a thread."""

    __slots__ = ("error", "future", "landed", "reader", "result", "work")

    def __init__(self, future: "asyncio.Future[Any]", work: Read, reader: Reader | None) -> None:
        self.future, self.work, self.reader = future, work, reader
        self.result: Any = None
        self.error: BaseException | None = None
        self.landed = False


class File:
    """One open file. Lives on the loop; what reads and writes it runs on threads.

    `point` is a reader that the loop itself may use for a read by key until `trusted`: the file was read a moment ago
    and is the same, and such reads have been quick, so that one takes microseconds. After `renew` a thread looks again.
    `narrow` says of questions that an index answers them whole: only rows of the answer are touched.
    """

    __slots__ = (
        "_all",
        "_free",
        "_path",
        "_place",
        "_readers",
        "_settling",
        "_waiting",
        "lane",
        "name",
        "narrow",
        "point",
        "renew",
        "slow_until",
        "strikes",
        "trusted",
        "used",
    )

    def __init__(self, place: Place, name: str, all: "Files") -> None:
        self.name, self._place, self._path, self._all = name, place, place.located(name), all
        self.lane = Lane(place, name, self._after, all.share)
        self.point: Reader | None = None
        self.trusted = self.renew = self.slow_until = self.used = 0.0
        self.strikes = 0
        self.narrow: dict[str, bool] = {}
        self._free: list[Reader] = []
        self._readers = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._settling: list[asyncio.Future[None]] = []

    @property
    def idle(self) -> bool:
        return not self._readers and not self._waiting and self.lane.idle

    async def read(self, work: Read) -> Any:
        """Read on a thread; when cancelled, SQLite is stopped."""
        loop = asyncio.get_running_loop()
        self.used = perf_counter()
        while self._readers >= MOST_READERS:
            await self._turn(loop.create_future())
        self._readers += 1
        job = ReadJob(loop.create_future(), work, self._reader())
        READERS.submit(partial(self._read, job))
        try:
            return await job.future
        except asyncio.CancelledError:
            if not job.landed and job.reader is not None:
                job.reader.db.interrupt()
            raise

    async def settled(self) -> None:
        """Wait until nothing is under way; a transaction is undone."""
        while not self.idle:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append(future)
            self.lane.cut()
            await future

    def slowed(self, now: float) -> None:
        """A read on the loop took too long, or did not work."""
        self.strikes += 1
        if self.strikes >= STRIKES:
            self.trusted, self.slow_until, self.strikes = 0.0, now + PAUSE, 0

    def look_again(self, reader: Reader) -> None:
        """Have a thread see whether the file is still the one that the loop reads."""
        self.renew = math.inf
        self._all.look_at(self, reader)

    def looked(self, reader: Reader, same: bool) -> None:
        """What the thread saw."""
        if self.point is not reader:
            return
        if same:
            self._trust(perf_counter())
        else:
            self.point, self.trusted = None, 0.0
            close_later([reader.db])

    def _trust(self, now: float) -> None:
        if now >= self.slow_until:
            self.trusted, self.renew = now + TRUST, now + RENEW

    def take(self) -> list[sqlite3.Connection]:
        """Give up all connections, to be closed on threads. Only while idle."""
        self.trusted = 0.0
        readers = [*self._free, *([self.point] if self.point else [])]
        self._free.clear()
        self.point = None
        writer = self.lane.take()
        return [*(reader.db for reader in readers), *([writer] if writer else [])]

    def _reader(self) -> Reader | None:
        if self._free:
            return self._free.pop()
        point, self.point, self.trusted = self.point, None, 0.0
        return point

    async def _turn(self, turn: "asyncio.Future[None]") -> None:
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next_turn()
            raise

    def _next_turn(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _after(self) -> None:
        """On the loop, after everything that was done on a thread."""
        for future in self._settling:
            if not future.done():
                future.set_result(None)
        self._settling.clear()
        self._all.landed(self)

    def _read(self, job: ReadJob) -> Callable[[], None]:
        """On a thread."""
        try:
            self._answer(job)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            job.error = error
            if isinstance(error, sqlite3.Error):
                job.error = translate(error, self.name)
            elif isinstance(error, OSError):
                job.error = translate_system(error, self.name)
        return partial(self._tell, job)

    def _tell(self, job: ReadJob) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            job.future.get_loop().call_soon_threadsafe(self._land, job)

    def _answer(self, job: ReadJob) -> None:
        if job.reader is not None and not self.is_same(job.reader):
            job.reader.db.close()
            job.reader = None
        if job.reader is None:
            self._path = self._place.file(self.name)
        patience = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                job.reader = job.reader or Reader(self._path, self._all.share())
                job.result = job.work(job.reader)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                    raise
            time.sleep(_RETRY)

    def is_same(self, reader: Reader) -> bool:
        """On a thread: whether the reader's file is the one of that name."""
        try:
            found = self._path.stat()
        except OSError:
            return False  # whoever opens it anew says what is the matter
        return (found.st_dev, found.st_ino) == reader.inode

    def _land(self, job: ReadJob) -> None:
        """On the loop."""
        job.landed = True
        self._readers -= 1
        if job.reader is not None:
            self._keep(job.reader)
        self._next_turn()
        if not job.future.done():
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)
        self._after()

    def _keep(self, reader: Reader) -> None:
        if self.point is None and reader.wal:
            self.point = reader
            self._trust(perf_counter())
        else:
            self._free.append(reader)


class Files:
    """The open files of one provider's directory, by name."""

    def __init__(self, place: Place, most: int | None = None) -> None:
        self._place, self.most = place, most or most_files()
        self.open: dict[str, File] = {}
        self._looks: list[tuple[File, Reader]] = []
        self._sweep: asyncio.TimerHandle | None = None

    def file(self, name: str) -> File:
        """The file of a database; nothing is opened before it is used."""
        file = self.open.get(name)
        if file is None:
            file = self.open[name] = File(self._place, name, self)
            file.used = perf_counter()
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(IDLE / 2, self._close_idle)
            if len(self.open) > self.most:
                self._close_some()
        return file

    async def release(self, name: str) -> None:
        """Close a file, once what is under way is done: whoever asks next opens it again."""
        while (file := self.open.get(name)) is not None:
            await file.settled()
            if self.open.pop(name, None) is file and (connections := file.take()):
                await asyncio.to_thread(_close_all, connections)

    async def close(self) -> None:
        """Close all files; idempotent."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for name in list(self.open):
            await self.release(name)

    def share(self) -> int:
        """KiB of pages for a connection that is opened now."""
        return max(FEW_PAGES, min(MANY_PAGES, ALL_PAGES // max(1, len(self.open))))

    def look_at(self, file: File, reader: Reader) -> None:
        """Have a thread look at the file soon, and with it at those of the next moment."""
        if not self._looks:
            asyncio.get_running_loop().call_later(GATHER, self._look)
        self._looks.append((file, reader))

    def _look(self) -> None:
        """A timer."""
        looks = self._looks
        self._looks = []
        READERS.submit(partial(_looking, asyncio.get_running_loop(), looks))

    def landed(self, file: File) -> None:
        """Something was done on a file."""
        if len(self.open) > self.most and file.idle:
            self._close_some()

    def _close_some(self) -> None:
        """Close the files unused for longest, down to some below the bound, so that this is seldom needed."""
        idle = sorted((f for f in self.open.values() if f.idle), key=lambda f: f.used)
        for file in idle[: len(self.open) - self.most + self.most // 16]:
            del self.open[file.name]
            close_later(file.take())

    def _close_idle(self) -> None:
        """A timer: close what nobody uses."""
        before = perf_counter() - IDLE
        for file in [f for f in self.open.values() if f.idle and f.used < before]:
            del self.open[file.name]
            close_later(file.take())
        self._sweep = None
        if self.open:
            self._sweep = asyncio.get_running_loop().call_later(IDLE / 2, self._close_idle)


def _looking(loop: asyncio.AbstractEventLoop, looks: list[tuple[File, Reader]]) -> None:
    """On a thread."""
    seen = [(file, reader, file.is_same(reader)) for file, reader in looks]
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(_looked, seen)


def _looked(seen: list[tuple[File, Reader, bool]]) -> None:
    for file, reader, same in seen:
        file.looked(reader, same)


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for db in connections:
        db.close()
