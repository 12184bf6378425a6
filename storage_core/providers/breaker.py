"""The circuit breaker: a server that fails again and again is left alone for a while."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from ..domain.errors import CircuitOpen, StorageError, Unavailable

T = TypeVar("T")


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after `threshold` consecutive Unavailable errors; `cooldown` seconds later exactly one call may probe.

    Any other outcome, an error of the request included, shows that the server answers and closes it.
    `active` counts calls under way. `clock` answers monotonic seconds. While it is `calm`, calls may pass beside it, if
    they are told of when they fail (`failed`) and are among `flying` meanwhile.
    """

    def __init__(self, clock: Callable[[], float], threshold: int, cooldown: float) -> None:
        self._clock = clock
        self._threshold = threshold
        self._cooldown = cooldown
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self._busy = 0
        self.calm = True
        self.flying: dict[Any, float] = {}

    @property
    def active(self) -> int:
        return self._busy + len(self.flying)

    @property
    def state(self) -> CircuitState:
        if self._opened_at is None:
            return CircuitState.CLOSED
        if self._probing or self._clock() - self._opened_at >= self._cooldown:
            return CircuitState.HALF_OPEN
        return CircuitState.OPEN

    async def call(
        self, work: Callable[[], Awaitable[T]], failed: Callable[[T], bool] = lambda _: False
    ) -> T:
        """Run through the breaker; CircuitOpen, without running, while it is open or another call probes.

        :param failed: whether an answer, too, means that the server is not available.
        """
        async with self.passage() as passage:
            answer = await work()
            passage.failed = failed(answer)
            return answer

    @asynccontextmanager
    async def passage(self) -> AsyncGenerator["Passage"]:
        """One call's way through; an Unavailable that leaves it counts against the server."""
        probe = self._enter()
        passage = Passage()
        try:
            with self.busy():
                yield passage
        except Unavailable:
            self._note_failure(probe)
            raise
        except StorageError:
            self._note_answer()
            raise
        else:
            if passage.failed:
                self._note_failure(probe)
            else:
                self._note_answer()
        finally:
            if probe:
                self._probing = False  # cancelled or broken off: the next call probes

    @contextmanager
    def busy(self) -> Generator[None]:
        """Count as active meanwhile."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def failed(self) -> None:
        """A call that passed beside it found the server unavailable."""
        self._note_failure(probe=False)

    def _enter(self) -> bool:
        """Let a call in; answers whether it is the probe."""
        state = self.state
        if state is CircuitState.CLOSED:
            return False
        if state is CircuitState.OPEN or self._probing:
            raise CircuitOpen(f"{self._failures} calls in a row found the server unavailable.")
        self._probing = True
        return True

    def _note_answer(self) -> None:
        self._failures = 0
        self._opened_at = None
        self.calm = True

    def _note_failure(self, probe: bool) -> None:
        self._failures += 1
        self.calm = False
        if probe or (self._opened_at is None and self._failures >= self._threshold):
            self._opened_at = self._clock()


@dataclass(slots=True)
class Passage:
    """One call inside the breaker; `failed` marks an answer that shows the server unavailable."""

    failed: bool = False
