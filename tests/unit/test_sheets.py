"""Exported files: every cell comes back as it was, and none of them is a formula."""

import asyncio
import csv
import io
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from storage_core import sheets
from storage_core.domain.audit import Phase
from storage_core.sheets import Cell, Format, safe, scalar, write

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "=HYPERLINK(\"http://x\")", "\uff1d1+1"]  # fmt: skip
HARMLESS = ["", "a=b", "'=1", "1-1", "äöü 漢字", "a,b;\"c\"", "line\nbreak", "https://example.org", "007"]  # fmt: skip


async def rows(*given: Sequence[Cell]) -> AsyncIterator[Sequence[Cell]]:
    for row in given:
        yield row


async def written(kind: Format, header: Sequence[str], *given: Sequence[Cell]) -> bytes:
    return b"".join([piece async for piece in write(kind, header, rows(*given))])


def table(raw: bytes, sheet: int = 0) -> list[list[object]]:
    book = CalamineWorkbook.from_filelike(io.BytesIO(raw))
    return [list(row) for row in book.get_sheet_by_index(sheet).to_python(skip_empty_area=False)]


@pytest.mark.parametrize("text", FORMULAS)
async def test_no_cell_is_a_formula(text: str) -> None:
    assert safe(text) == f"'{text}"
    raw = await written(Format.CSV, ["name"], [text])
    assert list(csv.reader(io.StringIO(raw.decode(), newline=""))) == [["name"], [f"'{text}"]]
    assert table(await written(Format.XLSX, ["name"], [text])) == [["name"], [f"'{text}"]]
    # JSON is read by programs, and they want what is there.
    assert json.loads(await written(Format.JSON, ["name"], [text])) == [{"name": text}]


@pytest.mark.parametrize("text", HARMLESS)
async def test_every_other_text_stays_as_it_is(text: str) -> None:
    raw = await written(Format.CSV, ["name", "end"], [text, "."])
    assert list(csv.reader(io.StringIO(raw.decode(), newline="")))[1] == [text, "."]
    assert table(await written(Format.XLSX, ["name", "end"], [text, "."]))[1] == [text, "."]


async def test_headings_are_cells_as_well() -> None:
    assert table(await written(Format.XLSX, ["=1"])) == [["'=1"]]
    assert (await written(Format.CSV, ["=1"])).decode() == "'=1\r\n"


async def test_numbers_and_flags_keep_their_kind() -> None:
    given = [[1, -2, 3.5, True, False, None, "x"]]
    assert table(await written(Format.XLSX, list("abcdefg"), *given))[1] == [1, -2, 3.5, True, False, "", "x"]
    assert (await written(Format.CSV, list("abcdefg"), *given)).decode().splitlines()[1] == (
        "1,-2,3.5,True,False,,x"
    )


async def test_what_a_worksheet_cannot_count_becomes_text() -> None:
    large, nan = 2**63 - 1, float("nan")
    assert table(await written(Format.XLSX, ["a", "b"], [large, nan]))[1] == [str(large), "nan"]


async def test_a_text_too_long_for_a_cell_is_cut_and_odd_characters_do_no_harm() -> None:
    raw = await written(Format.XLSX, ["a", "b"], ["x" * 40_000, "a\x00b\x1bc\ud800d"])
    long, odd = table(raw)[1]
    assert long == "x" * 32_767
    assert str(odd).endswith("?d")


async def test_a_full_worksheet_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "SHEET_ROWS", 1001)
    raw = await written(Format.XLSX, ["n"], *([n] for n in range(2500)))
    assert [len(table(raw, i)) for i in range(3)] == [1001, 1001, 501]
    assert table(raw, 2)[:2] == [["n"], [2000]]


async def test_an_empty_list_is_a_file_with_headings() -> None:
    assert table(await written(Format.XLSX, ["a", "b"])) == [["a", "b"]]
    assert json.loads(await written(Format.JSON, ["a"])) == []


async def test_long_lists_come_in_pieces() -> None:
    given = [[n, "text " * 20] for n in range(5000)]
    for kind in (Format.CSV, Format.JSON):
        pieces = [piece async for piece in write(kind, ["n", "t"], rows(*given))]
        assert len(pieces) > 5
        assert max(map(len, pieces)) < 3 * sheets.CHUNK
    assert len(json.loads(b"".join(pieces))) == 5000


async def test_nothing_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    await written(Format.XLSX, ["n"], *([n] for n in range(2000)))
    assert await _left(tmp_path) == []
    # A reader who goes away after the first piece, and a source that fails on its way.
    big = ([f"{n} {'x' * 200}"] for n in range(2000))
    async with aclosing(write(Format.XLSX, ["n"], rows(*big))) as pieces:
        assert await anext(pieces)

    async def failing() -> AsyncIterator[Sequence[Cell]]:
        for n in range(700):
            yield [n]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        [piece async for piece in write(Format.XLSX, ["n"], failing())]
    assert await _left(tmp_path) == []


async def _left(folder: Path) -> list[str]:
    """What lies there once every writing thread is done."""
    for thread in threading.enumerate():
        if thread.name.startswith("xlsx"):
            await asyncio.to_thread(thread.join, 10)
    return await asyncio.to_thread(lambda: [path.name for path in folder.iterdir()])


def test_values_become_cells() -> None:
    assert scalar(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00+00:00"
    assert scalar(Phase.INTENT) == "intent"
    assert scalar(("a", 1)) == "('a', 1)"
    assert [scalar(v) for v in (None, True, 1, 2.5, "x")] == [None, True, 1, 2.5, "x"]
