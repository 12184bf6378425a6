"""The audit log as a file: signed JSON lines that anybody can verify, or a table."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from enum import StrEnum

from ..domain.audit import RAW, RawEntry, canonical_raw
from ..domain.context import Context
from ..domain.heads import Head, encoded, signed_line, unsigned
from ..domain.page import Query
from ..sheets import Cell, Format, write
from .download import Download
from .kernel import Kernel

FORMAT = "storage-console-audit/1"
END_FORMAT = "storage-console-audit-end/1"
#: In a table: what people look for first.
COLUMNS = (
    "chain", "sequence", "at", "phase", "operation", "actor_name", "role", "result", "target_kind", "target_name",
    "target_id", "tenant_id", "address", "door", "correlation_id", "reason", "detail", "changes", "actor_id",
    "digest", "previous", "hash", "version",
)  # fmt: skip
_PLACES = tuple(RAW.index(name) for name in COLUMNS)
_SEQUENCE, _CHAIN = RAW.index("sequence"), RAW.index("chain")


class ExportFormat(StrEnum):
    """JSON lines are signed and can be verified without a console; the others are for reading."""

    JSONL = "jsonl"
    CSV = "csv"
    XLSX = "xlsx"


class AuditFile:
    """One export. `chains` are those the caller may know all of (none: every chain, empty: no whole chain)."""

    def __init__(self, kernel: Kernel, ctx: Context, query: Query, chains: frozenset[str] | None) -> None:
        self._kernel, self._ctx, self._query, self._chains = kernel, ctx, query, chains
        self._heads: tuple[Head, ...] = ()
        #: From before the heads are read: whatever was signed by then is in the file.
        self._at = kernel.now()

    async def open(self, kind: ExportFormat) -> Download:
        """The file; what is written while it is read is not in it."""
        async with self._kernel.catalog.read() as uow:
            self._heads = await uow.audit.heads()
            # A refusal comes before the first piece.
            await uow.audit.matching(replace(self._query, limit=1), None)
        if kind is ExportFormat.JSONL:
            return Download("audit.jsonl", "application/jsonl", self._signed())
        table = Format(kind.value)
        return Download(f"audit.{kind}", table.media_type, write(table, COLUMNS, self._cells(), "Audit"))

    @property
    def _complete(self) -> bool:
        """Whether the file has whole chains: nothing is filtered, and not just the caller's own entries."""
        return not self._query.where and not self._query.text.strip() and self._chains != frozenset()

    def _mine(self) -> list[Head]:
        return [h for h in self._heads if self._chains is None or h.chain in self._chains]

    async def _signed(self) -> AsyncIterator[bytes]:
        public = await self._kernel.notary.public()
        scope = {"complete": self._complete, "everything": self._chains is None}
        first = unsigned(FORMAT, self._at, public, self._mine(), by=self._ctx.actor.name, **scope)
        digest, count = hashlib.sha256(), 0
        piece = encoded(first) + b"\n"
        digest.update(piece)
        yield piece
        async for rows in self._rows():
            piece = b"".join(_line(row) for row in rows)
            digest.update(piece)
            count += len(rows)
            yield piece
        told = {**scope, "digest": digest.hexdigest(), "entries": count}
        last = unsigned(END_FORMAT, self._at, public, self._mine(), **told)
        yield signed_line(last, await self._kernel.notary.sign(encoded(last)))

    async def _cells(self) -> AsyncIterator[Sequence[Cell]]:
        async for rows in self._rows():
            for row in rows:
                yield [row[place] for place in _PLACES]

    async def _rows(self) -> AsyncIterator[list[RawEntry]]:
        """Entries by chain and number, up to the heads of the beginning; each batch in a unit of its own."""
        ends = {head.chain: head.sequence for head in self._heads}
        after: tuple[str, int] | None = None
        while True:
            async with self._kernel.catalog.read() as uow:
                rows = await uow.audit.matching(self._query, after)
            if not rows:
                return
            after = (rows[-1][_CHAIN], rows[-1][_SEQUENCE])
            kept = [tuple(row) for row in rows if row[_SEQUENCE] <= ends.get(row[_CHAIN], 0)]
            if kept:
                yield kept


def _line(row: RawEntry) -> bytes:
    """The canonical entry with its hash in its place among the sorted keys."""
    try:
        body = canonical_raw(row)
    except (TypeError, ValueError, RecursionError):
        # Not as we write entries: it goes out as it is, for the verifier to name.
        return encoded({name: _plain(value) for name, value in zip(RAW, row, strict=True)}) + b"\n"
    at = body.index(b'"operation":', body.index(b'"door":'))
    return body[:at] + f'"hash":"{row[-1]}",'.encode() + body[at:] + b"\n"


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int)) or value is None else repr(value)
