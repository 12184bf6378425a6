"""The worker process: executes durable jobs until it is told to stop."""

import asyncio
import signal
from contextlib import suppress

from .bootstrap import WorkerLock, migrate, open_core, open_worker
from .domain.errors import Locked
from .settings import Settings
from .telemetry import log

#: How often a worker looks whether a command has given the lock back.
LOCK_SECONDS = 0.5


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; Locked when another worker serves this home."""
    await migrate(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    lock = WorkerLock(settings.home)
    if not await _locked(lock, stop):
        return
    try:
        async with open_core(settings) as core, open_worker(core):
            log.info("worker ready")
            await stop.wait()
            log.info("worker stopping")
    finally:
        lock.release()


async def _locked(lock: WorkerLock, stop: asyncio.Event) -> bool:
    """Take the home's lock, waiting for a command that has borrowed it; false when told to stop meanwhile."""
    while not lock.acquire():
        if not lock.is_borrowed:
            raise Locked(
                "Another worker serves this home.", hint="One worker executes; stop the other one first."
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(LOCK_SECONDS):
                await stop.wait()
        if stop.is_set():
            return False
    return True
