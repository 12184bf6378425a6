"""How long calls that may be repeated are, after errors that may pass."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from ..domain.errors import StorageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reading call is repeated: attempts in all, seconds between them (growing, with jitter)."""

    attempts: int = 3
    first_wait: float = 0.1
    longest_wait: float = 1.0
    jitter: float = 0.2
    at_most: float = 15.0


def _is_transient(error: Exception) -> bool:
    return isinstance(error, StorageError) and error.transient


async def repeated(call: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """Run until it works, a lasting error comes, or patience ends: then the last error leaves."""
    caller = stamina.AsyncRetryingCaller(
        attempts=patience.attempts,
        timeout=patience.at_most,
        wait_initial=patience.first_wait,
        wait_max=patience.longest_wait,
        wait_jitter=patience.jitter,
    )
    return await caller(_is_transient, call)
