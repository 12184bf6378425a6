"""The one open core of this process: opened by the app's lifespan, reached by states through `core()`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage_core.bootstrap import Core

_open: list["Core"] = []


def core() -> "Core":
    """The open core; RuntimeError before the app has started or after it stopped."""
    if not _open:
        raise RuntimeError("The core is not open: the console is starting or stopping.")
    return _open[-1]


def is_open() -> bool:
    """Whether handlers may call `core()` now; closed contexts may outlive the core at shutdown."""
    return bool(_open)


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator["Core"]:
    """Open the core from the environment's settings, for as long as the context lasts."""
    # Late, so that compiling the pages opens nothing and needs no driver.
    from storage_core.bootstrap import open_core
    from storage_core.settings import Settings

    async with open_core(Settings.load()) as opening:
        _open.append(opening)
        try:
            yield opening
        finally:
            _open.remove(opening)


async def changed(after: int, patience: float = 20.0) -> int:
    """Wait until something changed, or `patience` seconds; answers the sequence to pass next time."""
    try:
        async with asyncio.timeout(patience):
            return await core().bus.wait_beyond(after)
    except TimeoutError:
        return after
