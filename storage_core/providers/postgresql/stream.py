"""The archive that pg_dump writes, read while it passes: the rows of every table, counted and hashed.

The custom format (pg_backup_custom.c and pg_backup_archiver.c of PostgreSQL): a head, a table of contents, then for each
table or batch of large objects its number and chunks, each preceded by its length. Integers are a sign and some bytes,
strings an integer and their bytes.
"""

import re
from collections.abc import Callable, Generator
from contextlib import suppress
from struct import Struct
from struct import error as CutOff
from typing import TypeVar

from ...domain.errors import EngineFailure, Unsupported
from .hashing import Lines

T = TypeVar("T")

MAGIC = b"PGDMP"
#: Archives of pg_dump 13 (1.14) to 18 (1.16); the minor number says which fields there are.
MAJOR, OLDEST, NEWEST = 1, 14, 16
COMPRESSION_BYTE, RELKIND = 15, 16
INTEGER, CUSTOM = 4, 1
#: Day and time of the dump.
MOMENT = 7

ROWS, LARGE_OBJECTS = 1, 3
TABLE_DATA = b"TABLE DATA"
#: The last byte of a chunk and what comes between two: the sign of a length, and the length.
BORDER = Struct("<HI")
LENGTH = 5
#: So much is looked through at once: rows that are still in the processor's cache cost half.
BATCH = 1 << 18
LINE_END = 0x0A
#: Below this many bytes a pattern finds rows faster than a loop.
SHORT = 96
SHORT_ROW = re.compile(rb"\x00.{4}([^\n]*)\n", re.DOTALL)
#: What pg_dump writes after the last row, which no row can be.
CLOSING = b"\\.\n\n\n"


class _Short(Exception):
    """What is asked for has not come yet."""


