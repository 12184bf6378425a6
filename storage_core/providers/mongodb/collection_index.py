"""Indexes of a collection: the product's own are named `sc_…`, so that those others made are left alone.

A plain index ends with the id, so that a page sorted by its fields can be read from it. A unique one is partial: rows
that lack one of its fields are not compared.
"""

import math
from collections.abc import Mapping
from typing import Any

from pymongo.errors import OperationFailure

from ...domain.errors import Conflict, InvalidRequest, NameTaken, NotFound
from ...domain.naming import said
from ...domain.record import Index
from .collection_form import BODY, INDEX_PREFIX, Documents, key_of
from .errors import DUPLICATE_KEY

NO_COLLECTION, NO_INDEX, SAME_KEYS = 26, 27, 85
#: One test for each kind of value that is compared: null is not.
HELD: tuple[Any, ...] = ("", -math.inf, False, {})


async def listed(documents: Documents) -> tuple[Index, ...]:
    """In order of name."""
    try:
        specs = [dict(spec) async for spec in await documents.list_indexes()]
    except OperationFailure as error:
        if error.code == NO_COLLECTION:
            return ()
        raise
    found = [_index(spec) for spec in specs if str(spec["name"]).startswith(INDEX_PREFIX)]
    return tuple(sorted(found, key=lambda index: index.name))


def _index(spec: Mapping[str, Any]) -> Index:
    paths = (key.removeprefix(f"{BODY}.").split(".") for key in spec["key"] if key != "_id")
    name = str(spec["name"]).removeprefix(INDEX_PREFIX)
    return Index(name, tuple(tuple(path) for path in paths), bool(spec.get("unique")))


async def create(documents: Documents, index: Index) -> None:
    _check(index)
    for other in await listed(documents):
        if other == index:
            return
        if other.name == index.name:
            raise NameTaken(f"There is another index {said(index.name)} already.", field="name")
    keys = [(key_of(path), 1) for path in index.paths]
    options: dict[str, Any] = {"name": INDEX_PREFIX + index.name}
    if index.unique:
        held = [{"$or": [{key: {"$gte": least}} for least in HELD]} for key, _ in keys]
        options |= {"unique": True, "partialFilterExpression": held[0] if len(held) == 1 else {"$and": held}}
    else:
        keys.append(("_id", 1))
    try:
        await documents.create_index(keys, **options)
    except OperationFailure as error:
        if error.code in DUPLICATE_KEY:
            raise Conflict(
                f"Documents of {_said(index)} hold the same values.",
                field="unique",
                hint="Make the values unique first.",
            ) from error
        if error.code == SAME_KEYS:
            raise Conflict(
                f"An index over {_said(index)} exists under another name.", hint="Drop that one first."
            ) from error
        raise


async def drop(documents: Documents, name: str) -> None:
    try:
        await documents.drop_index(INDEX_PREFIX + name)
    except OperationFailure as error:
        if error.code in (NO_COLLECTION, NO_INDEX):
            raise NotFound(f"There is no index {said(name)}.", field="name") from error
        raise


def _check(index: Index) -> None:
    for path in index.paths:
        bad = next((part for part in path if not part or "." in part or part[0] == "$"), None)
        if bad is not None or len(set(index.paths)) < len(index.paths):
            raise InvalidRequest(
                f"MongoDB makes no index over {_said(index)}.",
                field="paths",
                hint="Name each field once; names that are empty, have dots or begin with $ cannot be indexed.",
            )


def _said(index: Index) -> str:
    return ", ".join(".".join(path) for path in index.paths)
