"""The filter language: from ``{"qty": {"$gte": 2}}`` to a tree, and what the tree means.

Every engine answers as `matches` and `order_of` do, whatever its own habits:

- A path walks dictionaries by key and lists by number; it never fans out over a list's items.
- Comparing looks at numbers, texts and booleans, each with its own kind alone (``1`` equals ``1.0``, never ``True``);
  texts compare by code points.
- ``None`` stands for null and for what is not there. ``$exists`` tells them apart.
- ``$ne``, ``$nin`` and ``$not`` are the exact complements of ``$eq``, ``$in`` and what they negate.
- In an order, what is not there or null comes first, then numbers, texts, booleans, then everything else, alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NoReturn

from .errors import InvalidRequest

Path = tuple[str, ...]
Scalar = None | bool | int | float | str

#: The document's own fields; a field of the body with such a name is reached as ``$.name``.
OWN = ("id", "version", "created_at", "updated_at")
MAX_NODES, MAX_DEPTH, MAX_VALUES, MAX_KEYS = 200, 20, 1000, 4


class Op(StrEnum):
    EQ = "$eq"
    LT = "$lt"
    LTE = "$lte"
    GT = "$gt"
    GTE = "$gte"


@dataclass(frozen=True, slots=True)
class Compare:
    """`path` holds a value that stands in this relation to `value`; for EQ it may be none."""

    path: Path
    op: Op
    value: Scalar


@dataclass(frozen=True, slots=True)
class Member:
    """`path` equals one of `values`."""

    path: Path
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """Something is at `path`, be it null."""

    path: Path


@dataclass(frozen=True, slots=True)
class Own:
    """One of the document's own fields (see OWN) in a relation to a value of its type; never absent."""

    name: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class Regex:
    """`path` holds a text in which the pattern is found; only where the engine can."""

    path: Path
    pattern: str


@dataclass(frozen=True, slots=True)
class Text:
    """The engine's own full-text search finds these words; only where it has one."""

    words: str


@dataclass(frozen=True, slots=True)
class All:
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Any_:
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    node: "Node"


Node = Compare | Member | Exists | Own | Regex | Text | All | Any_ | Not
#: Turns an operand at a path into a scalar and the path it is kept at: tagged values lie below their tag.
Operand = Callable[[Path, Any], tuple[Path, Scalar]]


def parse_path(text: str, field: str) -> Path:
    """``a.b.0`` as its parts; ``$.`` before it says that the body is meant."""
    parts = tuple(text.removeprefix("$.").split("."))
    if not all(parts) or any(part.startswith("$") for part in parts):
        raise InvalidRequest(
            f"{text[:80]!r} is not a path.",
            field=field,
            hint="Join the names of fields with dots: address.city.",
        )
    return parts


def parse_where(where: Mapping[str, Any] | None, operand: Operand, own: tuple[str, ...] = OWN) -> Node | None:
    """The tree of a filter; none for everything. InvalidRequest names the part that cannot be understood.

    `own` are the names that mean the document's own fields; rows of tables have none.
    """
    if not where:
        return None
    return _simple(where, own) or _Parser(operand, own).conditions(where, "where", 0)


def _simple(where: Mapping[str, Any], own: tuple[str, ...]) -> Node | None:
    """The tree of a filter that needs no second look: fields of the body, plain scalars. None for every other."""
    if type(where) is not dict or len(where) > MAX_KEYS:
        return None
    nodes: list[Node] = []
    for key, value in where.items():
        path = _simple_path(key) if type(key) is str and key not in own else None
        if path is None:
            return None
        asked = value if type(value) is dict else {"$eq": value}
        for name, scalar in asked.items():
            op = _SIMPLE.get(name)
            if op is None or not _is_simple(scalar, op):
                return None
            nodes.append(Compare(path, op, scalar))
        if not asked:
            return None
    return _all(nodes) if nodes else None


def _is_simple(scalar: Any, op: Op) -> bool:
    """Whether an operand stands for itself whatever the mode. The rest is the operand's to judge."""
    kind = type(scalar)
    if kind is str:
        return scalar.isascii() and "\x00" not in scalar
    if kind is int:
        return -_SMALL < scalar < _SMALL
    return op is Op.EQ and (scalar is None or kind is bool)


@lru_cache(4096)
def _simple_path(key: str) -> Path | None:
    parts = tuple(key.split("."))
    return parts if all(parts) and "$" not in key else None


