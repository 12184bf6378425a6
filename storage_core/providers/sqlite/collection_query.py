"""From a question to SQL: compiled by SQLAlchemy once for its form, run with its operands.

A question's form is everything but the operands; two questions of one form share the statement. What the statement
must mean is said by `domain.query`.
"""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, literal_column, not_, or_, select

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
    kind_of,
)
from ...domain.record import Find, SortKey
from .collection_table import DIALECT, CollectionTable
from .collection_values import as_read, exact, existence, expression, stored
from .documents import utc_text

Form = tuple[Any, ...]
Condition = ColumnElement[bool]

#: Where the kinds begin and end in SQLite's order; a comparison stays within the kind of its operand.
_FLOOR = {1: "-9e999", 2: "''", 3: "x'00'"}
_CEILING = {1: "''", 2: "x''", 3: "x'02'"}
_COMPARE: dict[Op, Callable[[Any, Any], Any]] = {
    Op.EQ: lambda a, b: a == b,
    Op.LT: lambda a, b: a < b,
    Op.LTE: lambda a, b: a <= b,
    Op.GT: lambda a, b: a > b,
    Op.GTE: lambda a, b: a >= b,
}
_LOOSE = {Op.EQ: Op.EQ, Op.LT: Op.LTE, Op.LTE: Op.LTE, Op.GT: Op.GTE, Op.GTE: Op.GTE}
_MAX_COMPILED = 2048


def find_statement(table: CollectionTable, find: Find) -> tuple[str, list[Any]]:
    """The SQL of a question, and its operands; Unsupported for what SQLite cannot."""
    operands: list[Any] = []
    where = None if find.where is None else _form(find.where, operands)
    after = None
    if find.after is not None:
        values = [_place(key, value) for key, value in zip(find.sort, find.after, strict=False)]
        after = True
        _follow(find.sort, values, find.after[-1], operands)
    operands += [find.limit, 0]
    return _find_sql(table, where, find.sort, after), operands


def count_statement(table: CollectionTable, where: Node | None) -> tuple[str, list[Any]]:
    operands: list[Any] = []
    return _count_sql(table, None if where is None else _form(where, operands)), operands


def _form(node: Node, operands: list[Any]) -> Form:
    """A node's form; its operands are added in the order in which the statement takes them."""
    match node:
        case Compare(path, op, value):
            return _comparison(path, op, value, operands)
        case Member(path, values):
            return _membership(path, values, operands)
        case Exists(path):
            return ("exists", path)
        case Own(name, op, value):
            operands.append(_own(value))
            return ("own", name, op)
        case All(nodes):
            return ("all", *[_form(n, operands) for n in nodes])
        case Any_(nodes):
            return ("any", *[_form(n, operands) for n in nodes])
        case Not(inner):
            return ("not", _form(inner, operands))
        case Regex(path):
            raise Unsupported(
                "SQLite has no patterns.",
                field=f"where.{'.'.join(path)}.$regex",
                hint="Compare with $gte and $lt for a beginning, or keep such collections on another engine.",
            )
        case Text():
            raise Unsupported(
                "SQLite's collections have no full-text search.",
                field="where.$text",
                hint="Ask by fields, or keep such collections on another engine.",
            )


def _comparison(path: Path, op: Op, value: Scalar, operands: list[Any]) -> Form:
    kind = kind_of(value)
    if kind == 0:
        return ("absent", path) if op is Op.EQ else ("never",)
    if kind != 1:
        operands.append(stored(value))
        return ("compare", path, op, kind)
    seen, alone = as_read(float(value))  # type: ignore[arg-type]  # kind 1 is a number
    if alone:
        operands.append(value)
        return ("compare", path, op, kind)
    operands += [seen, value]
    return ("doubtful", path, op)


def _membership(path: Path, values: tuple[Scalar, ...], operands: list[Any]) -> Form:
    plain: list[Any] = []
    forms: list[Form] = []
    rest: list[Any] = []
    for value in values:
        if kind_of(value) == 1 and not as_read(float(value))[1]:  # type: ignore[arg-type]  # a number
            forms.append(_comparison(path, Op.EQ, value, rest))
        else:
            plain.append(stored(value))
    operands += [*plain, *rest]
    member: Form = ("in", path, len(plain)) if plain else ("never",)
    return ("any", member, *forms) if forms else member


def _own(value: Any) -> Any:
    return utc_text(value) if isinstance(value, datetime) else value


