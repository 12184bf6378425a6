"""How documents lie in MongoDB, and back.

    {_id: "o-1", version: 3, created_at: "2026-11-25T13:10:32.123456Z", updated_at: …, body: {sku: "A1", qty: 3}}

`tagged: true` stands beside the body where some of its values are tags. Moments are texts, as those of tags are: a BSON
date would lose their microseconds. A collection `orders` is `sc_documents.orders`; collections of other names are other
people's.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bson.int64 import Int64
from pymongo.asynchronous.collection import AsyncCollection

from ...domain.errors import Conflict
from ...domain.query import Path
from ...domain.record import Row
from ...domain.value import moment

Document = dict[str, Any]
Documents = AsyncCollection[Document]

PREFIX = "sc_documents."
INDEX_PREFIX = "sc_"
BODY = "body"


def settle(value: dict[str, Any]) -> None:
    """Make integers beyond 32 bits `int`, in place: the driver has a class of its own for them.

    A decoder of the driver's would do it, and make every answer be decoded twice.
    """
    for key, item in value.items():
        kind = type(item)
        if kind is dict:
            settle(item)
        elif kind is list:
            _settle_list(item)
        elif kind is Int64:
            value[key] = int(item)


def _settle_list(value: list[Any]) -> None:
    for at, item in enumerate(value):
        kind = type(item)
        if kind is dict:
            settle(item)
        elif kind is list:
            _settle_list(item)
        elif kind is Int64:
            value[at] = int(item)


def stamp(at: datetime) -> str:
    """A moment as it is stored; such texts sort as the moments do."""
    if at.tzinfo is UTC and at.year > 999:
        return at.isoformat(timespec="microseconds")[:26] + "Z"
    return moment(at)


def new_document(id: str, body: Mapping[str, Any], at: str, tagged: bool) -> Document:
    document: Document = {"_id": id, "version": 1, "created_at": at, "updated_at": at, BODY: body}
    if tagged:
        document["tagged"] = True
    return document


def row_of(document: Document) -> Row:
    """The row; Conflict for a document that others put here."""
    try:
        body = document[BODY]
        settle(body)
        return Row(
            document["_id"],
            document["version"],
            datetime.fromisoformat(document["created_at"]),
            datetime.fromisoformat(document["updated_at"]),
            body,
            document.get("tagged", False),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Conflict(
            f"The collection holds {str(document.get('_id'))[:60]!r}, which is not a document of ours.",
            hint="Move what other programs wrote there into a collection of their own.",
        ) from error


def key_of(path: Iterable[str]) -> str:
    """A path as MongoDB writes it. Only for parts that `is_simple` takes, or in conditions of a find."""
    return f"{BODY}.{'.'.join(path)}"


def is_simple(path: Path) -> bool:
    """Whether MongoDB's dotted form says exactly this path: no part is a number, has dots, is empty or begins with $."""
    return not any(not part or part[0] == "$" or "." in part or part.isdigit() for part in path)


def is_position(part: str) -> bool:
    """Whether a part of a path may be a list's position (see `query.value_at`)."""
    return part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")
