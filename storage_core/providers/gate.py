"""The gate before an engine's collections: deadlines, repetitions, the circuit breaker, counting.

Calls that succeed pay for a number kept and a clock read twice. Everything else happens to calls that fail, and to all
of them only while the breaker is not calm or somebody watches.
"""

import asyncio
from asyncio import CancelledError, current_task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

from ..domain.errors import StorageError, TimedOut
from ..domain.provider import EngineKind
from ..telemetry.meters import METERS, Meter
from ..telemetry.watch import WATCH
from .breaker import Breaker
from .patience import Patience, repeated

T = TypeVar("T")

#: Seconds a call may take. It is looked after once in `SWEEP` seconds.
DEADLINE, SWEEP = 30.0, 0.5

#: What may be mended: everything else is a mistake of ours, and passes.
TROUBLE = (StorageError, CancelledError)

#: After a repetition failed: its answer, if what happened says that an attempt before had been done; else it raises.
Settle = Callable[[StorageError], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """A call as it is needed when it does not simply succeed.

    `safe`: it may be repeated although nobody knows whether it was done. `settle` says what a repetition's error
    means, where it may come of the attempt before. `told` are its arguments, for those who watch.
    """

    operation: str
    place: tuple[str, str]
    work: Callable[[], Awaitable[T]]
    safe: bool = False
    settle: Settle[T] | None = None
    told: tuple[Any, ...] = ()


class CallMeters:
    """The meters of the calls that are made most."""

    __slots__ = ("count", "delete", "find", "get", "insert", "patch", "replace")

    def __init__(self, kind: EngineKind) -> None:
        self.get, self.find, self.count = (METERS.of(kind.value, o) for o in ("get", "find", "count"))
        self.insert, self.delete = (METERS.of(kind.value, o) for o in ("insert", "delete"))
        self.replace, self.patch = (METERS.of(kind.value, o) for o in ("replace", "patch"))


class Gate:
    """One engine's gate. `depart` before a call, `mend` where it failed, `land` in the end; or `careful` for all of it."""

    __slots__ = ("_armed", "_cut", "_deadline", "_flying", "_kind", "_patience", "breaker", "meters")

    def __init__(
        self, breaker: Breaker, patience: Patience, kind: EngineKind, deadline: float = DEADLINE
    ) -> None:
        self.breaker, self._patience, self._kind, self._deadline = breaker, patience, kind, deadline
        self._flying = breaker.flying
        self.meters = CallMeters(kind)
        self._cut: dict[asyncio.Task[Any], int] = {}
        self._armed = False

    def meter(self, operation: str) -> Meter:
        return METERS.of(self._kind.value, operation)

    def depart(self) -> "asyncio.Task[Any]":
        """A call begins in the running task."""
        task = cast("asyncio.Task[Any]", current_task())
        self._flying[task] = perf_counter()
        if not self._armed:
            self._arm()
        return task

    def land(self, task: "asyncio.Task[Any]", meter: Meter) -> None:
        """It was answered; or mended, which has been counted already."""
        started = self._flying.pop(task, None)
        if started is not None:
            meter.seconds += perf_counter() - started
            meter.calls += 1

    async def mend(self, task: "asyncio.Task[Any]", error: BaseException, errand: Errand[T]) -> T:
        """It failed: repeat it where that may help and cannot harm; otherwise the error, told to the breaker."""
        del self._flying[task]
        meter = self.meter(errand.operation)
        error = self._cause(task, error)
        if not isinstance(error, StorageError):
            meter.failed("cancelled")
            raise error
        try:
            return await self._again(error, errand, meter)
        except StorageError as last:
            meter.failed(last.code)
            if last.transient:
                self.breaker.failed()
            raise

    async def careful(self, errand: Errand[T]) -> T:
        """The whole of a call while the breaker is not calm, or for those who watch."""

        async def through() -> T:
            return await self.breaker.call(lambda: self._whole(errand))

        if not WATCH.on:
            return await through()
        return await WATCH.call(self._kind.value, errand.operation, errand.place, errand.told, through)

    async def _whole(self, errand: Errand[T]) -> T:
        meter, task = self.meter(errand.operation), self.depart()
        try:
            return await errand.work()
        except TROUBLE as raised:
            del self._flying[task]
            error = self._cause(task, raised)
            if not isinstance(error, StorageError):
                raise error from None
            try:
                return await self._again(error, errand, meter)
            except StorageError as last:
                meter.failed(last.code)
                raise
        finally:
            self.land(task, meter)

    async def _again(self, error: StorageError, errand: Errand[T], meter: Meter) -> T:
        if (
            not error.transient
            or isinstance(error, TimedOut)
            or not (errand.safe or getattr(error, "not_done", False))
        ):
            raise error
        begun = [error]

        async def attempt() -> T:
            if begun:
                raise begun.pop()
            meter.repeated += 1
            return await errand.work()

        try:
            async with asyncio.timeout(self._deadline):
                answer = await repeated(attempt, self._patience)
        except TimeoutError:
            raise self._late() from None
        except StorageError as last:
            if last is error or errand.settle is None or last.transient:
                raise
            answer = await errand.settle(last)
        meter.calls += 1
        return answer

    def _cause(self, task: "asyncio.Task[Any]", error: BaseException) -> BaseException:
        """What the error is: a cancellation may have been ours, because of the deadline."""
        before = self._cut.pop(task, None) if self._cut else None
        if before is None:
            return error
        return self._late() if task.uncancel() <= before and isinstance(error, CancelledError) else error

    def _late(self) -> TimedOut:
        return TimedOut(f"{self._kind} did not answer within {self._deadline:g} seconds.")

    def _arm(self) -> None:
        self._armed = True
        asyncio.get_running_loop().call_later(min(SWEEP, self._deadline / 2), self._sweep)

    def _sweep(self) -> None:
        """End the calls that are over their time. One timer looks after all of them, and none while there are none."""
        late = perf_counter() - self._deadline
        for task, started in self._flying.items():
            if started < late and task not in self._cut:
                self._cut[task] = task.cancelling()
                task.cancel()
        self._armed = False
        if self._flying:
            self._arm()
