"""Members as one stream of items, cut into blocks of whole items: the innermost layer of an archive."""

from collections.abc import Iterable, Iterator
from struct import Struct

from ...domain.errors import DamagedArtifact, Internal
from ...ports.backup import Piece

BLOCK = 2 << 20  # what the writer aims at; a block may be CHUNK + NAME longer
CHUNK = 1 << 20
NAME = 1024

END, MEMBER, DATA, MEMBER_END = 0, 1, 2, 3
NAME_HEAD = Struct(">BH")  # MEMBER, length of the name
DATA_HEAD = Struct(">BI")  # DATA, length
MEMBER_TAIL = Struct(">BQ")  # MEMBER_END, bytes of the member
TAIL = Struct(">BIQ")  # END, members, bytes of all


class Packer:
    """Pieces in, blocks out: `add` each, then `finish`."""

    def __init__(self) -> None:
        self._total = 0
        self._names: set[str] = set()
        self._member: str | None = None
        self._size = 0
        self._waiting: list[bytes] = []  # data of the member that is not an item yet
        self._waiting_size = 0
        self._block: list[bytes | memoryview] = []
        self._block_size = 0

    def add(self, piece: Piece) -> Iterator[list[bytes | memoryview]]:
        """Take a piece; yields the blocks that are full by now, each as the parts to be joined."""
        if piece.member != self._member:
            yield from self._close_member()
            self._open_member(piece.member)
        if piece.data:
            self._total += len(piece.data)
            self._size += len(piece.data)
            self._waiting.append(piece.data)
            self._waiting_size += len(piece.data)
        if self._waiting_size >= CHUNK:
            yield from self._flush_data()

    def finish(self) -> Iterator[list[bytes | memoryview]]:
        """Yield what is left, with the end."""
        yield from self._close_member()
        self._put(TAIL.pack(END, len(self._names), self._total))
        yield self._take()

    def _open_member(self, name: str) -> None:
        encoded = name.encode()
        if name in self._names:
            raise Internal(f"The member {name!r} of an archive came in two parts.")
        if not 0 < len(encoded) <= NAME:
            raise Internal(f"The member {name[:60]!r} of an archive has no name, or one over {NAME} bytes.")
        self._names.add(name)
        self._member, self._size = name, 0
        self._put(NAME_HEAD.pack(MEMBER, len(encoded)) + encoded)

    def _close_member(self) -> Iterator[list[bytes | memoryview]]:
        if self._member is not None:
            yield from self._flush_data()
            self._put(MEMBER_TAIL.pack(MEMBER_END, self._size))
            yield from self._full_block()

    def _flush_data(self) -> Iterator[list[bytes | memoryview]]:
        data = memoryview(self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting))
        self._waiting.clear()
        self._waiting_size = 0
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            self._put(DATA_HEAD.pack(DATA, len(part)))
            self._put(part)
            yield from self._full_block()

    def _put(self, part: bytes | memoryview) -> None:
        self._block.append(part)
        self._block_size += len(part)

    def _full_block(self) -> Iterator[list[bytes | memoryview]]:
        if self._block_size >= BLOCK:
            yield self._take()

    def _take(self) -> list[bytes | memoryview]:
        block = self._block.copy()
        self._block.clear()
        self._block_size = 0
        return block


class Unpacker:
    """Blocks in, pieces out; `finish` after the last. DamagedArtifact for anything a Packer does not write."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._member: str | None = None
        self._size = 0
        self._total = 0
        self._ended = False

    def add(self, block: bytes) -> list[Piece]:
        """The pieces of one block. A member without data answers one empty piece."""
        try:
            return list(self._items(memoryview(block)))
        except (ValueError, IndexError) as error:  # a length beyond the block, a name that is no text
            raise _broken("an item is cut off") from error

    def finish(self) -> None:
        if not self._ended:
            raise _broken("the end is missing")

    def _items(self, block: memoryview) -> Iterable[Piece]:
        at = 0
        while at < len(block):
            if self._ended:
                raise _broken("something follows the end")
            kind = block[at]
            if kind == MEMBER:
                at = self._begin(block, at)
            elif kind == DATA:
                at, piece = self._data(block, at)
                yield piece
            elif kind == MEMBER_END:
                at = yield from self._end_member(block, at)
            elif kind == END:
                at = self._end(block, at)
            else:
                raise _broken(f"there is no item of kind {kind}")

    def _begin(self, block: memoryview, at: int) -> int:
        _, length = _read(NAME_HEAD, block, at)
        start = at + NAME_HEAD.size
        name = str(_slice(block, start, length), "utf-8")
        if self._member is not None or name in self._names or not 0 < length <= NAME:
            raise _broken("a member begins where none may")
        self._names.add(name)
        self._member, self._size = name, 0
        return start + length

    def _data(self, block: memoryview, at: int) -> tuple[int, Piece]:
        _, length = _read(DATA_HEAD, block, at)
        start = at + DATA_HEAD.size
        if self._member is None or not 0 < length <= CHUNK:
            raise _broken("data lies where none may")
        self._size += length
        self._total += length
        return start + length, Piece(self._member, bytes(_slice(block, start, length)))

    def _end_member(self, block: memoryview, at: int) -> Iterator[Piece]:
        _, size = _read(MEMBER_TAIL, block, at)
        if self._member is None or size != self._size:
            raise _broken("a member has not the size it declares")
        if size == 0:
            yield Piece(self._member, b"")
        self._member = None
        return at + MEMBER_TAIL.size

    def _end(self, block: memoryview, at: int) -> int:
        _, members, total = _read(TAIL, block, at)
        if self._member is not None or members != len(self._names) or total != self._total:
            raise _broken("the archive has not the size it declares")
        self._ended = True
        return at + TAIL.size


def _read(head: Struct, block: memoryview, at: int) -> tuple[int, ...]:
    return head.unpack(_slice(block, at, head.size))


def _slice(block: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(block):
        raise IndexError("beyond the block")
    return block[start : start + length]


def _broken(why: str) -> DamagedArtifact:
    return DamagedArtifact(f"The archive's contents make no sense: {why}.")
