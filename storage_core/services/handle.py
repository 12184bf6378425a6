"""A running job's handle on the world: steps, progress, log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..domain.errors import Cancelled, Internal, StorageError, revive
from ..domain.job import Job, LogLine, Progress, share_of_guess
from ..ports.backup import OnProgress
from ..ports.queue import Steps
from ..ports.recording import Recording

log = logging.getLogger(__name__)

LOG_LINES = 200


class JobHandle:
    """What a durable operation's work receives. A step is seconds of work that may safely run again."""

    def __init__(self, job: Job, steps: Steps, now: Callable[[], datetime]) -> None:
        self.job, self._steps, self._now = job, steps, now
        self.state = job.progress
        self.lines: tuple[LogLine, ...] = job.log
        #: What the work has changed, for the entry that ends it.
        self.recorded = Recording()
        self.changed = False
        #: Whether somebody asked to stop it, be it before this run.
        self.cancelled = job.cancel_requested
        self._running: asyncio.Future[Any] | None = None

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def target_id(self) -> str:
        assert self.job.target_id is not None, "durable operations have a target"  # noqa: S101
        return self.job.target_id

    async def step(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run a step once: after a crash a finished one answers what it recorded (JSON), errors included.

        Cancelled when the job is, after what the step had begun was put away; a job that is cut off otherwise
        (its worker stops) leaves with CancelledError and runs the step again.
        """

        async def recorded() -> dict[str, Any]:
            try:
                return {"value": await self._stoppable(work)}
            except StorageError as error:
                return {"error": [error.code, error.detail, error.hint]}
            except Exception as error:
                log.exception("job %s, step %s", self.id, name)
                text = f"The step {name} failed unexpectedly ({type(error).__name__})."
                return {"error": [Internal.code, text, Internal.default_hint]}

        self.check()
        outcome = await self._steps.step(name, recorded)
        if "error" in outcome:
            self.check()  # what goes wrong while a step is being stopped is no news
            raise revive(*outcome["error"])
        return outcome["value"]

    async def _stoppable(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """The work as a task of its own, which `cancel` ends: Cancelled, where it was that."""
        self._running = asyncio.ensure_future(work())
        try:
            return await self._running
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or not me.cancelling():
                self.check()
            raise
        finally:
            self._running = None

    def cancel(self) -> None:
        """Stop the step that runs now, and begin no other."""
        if not self.cancelled:
            self.cancelled = True
            self.log("stopping: it was cancelled")
            if self._running is not None:
                self._running.cancel()

    def check(self) -> None:
        """Cancelled when the job is: between the batches of work that is no step."""
        if self.cancelled:
            raise Cancelled("The job was cancelled.")

    def progress(self, stage: str, percent: float | None = None, *, message: str = "") -> None:
        """Say where the job stands; cheap, written to the catalog by the runner a few times a second."""
        if stage != self.state.stage:
            self.log(message or stage)
        self.state = replace(self.state, stage=stage, percent=percent, message=message)
        self.changed = True

    def meter(
        self, stage: str, begin: float, end: float, *, total: int | None = None, guess: int | None = None
    ) -> OnProgress:
        """A byte counter for a stage that moves the job from `begin` to `end` percent.

        `total` is known beforehand, where the one who reports does not say. `guess` stands for one that nobody
        knows; it moves the bar, and is never shown as a figure.
        """

        def report(done: int, said: int | None) -> None:
            known = said or total
            share = min(done / known, 1.0) if known else share_of_guess(done, guess)
            percent = round(begin + (end - begin) * share, 1)
            self.state = Progress(stage, percent, done, known, self.state.message)
            self.changed = True

        self.progress(stage, begin)
        self.state = replace(self.state, bytes_done=0, bytes_total=total)
        return report

    def log(self, text: str) -> None:
        """Add a line that people read beside the job; the last ones are kept."""
        self.lines = (*self.lines, LogLine(self._now(), text))[-LOG_LINES:]
        self.changed = True
