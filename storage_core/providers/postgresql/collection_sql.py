"""The filter language as SQL over the tables of `collection_table`, by the keys of `collection_keys`."""

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
)
from ...domain.record import Find, SortKey
from .collection_keys import KEPT, element, is_a, is_doubtful, key, number_key, spellings, words
from .collection_order import OWN_TYPES, Numbered, beyond, in_parts, order, places_of
from .collection_table import FIELDS, compiled, packed, table_of
from .sql import ident

SIGNS = {Op.EQ: "=", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}

#: A condition without its operands: what its SQL depends on, cheap to make and to look up.
Shape = tuple[Any, ...]


def shape_of(node: Node, values: list[Any], words: str | None = None) -> Shape:
    """The shape of a condition; its operands go to `values`, in order. `words`: see `collection_index.words`."""
    if isinstance(node, Compare):
        return _shape_of_compare(node.path, node.op, node.value, values)
    if isinstance(node, All):
        return ("and", *[shape_of(inner, values, words) for inner in node.nodes])
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
    if words is None:
        raise Unsupported(
            "The collection has no full-text index, or $text stands inside $or or $not.",
            field="where.$text",
            hint="Ask for $text beside other conditions; an index over the table is made in psql: "
            "create index on collections.orders using gin (to_tsvector('english', body ->> 'title')).",
        )
    values.append(node.words)
    return ("words", words)


def _shape_of_compare(path: Path, op: Op, value: Scalar, values: list[Any]) -> Shape:
    if value is None:
        return ("null", path)
    if isinstance(value, str):
        values.append(value[:KEPT])
        if len(value) < KEPT:
            return ("text", path, op) if op is not Op.EQ or is_doubtful(value) else ("word", path)
        values.append(value)
        return ("long", path, op)
    if op is Op.EQ:
        keys = spellings(value)
        values += keys
        return ("equal", path, _kind_of(value), len(keys))
    values.append(packed(value))
    return ("number", path, op)


def _kind_of(value: Scalar) -> str:
    """A scalar's kind, as jsonb names it; nothing for a text that is like no other kind's."""
    if isinstance(value, str):
        return "string" if is_doubtful(value) else ""
    return "boolean" if isinstance(value, bool) else "number"


def _shape_of_member(node: Member, values: list[Any]) -> Shape:
    """Short values of a kind go together, whatever their number: they are one operand."""
    keys: dict[str, list[str]] = {}
    ways: list[Shape] = []
    for value in node.values:
        if isinstance(value, str) and len(value) >= KEPT:
            ways.append(_shape_of_compare(node.path, Op.EQ, value, values))
        elif value is None:
            ways.append(("null", node.path))
        else:
            keys.setdefault(_kind_of(value), []).extend(
                [value] if isinstance(value, str) else spellings(value)
            )
    for kind, alike in keys.items():
        values.append(alike)
        ways.append(("among", node.path, kind))
    return ways[0] if len(ways) == 1 else ("or", *ways)


class Wording(Numbered):
    """Shapes as SQL, their parameters numbered in order."""

    _rare = False

    def where(self, shape: Shape) -> str:
        """A condition; where it is null it counts as false, inside of a negation too."""
        match shape:
            case ("and" | "or" as way, *inner):
                return "(" + (f" {way} ".join(self.where(one) for one in inner) or "false") + ")"
            case ("not", inner):
                return f"({self.where(inner)} is not true)"
            case ("null", path):
                return f"({key(path)} is null)"
            case ("word", path):
                return f"({key(path)} = {self.given('text')})"
            case ("text", path, op):
                return f"({key(path)} {SIGNS[op]} {self.given('text')} and {is_a('string', path)})"
            case ("long", path, op):
                return self.long(path, op)
            case ("equal", path, kind, count):
                return (
                    f"({self.equal(path, [self.given('text') for _ in range(count)])} and {is_a(kind, path)})"
                )
            case ("among", path, kind):
                sure = f" and {is_a(kind, path)}" if kind else ""
                return f"({key(path)} = any({self.given('text[]')}){sure})"
            case ("number", path, op):
                return f"({number_key(path)} {SIGNS[op]} {self.given('jsonb')})"
            case ("words", found):
                return f"({found}{self.given('text')}))"
            case ("exists", path):
                return f"({element(path)} is not null)"
            case ("own", name, op):
                return f"({ident(name)} {SIGNS[op]} {self.given(OWN_TYPES[name])})"
            case _:
                return f"({words(shape[1])} ~ {self.given('text')})"

    def equal(self, path: Path, spelled: list[str]) -> str:
        """One of a number's spellings.

        Two keys seem to be twice as many rows as one before it is known which: such a statement would be planned at
        each call. So the second says that it is rare, once in a statement: two of them would spoil an index over both.
        """
        at = key(path)
        if len(spelled) == 1:
            return f"{at} = {spelled[0]}"
        if self._rare:
            return f"{at} in ({', '.join(spelled)})"
        self._rare = True
        first, second = spelled
        return f"({at} = {first} or ({at} = {second} and {at} between {second} and {second}))"

    def long(self, path: Path, op: Op) -> str:
        """A text of which a key holds the beginning alone: the whole of it decides."""
        near = {Op.LT: "<=", Op.GT: ">="}.get(op, SIGNS[op])
        first = f"{key(path)} {near} {self.given('text')}"
        return f"({first} and {words(path)} {SIGNS[op]} {self.given('text')})"


def find_statement(
    name: str, find: Find, *, indexed: bool = False, words: str | None = None
) -> tuple[str, list[Any]]:
    """:param indexed: an index over its first path has the order that is asked for.
    :param words: what finds words (see `collection_index.words`).
    """
    values: list[Any] = []
    where = None if find.where is None else shape_of(find.where, values, words)
    places = None if find.after is None else places_of(find.sort, find.after, values)
    values.append(find.limit)
    if indexed:
        return _find_in_parts(name, where, find.sort, places, 1 << (find.limit - 1).bit_length()), values
    return _find(name, where, find.sort, places), values


def count_statement(name: str, where: Node | None, words: str | None = None) -> tuple[str, list[Any]]:
    values: list[Any] = []
    return _count(name, None if where is None else shape_of(where, values, words)), values


@lru_cache(2048)
def _find(name: str, where: Shape | None, sort: tuple[SortKey, ...], places: Shape | None) -> str:
    wording = Wording()
    tests = [] if where is None else [wording.where(where)]
    if places is not None:
        tests.append(beyond(wording, sort, places))
    table = table_of(name)
    statement: Any = select(*(table.c[field] for field in FIELDS)).order_by(literal_column(order(sort)))
    if tests:
        statement = statement.where(literal_column(" and ".join(tests), Boolean))
    return f"{compiled(statement)} LIMIT ${wording.count + 1}"


@lru_cache(2048)
def _find_in_parts(
    name: str, where: Shape | None, sort: tuple[SortKey, ...], places: Shape | None, room: int
) -> str:
    wording = Wording()
    test = None if where is None else wording.where(where)
    return in_parts(wording, name, test, sort, places, room)


@lru_cache(2048)
def _count(name: str, where: Shape | None) -> str:
    statement: Any = select(func.count()).select_from(table_of(name))
    if where is not None:
        statement = statement.where(literal_column(Wording().where(where), Boolean))
    return compiled(statement)
