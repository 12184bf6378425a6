"""Documents in COPY's binary format: the same head for all of them, and their bodies as they are.

They go in short pieces: the server takes one in while the next is made.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct

from ...domain.record import Write
from .collection_table import packed

#: Documents that travel in one piece.
PIECE = 50
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_START = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = b"\xff\xff"
_LONG, _LENGTH = Struct(">iq").pack, Struct(">i").pack
#: The fields of a record (see `collection_table.FIELDS`); the last one with its length.
_FIELDS = 6
_TAGGED = {False: _LENGTH(1) + b"\x00", True: _LENGTH(1) + b"\x01"}


class Copied:
    """New documents as COPY FROM takes them; may be gone through again."""

    __slots__ = ("_at", "_writes")

    def __init__(self, writes: Sequence[Write], at: datetime) -> None:
        self._writes, self._at = writes, at

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        moment = _LONG(8, (self._at - _EPOCH) // timedelta(microseconds=1))
        middle = _LONG(8, 1) + moment + moment
        heads: dict[int, Callable[..., bytes]] = {}
        yield _START
        for start in range(0, len(self._writes), PIECE):
            parts: list[bytes] = []
            for write in self._writes[start : start + PIECE]:
                id, body = write.id.encode(), packed(write.body or {}, write.text)
                size = len(id)
                head = heads.get(size)
                if head is None:  # all up to the body in one go, for ids of this length
                    head = heads[size] = Struct(f">hi{size}s{len(middle)}si").pack
                parts += (head(_FIELDS, size, id, middle, len(body)), body, _TAGGED[write.tagged])
            yield b"".join(parts)
        yield _END