class _Parser:
    def __init__(self, operand: Operand, own: tuple[str, ...]) -> None:
        self._operand, self._own = operand, own
        self._nodes = 0

    def conditions(self, where: Any, at: str, depth: int) -> Node:
        if not isinstance(where, Mapping) or not where:
            _refuse(at, "is not a filter", "Write a dictionary of fields and what they must be.")
        return _all([self._condition(key, value, f"{at}.{key}", depth) for key, value in where.items()])

    def _condition(self, key: Any, value: Any, at: str, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            _refuse(at, f"is beyond {MAX_NODES} conditions", "Ask in several queries, or use $in.")
        if depth > MAX_DEPTH:
            _refuse(at, f"lies more than {MAX_DEPTH} levels deep", "Ask in a flatter way.")
        if key in ("$and", "$or"):
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                _refuse(at, "needs a list of filters", 'Write {"$or": [{…}, {…}]}.')
            nodes = [self.conditions(item, f"{at}.{i}", depth + 1) for i, item in enumerate(value)]
            return _all(nodes) if key == "$and" else nodes[0] if len(nodes) == 1 else Any_(tuple(nodes))
        if key == "$not":
            return Not(self.conditions(value, at, depth + 1))
        if key == "$text":
            if not isinstance(value, str) or not value.strip():
                _refuse(at, "needs words to look for", 'Write {"$text": "words"}.')
            return Text(value)
        if not isinstance(key, str):
            _refuse(at, "is not a field's name", "Names are texts.")
        if key.startswith("$") and not key.startswith("$."):
            _refuse(at, "is not known", "Known are $and, $or, $not, $text and fields.")
        if isinstance(value, Mapping) and any(isinstance(k, str) and k.startswith("$") for k in value):
            if not value.keys() - _OPERATORS:
                return _all([self._apply(key, op, v, f"{at}.{op}", depth) for op, v in value.items()])
            unknown = next(k for k in value if k not in _OPERATORS)
            _refuse(f"{at}.{unknown}", "is not known", f"Known are {', '.join(sorted(_OPERATORS))}.")
        return self._apply(key, "$eq", value, at, depth)

    def _apply(self, key: str, op: str, value: Any, at: str, depth: int) -> Node:
        if op == "$not":
            if not isinstance(value, Mapping) or not value or value.keys() - _OPERATORS:
                _refuse(at, "needs operators to negate", 'Write {"qty": {"$not": {"$gt": 2}}}.')
            return Not(self._condition(key, value, at, depth + 1))
        if op in ("$ne", "$nin"):
            return Not(self._apply(key, "$eq" if op == "$ne" else "$in", value, at, depth))
        if op == "$in":
            if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) > MAX_VALUES:
                _refuse(
                    at, f"needs a list of at most {MAX_VALUES} values", 'Write {"status": {"$in": ["new"]}}.'
                )
            return self._member(key, value, at)
        if op == "$exists":
            if not isinstance(value, bool):
                _refuse(at, "needs true or false", 'Write {"paid_at": {"$exists": true}}.')
            if key in self._own:
                _refuse(at, "asks for what every document has", f"A field of the body is $.{key}.")
            node = Exists(parse_path(key, at))
            return node if value else Not(node)
        if op == "$regex":
            if not isinstance(value, str) or key in self._own:
                _refuse(at, "needs a pattern over a field of the body", 'Write {"sku": {"$regex": "^A"}}.')
            return Regex(parse_path(key, at), value)
        return self._compare(key, Op(op), value, at)

    def _member(self, key: str, values: Sequence[Any], at: str) -> Node:
        nodes = [self._compare(key, Op.EQ, value, f"{at}.{i}") for i, value in enumerate(values)]
        compares = [node for node in nodes if isinstance(node, Compare)]
        paths = {node.path for node in compares}
        if len(compares) == len(nodes) and len(paths) <= 1:
            return Member(next(iter(paths), None) or parse_path(key, at), tuple(n.value for n in compares))
        return Any_(tuple(nodes))

    def _compare(self, key: str, op: Op, value: Any, at: str) -> Node:
        if key in self._own:
            return Own(key, op, _own_value(key, value, at))
        path, scalar = self._operand(parse_path(key, at), value)
        if op is not Op.EQ and (scalar is None or isinstance(scalar, bool)):
            _refuse(at, "has no order", "Compare numbers, texts or moments; use $eq and $ne for the rest.")
        return Compare(path, op, scalar)


