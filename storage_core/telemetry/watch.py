"""Who watches single calls: an OpenTelemetry tracer, the diagnostics log. Mostly nobody: `WATCH.on` says so at once."""

import hashlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, TypeVar

import orjson

from . import correlation, diagnostics

T = TypeVar("T")

TRACER = "storage_core"


class Watch:
    """Spans and diagnostics of calls on storage.

    `on` is looked at before every call, and set by `refresh`: the host may set its tracer provider, or switch the
    diagnostics logger, at any time.
    """

    __slots__ = ("_given", "_tracer", "on")

    def __init__(self) -> None:
        self._given: Any = None
        self._tracer: Any = None
        self.on = False

    def trace(self, tracer: Any) -> None:
        """Make spans with this tracer, whatever the process's provider is; none goes back to that one."""
        self._given = tracer
        self.refresh()

    def refresh(self) -> None:
        """Look whether a tracer provider was set in this process, and whether diagnostics are on."""
        self._tracer = self._given or _tracer()
        self.on = self._tracer is not None or diagnostics.isEnabledFor(logging.DEBUG)

    async def call(
        self,
        engine: str,
        operation: str,
        place: tuple[str, str],
        told: tuple[Any, ...],
        work: Callable[[], Awaitable[T]],
    ) -> T:
        """Run one call inside a span, and tell the diagnostics log of it: sizes and hashes, never values."""
        token = correlation.set(str(uuid.uuid4())) if correlation.get() == "-" else None
        started = time.perf_counter()
        result = "ok"
        try:
            answer = await (work() if self._tracer is None else self._spanned(engine, operation, place, work))
            result = _sizes(answer)
            return answer
        except BaseException as error:
            result = getattr(error, "code", type(error).__name__)
            raise
        finally:
            diagnostics.debug(
                "%s %s %s.%s(%s): %s in %.2f ms",
                engine,
                operation,
                *place,
                ", ".join(_size(part) for part in told),
                result,
                (time.perf_counter() - started) * 1000,
            )
            if token is not None:
                correlation.reset(token)

    async def _spanned(
        self, engine: str, operation: str, place: tuple[str, str], work: Callable[[], Awaitable[T]]
    ) -> T:
        with self._tracer.start_as_current_span(
            f"{operation} {place[1]}", attributes=_said(engine, operation, place)
        ) as span:
            try:
                return await work()
            except BaseException as error:
                span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
                raise


def _tracer() -> Any:
    """A tracer of the host's provider; none where it has set none."""
    if find_spec("opentelemetry") is None:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return provider.get_tracer(TRACER)


def _said(engine: str, operation: str, place: tuple[str, str]) -> dict[str, str]:
    """OpenTelemetry's own names for calls on databases."""
    return {
        "db.system.name": engine,
        "db.operation.name": operation,
        "db.namespace": place[0],
        "db.collection.name": place[1],
    }


def _sizes(answer: Any) -> str:
    return f"{len(answer)} items" if isinstance(answer, (list, tuple)) else _size(answer)


def _size(value: Any) -> str:
    """What may be said of a value in a log: texts and bodies by length and hash."""
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    raw = (
        value.encode("utf-8", "replace")
        if isinstance(value, str)
        else orjson.dumps(value, _named, orjson.OPT_NON_STR_KEYS)
    )
    return f"{type(value).__name__}:{len(raw)}:{hashlib.sha256(raw).hexdigest()[:12]}"


def _named(value: Any) -> str:
    return repr(value)


WATCH = Watch()
