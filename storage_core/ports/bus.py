"""The bus port: who wants to know, hears it."""

from collections.abc import AsyncGenerator
from typing import Protocol

from ..domain.event import Event


class Bus(Protocol):
    """Events of the catalog in commit order, to every process.

    At least once from the moment of subscription; a slow listener loses the oldest and is told by a gap in the
    sequence numbers, so listeners read state again rather than trusting events.
    """

    def subscribe(self) -> AsyncGenerator[Event]: ...

    async def wait_beyond(self, sequence: int) -> int:
        """Wait until something newer than `sequence` was published; answers the newest sequence."""
        ...

    async def close(self) -> None: ...
