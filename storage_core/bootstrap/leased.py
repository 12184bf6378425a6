"""Engines for programs elsewhere, which sign in with leased logins and have no core."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ..backing.outbound import Guard
from ..domain.provider import Endpoint, EngineKind
from ..ports.engines import Engines
from ..providers.directory import EngineDirectory
from ..providers.registry import builder
from .given import configured_rules


@asynccontextmanager
async def leased_engines(
    maker: Callable[[Endpoint, str | None], Awaitable[None]],
) -> AsyncIterator[Engines]:
    """Engines by lease, closed at the end; they may be anywhere: the console says where.

    :param maker: makes a collection that is missing, of the database that a login is for.
    """
    build = builder({EngineKind.POSTGRESQL: {"maker": maker}}, Guard(configured_rules))
    engines = EngineDirectory(build, time.monotonic)
    try:
        yield engines
    finally:
        await engines.close()
