"""A few threads for the blocking work of many files."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

#: Seconds without work after which a thread ends.
IDLE = 20.0

#: What is to be done, and what then tells whoever waits, if somebody does. Neither raises anything.
Work = Callable[[], Callable[[], None] | None]


class Workers:
    """Threads that are started when there is work and end when there is none, never more than `most`.

    Handing work over is one put into a queue: an executor's futures would cost more than a point read.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._queue: SimpleQueue[Work] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._load = 0

    def submit(self, work: Work) -> None:
        """Run it soon. Whoever is told finds the thread free already: the next work needs no other one."""
        with self._lock:
            self._load += 1
            if self._load > self._threads and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            self._queue.put(work)

    def _run(self) -> None:
        while True:
            try:
                work = self._queue.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._load < self._threads:  # the others do what there is
                        self._threads -= 1
                        return
                continue
            tell = work()
            with self._lock:
                self._load -= 1
            if tell is not None:
                tell()
            del work, tell  # a thread that waits keeps nothing alive


#: Shared by all files of all engines of the process; apart, so that long reads keep no write waiting.
WRITERS = Workers("sqlite-writer", 16)
READERS = Workers("sqlite-reader", 16)
