"""The order of documents as SQL, and their pages.

An index does not have the order of kinds, numbers before texts. Where one is over the first field, a page is read in parts:
one kind of value after the other, each as its index has it, a later one only where those before it do not fill the page.
Everything else is sorted as it is found.
"""

from typing import Any

from ...domain.query import Path, kind_of
from ...domain.record import SortKey
from .collection_keys import KEPT, is_a, key, kind, number, number_key, text_key, words
from .collection_table import FIELDS, packed, parts_of
from .sql import ident

OWN_TYPES = {"id": "text", "version": "numeric", "created_at": "timestamptz", "updated_at": "timestamptz"}
NULL, NUMBER, TEXT, BOOLEAN, REST = range(5)
_ID = SortKey(None, "id")

#: For each key of an order the kind of a value there (-1: the document's own field).
Places = tuple[Any, ...]


class Numbered:
    """The parameters of a statement, numbered in order."""

    def __init__(self) -> None:
        self.count = 0

    def given(self, type: str) -> str:
        self.count += 1
        return f"${self.count}::{type}"


def places_of(keys: tuple[SortKey, ...], after: tuple[Any, ...], values: list[Any]) -> Places:
    """The shape of a place in an order; the values that say where it is go to `values`."""
    places: list[int] = []
    for by, value in zip((*keys, _ID), after, strict=True):
        place = -1 if by.path is None else kind_of(value)
        places.append(place)
        if place in (-1, TEXT):
            values.append(value)
        elif place in (NUMBER, BOOLEAN):
            values.append(packed(int(value) if place == BOOLEAN else value))
    return tuple(places)


def order(keys: tuple[SortKey, ...]) -> str:
    parts: list[str] = []
    for by in keys:
        way = " desc" if by.descending else ""
        if by.path is None:
            parts.append(f"{ident(by.own or 'id')}{way}")
        else:
            columns = (kind(by.path), number(by.path), words(by.path))
            parts += [f"{column}{way}" for column in columns]
    return ", ".join([*parts, "id"])


def beyond(given: Numbered, keys: tuple[SortKey, ...], places: Places) -> str:
    """Rows behind a place: the first key that differs decides, then the id."""
    ways: list[str] = []
    same: list[str] = []
    for by, place in zip((*keys, _ID), places, strict=True):
        further, equal = _key(given, by, place)
        ways.append(" and ".join([*same, further]))
        same.append(equal)
    return "(" + " or ".join(f"({way})" for way in ways) + ")"


def _key(given: Numbered, by: SortKey, place: int) -> tuple[str, str]:
    """Rows whose value is behind that of a place, and those whose value is the same."""
    sign, path = _sign(by), by.path
    if path is None:
        name = by.own or "id"
        value = given.given(OWN_TYPES[name])
        return f"{ident(name)} {sign} {value}", f"{ident(name)} = {value}"
    rank = f"{kind(path)} {sign} {place}"
    same = f"{kind(path)} = {place}"
    if place in (NULL, REST):
        return rank, same
    if place == TEXT:
        at, value = words(path), given.given("text")
    else:
        at, value = number(path), f"({given.given('jsonb')}::numeric)"
    return f"({rank} or ({same} and {at} {sign} {value}))", f"({same} and {at} = {value})"


def _sign(by: SortKey) -> str:
    return "<" if by.descending else ">"


def in_parts(
    given: Numbered, name: str, test: str | None, keys: tuple[SortKey, ...], places: Places | None, room: int
) -> str:
    """A page, part by part. The first key is a path; `room` is at least the page's length, the next parameter.

    The parts say how long they may be in figures: of a parameter the planner would think that it is a lot.
    """
    path = keys[0].path or ()
    parts = _all(keys[0], path, order(keys[1:])) if places is None else _rest(given, keys, path, places)
    fields, table = ", ".join(FIELDS), ".".join(map(ident, parts_of(name)))
    read: list[str] = []
    for at, (which, by) in enumerate(parts):
        tests = [which] if test is None else [which, test]
        if at:
            before = " + ".join(f"(select count(*) from part{n})" for n in range(at))  # noqa: S608 - numbers
            tests.append(f"{before} < {room}")
        read.append(
            f"part{at} as materialized (select {fields}, row_number() over (order by {by}) as place"  # noqa: S608 - quoted
            f" from {table} where {' and '.join(tests)} order by {by} limit {room})"
        )
    together = " union all ".join(f"select *, {at} as part from part{at}" for at in range(len(parts)))  # noqa: S608 - numbers
    return (
        f"with {', '.join(read)} select {fields} from ({together}) as page"  # noqa: S608 - quoted
        f" order by part, place limit ${given.count + 1}"
    )


#: A part of an answer: which rows, in which order.
Part = tuple[str, str]


def _all(first: SortKey, path: Path, tail: str) -> list[Part]:
    """Everything, kind by kind."""
    kinds = range(REST, NULL - 1, -1) if first.descending else range(NULL, REST + 1)
    return [(_of(kind, path), ", ".join([*_by(kind, first, path), tail])) for kind in kinds]


def _rest(given: Numbered, keys: tuple[SortKey, ...], path: Path, places: Places) -> list[Part]:
    """What is behind a place: of the same value, of the same kind, of the kinds behind it."""
    first, place, tail = keys[0], places[0], order(keys[1:])
    equal, further = _within(given, first, path, place)
    by = ", ".join([*_by(place, first, path), tail])
    parts = [(f"{equal} and {beyond(given, keys[1:], places[1:])}", by)]
    if further:
        parts.append((further, by))
    return parts + _all(first, path, tail)[(REST - place if first.descending else place) + 1 :]


def _within(given: Numbered, first: SortKey, path: Path, place: int) -> tuple[str, str]:
    """Rows of a kind whose value is that of a place, and those whose value is behind it; as indexes have them."""
    here, sign = _of(place, path), _sign(first)
    if place == NUMBER:
        at, value = number_key(path), given.given("jsonb")
        return f"{at} = {value} and {text_key(path)} is null", f"{at} {sign} {value}"
    if place == TEXT:
        at, whole, value = text_key(path), words(path), given.given("text")
        near = f"left({value}, {KEPT})"
        none = f"{number_key(path)} is null"
        return (
            f"{none} and {at} = {near} and {whole} = {value}",
            f"{none} and {at} {sign}= {near} and {whole} {sign} {value}",
        )
    if place == BOOLEAN:
        value = f"({given.given('jsonb')}::numeric)"
        return f"{here} and {number(path)} = {value}", f"{here} and {number(path)} {sign} {value}"
    return here, ""


def _of(kind: int, path: Path) -> str:
    """The rows whose value is of a kind, so that an index finds them."""
    at = key(path)
    return {
        NULL: f"{at} is null",
        NUMBER: f"{number_key(path)} is not null",
        TEXT: f"{number_key(path)} is null and {text_key(path)} is not null",
        BOOLEAN: f"({at} in ('false', 'true') and {is_a('boolean', path)})",
        REST: (
            f"(({at} >= '[' and {at} < '\\' and {is_a('array', path)})"
            f" or ({at} >= '{{' and {at} < '|' and {is_a('object', path)}))"
        ),
    }[kind]


def _by(kind: int, first: SortKey, path: Path) -> list[str]:
    """What rows of one kind sort by before all else, as an index has it."""
    have = [number_key(path), text_key(path)]
    columns = {NUMBER: have, TEXT: [*have, words(path)], BOOLEAN: [number(path)]}.get(kind, [])
    return [f"{column} desc" if first.descending else column for column in columns]
