"""The bus's end."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from storage_core.backing.bus import OutboxBus
from storage_core.domain.event import Event


@pytest.mark.parametrize("turns", range(6))
async def test_closing_at_the_moment_of_news_ends_it(turns: int) -> None:
    news = asyncio.Event()

    async def heard() -> AsyncGenerator[None]:
        await news.wait()
        yield

    async def tail(after: int, limit: int) -> tuple[Event, ...]:
        return ()

    async def last() -> int:
        return 0

    bus = OutboxBus(tail, last, 3600, heard)
    await bus.start()
    for _ in range(5):
        await asyncio.sleep(0)
    news.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await bus.close()
