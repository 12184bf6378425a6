"""The filter language as SQL over the tables of `collection_table`.

Equality and the order of texts are asked of a path's key: one short text that says kind and value, in the order of code
points whatever the database's collation is. The order of numbers is jsonb's own. Indexes are over the same expressions,
and over no longer ones than they must be: each write evaluates them. A number has at most two spellings in stored
bodies, `5` and `5.0`, since `packed` writes all of them.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import Boolean, func, literal_column, select

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
    kind_of,
)
from ...domain.record import Find, Index, SortKey
from .collection_table import FIELDS, PLAIN, compiled, packed, table_of
from .sql import ident, literal

#: Characters of a path's key: more than any number has, few enough for an index's row.
KEPT = 350
OWN_TYPES = {"id": "text", "version": "numeric", "created_at": "timestamptz", "updated_at": "timestamptz"}
SIGNS = {Op.EQ: "=", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}


def _walk(path: Path, named: str, numbered: str) -> str:
    """The steps to a path's value; these two operators take the last one."""
    at = "body"
    for left, part in zip(range(len(path) - 1, -1, -1), path, strict=True):
        # a list's items are reached by plain numbers alone
        plain = part.isascii() and part.isdigit() and len(part) < 10 and (part == "0" or part[0] != "0")
        operator = ("#>" if plain else "->") if left else (numbered if plain else named)
        at = f"({at} {operator} '{{{part}}}')" if plain else f"({at} {operator} {literal(part)})"
    return at


@lru_cache(4096)
def element(path: Path) -> str:
    """The value at a path, as jsonb."""
    return _walk(path, "->", "#>")


@lru_cache(4096)
def spelled(path: Path) -> str:
    """The value at a path, as text; null for null."""
    return _walk(path, "->>", "#>>")


@lru_cache(4096)
def key(path: Path) -> str:
    """A path's key: texts begin with s, which nothing else does; null for null and for what is not there."""
    text = spelled(path)
    return (
        f"(left(case jsonb_typeof({element(path)}) when 'string' then 's' || {text} else {text} end, {KEPT})"
        """ collate "C")"""
    )


def key_of(value: str) -> str:
    return f"s{value}"[:KEPT]


def spellings(value: bool | float) -> tuple[str, ...]:
    """The keys of what equals a number or a boolean."""
    if isinstance(value, bool):
        return ("true",) if value else ("false",)
    if isinstance(value, float) and (not value.is_integer() or abs(value) >= PLAIN):
        return (format(Decimal(repr(value)), "f"),)
    return (f"{int(value)}", f"{int(value)}.0")


@lru_cache(4096)
def kind(path: Path) -> str:
    at = element(path)
    return (
        f"(case jsonb_typeof({at}) when 'number' then 1 when 'string' then 2 when 'boolean' then 3"
        f" when 'object' then 4 when 'array' then 4 else 0 end)"
    )


@lru_cache(4096)
def number(path: Path) -> str:
    at = element(path)
    return (
        f"(case jsonb_typeof({at}) when 'number' then ({at})::numeric"
        f" when 'boolean' then ({at})::boolean::int::numeric end)"
    )


@lru_cache(4096)
def words(path: Path) -> str:
    """The text at a path, whole; null where there is none."""
    return f"""(case when jsonb_typeof({element(path)}) = 'string' then {spelled(path)} end collate "C")"""


def numbers(path: Path) -> str:
    return f"jsonb_typeof({element(path)}) = 'number'"


def index_columns(index: Index) -> str:
    return ", ".join(map(key, index.paths))


def number_column(path: Path) -> tuple[str, str]:
    """What finds ranges of a path's numbers, and the rows that have one."""
    return f"({element(path)})", numbers(path)


def unique_columns(index: Index) -> str:
    """What must differ: numbers however they are spelled, and a hash of what is longer than a key."""
    return ", ".join(
        f"(case when length({spelled(p)}) >= {KEPT} then 'h' || md5({spelled(p)})"
        f" when {numbers(p)} then trim_scale({element(p)}::numeric)::text else {key(p)} end)"
        for p in index.paths
    )


