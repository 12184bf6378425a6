"""Questions to a collection: read lazily, in pages that stay right while others write."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from ..domain.errors import InvalidRequest
from ..domain.query import MAX_KEYS, OWN, Path, kind_of, parse_path, projected, value_at
from ..domain.record import MAX_LIMIT, Find, Row, SortKey
from ..domain.value import moment
from .document import Document, DocumentPage

if TYPE_CHECKING:
    from .collection import Collection

PAGE = 100
#: Stands for every value that no order tells apart.
_ANY: dict[str, Any] = {}
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
        find, left, size = self._find, self._limit, FIRST
        while left is None or left > 0:
            asked = size if left is None else min(size, left)
            rows = await self._collection.rows(replace(find, limit=asked))
            after = after_row(find, rows[-1]) if len(rows) == asked else None
            for row in rows:
                yield self._document(row)
            if after is None:
                return
            left = None if left is None else left - asked
            find, size = replace(find, after=after), MORE

    async def all(self) -> list[Document]:
        """Every document of the answer, in memory."""
        return [document async for document in self]

    async def first(self) -> Document | None:
        """The first document of the answer, none where there is none."""
        rows = await self._collection.rows(replace(self._find, limit=1)) if self._limit != 0 else []
        return self._document(rows[0]) if rows else None

    async def page(self) -> DocumentPage:
        """At most `limit` documents (100, if none was given), and the cursor of the page after them."""
        limit = PAGE if self._limit is None else self._limit
        if not 0 < limit < MAX_LIMIT:
            _refuse("limit", f"of a page is 1 to {MAX_LIMIT - 1}", "Take smaller pages, or iterate.")
        rows = await self._collection.rows(replace(self._find, limit=limit + 1))
        shown = rows[:limit]
        next = encode_cursor(self._find, after_row(self._find, shown[-1])) if len(rows) > limit else None
        return DocumentPage(tuple(self._document(row) for row in shown), next)

    def _document(self, row: Row) -> Document:
        if self._trimmed and self._fields is not None:
            row.body = projected(row.body, self._fields)
        return self._collection.document(row)


def _hidden(find: Find) -> tuple[Path, ...]:
    """Paths of the order that the fields asked for do not hold."""
    if find.fields is None:
        return ()
    sorted_by = [key.path for key in find.sort if key.path is not None]
    return tuple(path for path in sorted_by if not any(path[: len(f)] == f for f in find.fields))


def parse_sort(sort: str | Sequence[str] | None) -> tuple[SortKey, ...]:
    """``-created_at``, or several: ``["status", "-qty"]``."""
    if not sort:
        return ()
    texts = [sort] if isinstance(sort, str) else list(sort)
    if len(texts) > MAX_KEYS:
        _refuse("sort", f"has more than {MAX_KEYS} keys", "Sort by fewer fields.")
    return tuple(_sort_key(text) for text in texts)


def _sort_key(text: str) -> SortKey:
    if not isinstance(text, str):
        _refuse("sort", "is not a field's name", 'Write "-created_at", or ["status", "-qty"].')
    name = text.removeprefix("-")
    down = name != text
    return SortKey(None, name, down) if name in OWN else SortKey(parse_path(name, "sort"), None, down)


def after_row(find: Find, row: Row) -> tuple[Any, ...]:
    """Where a row stands in the order of `find`."""
    return (*(_key(key, row) for key in find.sort), row.id)


def _key(key: SortKey, row: Row) -> Any:
    if key.path is None:
        return getattr(row, key.own or "id")
    value = value_at(row.body, key.path)
    return _ANY if kind_of(value) == 4 else value


def encode_cursor(find: Find, after: tuple[Any, ...]) -> str:
    """A place in an order as text that only this order takes."""
    values = [{"at": moment(v)} if isinstance(v, datetime) else v for v in after]
    text = json.dumps([_order(find), *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(find: Find, cursor: str) -> tuple[Any, ...]:
    try:
        order, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        places = tuple(_place(v) for v in values)
    except (ValueError, TypeError, KeyError):
        _refuse("after", "is not a cursor", "Hand back `next` of the page before as it is.")
    if order != _order(find) or len(places) != len(find.sort) + 1 or not _fits(find, places):
        _refuse("after", "is a cursor of another order", "Repeat the query with the sort it came from.")
    return places


def _place(value: Any) -> Any:
    return datetime.fromisoformat(value["at"]) if isinstance(value, dict) and value else value


def _fits(find: Find, places: tuple[Any, ...]) -> bool:
    """Whether the values are of the kinds that stand at their places."""
    own = {"id": str, "version": int, "created_at": datetime, "updated_at": datetime}
    for key, value in zip((*find.sort, SortKey(None, "id")), places, strict=True):
        if isinstance(value, list):
            return False
        if key.path is None and not isinstance(value, own[key.own or "id"]):
            return False
        if key.path is not None and isinstance(value, datetime):
            return False
    return True


def _order(find: Find) -> str:
    names = [
        ("-" if key.descending else "", key.own or "" if key.path is None else "$." + ".".join(key.path))
        for key in find.sort
    ]
    return ",".join(sign + name for sign, name in names)


def _refuse(field: str, why: str, hint: str) -> NoReturn:
    raise InvalidRequest(f"{field} {why}.", field=field, hint=hint)
