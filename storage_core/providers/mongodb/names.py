"""Names MongoDB can hold, and the marker that keeps an empty database in being.

A MongoDB database exists only while it has a collection. So that "created" is true at once, `create` and `restore`
put one empty-looking collection into it: `_storage_console`. It claims the name atomically (whoever creates it
first has the database), keeps the database listed when a tenant drops the last collection, and is left out of
schema, counts, dumps and measurements. It is recognised by its name *and* its validator, which admits only the
product's own notes: a collection of people's own with that name is theirs and is treated like any other; a restore
that brings one moves the marker to the next free name, with one more underscore at its end.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ...domain.errors import InvalidRequest, NameTaken
from ...domain.naming import said

MARKER = "_storage_console"
#: The marker's notes: when a restore is complete; expiry rules that a restore holds back until `finish`.
NOTE_RESTORED = "restored"
NOTE_EXPIRY = "expiry"
MARKER_VALIDATOR: dict[str, Any] = {"_id": {"$in": [NOTE_RESTORED, NOTE_EXPIRY]}}

SYSTEM_DATABASES = frozenset({"admin", "local", "config"})
#: What MongoDB refuses on any platform, so that a database can move between them.
FORBIDDEN = frozenset('/\\. "$*<>:|?\x00')
MAX_BYTES = 63
RULE = 'At most 63 bytes, none of / \\ . blank " $ * < > : | ?'


def checked(name: str) -> str:
    """Refuse a database name that MongoDB cannot hold, or that is the server's own (InvalidRequest)."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("The database name is not valid Unicode.", field="name", hint=RULE) from None
    if not name or size > MAX_BYTES or not FORBIDDEN.isdisjoint(name):
        raise InvalidRequest(
            f"MongoDB cannot hold a database named {said(name, 70)}.", field="name", hint=RULE
        )
    if name.lower() in SYSTEM_DATABASES:
        raise InvalidRequest(
            f"{name} is MongoDB's own database.",
            field="name",
            hint="Choose a name other than admin, local, config.",
        )
    return name


def refuse_taken(name: str, existing: Iterable[str]) -> None:
    """Raise NameTaken for a name in use, also when it differs only in case: MongoDB refuses that too."""
    for other in existing:
        if other == name:
            raise NameTaken(f"A database named {said(name, 200)} exists already.", field="name")
        if other.lower() == name.lower():
            raise NameTaken(
                f"{said(name, 200)} differs from the existing database {said(other, 200)} only in case.",
                field="name",
            )


def is_marker(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of listCollections is the product's marker."""
    name: str = entry["name"]
    return (
        name.rstrip("_") == MARKER.rstrip("_")
        and name.startswith(MARKER)
        and dict(entry.get("options", {})).get("validator") == MARKER_VALIDATOR
    )


def marker_of(listed: Iterable[Mapping[str, Any]]) -> str | None:
    """The marker's name among entries of listCollections; none where there is no marker."""
    return next((str(entry["name"]) for entry in listed if is_marker(entry)), None)


def is_internal(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of listCollections is not people's data: the marker and the server's own collections.

    `system.js` holds functions people stored, so it counts as theirs.
    """
    name: str = entry["name"]
    return is_marker(entry) or (name.startswith("system.") and name != "system.js")
