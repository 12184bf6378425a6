"""A few threads for the blocking work of many files."""

import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

#: Seconds without work after which a thread ends.
IDLE = 20.0

#: What is to be done, and what then tells whoever waits, if somebody does. Neither raises anything.
Work = Callable[[], Callable[[], None] | None]


class Workers:
    """Threads that are started when there is work and end when there is none, never more than `most`.

    Handing work over is one put into a queue: an executor's futures would cost more than a point read. Each thread
    has a queue of its own, and the one that worked last is asked first: it is still warm, and the others may end.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._lock = threading.Lock()
        self._threads = 0
        self._free: list[SimpleQueue[Work]] = []
        self._late: deque[Work] = deque()

    def submit(self, work: Work) -> None:
        """Run it soon. Whoever is told finds the thread free already: the next work needs no other one."""
        with self._lock:
            if self._free:
                self._free.pop().put(work)
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True).start()
            else:
                self._late.append(work)

    def _run(self, first: Work) -> None:
        mine: SimpleQueue[Work] = SimpleQueue()
        work: Work | None = first
        del first  # a thread that waits keeps nothing alive
        while work is not None:
            tell = work()
            with self._lock:
                work = self._late.popleft() if self._late else None
                if work is None:
                    self._free.append(mine)
            if tell is not None:
                tell()
            del tell
            work = work or self._next(mine)

    def _next(self, mine: "SimpleQueue[Work]") -> Work | None:
        """What the thread is given; nothing, and then it has no place any more."""
        try:
            return mine.get(timeout=IDLE)
        except Empty:
            with self._lock:
                if mine in self._free:
                    self._free.remove(mine)
                    self._threads -= 1
                    return None
        return mine.get()  # it was given just now


#: Shared by all files of all engines of the process; apart, so that long reads keep no write waiting.
WRITERS = Workers("sqlite-writer", 16)
READERS = Workers("sqlite-reader", 16)