class _Cursor:
    """Reads forward from `at`; _Short when it comes to the end of what there is."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise _Short
        return self.data[start : self.at]

    def integer(self) -> int:
        raw = self.take(1 + INTEGER)
        value = int.from_bytes(raw[1:], "little")
        return -value if raw[0] else value

    def string(self) -> bytes | None:
        size = self.integer()
        return None if size < 0 else self.take(size)


class DumpReader:
    """Give it every byte in order with `feed`, then `finish`; it computes, so it belongs into a thread.

    EngineFailure when that is no archive or not a whole one, Unsupported when a program wrote it that is newer than
    what is known here.
    """

    def __init__(self) -> None:
        self._minor = 0
        self._offset = 0
        self._tables: dict[int, int] = {}  # by their data's number in the archive
        self._found: dict[int, Lines] = {}
        self._data, self._at = b"", 0
        self._ended = False
        self._steps = self._read()

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data
        self._at = 0
        next(self._steps)

    def finish(self) -> dict[int, Lines]:
        """The content of every table that has rows in the archive, by OID."""
        self._ended = True
        next(self._steps, None)
        return self._found

    def _read(self) -> Generator[None]:
        for _ in range((yield from self._whole(self._head))):
            yield from self._whole(self._entry)
        while (yield from self._more()):
            kind, number = yield from self._whole(lambda c: (c.take(1)[0], c.integer()))
            if kind == ROWS and number in self._tables:
                yield from self._rows(self._found.setdefault(self._tables[number], Lines()))
            elif kind == LARGE_OBJECTS:
                while (yield from self._whole(_Cursor.integer)):
                    while size := (yield from self._whole(_Cursor.integer)):
                        yield from self._chunk(size, lambda _: None)
            else:
                raise _nonsense(f"there is no block {number} of kind {kind}")

    def _head(self, cursor: _Cursor) -> int:
        """Answers the number of entries in the table of contents."""
        magic, version, sizes = cursor.take(len(MAGIC)), cursor.take(3), cursor.take(3)
        if magic != MAGIC:
            raise _nonsense("it does not begin like one")
        if version[0] != MAJOR or not OLDEST <= version[1] <= NEWEST or sizes[0] != INTEGER:
            raise Unsupported(
                f"This pg_dump writes archives of the format {version[0]}.{version[1]}.",
                hint="Point STORAGE_PG_BIN at the programs of PostgreSQL 13 to 18.",
            )
        self._minor, self._offset = version[1], sizes[1]
        compression = cursor.take(1)[0] if self._minor >= COMPRESSION_BYTE else cursor.integer()
        if sizes[2] != CUSTOM or compression:
            raise _nonsense("it is of another kind")
        for _ in range(MOMENT):
            cursor.integer()
        for _ in ("database", "server's version", "program's version"):
            cursor.string()
        return cursor.integer()

    def _entry(self, cursor: _Cursor) -> None:
        number, _, _, oid, _, kind, _ = (
            cursor.integer(),
            cursor.integer(),
            cursor.string(),
            cursor.string(),
            cursor.string(),
            cursor.string(),
            cursor.integer(),
        )
        for _ in ("definition", "drop", "copy", "schema", "tablespace", "access method"):
            cursor.string()
        if self._minor >= RELKIND:
            cursor.integer()
        for _ in ("owner", "with OIDs"):
            cursor.string()
        while cursor.string() is not None:  # what it depends on
            pass
        cursor.take(1 + self._offset)
        if kind == TABLE_DATA and oid is not None:
            self._tables[number] = int(oid)

    def _rows(self, lines: Lines) -> Generator[None]:
        """All chunks of one table."""
        tail = b""

        def take(part: bytes) -> None:
            nonlocal tail
            lines.feed(part)
            tail = (tail + part)[-len(CLOSING) :]

        while True:
            rows, plain = self._lines_in_chunks()
            if plain:
                lines.add(rows)
                rows = rows[-len(CLOSING) :]
                tail = (tail + b"\n".join(rows) + b"\n")[-len(CLOSING) :]
            elif rows:
                take(b"\n".join(rows) + b"\n")
            if not (size := (yield from self._whole(_Cursor.integer))):
                break
            yield from self._chunk(size, take)
        if tail != CLOSING or not lines.between:
            raise _nonsense("a table has no end")
        lines.take_back((b"\\.", b"", b""))

    def _lines_in_chunks(self) -> tuple[list[bytes], bool]:
        """The whole chunks that are here, as far as each ends a line, without that end; and whether each is one line.

        That is how programs write without compression, a row in each chunk: so this loop sees every row, and the other
        way is for what else there is.
        """
        data, at, end = self._data, self._at, min(len(self._data), self._at + BATCH)
        if not at or at + LENGTH > end:
            return [], False
        last, size = BORDER.unpack_from(data, at - 1)
        if last == LINE_END and size < SHORT and (rows := self._short_rows(end)):
            return rows, True
        chunks: list[bytes] = []
        border, add, line_end = BORDER.unpack_from, chunks.append, LINE_END
        with suppress(CutOff):
            while at < end:
                last, size = border(data, at - 1)  # with the byte before, which ends the chunk before
                if last != line_end or not size:
                    break
                add(data[at + LENGTH : at + LENGTH + size - 1])
                at += LENGTH + size
        if at > len(data):  # the last one goes on in the next piece
            at -= LENGTH + size
            chunks.pop()
        if chunks and data[at - 1] != line_end:
            at -= LENGTH + len(chunks.pop()) + 1
        self._at = at
        return chunks, bool(chunks) and b"\n" not in b"".join(chunks)

    def _short_rows(self, end: int) -> list[bytes]:
        """The same for chunks that are rows, none if something else is among them: no row has a byte 0, every length has.

        So a chunk that ends later than its first line shows as a place where none begins, one that ends earlier as a row
        with a byte 0.
        """
        data, at = self._data, self._at
        while (end := data.rfind(b"\n\x00", at, end)) > 0 and not data[end - 1]:
            pass  # it is part of a length, or may be
        rows: list[bytes] = SHORT_ROW.findall(data, at, end + 1)
        text = b"".join(rows)
        if b"\x00" in text or at + len(text) + len(rows) * (LENGTH + 1) != end + 1:
            return []
        self._at = end + 1
        return rows

    def _chunk(self, size: int, take: Callable[[bytes], None]) -> Generator[None]:
        """One chunk in whatever parts it comes."""
        while size:
            if part := self._data[self._at : self._at + size]:
                take(part)
                self._at += len(part)
                size -= len(part)
            else:
                yield from self._wait()

    def _whole(self, read: Callable[[_Cursor], T]) -> Generator[None, None, T]:
        """What `read` answers once all that it asks for has come."""
        while True:
            cursor = _Cursor(self._data, self._at)
            try:
                value = read(cursor)
            except _Short:
                yield from self._wait()
            else:
                self._at = cursor.at
                return value

    def _more(self) -> Generator[None, None, bool]:
        """Whether another block follows."""
        while self._at == len(self._data) and not self._ended:
            yield
        return self._at < len(self._data)

    def _wait(self) -> Generator[None]:
        if self._ended:
            raise _nonsense("it is cut off")
        yield


def _nonsense(why: str) -> EngineFailure:
    return EngineFailure(f"What pg_dump wrote cannot be read: {why}.")
