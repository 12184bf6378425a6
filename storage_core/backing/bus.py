"""The bus: tails the catalog's outbox and wakes whoever waits."""

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from ..domain.errors import StorageError
from ..domain.event import Event

log = logging.getLogger(__name__)

BATCH = 500
QUEUE = 1000

Tail = Callable[[int, int], Awaitable[tuple[Event, ...]]]
News = Callable[[], AsyncGenerator[None]]


class OutboxBus:
    """One reader per process reads the outbox (an indexed read of microseconds) and fans out to listeners.

    It reads when the catalog says that there is something (`news`), and every `interval` seconds whatever it says.
    `start` begins, `close` ends it; without listeners it only follows the sequence.
    """

    def __init__(
        self, tail: Tail, last: Callable[[], Awaitable[int]], interval: float, news: News | None = None
    ) -> None:
        self._tail, self._last, self._interval, self._news = tail, last, interval, news
        self._sequence = 0
        self._moved = asyncio.Condition()
        self._wake = asyncio.Event()
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        self._sequence = await self._last()
        work = [self._run()] if self._news is None else [self._run(), self._hear(self._news)]
        self._tasks = tuple(asyncio.create_task(w, name="bus") for w in work)

    async def _run(self) -> None:
        while True:
            await self._woken()
            try:
                while events := await self._tail(self._sequence, BATCH):
                    await self._deliver(events)
            except StorageError as error:
                # The catalog is away; the health page says so. The bus goes on where it was.
                log.debug("bus: %s", error.detail)
            except Exception:
                log.exception("bus")

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _hear(self, news: News) -> None:
        """Listen for as long as the catalog lets us, and again later: meanwhile the interval will do."""
        while True:
            try:
                async with aclosing(news()) as heard:
                    async for _ in heard:
                        self._wake.set()
            except StorageError as error:
                log.debug("bus: %s", error.detail)
            except Exception:
                log.exception("bus: listening")
            await asyncio.sleep(self._interval)

    async def _deliver(self, events: tuple[Event, ...]) -> None:
        for queue in self._listeners:
            for event in events:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(event)
        async with self._moved:
            self._sequence = events[-1].sequence
            self._moved.notify_all()

    def subscribe(self) -> AsyncGenerator[Event]:
        """Events from now on: from this call, not from the first step. Close it in the end."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        self._listeners.add(queue)
        listening = self._listen(queue)
        # A generator that was never begun does not run its `finally`.
        weakref.finalize(listening, self._listeners.discard, queue)
        return listening

    async def _listen(self, queue: asyncio.Queue[Event]) -> AsyncGenerator[Event]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def wait_beyond(self, sequence: int) -> int:
        async with self._moved:
            await self._moved.wait_for(lambda: self._sequence > sequence)
            return self._sequence

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = ()
