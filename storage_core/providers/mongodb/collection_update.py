"""The changes of documents as MongoDB's updates, and what the server says of them."""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...domain.errors import InvalidRequest, NameTaken, NotFound, StorageError, VersionConflict
from ...domain.naming import said
from ...domain.query import Path
from .collection_filter import IS_LIST
from .collection_form import BODY, INDEX_PREFIX, Document, is_simple, key_of
from .errors import DUPLICATE_KEY

PATH_IN_THE_WAY, PARALLEL_LISTS = 28, 171
#: The index that a key is in already, where it is not that of the ids.
DUPLICATE_IN = re.compile(rf"index: (?:{INDEX_PREFIX})?(?!_id_ )(.+?) dup key")


def wanted(id: str, version: int | None) -> Document:
    return {"_id": id} if version is None else {"_id": id, "version": version}


def taken(id: str) -> NameTaken:
    return NameTaken(f"There is a document {said(id)} already.", field="id", hint="Choose another id.")


def unfound(id: str, version: int | None, stored: int | None) -> StorageError:
    """What was not there to be changed, whoever made it since; or has another version than was asked for."""
    if stored is None or version is None:
        return NotFound(f"There is no document {said(id)}.", field="id")
    return VersionConflict(f"The document {said(id)} has version {stored}, not {version}.", field="version")


def refusal(code: int | None, details: Mapping[str, Any], id: str) -> StorageError | None:
    """The product's error for what the server says of one written document, where it is about the document."""
    if code in DUPLICATE_KEY:
        index = DUPLICATE_IN.search(str(details.get("errmsg", "")))
        if index is None:
            return taken(id)
        return NameTaken(
            f"The index {said(index[1])} holds this value for another document already.",
            field=index[1],
            hint="Choose another value, or change the other document.",
        )
    if code == PATH_IN_THE_WAY:
        return InvalidRequest("A change leads through a value that is no dictionary.", field="changes")
    if code == PARALLEL_LISTS:
        return InvalidRequest(
            "An index covers two fields of this document that are both lists; MongoDB cannot.",
            field="data",
            hint="Index the fields one by one.",
        )
    return None


def replacing(body: Mapping[str, Any], at: str, tagged: bool) -> Document:
    """The update that puts another body in place."""
    update: Document = {"$set": {BODY: body, "updated_at": at}, "$inc": {"version": 1}}
    if tagged:
        update["$set"]["tagged"] = True
    else:
        update["$unset"] = {"tagged": ""}
    return update


def patching(changes: Mapping[Path, Any], unset: Sequence[Path], at: str, tagged: bool) -> Document | None:
    """The update that changes paths; none where MongoDB's operators would mean something else."""
    values: Document = {}
    for path, value in changes.items():
        key = _key(path)
        if key is None:
            return None
        values[key] = value
    removed: Document = {}
    for path in unset:
        key = _key(path)
        if key is None:
            return None
        removed[key] = ""
    if len(values) + len(removed) > 1 and _overlap([*changes, *unset]):
        return None
    values["updated_at"] = at
    if tagged:
        values["tagged"] = True
    update: Document = {"$set": values, "$inc": {"version": 1}}
    if removed:
        update["$unset"] = removed
    return update


@lru_cache(4096)
def _key(path: Path) -> str | None:
    return key_of(path) if is_simple(path) else None


def _overlap(paths: list[Path]) -> bool:
    ordered = sorted(paths)
    return any(second[: len(first)] == first for first, second in itertools.pairwise(ordered))


def on_the_way(unset: Sequence[Path]) -> Document:
    """That nothing is to be removed from a list, where MongoDB would do nothing and `patched` refuses."""
    return {key_of(path[:-1]): {"$not": IS_LIST} for path in unset if len(path) > 1}
