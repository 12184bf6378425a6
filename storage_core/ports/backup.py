"""The backup port: a database out as bytes with its manifest, in again, and measured by an independent path."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ..domain.backup import Manifest, ManifestObject


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes (up to a few MiB) of one member of an archive. Members follow each other, never interleaved."""

    member: str
    data: bytes


#: Called with bytes done and bytes expected (None: unknown); cheap, from the event loop.
OnProgress = Callable[[int, int | None], None]


class Dump(Protocol):
    """A running dump. Iterate `pieces` to the end, once; only then `manifest` may be read.

    The manifest comes from the same pass or the same snapshot as the bytes. What the engine cannot read
    consistently is in it with ``consistent=False`` and a note.
    """

    def pieces(self) -> AsyncIterator[Piece]: ...

    @property
    def manifest(self) -> Manifest: ...


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore could not bring back by its nature, in words; empty when all came back."""

    skipped: tuple[str, ...] = ()


class Backup(Protocol):
    """Backup of one engine, by physical database name. Nothing here retries: the job does."""

    def dump(self, name: str, on_progress: OnProgress) -> AbstractAsyncContextManager[Dump]:
        """Open a consistent dump; leaving the context early stops every process and cursor it started."""
        ...

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        """Create the database `name` (NameTaken if it exists) and fill it from the pieces.

        On any failure or cancellation the half-made database is dropped before the error leaves. What would change
        the data by itself (expiry rules) waits for `finish`; to `measure` and `dump` it counts as restored.
        MissingPrivilege names the role to grant.
        """
        ...

    async def finish(self, name: str) -> tuple[str, ...]:
        """Make a restored database that people keep ready for work, after it was measured; idempotent.

        What must not run before it is measured is switched on, statistics are refreshed. Answers in words what
        happens to the data from here on; empty when nothing does. NotFound when there is no such database; one
        that was cut off is called again.
        """
        ...

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        """Count and hash what is in the database now, by queries of its own, in the terms of `like`.

        Shares no code with `dump` beyond the hash's definition; lists every object the database has, also those
        that `like` does not know.
        """
        ...
