"""What pg_dump writes is read as it passes: whatever way it is cut, the same rows and hash."""

import random
from collections.abc import Iterator
from io import BytesIO

import pytest
from xxhash import xxh3_64_intdigest

from storage_core.domain.errors import EngineFailure, Unsupported
from storage_core.providers.postgresql.stream import DumpReader

Rows = list[bytes]


def integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def string(value: bytes | None) -> bytes:
    return integer(-1) if value is None else integer(len(value)) + value


def head(minor: int, entries: int) -> bytes:
    compression = b"\x00" if minor >= 15 else integer(0)
    moment = b"".join(map(integer, (0, 0, 12, 1, 1, 126, 0)))
    return (
        b"PGDMP" + bytes([1, minor, 0, 4, 8, 1]) + compression + moment + 3 * string(b"x") + integer(entries)
    )


def entry(minor: int, number: int, oid: int, kind: bytes) -> bytes:
    text = b"a text \x00 of some length" * number
    parts = [
        integer(number),
        integer(1),
        string(b"0"),
        string(str(oid).encode()),
        string(b"tag"),
        string(kind),
    ]
    parts += [
        integer(3),
        string(text),
        string(b""),
        string(None),
        string(b"public"),
        string(None),
        string(b"heap"),
    ]
    parts += [integer(ord("r"))] if minor >= 16 else []
    parts += [
        string(b"owner"),
        string(b"false"),
        string(b"1"),
        string(b"2"),
        string(None),
        b"\x01" + bytes(8),
    ]
    return b"".join(parts)


def chunks(text: bytes, sizes: Iterator[int]) -> bytes:
    out, source = [], BytesIO(text)
    while part := source.read(next(sizes)):
        out.append(integer(len(part)) + part)
    return b"".join([*out, integer(0)])


def by_row(rows: Rows) -> bytes:
    """A chunk for each row and one for the end: as programs write it today."""
    return (
        b"".join(integer(len(row) + 1) + row + b"\n" for row in rows) + integer(5) + b"\\.\n\n\n" + integer(0)
    )


def archive(tables: dict[int, Rows], minor: int = 16, r: random.Random | None = None) -> bytes:
    """With a batch of large objects in between; `r` cuts the chunks anywhere instead of after each row."""
    out = [head(minor, 2 * len(tables) + 1), entry(minor, 1, 0, b"BLOBS")]
    for number, oid in enumerate(tables, 2):
        out += [entry(minor, number, oid, b"TABLE DATA"), entry(minor, 100 + number, oid, b"INDEX")]
    blob = (
        integer(77)
        + chunks(b"large\n\x00" * 300, iter(lambda: 500, 0))
        + integer(78)
        + integer(0)
        + integer(0)
    )
    for number, rows in enumerate(tables.values(), 2):
        out.append(b"\x01" + integer(number))
        text = b"".join(row + b"\n" for row in rows) + b"\\.\n\n\n"
        out.append(chunks(text, iter(lambda: r.choice((1, 3, 40, 3000)), 0)) if r else by_row(rows))
        out.append(b"\x03" + integer(1) + blob if number == 2 else b"")
    return b"".join(out)


def read(data: bytes, r: random.Random | None = None) -> dict[int, tuple[int, str]]:
    """In pieces of all sizes."""
    reader, at = DumpReader(), 0
    while at < len(data):
        size = r.choice((1, 2, 7, 100, 5000)) if r else 1 << 20
        reader.feed(data[at : at + size])
        at += size
    return {oid: (lines.rows, lines.hash) for oid, lines in reader.finish().items()}


def tables(r: random.Random) -> dict[int, Rows]:
    """Rows of all lengths, those among them whose length has a byte like a line's end."""
    lengths = (0, 0, 1, 4, 9, 10, 60, 265, 266, 2569, 2570, 4000)
    return {
        oid: [
            r.randbytes(r.choice(lengths)).replace(b"\n", b"\\n").replace(b"\x00", b"0") for _ in range(count)
        ]
        for oid, count in ((20001, 0), (20002, 1), (20003, 300), (3000000000, 40))
    }


def expected(given: dict[int, Rows]) -> dict[int, tuple[int, str]]:
    return {oid: (len(rows), f"{sum(map(xxh3_64_intdigest, rows)):032x}") for oid, rows in given.items()}


@pytest.mark.parametrize("seed", range(12))
def test_rows_and_hash_are_the_same_however_it_is_cut(seed: int) -> None:
    r = random.Random(seed)
    given, minor = tables(r), 14 + seed % 3
    assert read(archive(given, minor)) == expected(given)
    assert read(archive(given, minor), r) == expected(given)
    assert read(archive(given, minor, r), r) == expected(given)


@pytest.mark.parametrize("seed", range(8))
def test_short_rows_are_told_apart_whatever_shares_a_chunk(seed: int) -> None:
    """One row in a chunk, now and then more, or a part of one; and lengths that are an end of a line."""
    r = random.Random(seed)
    rows = [b"x" * r.choice((0, 1, 2, 5, 9, 9, 9, 30)) for _ in range(4000)]
    alone = 1.0 if seed < 3 else 0.999
    out, at = [head(16, 1), entry(16, 5, 9, b"TABLE DATA"), b"\x01", integer(5)], 0
    while at < len(rows):
        count = 1 if r.random() < alone else r.choice((2, 3))
        text = b"".join(row + b"\n" for row in rows[at : at + count])
        cut = r.randint(1, len(text)) if r.random() > alone else len(text)
        out += [integer(len(part)) + part for part in (text[:cut], text[cut:]) if part]
        at += count
    whole = b"".join([*out, integer(5), b"\\.\n\n\n", integer(0)])
    assert read(whole) == read(whole, r) == expected({9: rows})


def test_order_is_nothing_and_every_value_is_something() -> None:
    rows = [b"1\ta", b"2\tb", b"2\tb"]
    kept = read(archive({1: rows}))
    assert read(archive({1: rows[::-1]})) == kept
    for other in (
        [b"1\tb", b"2\ta", b"2\tb"],
        [b"1\ta", b"1\ta", b"2\tb"],
        [b"1\ta", b"2\tb"],
        [b"1\ta2", b"\tb", b"2\tb"],
    ):
        assert read(archive({1: other})) != kept


@pytest.mark.parametrize("cut", [3, 60, 400, -1, -6, -30])
def test_an_archive_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(EngineFailure):
        read(archive({1: [b"row"] * 9})[:cut])


def test_what_is_no_archive_of_a_known_kind_is_refused() -> None:
    whole = archive({1: [b"row"]})
    with pytest.raises(EngineFailure):
        read(b"X" + whole)
    with pytest.raises(EngineFailure):
        read(whole.replace(b"\\.\n\n\n", b"\\_\n\n\n"))
    with pytest.raises(EngineFailure):
        read(whole + b"\x01" + integer(99) + integer(0))
    with pytest.raises(Unsupported) as caught:
        read(whole[:6] + b"\x63" + whole[7:])
    assert caught.value.hint