def _place(key: SortKey, value: Any) -> Any:
    """Where the page before ended, as the key's expression has it."""
    if key.path is None:
        return _own(value)
    return as_read(value)[0] if isinstance(value, float) else stored(value)


def _follow(sort: tuple[SortKey, ...], values: list[Any], id: str, operands: list[Any]) -> None:
    """The operands of `_beyond`, in its order."""
    for at, value in enumerate(values):
        operands += [value, value, value] if at == 0 else [value, value]
    operands.append(id)


@lru_cache(_MAX_COMPILED)
def _find_sql(
    table: CollectionTable, where: Form | None, sort: tuple[SortKey, ...], after: bool | None
) -> str:
    c = table.table.c
    statement = select(c.id, c.version, c.created_at, c.updated_at, c.tagged, c.body)
    statement = _filtered(statement, table, where)
    keys = [_key(table, key) for key in sort]
    if after:
        statement = statement.where(_beyond(table, sort, keys))
    elif sort and sort[0].path is not None and sort[0].descending:
        # always true, and a hint: an index over the key is read from its end
        statement = statement.where(keys[0] <= literal_column("x'02'"))
    order = [key.desc() if asked.descending else key.asc() for asked, key in zip(sort, keys, strict=True)]
    return _sql(statement.order_by(*order, c.id.asc()).limit(_operand()).offset(_operand()))


@lru_cache(_MAX_COMPILED)
def _count_sql(table: CollectionTable, where: Form | None) -> str:
    return _sql(_filtered(select(func.count()).select_from(table.table), table, where))


def _sql(statement: Select[*tuple[Any, ...]]) -> str:
    """SQLite's own placeholders, in the order in which the operands were collected."""
    return str(statement.compile(dialect=DIALECT))


def _filtered(
    statement: Select[*tuple[Any, ...]], table: CollectionTable, where: Form | None
) -> Select[*tuple[Any, ...]]:
    return statement if where is None else statement.where(_condition(table, where))


def _operand() -> Any:
    return bindparam(None, required=True)


def _condition(table: CollectionTable, form: Form) -> Condition:
    """SQL that is true or false, never unknown."""
    match form:
        case ("compare", path, op, kind):
            return _kept(path, op, kind)
        case ("doubtful", path, op):
            loose = _kept(path, _LOOSE[op], 1)
            return and_(loose, _COMPARE[op](literal_column(exact(path)), _operand()))
        case ("in", path, count):
            return literal_column(expression(path)).in_([_operand() for _ in range(count)])
        case ("absent", path):
            return literal_column(expression(path)) == literal_column("-9e999")
        case ("exists", path):
            return literal_column(existence(path))
        case ("own", name, op):
            return _COMPARE[op](table.table.c[name], _operand())
        case ("never",):
            return literal_column(
                "(1 = 0)"
            )  # SQLAlchemy's own would drop what stands beside it, operands and all
        case ("not", inner):
            return not_(_condition(table, inner))
        case ("any", *forms):
            return or_(*[_condition(table, inner) for inner in forms])
        case _:
            return and_(*[_condition(table, inner) for inner in form[1:]])


def _kept(path: Path, op: Op, kind: int) -> Condition:
    """A comparison that stays within the operand's kind."""
    value = literal_column(expression(path))
    compared: Condition = _COMPARE[op](value, _operand())
    if op in (Op.LT, Op.LTE):
        floor = literal_column(_FLOOR[kind])
        return and_(compared, value > floor if kind == 1 else value >= floor)
    if op in (Op.GT, Op.GTE):
        return and_(compared, value < literal_column(_CEILING[kind]))
    return compared


def _key(table: CollectionTable, key: SortKey) -> ColumnElement[Any]:
    if key.path is None:
        return table.table.c[key.own or "id"]
    return literal_column(expression(key.path))


def _beyond(table: CollectionTable, sort: tuple[SortKey, ...], keys: list[ColumnElement[Any]]) -> Condition:
    """What comes after the place where the page before ended, whatever the keys' directions."""
    nested: Condition = table.table.c.id > _operand()
    for key, value in reversed(list(zip(sort, keys, strict=True))):
        further = value < _operand() if key.descending else value > _operand()
        nested = or_(further, and_(value == _operand(), nested))
    if not sort:
        return nested
    first = keys[0] <= _operand() if sort[0].descending else keys[0] >= _operand()
    return and_(first, nested)  # the first part alone says where an index is entered
