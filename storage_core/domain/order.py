"""Orders and places in them: what a page is sorted by, and where the next one begins."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from .errors import InvalidRequest
from .query import MAX_KEYS, OWN, kind_of, parse_path, value_at
from .record import Find, Row, SortKey
from .value import moment

#: Stands for every value that no order tells apart.
_ANY: dict[str, Any] = {}


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


def decode_cursor(find: Find, cursor: str, field: str = "after") -> tuple[Any, ...]:
    try:
        order, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        places = tuple(_place(v) for v in values)
    except (ValueError, TypeError, KeyError):
        _refuse(field, "is not a cursor", "Hand back `next` of the page before as it is.")
    if order != _order(find) or len(places) != len(find.sort) + 1 or not _fits(find, places):
        _refuse(field, "is a cursor of another order", "Repeat the query with the sort it came from.")
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
