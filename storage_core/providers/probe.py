"""One reading of how an engine feels, the same for every engine."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from ..domain.errors import StorageError, Unreachable
from ..domain.health import Health

#: What a probe may take beyond connecting.
PROBE_SECONDS = 5.0


async def probed(ask: Callable[[], Awaitable[Health]], seconds: float) -> Health:
    """What `ask` answers within `seconds`; whatever keeps it from answering is told in the health, never raised."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(seconds):
            return await ask()
    except TimeoutError:
        error: StorageError = Unreachable(f"There was no answer within {seconds:g} s.")
    except StorageError as refused:
        error = refused
    return offline(error, since(began))


def offline(error: StorageError, milliseconds: float = 0.0) -> Health:
    """The health an error stands for: what happened, then the way out."""
    return Health(online=False, milliseconds=milliseconds, problem=f"{error.detail} {error.hint}".strip())


def since(began: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return round((time.perf_counter() - began) * 1000, 2)
