"""The witness port: a place outside the catalog that remembers the audit's signed heads."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol


class Witness(Protocol):
    """Append only. Errors: StoreFailure, StorageFull, Unavailable. Several processes may append at once."""

    @property
    def place(self) -> str:
        """Where that is, as people know it."""
        ...

    @property
    def key(self) -> str:
        """What tells this place from all others, also from one of the same name on another machine."""
        ...

    async def append(self, line: bytes, *, whole: bool) -> None:
        """Keep a line, durably when this returns. `whole`: it stands for everything before it."""
        ...

    async def kept(self) -> bool:
        """Whether what this process appended is still there as it was; true before it appended anything."""
        ...

    async def publish(self, key_id: str, pem: str) -> None:
        """Keep a public key beside the lines. Idempotent."""
        ...

    async def keys(self) -> Mapping[str, bytes]:
        """The public keys beside the lines, by key id."""
        ...

    def lines(self) -> AsyncIterator[bytes]:
        """The lines that count, oldest first; nothing where nothing was kept yet."""
        ...
