"""Counts of calls on storage, for Prometheus: plain numbers while counting, metrics when somebody asks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Meter:
    """One operation on one kind of engine: calls that were answered, seconds they took, errors by code."""

    __slots__ = ("calls", "errors", "repeated", "seconds")

    def __init__(self) -> None:
        self.calls, self.seconds, self.repeated = 0, 0.0, 0
        self.errors: dict[str, int] = {}

    def failed(self, code: str) -> None:
        self.errors[code] = self.errors.get(code, 0) + 1


class Meters:
    """Every meter of the process, and the collector that shows them."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], Meter] = {}
        self._exposed = False

    def expose(self) -> None:
        """Show them among the process's metrics; idempotent. Until then Prometheus's client is not loaded."""
        if not self._exposed:
            from prometheus_client import REGISTRY

            self._exposed = True
            REGISTRY.register(self)

    def of(self, engine: str, operation: str) -> Meter:
        """The meter of an operation; one for all who ask."""
        return self._meters.setdefault((engine, operation), Meter())

    def collect(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily

        labels = ("engine", "operation")
        calls = CounterMetricFamily("storage_calls", "Calls on collections that were answered", labels=labels)
        seconds = CounterMetricFamily("storage_call_seconds", "Seconds that they took", labels=labels)
        repeats = CounterMetricFamily(
            "storage_call_repeats", "Repetitions after errors that pass", labels=labels
        )
        errors = CounterMetricFamily(
            "storage_call_errors", "Calls that ended with an error", labels=(*labels, "code")
        )
        for key, meter in list(self._meters.items()):
            calls.add_metric(key, meter.calls)
            seconds.add_metric(key, meter.seconds)
            repeats.add_metric(key, meter.repeated)
            for code, count in list(meter.errors.items()):
                errors.add_metric((*key, code), count)
        yield from (calls, seconds, repeats, errors)

    def describe(self) -> Iterator["Metric"]:
        """Nothing beforehand: registering collects nothing."""
        return iter(())


METERS = Meters()
