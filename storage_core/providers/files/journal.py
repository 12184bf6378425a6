"""A journal: lines that are durable before anybody is told, and whole or not there at all.

A line is ``crc32 length payload``, the payload JSON without a line break. The first one says which checkpoint the
journal goes on from; the last may be a seal, which says that a checkpoint of all before it is being made. What a crash
cut off can only be the last line, and was acknowledged to nobody. A bad line with others behind it, or one as long as
it says it is, is damage, and the journal is refused.
"""

import fcntl
import os
import secrets
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from .errors import damaged
from .names import PRIVATE
from .place import settle

FORMAT = 1
_HEAD = 9  # crc32 in hexadecimal, and a blank


def framed(payload: bytes) -> bytes:
    return b"%08x %d %b\n" % (crc32(payload), len(payload), payload)


def opening(base: str, replaces: str) -> bytes:
    return framed(orjson.dumps({"journal": FORMAT, "base": base, "replaces": replaces}))


class Journal:
    """An open journal file. Locked by whoever writes or catches up: one at a time, of all processes.

    `begin` is where changes begin, `end` how far this process has read or written. Every method but `behind`, `lock` and `unlock` blocks.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.file, self.begin, self.end = path, file, 0, 0
        self.base = self.replaces = ""

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """FileNotFoundError when there is none."""
        return cls(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))

    @classmethod
    def make(cls, path: Path, base: str, replaces: str, *, over: bool) -> "Journal":
        """A new one, locked and durable; FileExistsError where there is one that is not to be written `over`."""
        made = path.with_name(f"{PRIVATE}{secrets.token_hex(8)}")
        file = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        journal = cls(path, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            line = opening(base, replaces)
            os.write(file, line)
            os.fsync(file)
            if over:
                made.replace(path)
            else:
                os.link(made, path, follow_symlinks=False)
                made.unlink()
            settle(path.parent)
        except BaseException:
            made.unlink(missing_ok=True)
            os.close(file)
            raise
        journal.begin = journal.end = len(line)
        journal.base, journal.replaces = base, replaces
        return journal

    def lock(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        if self.file >= 0:
            fcntl.flock(self.file, fcntl.LOCK_UN)

    def behind(self) -> bool:
        """Whether another process wrote, or put another journal in its place."""
        found = os.fstat(self.file)
        return found.st_size != self.end or not found.st_nlink

    @property
    def replaced(self) -> bool:
        return not os.fstat(self.file).st_nlink

    def read(self) -> list[bytes]:
        """What was written since `end`; a torn tail is cut off. Locked, since otherwise it may be under way.

        :raises EngineFailure: damage, anywhere but in a torn tail.
        """
        size = os.fstat(self.file).st_size
        data = _all(self.file, size - self.end, self.end)
        lines, good = frames(self.path, data, self.end)
        if self.end == 0:
            head = _header(self.path, lines)
            self.base, self.replaces = head["base"], head["replaces"]
            self.begin = data.index(b"\n") + 1
            lines = lines[1:]
        self.end += good
        if good < len(data):
            os.ftruncate(self.file, self.end)
        return lines

    def append(self, payload: bytes) -> None:
        """Write a line, durably; what an attempt before left behind `end` is cut off first. Locked."""
        if os.fstat(self.file).st_size > self.end:
            os.ftruncate(self.file, self.end)
        line = framed(payload)
        rest, at = memoryview(line), self.end
        while rest:
            written = os.pwrite(self.file, rest, at)
            rest, at = rest[written:], at + written
        os.fdatasync(self.file)
        self.end = at

    def seal(self, base: str) -> None:
        """Say that a checkpoint is being made: whoever finds this last looks at the checkpoint anew."""
        self.append(orjson.dumps({"sealed": base}))

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def sealed(lines: list[bytes]) -> bool:
    return bool(lines) and lines[-1].startswith(b'{"sealed"')


def changing(lines: list[bytes]) -> list[bytes]:
    """The lines that are changes."""
    return [line for line in lines if line.startswith(b"[")]


def frames(path: Path, data: bytes, offset: int = 0) -> tuple[list[bytes], int]:
    """The payloads of whole lines, and how many bytes they took; damage is refused, a torn tail left."""
    out: list[bytes] = []
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        line = data[at : end if end >= 0 else len(data)]
        payload, torn = _payload(line, ended=end >= 0)
        if payload is None and torn and end in (-1, len(data) - 1):
            break
        if payload is None:
            raise damaged(path, f"the line at byte {offset + at} is not what was written")
        out.append(payload)
        at = end + 1
    return out, at


def _payload(line: bytes, *, ended: bool) -> tuple[bytes | None, bool]:
    """A line's payload if it is whole; otherwise whether it may be what a crash left."""
    check, _, rest = line.partition(b" ")
    size, _, payload = rest.partition(b" ")
    torn = not ended or b"\x00" in line
    if len(check) != _HEAD - 1 or not size.isdigit():
        return None, torn
    if ended and len(payload) == int(size) and check == b"%08x" % crc32(payload):
        return payload, False
    return None, torn and (b"\x00" in line or len(payload) <= int(size))


def _header(path: Path, lines: list[bytes]) -> dict[str, Any]:
    head = orjson.loads(lines[0]) if lines and lines[0].startswith(b"{") else {}
    if head.get("journal") != FORMAT:
        raise damaged(path, "it does not begin as a journal does")
    return head


def _all(file: int, count: int, offset: int) -> bytes:
    parts: list[bytes] = []
    while count > 0 and (part := os.pread(file, count, offset)):
        parts.append(part)
        count, offset = count - len(part), offset + len(part)
    return b"".join(parts)
