"""Documents in COPY's binary format, made in one go: the same head for all of them, and their bodies as they are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct

from ...domain.record import Write
from .collection_table import packed

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_START = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = b"\xff\xff"
_LONG, _LENGTH = Struct(">iq").pack, Struct(">i").pack
#: A record's six fields (see `collection_table.FIELDS`), and the length of the first; the last, with its length.
_HEAD = Struct(">hi").pack
_TAGGED = {False: _LENGTH(1) + b"\x00", True: _LENGTH(1) + b"\x01"}


def copied(writes: Sequence[Write], at: datetime) -> bytes:
    """New documents as COPY FROM takes them."""
    moment = _LONG(8, (at - _EPOCH) // timedelta(microseconds=1))
    middle = _LONG(8, 1) + moment + moment
    parts = [_START]
    for write in writes:
        id, body = write.id.encode(), packed(write.body or {})
        parts += (_HEAD(6, len(id)), id, middle, _LENGTH(len(body)), body, _TAGGED[write.tagged])
    parts.append(_END)
    return b"".join(parts)
