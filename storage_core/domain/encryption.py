"""Which collections are encrypted, and how."""

from dataclasses import dataclass
from datetime import datetime

from .errors import InvalidRequest
from .query import Path, parse_path
from .secret import Binding, key_of


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a collection's documents are sealed: whole, or only `fields` (dotted paths).

    `searchable` paths can be looked up by equality through a keyed hash beside what is sealed. A restored copy of the
    database gets an entry of its own with the same `origin` and data key: what was sealed there opens here.
    """

    id: str
    tenant_id: str
    database_id: str
    collection: str
    origin: str
    wrapped: str
    created_at: datetime
    fields: tuple[str, ...] = ()
    searchable: tuple[str, ...] = ()
    key_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", key_of(self.wrapped))

    @property
    def sealed(self) -> str:
        return self.wrapped

    @property
    def binding(self) -> Binding:
        return collection_binding(self.tenant_id, self.origin)


@dataclass(frozen=True, slots=True)
class EncryptedCollection:
    """What may be known of an encrypted collection: whole documents where there are no `fields`."""

    id: str
    database_id: str
    collection: str
    fields: tuple[str, ...]
    searchable: tuple[str, ...]
    created_at: datetime


def collection_binding(tenant_id: str, origin: str) -> Binding:
    return Binding(tenant_id, "collections", origin, "data")


def shown(encryption: Encryption) -> EncryptedCollection:
    e = encryption
    return EncryptedCollection(e.id, e.database_id, e.collection, e.fields, e.searchable, e.created_at)


def checked_fields(fields: tuple[str, ...], searchable: tuple[str, ...]) -> None:
    """Refuse fields that overlap, and searchable ones that are not sealed."""
    paths = [_path(field, "fields") for field in fields]
    for i, path in enumerate(paths):
        for other in paths[:i]:
            if path[: len(other)] == other or other[: len(path)] == path:
                _refuse(
                    "fields", f"{'.'.join(path)} and {'.'.join(other)} overlap", "Name the outer one alone."
                )
    for field in searchable:
        path = _path(field, "searchable")
        if paths and path not in paths:
            _refuse(
                "searchable", f"{field} is not among the fields", "Only what is sealed needs a blind index."
            )
    if len(set(searchable)) != len(searchable):
        _refuse("searchable", "a field is named twice", "Name each once.")


def _path(text: str, field: str) -> Path:
    path = parse_path(text, field)
    if any(part.isdigit() for part in path):
        _refuse(field, f"{text} goes through a list", "Seal the whole list.")
    return path


def _refuse(field: str, why: str, hint: str) -> None:
    raise InvalidRequest(f"{field}: {why}.", field=field, hint=hint)