#: A condition without its operands: what its SQL depends on, cheap to make and to look up.
Shape = tuple[Any, ...]


def shape_of(node: Node, values: list[Any]) -> Shape:
    """The shape of a condition; its operands go to `values`, in order."""
    if isinstance(node, Compare):
        return _shape_of_compare(node.path, node.op, node.value, values)
    if isinstance(node, All):
        return ("and", *[shape_of(inner, values) for inner in node.nodes])
    if isinstance(node, Any_):
        return ("or", *[shape_of(inner, values) for inner in node.nodes])
    if isinstance(node, Not):
        return ("not", shape_of(node.node, values))
    if isinstance(node, Member):
        return _shape_of_member(node, values)
    if isinstance(node, Exists):
        return ("exists", node.path)
    if isinstance(node, Own):
        values.append(node.value)
        return ("own", node.name, node.op)
    if isinstance(node, Regex):
        values.append(node.pattern)
        return ("regex", node.path)
    raise Unsupported(
        "PostgreSQL's full-text search is not offered for collections.",
        field="where.$text",
        hint="Use $regex, or a table of your own with storage.session().",
    )


def _shape_of_compare(path: Path, op: Op, value: Scalar, values: list[Any]) -> Shape:
    if value is None:
        return ("null", path)
    if isinstance(value, str):
        values.append(key_of(value))
        if len(value) < KEPT:
            return ("text", path, op, False)
        values.append(value)
        return ("text", path, op, True)
    if op is Op.EQ:
        keys = spellings(value)
        values += keys
        return ("equal", path, len(keys))
    values.append(packed(value))
    return ("number", path, op)


def _shape_of_member(node: Member, values: list[Any]) -> Shape:
    """Short values go together, whatever their number: they are one operand."""
    keys: list[str] = []
    values.append(keys)
    long: list[Shape] = []
    for value in node.values:
        if isinstance(value, str) and len(value) >= KEPT:
            long.append(_shape_of_compare(node.path, Op.EQ, value, values))
        elif isinstance(value, str):
            keys.append(key_of(value))
        elif value is not None:
            keys += spellings(value)
    null = [("null", node.path)] if None in node.values else []
    return ("or", ("among", node.path), *long, *null)


def places_of(keys: tuple[SortKey, ...], after: tuple[Any, ...], values: list[Any]) -> Shape:
    """The shape of a place in an order: for each key the kind of its value there."""
    places: list[int] = []
    for key, value in zip((*keys, _ID), after, strict=True):
        place = -1 if key.path is None else kind_of(value)
        places.append(place)
        if place in (-1, 2):
            values.append(value)
        elif place in (1, 3):
            values.append(packed(int(value) if place == 3 else value))
    return tuple(places)


_ID = SortKey(None, "id")


