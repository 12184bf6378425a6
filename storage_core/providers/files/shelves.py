"""The open databases of an engine: opened once, bounded in number and memory, closed when others are wanted."""

import asyncio
import resource
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ...domain.errors import EngineFailure, NotFound
from .errors import translated
from .form import Form
from .loading import locked
from .place import Place
from .shelf import Shelf

T = TypeVar("T")

#: Databases open at once: each is a file descriptor, of which it may take a third, and lies in memory.
MAX_OPEN = max(64, min(2048, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3))
#: Bytes of documents in memory beyond which databases that rest are closed.
MAX_BYTES = 512 << 20
THREADS = 8


class Shelves:
    """`live` is for those who count microseconds: a shelf there may be used when it is not behind."""

    def __init__(self, form: Form, place: Place) -> None:
        self.form, self.place = form, place
        self.live: OrderedDict[str, Shelf] = OrderedDict()
        self._opening: dict[str, asyncio.Task[Shelf]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=str(self.form.kind))
        return self._threads

    async def offline(self, work: Callable[[], T]) -> T:
        """Blocking work, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool(), work)

    async def shelf(self, name: str) -> Shelf:
        """An open database that knows what is stored."""
        while True:
            shelf = await self.writing(name)
            if not shelf.behind():
                return shelf
            await shelf.fresh()

    async def writing(self, name: str) -> Shelf:
        """An open database that is to be written to: it learns what others wrote when its turn comes."""
        while (shelf := self.live.get(name)) is None or shelf.closed:
            await self._open(name)  # somebody else may need its room before we come to use it: then once more
        self.live.move_to_end(name)
        return shelf

    async def drop(self, name: str) -> None:
        await self.leave(name)

        def work() -> None:
            path = self.place.doomed(name)
            if path is None:
                return
            with translated(path):
                _remove(self.form, path)

        await self.offline(work)

    async def leave(self, name: str) -> None:
        """Close a database, if it is open."""
        shelf = self.live.pop(name, None)
        if shelf is not None:
            await shelf.close()

    async def close(self) -> None:
        """Bring all files up to date, and close; idempotent."""
        for task in list(self._opening.values()):
            await asyncio.wait([task])
        shelves = list(self.live.values())
        self.live.clear()
        await asyncio.gather(*(shelf.close(tidy=True) for shelf in shelves))
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    async def _open(self, name: str) -> Shelf:
        """Once, however many ask at the same time, and whoever of them is cancelled."""
        task = self._opening.get(name)
        if task is None:
            task = self._opening[name] = asyncio.create_task(self._opened(name))
            task.add_done_callback(lambda _: self._opening.pop(name, None))
        return await asyncio.shield(task)

    async def _opened(self, name: str) -> Shelf:
        old = self.live.pop(name, None)
        if old is not None:
            await old.close()
        path = await self.offline(lambda: self.place.file(name))
        shelf = await Shelf.open(self.form, path, self.pool)
        self.live[name] = shelf
        await self._make_room(shelf)
        return shelf

    async def _make_room(self, newest: Shelf) -> None:
        """Close what was not used for longest, as far as it rests."""
        held, doomed = sum(shelf.state.bytes for shelf in self.live.values()), list[Shelf]()
        for name, shelf in list(self.live.items()):
            if len(self.live) <= MAX_OPEN and held <= MAX_BYTES:
                break
            if shelf is not newest and shelf.resting:
                held -= shelf.state.bytes
                doomed.append(self.live.pop(name))
        for shelf in doomed:
            await shelf.close()


def _remove(form: Form, path: Path) -> None:
    """Under the journal's lock, so that no other process writes into what goes; damaged ones go without."""
    try:
        journal = locked(form, path)
    except (NotFound, EngineFailure):
        form.remove(path)
        return
    try:
        form.remove(path)
    finally:
        journal.close()


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Work that is waited for to its end even by a caller who is cancelled, and only then leaves."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen, so that nobody warns of it
        raise
