"""Bulk calls: batches one after the other, each made ready while the one before is under way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..domain.errors import StorageError
from ..domain.record import Outcome, Write

#: Items that go to the engine at once.
BATCH = 1000
#: So many of them are made ready before whatever else is under way gets its turn.
STEP = 100

Send = Callable[[Sequence[Write], datetime], Awaitable[list[Outcome]]]


async def many(
    send: Send, ids: list[str], write: Callable[[int], Write], now: Callable[[], datetime]
) -> list[Outcome]:
    """Outcomes in the order of `ids`; `write` makes the item at a place, or says by a StorageError what is wrong with it."""
    outcomes: list[Outcome] = []
    before: asyncio.Task[list[Outcome]] | None = None
    try:
        for start in range(0, len(ids), BATCH):
            places = range(start, min(start + BATCH, len(ids)))
            batch = await _made(ids, places, write, busy=before is not None)
            if before is not None:
                outcomes += await before
            before = asyncio.create_task(_sent(send, batch, now))
            await asyncio.sleep(0)  # it begins
        return outcomes if before is None else outcomes + await before
    finally:
        if before is not None and not before.done():
            before.cancel()
            await asyncio.wait([before])


@dataclass(slots=True)
class _Batch:
    """Items on their way to the engine, and those that are wrong in themselves, by their places among all of it."""

    writes: list[Write]
    refused: dict[int, Outcome]


async def _made(ids: list[str], places: range, write: Callable[[int], Write], *, busy: bool) -> _Batch:
    """Make a batch ready; where another is under way, in small steps, so that it goes on meanwhile."""
    batch = _Batch([], {})
    for number, at in enumerate(places):
        if busy and number % STEP == 0:
            await asyncio.sleep(0)
        try:
            batch.writes.append(write(at))
        except StorageError as error:
            batch.refused[number] = Outcome(str(ids[at]), error=error)
    return batch


async def _sent(send: Send, batch: _Batch, now: Callable[[], datetime]) -> list[Outcome]:
    outcomes = await send(batch.writes, now()) if batch.writes else []
    if not batch.refused:
        return outcomes
    done = iter(outcomes)
    return [
        batch.refused[n] if n in batch.refused else next(done)
        for n in range(len(batch.writes) + len(batch.refused))
    ]
