"""A few threads for the blocking work of many files."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

#: Seconds without work after which a thread ends.
IDLE = 20.0


class Workers:
    """Threads that are started when there is work and end when there is none, never more than `most`.

    Handing work over is one put into a queue: an executor's futures would cost more than a point read.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._load = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run it soon. It raises nothing: what goes wrong it tells to whoever waits."""
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
            work()
            del work  # a thread that waits keeps nothing alive
            with self._lock:
                self._load -= 1


#: Shared by all files of all engines of the process; apart, so that long reads keep no write waiting.
WRITERS = Workers("sqlite-writer", 16)
READERS = Workers("sqlite-reader", 16)
