"""The archive: what goes in comes out, and nothing else ever does."""

import asyncio
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_core.backing.archive import SealedArchive, container, envelope
from storage_core.domain.errors import DamagedArtifact, Internal, Unsupported, WrongKey
from storage_core.ports.archive import Archive
from storage_core.ports.backup import Piece

KEY, LABEL = bytes(range(32)), b"tenant|backup-1"
ARCHIVE: Archive = SealedArchive()
MIB = 1 << 20


async def source(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def seal(pieces: Iterable[Piece], key: bytes = KEY, label: bytes = LABEL) -> bytes:
    return b"".join([part async for part in ARCHIVE.seal(source(pieces), key, label)])


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def unseal(
    sealed: bytes,
    key: bytes = KEY,
    label: bytes = LABEL,
    chunk: int = 300_000,
    into: list[Piece] | None = None,
) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    async for piece in ARCHIVE.open(source(cut(sealed, chunk)), key, label):
        members[piece.member] = members.get(piece.member, b"") + piece.data
        if into is not None:
            into.append(piece)
    return members


async def verify(sealed: bytes, key: bytes = KEY, label: bytes = LABEL) -> int:
    return await ARCHIVE.verify(source(cut(sealed, 300_000)), key, label)


def together(pieces: Iterable[Piece]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for piece in pieces:
        members[piece.member] = members.get(piece.member, b"") + piece.data
    return members


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sealed_blocks(blocks: Iterable[bytes], compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """An archive as somebody who holds the key could forge it."""
    sealer = envelope.Sealer(KEY, LABEL)
    out = [sealer.feed([])]
    sealer._plain.clear()  # the empty frame of the line before
    for block in blocks:
        if compress is None:
            out.append(sealer.feed([block]))
        else:
            sealer._plain += compress(block)
            while len(sealer._plain) > envelope.SEGMENT:
                sealer._segment(last=False)
    out.append(sealer.finish())
    return b"".join(out)


MEMBERS = st.lists(
    st.tuples(st.text(min_size=1, max_size=20), st.lists(st.binary(max_size=2000), max_size=5)),
    max_size=6,
    unique_by=lambda member: member[0],
)


@given(MEMBERS, st.integers(1, 5000), st.binary(max_size=40))
@settings(max_examples=80, deadline=None)
async def test_what_goes_in_comes_out(
    members: list[tuple[str, list[bytes]]], chunk: int, label: bytes
) -> None:
    pieces = [Piece(name, data) for name, parts in members for data in parts or [b""]]
    sealed = await seal(pieces, label=label)
    assert await unseal(sealed, label=label, chunk=chunk) == together(pieces)
    assert await verify(sealed, label=label) == len(sealed)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 7])
@pytest.mark.parametrize("make", [noise, bytes], ids=["noise", "zeros"])
async def test_large_members_come_out_in_order(size: int, make: Callable[[int], bytes]) -> None:
    pieces = [
        Piece("first", make(size)),
        Piece("second", make(size // 2)),
        Piece("second", make(3)),
        Piece("z", b""),
    ]
    running = ARCHIVE.seal(source(pieces), KEY, LABEL)
    sealed = b"".join([part async for part in running])
    assert running.raw == sum(len(piece.data) for piece in pieces)
    found: list[Piece] = []
    assert await unseal(sealed, into=found) == together(pieces)
    assert list(dict.fromkeys(piece.member for piece in found)) == ["first", "second", "z"]
    assert max(len(piece.data) for piece in found) <= MIB


def plain_size(sealed: bytes) -> int:
    body = len(sealed) - envelope.HEADER
    return body - envelope.TAG * -(-body // envelope.SEALED_SEGMENT)


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_the_last_segment_may_be_full(count: int, off: int) -> None:
    """Where the compressed bytes fill the segments exactly, the last one is full, not empty."""
    target = size = count * envelope.SEGMENT + off
    for _ in range(4):  # noise does not compress, so a few looks find the size that seals to the target
        pieces = [Piece("m", part) for part in cut(noise(size), MIB)]
        sealed = await seal(pieces)
        size += target - plain_size(sealed)
    assert plain_size(sealed) == target
    assert await unseal(sealed) == together(pieces)
    assert await verify(sealed) == len(sealed)
    for damaged in (sealed[: -envelope.TAG], sealed + bytes(envelope.TAG), sealed[: envelope.HEADER]):
        with pytest.raises(DamagedArtifact):
            await verify(damaged)


async def test_the_same_content_never_seals_alike() -> None:
    first, second = await seal([Piece("m", b"x")]), await seal([Piece("m", b"x")])
    assert first[5:44] != second[5:44] and first[64:] != second[64:]


async def test_300_random_changes_are_all_found() -> None:
    """A changed archive never yields a byte that was not sealed, and never ends well."""
    rng = random.Random(20261122)
    pieces = [Piece("a", noise(2 * MIB + 12345)), Piece("b", b"text " * 100_000), Piece("c", noise(MIB, 2))]
    sealed = await seal(pieces)
    other = await seal(pieces)
    whole = together(pieces)
    size, step = len(sealed), envelope.SEALED_SEGMENT
    borders = list(range(envelope.HEADER, size, step))

    def flip(data: bytearray) -> None:
        data[rng.randrange(size)] ^= 1 << rng.randrange(8)

    def flip_header(data: bytearray) -> None:
        data[rng.randrange(envelope.HEADER)] ^= 1 << rng.randrange(8)

    def cut_off(data: bytearray) -> None:
        del data[rng.randrange(size) :]

    def cut_at_border(data: bytearray) -> None:
        del data[rng.choice(borders) :]

    def swap(data: bytearray) -> None:
        a, b = rng.sample(borders[:-1], 2)
        data[a : a + step], data[b : b + step] = data[b : b + step], data[a : a + step]

    def replay(data: bytearray) -> None:
        a = rng.choice(borders[:-1])
        data[a:a] = data[a : a + step]

    def drop(data: bytearray) -> None:
        a = rng.choice(borders)
        del data[a : a + step]

    def trail(data: bytearray) -> None:
        data += noise(rng.choice([1, 16, 17, step]), rng.randrange(99))

    def foreign_header(data: bytearray) -> None:
        data[: envelope.HEADER] = other[: envelope.HEADER]

    def foreign_segment(data: bytearray) -> None:
        a = rng.choice(borders)
        data[a : a + step] = other[a : a + step]

    def insert(data: bytearray) -> None:
        at = rng.randrange(size)
        data[at:at] = noise(rng.randrange(1, 50), rng.randrange(99))

    changes = [
        flip,
        flip_header,
        cut_off,
        cut_at_border,
        swap,
        replay,
        drop,
        trail,
        foreign_header,
        foreign_segment,
        insert,
    ]
    for round_number in range(300):
        change = changes[round_number % len(changes)]
        data = bytearray(sealed)
        change(data)
        assert data != sealed
        found: list[Piece] = []
        with pytest.raises(DamagedArtifact):
            await unseal(bytes(data), into=found)
        for name, value in together(found).items():
            assert whole[name].startswith(value), change.__name__
        with pytest.raises(DamagedArtifact):
            await verify(bytes(data))


async def test_a_wrong_key_is_told_apart_from_damage() -> None:
    sealed = await seal([Piece("m", b"x")])
    for key in (bytes(32), KEY[:-1] + b"\x00", b"short"):
        with pytest.raises(WrongKey):
            await unseal(sealed, key=key)
        with pytest.raises(WrongKey):
            await verify(sealed, key=key)
    with pytest.raises(WrongKey):
        await seal([], key=b"short")


async def test_another_backups_label_does_not_open() -> None:
    sealed = await seal([Piece("m", b"x")])
    for label in (b"", LABEL + b"x", LABEL[:-1]):
        with pytest.raises(DamagedArtifact):
            await unseal(sealed, label=label)
        with pytest.raises(DamagedArtifact):
            await verify(sealed, label=label)


async def test_a_newer_format_is_named() -> None:
    sealed = bytearray(await seal([Piece("m", b"x")]))
    sealed[4] = 2
    sealed[60:64] = zlib.crc32(sealed[:60]).to_bytes(4, "big")
    with pytest.raises(Unsupported):
        await unseal(bytes(sealed))


@pytest.mark.parametrize("data", [b"", b"S", b"not a backup at all" * 99, bytes(64)])
async def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedArtifact):
        await unseal(data)
    with pytest.raises(DamagedArtifact):
        await verify(data)


def item(head: Any, *values: int) -> bytes:
    return head.pack(*values)


MEMBER_M = item(container.NAME_HEAD, container.MEMBER, 1) + b"m"
DATA_X = item(container.DATA_HEAD, container.DATA, 1) + b"x"
M_END = item(container.MEMBER_TAIL, container.MEMBER_END, 1)
END = item(container.TAIL, container.END, 1, 1)

FORGED = {
    "no end": [MEMBER_M, DATA_X, M_END],
    "member left open": [MEMBER_M, DATA_X, item(container.TAIL, container.END, 1, 1)],
    "wrong size of a member": [MEMBER_M, DATA_X, item(container.MEMBER_TAIL, container.MEMBER_END, 2), END],
    "wrong total": [MEMBER_M, DATA_X, M_END, item(container.TAIL, container.END, 1, 2)],
    "wrong count": [MEMBER_M, DATA_X, M_END, item(container.TAIL, container.END, 2, 1)],
    "something after the end": [MEMBER_M, DATA_X, M_END, END, MEMBER_M],
    "data without a member": [DATA_X],
    "member twice": [MEMBER_M, DATA_X, M_END, MEMBER_M],
    "member within a member": [MEMBER_M, item(container.NAME_HEAD, container.MEMBER, 1) + b"n"],
    "no name": [item(container.NAME_HEAD, container.MEMBER, 0)],
    "name beyond the limit": [item(container.NAME_HEAD, container.MEMBER, 2000) + b"n" * 2000],
    "name that is no text": [item(container.NAME_HEAD, container.MEMBER, 1) + b"\xff"],
    "name cut off": [item(container.NAME_HEAD, container.MEMBER, 5) + b"n"],
    "empty data": [MEMBER_M, item(container.DATA_HEAD, container.DATA, 0)],
    "data beyond the limit": [MEMBER_M, item(container.DATA_HEAD, container.DATA, 2 * MIB) + bytes(2 * MIB)],
    "data cut off": [MEMBER_M, item(container.DATA_HEAD, container.DATA, 9) + b"x"],
    "unknown item": [b"\x09"],
}


@pytest.mark.parametrize("items", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("joined", [True, False], ids=["one block", "many"])
async def test_forged_contents_are_refused(items: list[bytes], joined: bool) -> None:
    with pytest.raises(DamagedArtifact):
        await unseal(sealed_blocks([b"".join(items)] if joined else items))


async def test_forged_contents_would_open_without_the_fault() -> None:
    assert await unseal(sealed_blocks([MEMBER_M, DATA_X, M_END, END])) == {"m": b"x"}


def undeclared(block: bytes) -> bytes:
    compressor = zstd.ZstdCompressor(level=1)
    return compressor.compress(block[:1], zstd.ZstdCompressor.FLUSH_BLOCK) + compressor.compress(
        block[1:], zstd.ZstdCompressor.FLUSH_FRAME
    )


def lying(block: bytes) -> bytes:
    """A frame that declares fewer bytes than it unpacks to."""
    frame = bytearray(zstd.compress(block, 1))
    assert frame[4] & 0xC0 == 0x80  # four bytes of content size
    at = 5 if frame[4] & 0x20 else 6
    frame[at : at + 4] = MIB.to_bytes(4, "little")
    return bytes(frame)


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "declares no size": undeclared,
    "makes no sense|has not the size": lying,
    "one beyond the limit": lambda block: zstd.compress(block, 1),
    "makes no sense": lambda _: noise(10 * MIB),
    "is cut off": lambda block: zstd.compress(block, 1)[:-1],
}


@pytest.mark.parametrize(("why", "compress"), BOMBS.items(), ids=BOMBS.keys())
async def test_bombs_do_not_unpack(why: str, compress: Callable[[bytes], bytes]) -> None:
    if why == "declares no size":
        assert zstd.get_frame_info(compress(b"xx")).decompressed_size is None
    forged = sealed_blocks([bytes(64 * MIB)], compress)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedArtifact, match=why):
            await unseal(forged)
        assert tracemalloc.get_traced_memory()[1] < 30 * MIB
    finally:
        tracemalloc.stop()


async def test_memory_stays_flat_for_a_long_stream() -> None:
    block = noise(MIB)

    async def pieces() -> AsyncIterator[Piece]:
        for _ in range(120):
            yield Piece("zeros", bytes(MIB))
        for _ in range(60):
            yield Piece("noise", block)

    total = 0
    tracemalloc.start()
    try:
        sealing = ARCHIVE.seal(pieces(), KEY, LABEL)
        async for piece in ARCHIVE.open(aiter(sealing), KEY, LABEL):
            total += len(piece.data)
            await asyncio.sleep(0)
        assert total == sealing.raw == 180 * MIB
        assert tracemalloc.get_traced_memory()[1] < 50 * MIB
    finally:
        tracemalloc.stop()


async def test_a_failing_source_fails_the_seal_and_is_closed() -> None:
    closed = False

    async def pieces() -> AsyncIterator[Piece]:
        nonlocal closed
        try:
            for _ in range(9):
                yield Piece("m", noise(MIB))
            raise OSError("the source broke")
        finally:
            closed = True

    with pytest.raises(OSError, match="the source broke"):
        async for _ in ARCHIVE.seal(pieces(), KEY, LABEL):
            pass
    assert closed


async def test_leaving_early_closes_the_source() -> None:
    closed = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            for part in cut(sealed, 100_000):
                yield part
        finally:
            closed.set()

    sealed = await seal([Piece("m", noise(5 * MIB))])
    pieces: Any = ARCHIVE.open(chunks(), KEY, LABEL)
    async for _ in pieces:
        break
    await pieces.aclose()
    assert closed.is_set()


@pytest.mark.parametrize(
    "pieces", [[("a", b"1"), ("b", b"2"), ("a", b"3")], [("", b"1")], [("n" * 1025, b"1")]]
)
async def test_members_that_cannot_be_framed_are_refused(pieces: list[tuple[str, bytes]]) -> None:
    with pytest.raises(Internal):
        await seal([Piece(*piece) for piece in pieces])


async def test_the_documented_reader_reads_what_we_write() -> None:
    page = (Path(__file__).parents[2] / "docs/format.md").read_text()
    namespace: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], namespace)
    pieces = [Piece("a", noise(3 * MIB)), Piece("empty", b""), Piece("b", b"text" * MIB)]
    sealed = await seal(pieces)
    assert namespace["members"](sealed, KEY, LABEL) == together(pieces)
