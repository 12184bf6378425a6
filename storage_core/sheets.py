"""Tables as files people open elsewhere: CSV, JSON and XLSX, streamed; the one place that knows what a cell may hold.

Cells begin with nothing that a spreadsheet takes for a formula. JSON is for programs: it keeps every text as it is.
"""

import asyncio
import csv
import io
import json
import math
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

T = TypeVar("T")

Cell = str | int | float | bool | None
Rows = AsyncIterable[Sequence[Cell]]

#: What begins a formula somewhere; the wide forms do where spreadsheets read East Asian text.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
CHUNK = 64 * 1024
#: Rows handed to the writing thread at once.
BATCH = 500
#: What a worksheet can hold: rows, characters of one cell, the largest whole number kept exactly.
SHEET_ROWS, CELL_CHARACTERS, EXACT = 1_048_576, 32_767, 2**53


class Format(StrEnum):
    """The kinds of files a table is written as."""

    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"

    @property
    def media_type(self) -> str:
        return {
            Format.CSV: "text/csv; charset=utf-8",
            Format.JSON: "application/json",
            Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }[self]


def write(
    kind: Format, header: Sequence[str], rows: Rows, title: str = "Export"
) -> AsyncGenerator[bytes, None]:
    """The rows as a file of this kind, in pieces; `title` names an XLSX file's worksheet.

    An XLSX file is complete on the disk before its first piece, so its reader never slows the rows' source down.
    """
    match kind:
        case Format.CSV:
            return _csv(header, rows)
        case Format.JSON:
            return _json(header, rows)
        case Format.XLSX:
            return _xlsx(header, rows, title)


def safe(value: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def cell(item: Any, path: str) -> Cell:
    """The scalar at a dotted path of a domain object; points in time as ISO 8601."""
    for name in path.split("."):
        item = getattr(item, name, None)
    return scalar(item)


def scalar(item: Any) -> Cell:
    """A value as one cell."""
    if isinstance(item, datetime):
        return item.isoformat()
    if isinstance(item, Enum):
        return str(item.value)
    return item if isinstance(item, (str, int, float, bool)) or item is None else str(item)


async def _csv(header: Sequence[str], rows: Rows) -> AsyncGenerator[bytes, None]:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([safe(name) for name in header])
    async for row in rows:
        writer.writerow([safe(value) for value in row])
        if buffer.tell() > CHUNK:
            yield buffer.getvalue().encode("utf-8", "replace")
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode("utf-8", "replace")


async def _json(header: Sequence[str], rows: Rows) -> AsyncGenerator[bytes, None]:
    lead, parts, size = "[\n", list[str](), 0
    async for row in rows:
        parts.append(lead + json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False))
        lead, size = ",\n", size + len(parts[-1])
        if size > CHUNK:
            yield "".join(parts).encode("utf-8", "replace")
            parts, size = list[str](), 0
    parts.append("[]\n" if lead == "[\n" else "\n]\n")
    yield "".join(parts).encode("utf-8", "replace")


async def _xlsx(header: Sequence[str], rows: Rows, title: str) -> AsyncGenerator[bytes, None]:
    # One thread of its own: what it does keeps its order, so the tidying waits for the writing even when the
    # reader is gone and nobody waits for either.
    thread = ThreadPoolExecutor(1, thread_name_prefix="xlsx")
    book: _Book | None = None
    try:
        book = await _in(thread, lambda: _Book(header, title))
        batch: list[Sequence[Cell]] = []
        async for row in rows:
            batch.append(row)
            if len(batch) >= BATCH:
                await _in(thread, _adding(book, batch))
                batch = []
        await _in(thread, _adding(book, batch))
        await _in(thread, book.finish)
        while piece := await _in(thread, book.read):
            yield piece
    finally:
        if book is not None:
            thread.submit(book.discard)
        thread.shutdown(wait=False)


def _adding(book: "_Book", rows: list[Sequence[Cell]]) -> Callable[[], None]:
    return lambda: book.add(rows)


async def _in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


class _Book:
    """One XLSX file on its way: rows go to the disk as they come. Blocking; for one thread."""

    def __init__(self, header: Sequence[str], title: str) -> None:
        from xlsxwriter import Workbook  # late: most processes never write one

        self._folder = Path(tempfile.mkdtemp(prefix="export-"))
        self._path = self._folder / "book.xlsx"
        self._header, self._title = header, title
        options = {
            "constant_memory": True,
            "tmpdir": str(self._folder),
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
            "use_zip64": True,
        }
        self._book = Workbook(str(self._path), options)
        self._bold = self._book.add_format({"bold": True})
        self._file: io.BufferedReader | None = None
        self._count = 0
        self._sheet = self._next_sheet()

    def _next_sheet(self) -> "Worksheet":
        self._count += 1
        title = self._title if self._count == 1 else f"{self._title} {self._count}"
        sheet = self._book.add_worksheet(title)
        sheet.freeze_panes(1, 0)
        self._row = 1
        for column, name in enumerate(self._header):
            sheet.set_column(column, column, max(12, min(len(name) + 2, 40)))
            sheet.write_string(0, column, str(safe(name)), self._bold)
        return sheet

    def add(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Append rows; a full worksheet is followed by another."""
        for row in rows:
            if self._row >= SHEET_ROWS:
                self._sheet = self._next_sheet()
            for column, value in enumerate(row):
                self._put(column, safe(value))
            self._row += 1

    def _put(self, column: int, value: Cell) -> None:
        if value is None:
            return
        if isinstance(value, bool):
            self._sheet.write_boolean(self._row, column, value)
        elif isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= EXACT:
            self._sheet.write_number(self._row, column, value)
        else:
            # Lone surrogates are no UTF-8, and a longer text would make the file one that needs repair.
            text = str(value).encode("utf-8", "replace").decode()[:CELL_CHARACTERS]
            self._sheet.write_string(self._row, column, text)

    def finish(self) -> None:
        """Complete the file and open it for reading."""
        self._book.close()
        self._file = self._path.open("rb")

    def read(self) -> bytes:
        """The next piece of the finished file; empty at its end."""
        return self._file.read(CHUNK) if self._file is not None else b""

    def discard(self) -> None:
        """Take everything off the disk again."""
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)
