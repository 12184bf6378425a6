"""A database on its way in: gathered, looked at as hostile, written under a private name, then given its name."""

import json
from pathlib import Path
from typing import Any

import orjson

from ...domain.errors import DamagedArtifact
from ...domain.record import COLLECTION
from ...ports.backup import Piece
from .errors import translated
from .form import Form, Kept, index_from_json, new_base
from .place import Place
from .stored import Stored, stored_in

#: What the list of contents may be long.
MAX_ABOUT = 16 << 20


class Arrival:
    """One database being restored. Every method blocks; `withdraw` may be called at any time and undoes all."""

    def __init__(self, form: Form, place: Place, name: str) -> None:
        self._form, self._place, self._name = form, place, name
        self._target: Path | None = None
        self._made: Path | None = None
        self._published = False
        self._about = b""
        self._contents: dict[str, Any] | None = None
        self._rest: dict[str, bytearray] = {}
        self._rows: dict[str, dict[str, Stored]] = {}
        self._done = 0

    def open(self) -> None:
        """NameTaken when a database has the name already."""
        self._target = self._place.vacancy(self._name)
        self._made = self._place.scratch(self._target)

    def take(self, piece: Piece) -> int:
        """Gather; answers the bytes so far."""
        if piece.member == "about.json":
            self._about += piece.data
            if len(self._about) > MAX_ABOUT:
                raise DamagedArtifact("The backup's list of contents is too long.")
        else:
            self._gather(piece)
        self._done += len(piece.data)
        return self._done

    def publish(self) -> tuple[str, ...]:
        """Write what was gathered, durably, under its name; answers in words what was never in the backup."""
        contents = self._opened()
        kept = Kept(new_base())
        for one in contents["collections"]:
            rows = list(self._rows[one["member"]].values())
            if self._rest[one["member"]] or len(rows) != one["rows"]:
                raise DamagedArtifact(
                    f"The backup should hold {one['rows']} documents of {one['name']}, and holds {len(rows)}."
                )
            kept.tables[one["name"]] = rows
            kept.indexes[one["name"]] = tuple(map(index_from_json, one["indexes"]))
        for one in contents["tables"]:
            kept.foreign[one["name"]] = _table(one["name"], bytes(self._rest[one["member"]]))
        target, made = self._target, self._made
        assert target is not None and made is not None  # noqa: S101 - `open` comes first
        with translated(target):
            self._form.make(made, kept)
            self._form.publish(made, target)
        self._published = True
        return tuple(f"{name} is no collection, and not in the backup." for name in contents["left_out"])

    def withdraw(self) -> None:
        if self._made is not None:
            self._form.remove(self._made)
        if self._published and self._target is not None:
            self._form.remove(self._target)

    def _gather(self, piece: Piece) -> None:
        self._opened()
        waiting = self._rest.get(piece.member)
        if waiting is None:
            raise DamagedArtifact(f"The backup has an unknown member {piece.member[:80]!r}.")
        waiting += piece.data
        rows = self._rows.get(piece.member)
        if rows is None:
            return  # a table of others, kept as it is
        *lines, rest = bytes(waiting).split(b"\n")
        waiting[:] = rest
        for line in lines:
            stored = _document(piece.member, line)
            if stored.id in rows:
                raise DamagedArtifact(f"The document {stored.id!r} is twice in {piece.member}.")
            rows[stored.id] = stored

    def _opened(self) -> dict[str, Any]:
        """The list of contents, which came first."""
        if self._contents is None:
            self._contents = contents = _contents(self._about)
            for one in contents["collections"]:
                self._rows[one["member"]] = {}
                self._rest[one["member"]] = bytearray()
            for one in contents["tables"]:
                self._rest[one["member"]] = bytearray()
        return self._contents


def _contents(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
        if found["format"] != 1:
            raise ValueError("another format")
        for one in found["collections"]:
            _texts(one["name"], one["member"])
            if type(one["rows"]) is not int or not COLLECTION.fullmatch(one["name"]):
                raise ValueError("no collection")
            for index in one["indexes"]:
                _texts(index["name"], *(part for path in index["paths"] for part in path))
        for one in found["tables"]:
            _texts(one["name"], one["member"])
        _texts(*found["left_out"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact("The backup does not begin with its list of contents.") from error
    return found


def _texts(*values: Any) -> None:
    if not all(type(value) is str and value and "\x00" not in value for value in values):
        raise TypeError("not a text")


def _document(member: str, line: bytes) -> Stored:
    try:
        return stored_in(orjson.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact(f"A line of {member} is no document.") from error


def _table(name: str, text: bytes) -> Any:
    try:
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    except (ValueError, RecursionError) as error:
        raise DamagedArtifact(f"The table {name[:80]} is not JSON.") from error
    raise DamagedArtifact(f"The table {name[:80]} is not a table.")
