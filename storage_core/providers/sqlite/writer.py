"""The one lane by which a process writes to a file: what waits is written together and committed once.

Who writes gets an answer after the commit, so acknowledged is durable, and many who write at the same time share one
wait for the disk (group commit). Jobs of a lane run one after the other, each on whichever thread is free.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ...domain.errors import Conflict, Locked, StorageError
from .collection_values import prepare
from .connect import BUSY_SECONDS, open_writer, translate, translate_system
from .place import Place
from .workers import WRITERS

#: Jobs that share a commit at most, and commits after which a lane lets others have the thread.
BATCH, TURNS = 256, 32
#: Seconds that a transaction may keep the lane, and that others wait for it.
HOLD, WAIT = 30.0, BUSY_SECONDS
STATEMENTS = 256

Work = Callable[["Lane", sqlite3.Connection], Any]


class Job:
    """Something to be done on the lane. `single`: it is one statement, or harmless if cut off, and needs no savepoint.

    `lone`: it is whole without a transaction where nobody waits to share one, if this table is known. `large`: it
    shares its commit with no other.
    """

    __slots__ = ("born", "error", "future", "large", "lone", "result", "single", "work")

    def __init__(
        self,
        future: "asyncio.Future[Any]",
        work: Work,
        *,
        single: bool = False,
        lone: str = "",
        large: bool = False,
    ) -> None:
        self.future, self.work, self.single, self.lone, self.large = future, work, single, lone, large
        self.born = 0.0
        self.result: Any = None
        self.error: BaseException | None = None


class Lane:
    """Called on the loop, except for what begins with an underscore and is no timer: that runs on a thread.

    `known` are the tables known to be collections, as of this connection; `made`: the job at hand made one; `alone`: it
    has the transaction for itself.
    """

    def __init__(self, place: Place, name: str, landed: Callable[[], None], share: Callable[[], int]) -> None:
        """:param landed: called on the loop after jobs are done. :param share: KiB of pages that it may keep."""
        self._place, self._name, self._landed, self._share = place, name, landed, share
        self._jobs: deque[Job] = deque()
        self._inner: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running = False
        self._held = False
        self._db: sqlite3.Connection | None = None
        self._path = self._place.located(name)
        self._inode = (0, 0)
        self.known: set[str] = set()
        self.made = self.alone = False
        self.counted = False
        self._timers: list[asyncio.TimerHandle] = []
        self._session: object | None = None

    @property
    def idle(self) -> bool:
        return not (self._running or self._held or self._jobs)

    def run(
        self, work: Work, *, single: bool = False, lone: str = "", large: bool = False
    ) -> "asyncio.Future[Any]":
        """Do it, and answer when it is committed. Cancelled: it is done or not done."""
        loop = asyncio.get_running_loop()
        job = Job(loop.create_future(), work, single=single, lone=lone, large=large)
        job.born = loop.time()
        self._put(self._jobs, job)
        return job.future

    def inside(self, session: object, work: Work, *, single: bool = False) -> "asyncio.Future[Any]":
        """Do it inside the transaction that holds the lane; Conflict if it is over."""
        if session is not self._session:
            raise _undone()
        job = Job(asyncio.get_running_loop().create_future(), work, single=single)
        self._put(self._inner, job)
        return job.future

    async def hold(self) -> object:
        """Begin a transaction that keeps the lane until `release`, or for `HOLD` seconds; answers what stands for it."""
        loop = asyncio.get_running_loop()
        job = Job(loop.create_future(), _begin)
        job.born = loop.time()
        self._put(self._jobs, job)
        try:
            await job.future
        except asyncio.CancelledError:
            if job.future.done() and not job.future.cancelled() and job.error is None:
                self._put(self._inner, Job(loop.create_future(), _rollback))
            raise
        session = self._session = object()
        self._timers = [loop.call_later(HOLD, self.cut), loop.call_later(1.0, self._tell_waiting, loop)]
        return session

    async def release(self, session: object) -> None:
        """Commit the transaction; the lane is free afterwards, whatever becomes of it."""
        if session is not self._session:
            raise _undone()
        self._forget()
        job = Job(asyncio.get_running_loop().create_future(), _commit)
        self._put(self._inner, job)
        await job.future

    def cut(self, session: object | None = None) -> None:
        """Undo the transaction that holds the lane, or this one alone, without waiting for it."""
        if self._session is not None and session in (None, self._session):
            self._forget()
            self._put(self._inner, Job(asyncio.get_running_loop().create_future(), _rollback))

    def _forget(self) -> None:
        self._session = None
        for timer in self._timers:
            timer.cancel()

    def take(self) -> sqlite3.Connection | None:
        """Give up the connection, to be closed on a thread. Only while idle."""
        db, self._db = self._db, None
        self.known.clear()
        return db

    def _put(self, queue: deque[Job], job: Job) -> None:
        with self._lock:
            queue.append(job)
            start = not self._running and (queue is self._inner or not self._held)
            self._running = self._running or start
        if start:
            WRITERS.submit(self._drain)

    def _tell_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """A timer while a transaction holds the lane: who waited too long is told so."""
        if not self._held:
            return
        late: list[Job] = []
        with self._lock:
            while self._jobs and self._jobs[0].born < loop.time() - WAIT:
                late.append(self._jobs.popleft())
        for job in late:
            if not job.future.done():
                job.future.set_exception(self._busy(job))
        self._timers.append(loop.call_later(1.0, self._tell_waiting, loop))

    def _busy(self, job: Job) -> StorageError:
        detail = f"A transaction has kept {self._name} for {WAIT:g} seconds."
        if job.work is _begin:
            return Conflict(detail, hint="Repeat the whole transaction.")
        return Locked(detail, hint="Try again; inside a transaction use its own collections.")

    def _drain(self) -> Callable[[], None] | None:
        return self._drain_from(self._next())

    def _drain_from(self, jobs: list[Job]) -> Callable[[], None] | None:
        """On a thread: what there is. Who gets an answer finds the lane idle if it is."""
        done: list[Job] = []
        for _ in range(TURNS):
            if not jobs:
                break
            if done:
                self._answer(done)
            done = self._work(jobs)
            jobs = self._next()
        if jobs:
            WRITERS.submit(partial(self._drain_from, jobs))
        return partial(self._answer, done) if done else None

    def _next(self) -> list[Job]:
        """What is to be done together; nothing, and then nobody is running any more."""
        with self._lock:
            jobs: list[Job] = []
            if self._held:
                if self._inner:
                    jobs.append(self._inner.popleft())
            else:
                while self._jobs and len(jobs) < BATCH and not (jobs and _apart(self._jobs[0])):
                    jobs.append(self._jobs.popleft())
                    if _apart(jobs[-1]):
                        self._held = jobs[-1].work is _begin
                        break
            self._running = bool(jobs)
            return jobs

    def _work(self, jobs: list[Job]) -> list[Job]:
        """Do them; answers who is to be told, with what became of each."""
        held = self._held
        try:
            if held:
                self._within(jobs[0])
            else:
                self._commit_all(jobs)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            told = self._told(error)
            for job in jobs:
                job.error = job.error or told
        if held and (jobs[0].work in _ENDS or (jobs[0].work is _begin and jobs[0].error is not None)):
            jobs += self._let_go()
        return jobs

    def _answer(self, jobs: list[Job]) -> None:
        try:
            jobs[0].future.get_loop().call_soon_threadsafe(self._settle, jobs)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _let_go(self) -> list[Job]:
        """The lane is free; what the transaction still wanted comes too late."""
        with self._lock:
            self._held = False
            late = list(self._inner)
            self._inner.clear()
        for job in late:
            job.error = _undone()
        return late

    def _settle(self, jobs: list[Job]) -> None:
        """On the loop: everybody gets what became of their job."""
        for job in jobs:
            if job.future.done():
                if job.work is _begin and job.error is None:  # cancelled meanwhile
                    self._put(self._inner, Job(job.future.get_loop().create_future(), _rollback))
            elif job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)
        self._landed()

    def _commit_all(self, jobs: list[Job]) -> None:
        db = self._ready()
        if len(jobs) == 1 and jobs[0].lone in self.known:
            jobs[0].result = jobs[0].work(self, db)
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            if len(jobs) == 1:
                self._whole(db, jobs[0])
            else:
                for job in jobs:
                    if not job.future.cancelled():
                        self._step(db, job)
            db.execute("COMMIT")
        except BaseException:
            self._undo(db)
            raise

    def _whole(self, db: sqlite3.Connection, job: Job) -> None:
        """A job that has a transaction for itself, and with it what undoes it."""
        if job.future.cancelled():
            return
        self.alone = True
        try:
            job.result = job.work(self, db)
        finally:
            self.alone = False

    def _within(self, job: Job) -> None:
        """One job of the transaction that holds the lane, its beginning and its end included."""
        if job.work is _begin:
            _begin(self, self._ready())
        elif (db := self._db) is None or not db.in_transaction:
            if job.work is not _rollback:
                raise _undone()
        elif job.work in _ENDS:
            try:
                job.work(self, db)
            except BaseException:
                self._undo(db)
                raise
        else:
            self._step(db, job)

    def _step(self, db: sqlite3.Connection, job: Job) -> None:
        """One job inside an open transaction; its failure is its own, unless it ended the transaction."""
        self.made = False
        if not job.single:
            db.execute("SAVEPOINT step")
        try:
            job.result = job.work(self, db)
        except (StorageError, sqlite3.Error) as error:
            if self.made:
                self.known.clear()
            if not db.in_transaction:
                raise
            if not job.single:
                self.counted = False
                db.execute("ROLLBACK TO step")
            job.error = self._told(error)
        if not job.single:
            db.execute("RELEASE step")

    def mark(self, db: sqlite3.Connection) -> None:
        """Inside a job: `back` leads here until `unmark`. A savepoint has every page copied; a whole transaction not."""
        if not self.alone:
            db.execute("SAVEPOINT mark")

    def back(self, db: sqlite3.Connection) -> None:
        """Undo what the job did since; alone in its transaction, all that it did: what it made is to be made again."""
        self.counted = False  # it may have begun since
        if not self.alone:
            db.execute("ROLLBACK TO mark")
            return
        self.known.clear()
        db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")

    def unmark(self, db: sqlite3.Connection) -> None:
        if not self.alone and db.in_transaction:
            db.execute("RELEASE mark")

    def _undo(self, db: sqlite3.Connection) -> None:
        self.known.clear()
        self.counted = False
        if db.in_transaction:
            db.execute("ROLLBACK")

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.Error):
            return translate(error, self._name)
        return translate_system(error, self._name) if isinstance(error, OSError) else error

    def _ready(self) -> sqlite3.Connection:
        """The connection; another one if the file is not the one it was."""
        if self._db is not None:
            try:
                found = self._path.stat()
                if (found.st_dev, found.st_ino) == self._inode:
                    return self._db
            except FileNotFoundError:
                pass  # the place says so, in our words
            self._db.close()
            self._db = None
        self.known.clear()
        self.counted = False
        self._path = self._place.file(self._name)
        found = self._path.stat()
        db = open_writer(self._path, statements=STATEMENTS, cache=self._share())
        try:
            prepare(db)
            db.execute("PRAGMA synchronous=FULL")
        except BaseException:
            db.close()
            raise
        self._inode, self._db = (found.st_dev, found.st_ino), db
        return db


def _apart(job: Job) -> bool:
    """Whether a job shares its commit with none before it and none after it."""
    return job.large or job.work is _begin


def _begin(_lane: Lane, db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")


def _commit(_lane: Lane, db: sqlite3.Connection) -> None:
    db.execute("COMMIT")


def _rollback(lane: Lane, db: sqlite3.Connection) -> None:
    lane.known.clear()
    db.execute("ROLLBACK")


def _undone() -> Conflict:
    return Conflict(
        f"The transaction was undone: it took longer than {HOLD:g} seconds, or its database was closed.",
        hint="Repeat it whole, in smaller steps.",
    )


_ENDS: tuple[Work, ...] = (_commit, _rollback)


def close_later(connections: list[sqlite3.Connection]) -> None:
    """Close on a thread: the last one of a file moves its log, which takes a while."""
    for db in connections:
        WRITERS.submit(partial(_close, db))


def _close(db: sqlite3.Connection) -> None:
    db.close()
