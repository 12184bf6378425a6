"""Blocks to sealed bytes and back: one zstd frame each, then AES-256-GCM segments that cannot be rearranged.

The segments are the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption
and its Nonce-Reuse Misuse-Resistance" (2015): a counter and a mark of the last one stand in every nonce. Everything
here computes, and belongs into a thread.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from backports import zstd
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...domain.errors import DamagedArtifact, Unsupported, WrongKey

MAGIC, VERSION = b"SCBK", 1
SALT, PREFIX, CHECK, SUM = 32, 7, 16, 4
HEADER = len(MAGIC) + 1 + SALT + PREFIX + CHECK + SUM  # 64
SEGMENT, TAG = 1 << 20, 16
SEALED_SEGMENT = SEGMENT + TAG
COUNTERS = 1 << 32
KEY = 32
PURPOSE = b"storage-console archive v1"

# A reader's limits: what one frame may unpack to, and how long it may be.
FRAME_RAW = 8 << 20
FRAME = FRAME_RAW + (FRAME_RAW >> 8) + 1024
LEVEL = 1
FEW = 16


@dataclass(frozen=True, slots=True)
class _Keys:
    """What a header and a data key make: the cipher, the nonces' beginning, the data every segment is bound to."""

    cipher: AESGCM
    prefix: bytes
    bound: bytes

    def nonce(self, counter: int, last: bool) -> bytes:
        if counter >= COUNTERS:
            raise Unsupported("An archive ends at 4 PiB.")
        return self.prefix + counter.to_bytes(4, "big") + bytes([last])


def _derive(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The segments' key, and the check by which the header tells a wrong data key."""
    if len(key) != KEY:
        raise WrongKey(f"A data key has {KEY} bytes, not {len(key)}.")
    both = HKDF(SHA256(), KEY + CHECK, salt, PURPOSE).derive(key)
    return both[:KEY], both[KEY:]


class Sealer:
    """Blocks in, sealed bytes out: `feed` each, then `finish`. Every sealer has its own salt, so its own key."""

    def __init__(self, key: bytes, label: bytes) -> None:
        salt, prefix = os.urandom(SALT), os.urandom(PREFIX)
        secret, check = _derive(key, salt)
        header = MAGIC + bytes([VERSION]) + salt + prefix + check
        header += zlib.crc32(header).to_bytes(SUM, "big")
        self._keys = _Keys(AESGCM(secret), prefix, header + label)
        self._compressor = zstd.ZstdCompressor(level=LEVEL)
        self._out = [header]
        self._plain = bytearray()
        self._room = bytearray()
        self._counter = 0

    def feed(self, block: Sequence[bytes | memoryview]) -> bytes:
        """Seal one block, given in parts; answers the sealed bytes that are complete."""
        self._plain += self._frame(block)
        # the last segment is only known at the end, so a full one waits for a byte to follow it
        while len(self._plain) > SEGMENT:
            self._segment(last=False)
        return self._take()

    def _frame(self, block: Sequence[bytes | memoryview]) -> bytes:
        """One zstd frame that declares its size.

        Its parts are put together in the same place every time: the compressor copies nothing more of what it gets whole,
        and outside the main thread fresh memory of this size comes from the system page by page, for a quarter of the time.
        """
        parts = block if len(block) <= FEW else (b"".join(block),)
        size = sum(map(len, parts))
        if size > len(self._room):
            self._room = bytearray(size)
        at, room = 0, memoryview(self._room)
        for part in parts:
            room[at : at + len(part)] = part
            at += len(part)
        self._compressor.set_pledged_input_size(size)
        return self._compressor.compress(room[:size], zstd.ZstdCompressor.FLUSH_FRAME)

    def finish(self) -> bytes:
        self._segment(last=True)
        return self._take()

    def _segment(self, *, last: bool) -> None:
        plain = bytes(memoryview(self._plain)[:SEGMENT])
        del self._plain[:SEGMENT]
        nonce = self._keys.nonce(self._counter, last)
        self._out.append(self._keys.cipher.encrypt(nonce, plain, self._keys.bound))
        self._counter += 1

    def _take(self) -> bytes:
        sealed = b"".join(self._out)
        self._out.clear()
        return sealed


class Opener:
    """Sealed segments in, blocks out: `feed` a segment, then `block` until it answers none.

    Raises DamagedArtifact or WrongKey for a header that does not hold, DamagedArtifact for anything later.
    """

    def __init__(self, header: bytes, key: bytes, label: bytes) -> None:
        if len(header) < HEADER or not header.startswith(MAGIC):
            raise DamagedArtifact("This is not a backup of ours, or its beginning is damaged.")
        if zlib.crc32(header[:-SUM]).to_bytes(SUM, "big") != header[-SUM:]:
            raise DamagedArtifact("The header of the backup is damaged.")
        if header[len(MAGIC)] != VERSION:
            raise Unsupported(
                f"The backup has the format {header[len(MAGIC)]}; this version reads {VERSION}."
            )
        salt = header[len(MAGIC) + 1 :][:SALT]
        prefix = header[len(MAGIC) + 1 + SALT :][:PREFIX]
        check = header[-SUM - CHECK : -SUM]
        secret, expected = _derive(key, salt)
        if check != expected:
            raise WrongKey("The data key does not open this backup.")
        self._keys = _Keys(AESGCM(secret), prefix, header + label)
        self._plain = bytearray()
        self._counter = 0

    def check(self, segment: bytes, last: bool) -> bytes:
        """Authenticate and decrypt the next segment."""
        try:
            plain = self._keys.cipher.decrypt(
                self._keys.nonce(self._counter, last), segment, self._keys.bound
            )
        except (InvalidTag, ValueError) as error:
            where = HEADER + self._counter * SEALED_SEGMENT
            raise DamagedArtifact(
                f"The backup is damaged, cut off or not the one it should be, between byte {where} and"
                f" {where + len(segment)}."
            ) from error
        self._counter += 1
        return plain

    def feed(self, segment: bytes, last: bool) -> None:
        self._plain += self.check(segment, last)

    def block(self) -> bytes | None:
        """Unpack the next frame, once all of it is here; never more than it declares."""
        if not self._plain:
            return None
        try:
            size = zstd.get_frame_size(self._plain)
        except zstd.ZstdError as error:
            if len(self._plain) > FRAME:
                raise DamagedArtifact("A compressed frame of the backup makes no sense.") from error
            return None
        frame = bytes(memoryview(self._plain)[:size])
        del self._plain[:size]
        return _unpack(frame)

    def finish(self) -> None:
        if self._plain:
            raise DamagedArtifact("The last compressed frame of the backup is cut off.")


def _unpack(frame: bytes) -> bytes:
    try:
        declared = zstd.get_frame_info(frame).decompressed_size
        if declared is None or declared > FRAME_RAW:
            raise DamagedArtifact(
                "A compressed frame of the backup declares no size, or one beyond the limit."
            )
        unpacker = zstd.ZstdDecompressor()
        block = unpacker.decompress(frame, max_length=declared + 1)
    except zstd.ZstdError as error:
        raise DamagedArtifact("A compressed frame of the backup makes no sense.") from error
    if not unpacker.eof or len(block) != declared:
        raise DamagedArtifact("A compressed frame of the backup has not the size it declares.")
    return block
