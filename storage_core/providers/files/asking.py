"""Filters and orders over documents in memory, made once per call: the meaning is `domain.query`'s."""

import operator
from collections.abc import Callable
from typing import Any

from ...domain.errors import Unsupported
from ...domain.query import (
    All,
    Any_,
    Compare,
    Exists,
    Member,
    Node,
    Not,
    Op,
    Own,
    Path,
    Regex,
    Scalar,
    Text,
    conditions,
    kind_of,
    order_of,
    value_at,
)
from ...domain.record import SortKey
from .stored import Stored

Test = Callable[[Stored], bool]
Look = Callable[[Stored], Any]

_MISSING = object()
_RELATIONS: dict[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: operator.eq,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
}


def refuse_foreign(node: Node | None) -> None:
    """Unsupported for what files have no engine for."""
    for found in conditions(node) if node is not None else ():
        if isinstance(found, Regex | Text):
            word = "$regex" if isinstance(found, Regex) else "$text"
            raise Unsupported(
                f"Files cannot answer {word}.", field="where", hint="Compare fields with $eq, $lt, $gt, $in."
            )


def test_of(node: Node) -> Test:
    """Whether a document matches."""
    match node:
        case All(nodes):
            return _all([test_of(n) for n in nodes])
        case Any_(nodes):
            return _any([test_of(n) for n in nodes])
        case Not(inner):
            inside = test_of(inner)
            return lambda stored: not inside(stored)
        case Compare(path, op, value):
            return _compare(path, op, value)
        case Member(path, values):
            return _member(path, values)
        case Exists(path):
            return lambda stored: value_at(stored.body, path, _MISSING) is not _MISSING
        case Own(name, op, value):
            mine, relation = operator.attrgetter(name), _RELATIONS[op]
            return lambda stored: relation(mine(stored), value)
        case Regex() | Text():
            raise Unsupported("Files have no patterns and no full-text search.", field="where")


def _all(tests: list[Test]) -> Test:
    def every(stored: Stored) -> bool:
        for test in tests:
            if not test(stored):
                return False
        return True

    return every


def _any(tests: list[Test]) -> Test:
    def some(stored: Stored) -> bool:
        for test in tests:
            if test(stored):
                return True
        return False

    return some


def look_at(path: Path) -> Look:
    if len(path) == 1:
        name = path[0]
        return lambda stored: stored.body.get(name)
    return lambda stored: value_at(stored.body, path)


def _compare(path: Path, op: Op, value: Scalar) -> Test:
    look, relation = look_at(path), _RELATIONS[op]
    if value is None or isinstance(value, bool):
        return lambda stored: look(stored) is value
    if isinstance(value, str):
        if op is Op.EQ:
            return lambda stored: look(stored) == value

        def text(stored: Stored) -> bool:
            found = look(stored)
            return type(found) is str and relation(found, value)

        return text

    def number(stored: Stored) -> bool:
        found = look(stored)
        return (type(found) is int or type(found) is float) and relation(found, value)

    return number


def _member(path: Path, values: tuple[Scalar, ...]) -> Test:
    look, wanted = look_at(path), {order_of(value) for value in values}

    def among(stored: Stored) -> bool:
        found = look(stored)
        return kind_of(found) < 4 and order_of(found) in wanted

    return among


def orders_of(sort: tuple[SortKey, ...]) -> list[tuple[Look, bool]]:
    """What documents are sorted by, key by key, and whether downwards."""
    return [(_order(key), key.descending) for key in sort]


def _order(key: SortKey) -> Look:
    if key.path is None:
        return operator.attrgetter(key.own or "id")
    look = look_at(key.path)
    return lambda stored: order_of(look(stored))


def is_after(sort: tuple[SortKey, ...], after: tuple[Any, ...]) -> Test:
    """Whether a document comes after the place where a page ended."""
    *values, last = after
    keys = [
        (look, down, value if key.path is None else order_of(value))
        for (look, down), key, value in zip(orders_of(sort), sort, values, strict=True)
    ]

    def behind(stored: Stored) -> bool:
        for look, down, there in keys:
            mine = look(stored)
            if mine != there:
                return bool(mine < there) == down
        return stored.id > last

    return behind
