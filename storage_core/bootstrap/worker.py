"""The worker: jobs and upkeep for as long as it is open."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from ..backing.queue import DbosWorker, jobs_engine
from ..domain.errors import StorageError
from ..services.collector import Collector
from ..services.lease_ends import LeaseEnds
from ..services.monitor import Monitor
from ..services.notices import Notices
from ..services.reconcile import Reconciler
from ..services.runner import JobRunner
from ..services.scheduler import Scheduler
from ..telemetry import log
from .core import EXPORT_SECONDS, Core
from .lock import home_id

RECONCILE_SECONDS = 60
PROBE_SECONDS = 30
SCHEDULES_SECONDS = 5
COLLECT_SECONDS = 900
HEADS_SECONDS = 60
NOTICE_SECONDS = 5
#: After something went wrong with following the news.
AGAIN_SECONDS = 5
WORKER_JOBS = 2


@asynccontextmanager
async def open_worker(core: Core) -> AsyncIterator[JobRunner]:
    """Execute jobs in this process until the block ends. The caller holds the worker lock."""
    runner = JobRunner(core.kernel, lambda: core.operations, f"worker-{os.getpid()}")
    reconciler = Reconciler(core.kernel, runner)
    engine = jobs_engine(core.settings.jobs, 10)
    worker = DbosWorker(engine, home_id(core.settings.home), WORKER_JOBS)
    await worker.launch(runner.run)
    monitor, ends = Monitor(core.kernel), LeaseEnds(core.kernel)
    tasks = [
        asyncio.create_task(
            _every(AGAIN_SECONDS, lambda: ends.follow(core.bus), at_once=True), name="leases"
        ),
        # Beside the jobs, not before them: an engine that does not answer keeps nobody waiting.
        asyncio.create_task(_every(RECONCILE_SECONDS, reconciler.settle, at_once=True), name="reconciler"),
        asyncio.create_task(_every(PROBE_SECONDS, monitor.probe_all), name="monitor"),
        # Not at once: a command that executes its own job for a moment begins no others.
        asyncio.create_task(
            _every(SCHEDULES_SECONDS, Scheduler(core.kernel, core.backups).tick), name="schedules"
        ),
        asyncio.create_task(_every(COLLECT_SECONDS, Collector(core.kernel).collect), name="retention"),
        asyncio.create_task(_every(NOTICE_SECONDS, Notices(core.kernel).deliver), name="notices"),
        asyncio.create_task(
            _every(HEADS_SECONDS, core.heads.export, at_once=True, set_to=core.heads.interval), name="heads"
        ),
    ]
    try:
        yield runner
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await worker.close()
        await asyncio.to_thread(engine.dispose)
        with suppress(TimeoutError):
            async with asyncio.timeout(EXPORT_SECONDS):
                await core.heads.export()


async def _every(
    seconds: float,
    work: Callable[[], Awaitable[None]],
    *,
    at_once: bool = False,
    set_to: Callable[[], Awaitable[float]] | None = None,
) -> None:
    """Repeat some upkeep; a round that fails is logged and does not end the next ones.

    `set_to` answers the pause people have set; `seconds` stands for it where it cannot be read.
    """
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
            seconds = seconds if set_to is None else await set_to()
        except StorageError as error:
            log.warning("upkeep: %s", error.detail)
        except Exception:  # noqa: BLE001 - it is logged, with its trace, and the next round comes
            log.exception("upkeep")
        await asyncio.sleep(seconds)