_SIMPLE: Mapping[str, Op] = {op.value: op for op in Op}
_SMALL = 1 << 53
_OPERATORS = frozenset(
    {"$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin", "$exists", "$regex", "$not"}
)
_OWN_TYPES: Mapping[str, type] = {"id": str, "version": int, "created_at": datetime, "updated_at": datetime}


def _own_value(name: str, value: Any, at: str) -> Any:
    kind = _OWN_TYPES[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        _refuse(
            at, f"compares the document's own {name} with something else", f"A field of the body is $.{name}."
        )
    if isinstance(value, datetime) and value.tzinfo is None:
        _refuse(at, "is a moment without a time zone", "Give it one: datetime.now(UTC).")
    return value


def _all(nodes: list[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else All(tuple(nodes))


def _refuse(field: str, why: str, hint: str) -> NoReturn:
    raise InvalidRequest(f"{field} {why}.", field=field, hint=hint)


_MISSING = object()


def value_at(body: Any, path: Path, default: Any = None) -> Any:
    """What lies at a path of a body, or `default`."""
    for part in path:
        if isinstance(body, dict):
            body = body.get(part, _MISSING)
        elif isinstance(body, list) and part.isascii() and part.isdigit() and (part == "0" or part[0] != "0"):
            body = body[int(part)] if len(part) < 10 and int(part) < len(body) else _MISSING
        else:
            return default
        if body is _MISSING:
            return default
    return body


def projected(body: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """What of a body lies at these paths, in its dictionaries; a path that leads into a list keeps nothing."""
    out: dict[str, Any] = {}
    for path in paths:
        _keep(body, path, out)
    return out


def _keep(body: Mapping[str, Any], path: Path, out: dict[str, Any]) -> None:
    head = path[0]
    if head not in body:
        return
    value = body[head]
    if len(path) == 1:
        out[head] = value
    elif isinstance(value, dict):
        inner: dict[str, Any] = out.get(head, {})
        if inner is value:
            return  # another path keeps all of it
        _keep(value, path[1:], inner)
        if inner:
            out[head] = inner


def kind_of(value: Any) -> int:
    """A value's place in an order of kinds: 0 null or absent, 1 number, 2 text, 3 boolean, 4 anything else."""
    if value is None:
        return 0
    if isinstance(value, bool):
        return 3
    if isinstance(value, int | float):
        return 1
    return 2 if isinstance(value, str) else 4


def order_of(value: Any) -> tuple[int, Any]:
    """What values sort by; equal for two that no order tells apart."""
    kind = kind_of(value)
    return (kind, value if 0 < kind < 4 else 0)


def compares(value: Any, op: Op, operand: Scalar) -> bool:
    if kind_of(value) != kind_of(operand) or kind_of(value) == 4:
        return False
    if operand is None:
        return op is Op.EQ
    if op is Op.EQ:
        return bool(value == operand)
    if op is Op.LT:
        return bool(value < operand)  # type: ignore[operator]  # of one kind: looked at above
    if op is Op.LTE:
        return bool(value <= operand)  # type: ignore[operator]
    if op is Op.GT:
        return bool(value > operand)  # type: ignore[operator]
    return bool(value >= operand)  # type: ignore[operator]


def matches(node: Node, body: Any, own: Mapping[str, Any]) -> bool:
    """Whether a document matches: what every engine's answer must agree with. `own` are its own fields."""
    match node:
        case All(nodes):
            return all(matches(n, body, own) for n in nodes)
        case Any_(nodes):
            return any(matches(n, body, own) for n in nodes)
        case Not(inner):
            return not matches(inner, body, own)
        case Compare(path, op, value):
            return compares(value_at(body, path), op, value)
        case Member(path, values):
            found = value_at(body, path)
            return any(compares(found, Op.EQ, value) for value in values)
        case Exists(path):
            return value_at(body, path, _MISSING) is not _MISSING
        case Own(name, op, value):
            mine = own[name]
            return {
                Op.EQ: mine == value,
                Op.LT: mine < value,
                Op.LTE: mine <= value,
                Op.GT: mine > value,
                Op.GTE: mine >= value,
            }[op]
        case _:
            raise InvalidRequest("Patterns and full-text search are the engine's alone.", field="where")


def conditions(node: Node) -> list[Node]:
    """Every node of a tree, itself included."""
    inner = node.nodes if isinstance(node, All | Any_) else (node.node,) if isinstance(node, Not) else ()
    return [node, *(found for n in inner for found in conditions(n))]
