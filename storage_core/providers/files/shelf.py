"""An open database: all of it in memory, its journal, and the one task that writes."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from ...domain.errors import Interrupted, StorageError
from .errors import translated
from .form import Form, Kept, Told, new_base
from .journal import Journal, changing, sealed
from .loading import PATIENCE, PAUSE, Loaded, busy, found_in, kept_of, keys_of, load, locked
from .state import Batch
from .stored import Change, changes_of, written

T = TypeVar("T")

#: A checkpoint is made when the journal is so long, and half as long as what it goes on from.
CHECKPOINT_BYTES = 4 << 20


@dataclass(slots=True, eq=False)
class _Job:
    """`work` puts into a batch; or has the database for itself."""

    done: asyncio.Future[Any]
    work: Callable[[Batch], Any] | None = None
    alone: Callable[["Shelf"], Awaitable[Any]] | None = None


class Shelf:
    """Reads look at `state`, after `behind` said that it is what is stored; writes are submitted.

    Writes that come while others are being made durable become durable together: one line, one fdatasync. Between
    processes the journal's lock decides who is next; whoever gets it first learns what the others wrote.
    """

    def __init__(self, form: Form, path: Path, loaded: Loaded, pool: Callable[[], Executor]) -> None:
        self.form, self.path, self._pool = form, path, pool
        self._take(loaded)
        self._jobs: deque[_Job] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        #: Whether the lock is held and all is known; whether what others wrote is being learned.
        self._holding = self._learning = False
        #: No longer to be used: closed, or not sure any more of what the disk holds.
        self.closed = False
        self._journal.unlock()

    @classmethod
    async def open(cls, form: Form, path: Path, pool: Callable[[], Executor]) -> "Shelf":
        running = asyncio.get_running_loop().run_in_executor(pool(), _loading, form, path)
        return cls(form, path, await running, pool)

    def _take(self, loaded: Loaded) -> None:
        self.state, self._journal = loaded.state, loaded.journal
        self._stamp, self._touched = loaded.stamp, loaded.touched
        self._unspread: list[Change] = []
        self._half: set[tuple[str, str]] = set()  # of what was touched, what is being made durable already
        self._told: set[tuple[str, str]] = set()  # what others wrote: they may have died before it was spread

    def behind(self) -> bool:
        """Whether another process wrote since; while this one writes, none can have."""
        return self._learning or (not self._holding and self._journal.behind())

    @property
    def resting(self) -> bool:
        return self._settling is None and self._idle

    @property
    def _idle(self) -> bool:
        return self._runner is None or self._runner.done()

    @property
    def journal_bytes(self) -> int:
        return self._journal.end

    def submit(self, work: Callable[[Batch], T]) -> asyncio.Future[T]:
        """What `work` answers, once what it put into the batch is durable; a StorageError from it is its own.

        A call cancelled before its turn is not done.
        """
        return self._queue(_Job(asyncio.get_running_loop().create_future(), work))

    def exclusively(self, work: Callable[["Shelf"], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """What `work` answers, which has the database for itself, and may `commit`."""
        return self._queue(_Job(asyncio.get_running_loop().create_future(), alone=work))

    def _queue(self, job: _Job) -> asyncio.Future[Any]:
        if self.closed:
            raise Interrupted("The database was closed.", hint="Try again.")
        self._jobs.append(job)
        if self._idle:
            self._runner = asyncio.create_task(self._run())
        return job.done

    async def fresh(self) -> None:
        """Return when the state is what is stored."""
        await self.submit(_nothing)

    async def checkpoint(self) -> None:
        """Bring the files up to date with the journal, and begin a new one."""
        await self.exclusively(Shelf._checkpoint)

    async def offline(self, work: Callable[[], T]) -> T:
        """Blocking or long work, in a thread; it touches nothing that the loop changes."""
        return await asyncio.get_running_loop().run_in_executor(self._pool(), work)

    async def commit(self, changes: list[Change]) -> None:
        """Make changes durable, then seen. Only for whoever has the database for itself."""
        line, spread = written(changes), [*self._unspread, *changes]

        def work() -> list[Change]:
            with translated(self.path):
                self._journal.append(line)
            try:
                self.form.spread(self.path, spread)
            except OSError:
                return spread  # durable all the same; the next write, or the checkpoint, tries again
            return []

        try:
            self._unspread = await self.offline(work)
        except StorageError:
            self.closed = True  # whether it is on the disk, only the disk knows
            raise
        for change in changes:
            self._touched |= keys_of(change, self.state)
            self.state.apply(change)

    async def close(self, *, tidy: bool = False) -> None:
        """End when the writes that wait are done; `tidy` brings files up to date in which people miss something."""
        if self._settling is not None:
            await asyncio.wait([self._settling])
        if tidy and self.form.lags and self._journal.end > self._journal.begin and not self.closed:
            with contextlib.suppress(StorageError):  # nothing is lost: the journal has it
                await self.checkpoint()
        self.closed = True
        if self._runner is not None:
            await asyncio.wait([self._runner])
        self._journal.close()

    async def _run(self) -> None:
        """One batch after another, until no job waits."""
        taken: list[_Job] = []
        try:
            while self._jobs:
                try:
                    await self._hold()
                    taken = self._next()
                    await self._serve(taken)
                    await self._shorten()
                except StorageError as error:
                    _fail([*taken, *self._jobs], error)
                    self._jobs.clear()
                finally:
                    self._release()
        finally:
            error = Interrupted("The call was cut off.", hint="Look whether it was done.")
            _fail([*taken, *self._jobs], error)
            self._jobs.clear()

    async def _shorten(self) -> None:
        """Begin a new journal when it is time: what can be made durable while others write is, before their turn."""
        limit = max(CHECKPOINT_BYTES, self.state.bytes // 2)
        if self._journal.end > limit and self._settling is None:
            self._settling = asyncio.create_task(self._settle())
        elif self._journal.end > 4 * limit:
            await self._checkpoint()

    async def _settle(self) -> None:
        half = self._half = self._touched
        self._touched = set()
        try:
            with contextlib.suppress(StorageError):  # then the next one tries; the journal has all of it
                await self.offline(lambda: self._settled(sorted(half)))
                if self._half is half:
                    self._half = set()
                    await self.checkpoint()
        finally:
            self._touched |= self._half
            self._half, self._settling = set(), None

    def _settled(self, touched: list[tuple[str, str]]) -> None:
        with translated(self.path):
            self.form.settle(self.path, touched)

    def _next(self) -> list[_Job]:
        """All that wait up to one that is alone; or that one."""
        taken = [self._jobs.popleft()]
        while taken[0].alone is None and self._jobs and self._jobs[0].alone is None:
            taken.append(self._jobs.popleft())
        return taken

    async def _serve(self, jobs: list[_Job]) -> None:
        batch = Batch(self.state)
        answers: list[tuple[_Job, Any]] = []
        for job in jobs:
            if job.done.done():
                continue
            try:
                answer = await job.alone(self) if job.alone else job.work(batch) if job.work else None
            except StorageError as error:
                _fail([job], error)
            else:
                answers.append((job, answer))
        if batch.changes:
            await self.commit(batch.changes)
        for job, answer in answers:
            if not job.done.done():
                job.done.set_result(answer)

    async def _hold(self) -> None:
        """Get the lock, and know all that others wrote."""
        deadline = time.monotonic() + PATIENCE
        while not self._journal.lock():
            if time.monotonic() > deadline:
                raise busy(self.path)
            await asyncio.sleep(PAUSE)
        self._learning = self._journal.behind()
        self._holding = True
        if self._learning:
            try:
                await self._catch_up()
            except StorageError:
                self.closed = True
                raise
            finally:
                self._learning = False

    def _release(self) -> None:
        if self._holding:
            self._holding = False
            self._journal.unlock()  # a closed one has let go already

    async def _catch_up(self) -> None:
        lines = await self.offline(self._rest)
        if not sealed(lines) and not self._journal.replaced:
            return self._learn(lines)
        if (following := await self.offline(lambda: self._following(lines))) is None:
            return await self._reload()
        self._learn(lines)
        self._forget()
        self._journal.close()
        self._journal, more, self._stamp = following
        self.state.base = self._journal.base
        return self._learn(more)

    def _rest(self) -> list[bytes]:
        with translated(self.path):
            return self._journal.read()

    def _following(self, lines: list[bytes]) -> tuple[Journal, list[bytes], object] | None:
        """The journal that takes up where these lines end, locked; none where all must be read anew."""
        if not sealed(lines) or not self._journal.replaced:
            return None
        with translated(self.path):
            journal = locked(self.form, self.path)
            try:
                more = journal.read() if journal.end == 0 else []
                follows = journal.base == orjson.loads(lines[-1])["sealed"] and not sealed(more)
                if follows and journal.replaces == self.state.base:
                    return journal, more, self.form.stamp(self.path)
            except BaseException:
                journal.close()
                raise
            journal.close()
        return None

    def _learn(self, lines: list[bytes]) -> None:
        """What another process wrote and made durable."""
        for line in changing(lines):
            for change in changes_of(line):
                keys = keys_of(change, self.state)
                self._touched |= keys
                self._told |= keys
                self.state.apply(change)

    def _forget(self) -> None:
        """All that was touched is in a checkpoint."""
        self._touched, self._half, self._told = set(), set(), set()

    async def _reload(self) -> None:
        """Everything from the disk. Others may come in between: nobody reads until it is there."""
        self._learning = True
        self._journal.close()
        try:
            self._take(await self.offline(lambda: _loading(self.form, self.path)))
        except StorageError:
            self.closed = True
            raise
        finally:
            self._learning = False

    async def tidy(self) -> None:
        """Read the files anew, then make a checkpoint. Only for whoever has the database for itself."""
        await self._reload()
        await self._checkpoint()

    async def _checkpoint(self) -> None:
        if await self.offline(self._stamped) != self._stamp:
            await self._reload()  # another program wrote the file: what it wrote stays
        base = new_base()
        kept, touched = kept_of(self.state, base), sorted(self._touched | self._half)
        told = {(name, id): found_in(self.state, name, id) for name, id in self._told}
        try:
            fresh, stamp = await self.offline(lambda: self._made(kept, touched, told))
        except StorageError:
            self.closed = True  # the journal may be sealed, the checkpoint made
            raise
        self._journal.close()
        self._journal, self._stamp, self.state.base = fresh, stamp, base
        self._forget()
        self._unspread.clear()

    def _stamped(self) -> object:
        with translated(self.path):
            return self.form.stamp(self.path)

    def _made(self, kept: Kept, touched: list[tuple[str, str]], told: Told) -> tuple[Journal, object]:
        """Seal, checkpoint, new journal: whatever a crash leaves of it, `load` knows which of the two is in force."""
        with translated(self.path):
            self._journal.seal(kept.base)
            self.form.spread(self.path, self._unspread)
            self.form.write(self.path, kept, touched, told)
            fresh = Journal.make(self._journal.path, kept.base, kept.replaces, over=True)
            return fresh, self.form.stamp(self.path)


def _nothing(_: Batch) -> None: ...


def _loading(form: Form, path: Path) -> Loaded:
    with translated(path):
        return load(form, path)


def _fail(jobs: list[_Job], error: StorageError) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(error)
