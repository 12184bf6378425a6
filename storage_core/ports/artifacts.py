"""The artifacts port: where sealed backups lie."""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """A complete object in the store: key, size in bytes, when it was written."""

    key: str
    size: int
    modified_at: datetime


class Artifacts(Protocol):
    """A store of immutable objects. An object is listed only when it is complete and durable.

    Errors: NotFound, StorageFull, StoreFailure. Keys are relative paths with ``/``; anything else is refused.
    """

    async def put(self, key: str, data: AsyncIterable[bytes]) -> Stored:
        """Write a whole object, replacing one of the same key at the very end; nothing stays on failure."""
        ...

    def get(self, key: str) -> AsyncIterator[bytes]: ...

    async def stat(self, key: str) -> Stored: ...

    async def delete(self, key: str) -> None:
        """Idempotent."""
        ...

    async def list(self, prefix: str) -> tuple[Stored, ...]: ...

    def location(self, key: str) -> str:
        """The object's address as people know it (an absolute path, or ``s3://…``)."""
        ...

    async def reap(self, older_than: datetime) -> int:
        """Remove leftovers of writes that never finished; answers how many."""
        ...
