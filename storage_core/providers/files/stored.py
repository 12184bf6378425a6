"""Documents as they are kept in memory, and the changes that a journal keeps."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from ...domain.errors import EngineFailure, InvalidRequest
from ...domain.record import COLLECTION, Index, Row

if TYPE_CHECKING:
    from .tree import Tree

_TIMES = orjson.OPT_UTC_Z


class Stored:
    """A document: its body as JSON, parsed when somebody looks into it. Nobody changes one; another takes its place."""

    __slots__ = ("_body", "created_at", "id", "raw", "tagged", "updated_at", "version")

    def __init__(
        self, id: str, version: int, created_at: datetime, updated_at: datetime, raw: bytes, tagged: bool
    ) -> None:
        self.id, self.version, self.raw, self.tagged = id, version, raw, tagged
        self.created_at, self.updated_at = created_at, updated_at
        self._body: dict[str, Any] | None = None

    @property
    def body(self) -> dict[str, Any]:
        """For looking at alone: it is shared."""
        if self._body is None:
            self._body = orjson.loads(self.raw)
        return self._body

    def row(self) -> Row:
        """A row that its reader may change."""
        return Row(
            self.id, self.version, self.created_at, self.updated_at, orjson.loads(self.raw), self.tagged
        )

    def line(self) -> bytes:
        """Itself as a line of JSON."""
        found: dict[str, Any] = {
            "id": self.id,
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        if self.tagged:
            found["tagged"] = True
        found["data"] = orjson.Fragment(self.raw)
        return orjson.dumps(found, option=_TIMES | orjson.OPT_APPEND_NEWLINE)

    def same(self, other: "Stored | None") -> bool:
        return (
            other is not None
            and self.version == other.version
            and self.raw == other.raw
            and self.tagged == other.tagged
            and self.created_at == other.created_at
            and self.updated_at == other.updated_at
        )


def encoded(body: Any) -> bytes:
    """A body as JSON; what plain values are nested too deeply for is refused."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(
            f"The document cannot be kept: {error}.", field="data", hint="Store it in a flatter form."
        ) from error


def utc(at: datetime) -> datetime:
    return at if at.tzinfo is UTC else at.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Put:
    """A document as it is from here on; with the first one a collection comes into being."""

    collection: str
    stored: Stored


@dataclass(frozen=True, slots=True)
class Gone:
    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Dropped:
    collection: str


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index, and the collection where there was none. `tree` is it made already."""

    collection: str
    index: Index
    tree: "Tree | None" = None


@dataclass(frozen=True, slots=True)
class Unindexed:
    collection: str
    name: str


Change = Put | Gone | Dropped | Indexed | Unindexed


def written(changes: list[Change]) -> bytes:
    """Changes as one line of JSON."""
    return b"[" + b",".join([_written(change) for change in changes]) + b"]"


def _written(change: Change) -> bytes:
    match change:
        case Put(name, s):
            return orjson.dumps(
                ["put", name, s.id, s.version, s.created_at, s.updated_at, s.tagged, orjson.Fragment(s.raw)],
                option=_TIMES,
            )
        case Gone(name, id):
            return orjson.dumps(["gone", name, id])
        case Dropped(name):
            return orjson.dumps(["dropped", name])
        case Indexed(name, index):
            return orjson.dumps(["indexed", name, index.name, index.paths, index.unique])
        case Unindexed(name, index):
            return orjson.dumps(["unindexed", name, index])


def changes_of(line: bytes) -> list[Change]:
    """What `written` wrote; EngineFailure for what this version does not know."""
    return [_change(*item) for item in orjson.loads(line)]


def _change(word: str, name: str, *rest: Any) -> Change:
    if not COLLECTION.fullmatch(name):
        raise EngineFailure(f"The journal speaks of a collection {name[:60]!r}, which can be none.")
    match word, rest:
        case "put", (id, version, created, updated, tagged, body):
            return Put(name, stored_of(id, version, created, updated, tagged, body))
        case "gone", (id,):
            return Gone(name, id)
        case "dropped", ():
            return Dropped(name)
        case "indexed", (index, paths, unique):
            return Indexed(name, index_of(index, paths, unique))
        case "unindexed", (index,):
            return Unindexed(name, index)
    raise EngineFailure(f"The journal holds {word[:20]!r}, which this version does not know.")


def stored_of(id: str, version: int, created: str, updated: str, tagged: bool, body: Any) -> Stored:
    """A document from JSON; ValueError or TypeError where it is none."""
    at = datetime.fromisoformat
    if type(id) is not str or type(version) is not int or type(body) is not dict or version < 1:
        raise ValueError("not a document")
    return Stored(id, version, utc(at(created)), utc(at(updated)), orjson.dumps(body), bool(tagged))


def stored_in(found: Any) -> Stored:
    """A document from what `line` wrote; ValueError, KeyError or TypeError where it is none."""
    return stored_of(
        found["id"],
        found["version"],
        found["created_at"],
        found["updated_at"],
        found.get("tagged", False),
        found["data"],
    )


def index_of(name: str, paths: Any, unique: bool) -> Index:
    return Index(name, tuple(tuple(path) for path in paths), bool(unique))
