"""Questions to a collection: read lazily, in pages that stay right while others write."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..domain.errors import InvalidRequest
from ..domain.order import after_row, encode_cursor
from ..domain.query import Path, projected
from ..domain.record import MAX_LIMIT, Find, Row
from .document import Document, DocumentPage

if TYPE_CHECKING:
    from .collection import Collection

PAGE = 100
#: Rows read at once while iterating: a small first page is quickly there, later ones cost fewer calls.
FIRST, MORE = 100, 500


class Query:
    """A question that is asked when it is iterated; again each time. Holds one page of documents in memory.

    Iterating reads page by page, each from where the one before ended: a document that exists throughout and keeps
    its place in the order comes exactly once, whatever others write meanwhile.
    """

    __slots__ = ("_collection", "_fields", "_find", "_limit", "_trimmed")

    def __init__(self, collection: "Collection", find: Find, limit: int | None) -> None:
        self._collection, self._limit = collection, limit
        self._fields = find.fields
        # What the order looks at must be read to know where a page ends, and is taken away again.
        hidden = _hidden(find)
        self._trimmed = bool(hidden)
        self._find = replace(find, fields=(*find.fields, *hidden)) if find.fields and hidden else find

    async def __aiter__(self) -> AsyncIterator[Document]:
        left, size, after = self._limit, FIRST, self._find.after
        while left is None or left > 0:
            asked = size if left is None else min(size, left)
            rows = await self._collection.rows(self._from(after, asked))
            after = after_row(self._find, rows[-1]) if len(rows) == asked and left != asked else None
            for document in self._documents(rows):
                yield document
            if after is None:
                return
            left, size = None if left is None else left - asked, MORE

    async def all(self) -> list[Document]:
        """Every document of the answer, in memory."""
        return [document async for document in self]

    async def first(self) -> Document | None:
        """The first document of the answer, none where there is none."""
        rows = await self._collection.rows(self._from(self._find.after, 1)) if self._limit != 0 else []
        return self._documents(rows)[0] if rows else None

    async def page(self) -> DocumentPage:
        """At most `limit` documents (100, if none was given), and the cursor of the page after them."""
        limit = PAGE if self._limit is None else self._limit
        if not 0 < limit < MAX_LIMIT:
            raise InvalidRequest(
                f"limit of a page is 1 to {MAX_LIMIT - 1}.",
                field="limit",
                hint="Take smaller pages, or iterate.",
            )
        rows = await self._collection.rows(self._from(self._find.after, limit + 1))
        shown = rows[:limit]
        next = encode_cursor(self._find, after_row(self._find, shown[-1])) if len(rows) > limit else None
        return DocumentPage(tuple(self._documents(shown)), next)

    def _from(self, after: tuple[Any, ...] | None, limit: int) -> Find:
        return Find(self._find.where, self._find.sort, limit, after, self._find.fields)

    def _documents(self, rows: list[Row]) -> list[Document]:
        if self._trimmed and self._fields is not None:
            for row in rows:
                row.body = projected(row.body, self._fields)
        return self._collection.documents(rows)


def _hidden(find: Find) -> tuple[Path, ...]:
    """Paths of the order that the fields asked for do not hold."""
    if find.fields is None:
        return ()
    sorted_by = [key.path for key in find.sort if key.path is not None]
    return tuple(path for path in sorted_by if not any(path[: len(f)] == f for f in find.fields))
