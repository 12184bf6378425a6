"""Documents in collections: what is stored, what comes back, what is asked for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from .errors import InvalidRequest, StorageError
from .query import Node, Path

#: Names of collections: what every engine takes as part of a table's, collection's or folder's name.
COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,47}")
COLLECTION_RULE = "1 to 48 of a-z, 0-9 and _, beginning with a letter"
MAX_ID = 128
MAX_LIMIT = 10_000


class Ability(StrEnum):
    """What not every engine can do with collections."""

    REGEX = "regex"
    TEXT = "text"
    TRANSACTIONS = "transactions"


@dataclass(slots=True)
class Row:
    """A stored document as an engine knows it: plain JSON values in `body`; `tagged` where some are tagged.

    Not frozen: it is made once per row read, on the hot path, and never kept.
    """

    id: str
    version: int
    created_at: datetime
    updated_at: datetime
    body: dict[str, Any]
    tagged: bool = False


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order. `path` is none for the document's own fields, which `own` names."""

    path: Path | None
    own: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Find:
    """What to read: at most `limit` rows that match, in order of `sort`, then of id.

    `after` is where the page before ended: its last row's value for each key of `sort`, then its id.
    `fields` keeps these paths of the body alone (`query.projected` says what that leaves).
    """

    where: Node | None = None
    sort: tuple[SortKey, ...] = ()
    limit: int = 100
    after: tuple[Any, ...] | None = None
    fields: tuple[Path, ...] | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """An index over paths of the body, in order. `unique`: rows that lack any of the paths are not compared."""

    name: str
    paths: tuple[Path, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Quota:
    """What one database may hold: documents, and bytes of their bodies as JSON; none is no limit."""

    documents: int | None = None
    bytes: int | None = None


@dataclass(slots=True)
class Write:
    """One item of a bulk call. `body` replaces, `changes` and `unset` patch, neither deletes.

    Not frozen, like `Row`: there are many, and nobody keeps one.

    `changes` are values by path: dictionaries on the way are made; `unset` are paths to remove. A `version` must be
    the stored one. `text` is the JSON of `body` where somebody has made it already; what takes another body's place
    starts without.
    """

    id: str
    body: Mapping[str, Any] | None = None
    changes: Mapping[Path, Any] | None = None
    unset: tuple[Path, ...] = ()
    version: int | None = None
    tagged: bool = False
    text: bytes | None = field(default=None, init=False, repr=False, compare=False)


@dataclass(slots=True)
class Outcome:
    """What became of one item of a bulk call, in the order asked: its new version (none once deleted) or its error."""

    id: str
    version: int | None = None
    error: StorageError | None = None


def checked_collection(name: str) -> str:
    if not COLLECTION.fullmatch(name):
        raise InvalidRequest(
            f"{name[:60]!r} is not a collection's name.", field="collection", hint=f"Use {COLLECTION_RULE}."
        )
    return name


def checked_id(id: str) -> str:
    if not isinstance(id, str) or not 0 < len(id) <= MAX_ID or not id.isprintable():
        raise InvalidRequest(
            f"{str(id)[:60]!r} is not a document's id.",
            field="id",
            hint=f"Use 1 to {MAX_ID} printable characters.",
        )
    return id
