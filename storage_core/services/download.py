"""What an operation answers that is too large for one answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Download:
    """A file on its way: a name for it, its media type, and its pieces, which can be read once."""

    name: str
    media_type: str
    pieces: AsyncIterator[bytes]
