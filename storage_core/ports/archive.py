"""The archive port: pieces to sealed bytes and back."""

from collections.abc import AsyncIterator
from typing import Protocol

from .backup import Piece


class Archive(Protocol):
    """The sealed form of a backup: members framed, compressed, encrypted and authenticated as one stream.

    Errors on the way back: DamagedArtifact for any change of any byte (flip, cut, swap, another backup's header),
    WrongKey when the key does not open the header. Sizes are declared and enforced: no bomb unpacks.
    """

    def seal(self, pieces: AsyncIterator[Piece], key: bytes, label: bytes) -> "Sealing":
        """Seal pieces with a 32-byte data key, bound to `label` (the backup's identity)."""
        ...

    def open(self, sealed: AsyncIterator[bytes], key: bytes, label: bytes) -> AsyncIterator[Piece]:
        """Yield the pieces; each is authenticated before it leaves. The end is authenticated too."""
        ...

    async def verify(self, sealed: AsyncIterator[bytes], key: bytes, label: bytes) -> int:
        """Authenticate every byte without unpacking; answers the number of sealed bytes."""
        ...


class Sealing(Protocol):
    """A running seal: iterate it for the sealed bytes; `raw` counts the members' bytes so far."""

    raw: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...