class Wording:
    """Shapes as SQL, their parameters numbered in order."""

    def __init__(self) -> None:
        self.count = 0

    def given(self, type: str) -> str:
        self.count += 1
        return f"${self.count}::{type}"

    def where(self, shape: Shape) -> str:
        """A condition; where it is null it counts as false, inside of a negation too."""
        match shape:
            case ("and" | "or" as way, *inner):
                return "(" + (f" {way} ".join(self.where(one) for one in inner) or "false") + ")"
            case ("not", inner):
                return f"({self.where(inner)} is not true)"
            case ("null", path):
                return f"({key(path)} is null)"
            case ("equal", path, count):
                keys = ", ".join(self.given("text") for _ in range(count))
                return f"({key(path)} in ({keys}))" if count > 1 else f"({key(path)} = {keys})"
            case ("among", path):
                return f"({key(path)} = any({self.given('text[]')}))"
            case ("text", path, op, long):
                return self.text(path, op, long)
            case ("number", path, op):
                return f"({numbers(path)} and {element(path)} {SIGNS[op]} {self.given('jsonb')})"
            case ("exists", path):
                return f"({element(path)} is not null)"
            case ("own", name, op):
                return f"({ident(name)} {SIGNS[op]} {self.given(OWN_TYPES[name])})"
            case _:
                return f"({words(shape[1])} ~ {self.given('text')})"

    def text(self, path: Path, op: Op, long: bool) -> str:
        """Keys begin as their texts do: they decide, unless the operand is as long as they are."""
        near = {Op.LT: "<=", Op.GT: ">="}.get(op, SIGNS[op]) if long else SIGNS[op]
        tests = [f"{key(path)} {near} {self.given('text')}"]
        if op in (Op.LT, Op.LTE):
            tests.append(f"{key(path)} >= 's'")
        elif op is not Op.EQ:
            tests.append(f"{key(path)} < 't'")
        if long:
            tests.append(f"{words(path)} {SIGNS[op]} {self.given('text')}")
        return f"({' and '.join(tests)})"

    def beyond(self, keys: tuple[SortKey, ...], places: Shape) -> str:
        """Rows behind a place: the first key that differs decides, then the id."""
        ways: list[str] = []
        same: list[str] = []
        for key, place in zip((*keys, _ID), places, strict=True):
            beyond, equal = self._key(key, place)
            ways.append(" and ".join([*same, beyond]))
            same.append(equal)
        return "(" + " or ".join(f"({way})" for way in ways) + ")"

    def _key(self, key: SortKey, place: int) -> tuple[str, str]:
        sign = "<" if key.descending else ">"
        if key.path is None:
            name = key.own or "id"
            given = self.given(OWN_TYPES[name])
            return f"{ident(name)} {sign} {given}", f"{ident(name)} = {given}"
        rank = f"{kind(key.path)} {sign} {place}"
        same = f"{kind(key.path)} = {place}"
        if place in (0, 4):
            return rank, same
        if place == 2:
            at, given = words(key.path), self.given("text")
        else:
            at, given = number(key.path), f"({self.given('jsonb')}::numeric)"
        return f"({rank} or ({same} and {at} {sign} {given}))", f"({same} and {at} = {given})"


def order(keys: tuple[SortKey, ...]) -> str:
    parts: list[str] = []
    for key in keys:
        way = " desc" if key.descending else ""
        if key.path is None:
            parts.append(f"{ident(key.own or 'id')}{way}")
        else:
            columns = (kind(key.path), number(key.path), words(key.path))
            parts += [f"{column}{way}" for column in columns]
    return ", ".join([*parts, "id"])


def find_statement(name: str, find: Find) -> tuple[str, list[Any]]:
    values: list[Any] = []
    where = None if find.where is None else shape_of(find.where, values)
    places = None if find.after is None else places_of(find.sort, find.after, values)
    values.append(find.limit)
    return _find(name, where, find.sort, places), values


def count_statement(name: str, where: Node | None) -> tuple[str, list[Any]]:
    values: list[Any] = []
    return _count(name, None if where is None else shape_of(where, values)), values


@lru_cache(2048)
def _find(name: str, where: Shape | None, sort: tuple[SortKey, ...], places: Shape | None) -> str:
    wording = Wording()
    tests = [] if where is None else [wording.where(where)]
    if places is not None:
        tests.append(wording.beyond(sort, places))
    table = table_of(name)
    statement: Any = select(*(table.c[field] for field in FIELDS)).order_by(literal_column(order(sort)))
    if tests:
        statement = statement.where(literal_column(" and ".join(tests), Boolean))
    return f"{compiled(statement)} LIMIT ${wording.count + 1}"


@lru_cache(2048)
def _count(name: str, where: Shape | None) -> str:
    statement: Any = select(func.count()).select_from(table_of(name))
    if where is not None:
        statement = statement.where(literal_column(Wording().where(where), Boolean))
    return compiled(statement)
