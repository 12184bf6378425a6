"""One program as a child in a process group of its own: bytes in or out off the event loop, its complaints kept."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from .tools import Sign

T = TypeVar("T")

PIECE = 1 << 20
PIPE_SIZE = 1 << 20
# Programs write 4 KiB at a time, and waking up for each costs both sides: where little has come, more is let come in
# meanwhile, for as long as nobody can fill the pipe.
SIP, NAP = 1 << 16, 0.001
TERM_SECONDS = 2.0
COMPLAINTS = 200


class Child:
    """A running program. Owned by `run`; nothing of it outlives that context."""

    def __init__(self, process: subprocess.Popen[bytes], on_complaint: Callable[[str], None] | None) -> None:
        self.pid = process.pid
        self.complaints: deque[str] = deque(maxlen=COMPLAINTS)
        self._process = process
        self._on_complaint = on_complaint
        self._threads = ThreadPoolExecutor(3, thread_name_prefix="pg-program")
        self._drain = threading.Thread(target=self._listen, name="pg-program-stderr", daemon=True)
        self._drain.start()
        self._piece = bytearray(PIECE)
        self._nap = 0.0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
                with contextlib.suppress(
                    OSError
                ):  # an unprivileged user may have used up what all pipes may hold
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
                    self._nap = NAP if pipe is process.stdout else 0.0

    async def read(self, see: Callable[[bytes], object] | None = None) -> bytes:
        """The next piece, full unless it is the last; empty at the end. `see` is shown it in the reading thread."""
        return await self._away(lambda: self._fill(see))

    async def write(self, data: bytes) -> bool:
        """Hand over all of it; false when the program no longer listens."""
        return await self._away(lambda: self._pour(data))

    async def end_input(self) -> None:
        await self._away(self._close_input)

    async def wait(self) -> int:
        """Its exit status, after its last complaint was heard."""
        return await self._away(self._end)

    def kill(self) -> None:
        """Ask it to stop (it cancels its query at the server), then stop its whole group."""
        for sign, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, 60.0)):
            if self._process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def close(self) -> None:
        """End it if it runs, and give back every thread and descriptor."""
        self.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._drain.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    async def _away(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _fill(self, see: Callable[[bytes], object] | None) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - started with it
        room = memoryview(self._piece)
        while room and (size := os.readv(pipe.fileno(), [room])):
            room = room[size:]
            if room and size < SIP:
                time.sleep(self._nap)
        data = bytes(memoryview(self._piece)[: PIECE - len(room)])
        if data and see is not None:
            see(data)
        return data

    def _pour(self, data: bytes) -> bool:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - started with it
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(pipe.fileno(), view) :]
        except BrokenPipeError:
            return False
        return True

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _end(self) -> int:
        status = self._process.wait()
        self._drain.join(5)
        return status

    def _listen(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None  # noqa: S101 - started with it
        for raw in pipe:
            line = raw[:2000].decode(errors="replace").rstrip()
            self.complaints.append(line)
            if self._on_complaint is not None:
                self._on_complaint(line)


@contextmanager
def run(
    command: list[str], sign: Sign, *, feed: bool = False, on_complaint: Callable[[str], None] | None = None
) -> Iterator[Child]:
    """Start a program that writes to us, or with `feed` one that reads from us too; ended on leaving."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=sign.environment,
        pass_fds=sign.descriptors,
        start_new_session=True,
        bufsize=0,
        cwd="/",
    )
    child = Child(process, on_complaint)
    try:
        yield child
    finally:
        child.close()
