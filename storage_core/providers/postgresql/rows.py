"""Rows of any table as PostgreSQL's own text, both ways, and conditions on them: exact for every type there is."""

import math
from dataclasses import dataclass
from typing import Any

import orjson

from ...domain.errors import Conflict, InvalidRequest, NotFound
from ...domain.naming import said
from ...domain.query import All, Any_, Compare, Exists, Member, Node, Not, Op, Path, Regex, Scalar
from ...domain.table import CUT, MAX_KEY, Column, Table, TableRow
from .sql import ident

WHOLE_NUMBERS = frozenset({"smallint", "integer", "bigint", "oid"})
FLOATS = frozenset({"real", "double precision"})
NO_KEY = "It has no primary key, so its rows cannot be told apart."


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it is described, and its columns' types without sizes: a cast to char(3) would cut in silence."""

    table: Table
    types: dict[str, str]

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def keys(self) -> tuple[Column, ...]:
        return self.table.keys


class Statement:
    """Conditions as SQL over one table, with their parameters."""

    def __init__(self, relation: Relation) -> None:
        self._table, self._types = relation.table, relation.types
        self.values: list[str | None] = []

    def value(self, column: Column, value: Any) -> str:
        """A value as its column's type."""
        self.values.append(as_text(value))
        return f"${len(self.values)}::text::{self._types[column.name]}"

    def key(self, key: str) -> str:
        keys = self._table.keys
        parts = parts_of(key, len(keys))
        return " and ".join(f"{ident(c.name)} = {self.value(c, v)}" for c, v in zip(keys, parts, strict=True))

    def where(self, node: Node | None) -> str:
        match node:
            case None:
                return "true"
            case All(nodes):
                return "(" + " and ".join(self.where(n) for n in nodes) + ")"
            case Any_(nodes):
                return "(" + (" or ".join(self.where(n) for n in nodes) or "false") + ")"
            case Not(inner):
                return f"not {self.where(inner)}"
            case Compare(path, op, value):
                return self._compare(path, op, value)
            case Member(path, values):
                return "(" + (" or ".join(self._compare(path, Op.EQ, v) for v in values) or "false") + ")"
            case Exists(path):
                return f"({self._at(path)[0]} is not null)"
            case Regex(path, pattern):
                self.values.append(pattern)
                return f"coalesce({self._at(path)[0]}::text ~ ${len(self.values)}, false)"
            case _:
                raise InvalidRequest("Only columns can be asked for in a table.", field="where")

    def after(self, order: list[tuple[Column, bool]], place: tuple[Any, ...]) -> str:
        """Rows beyond a place: the first key that differs decides; null comes before everything."""
        if len(place) != len(order):
            raise InvalidRequest(
                "The cursor belongs to another order.", field="cursor", hint="Begin from the start."
            )
        ways: list[str] = []
        same: list[str] = []
        for (column, down), value in zip(order, place, strict=True):
            name = ident(column.name)
            if value is None:
                beyond, equal = "false" if down else f"{name} is not null", f"{name} is null"
            else:
                given = self.value(column, value)
                beyond = f"({name} < {given} or {name} is null)" if down else f"{name} > {given}"
                equal = f"{name} = {given}"
            ways.append(" and ".join([*same, beyond]))
            same.append(equal)
        return "(" + " or ".join(f"({way})" for way in ways) + ")"

    def _at(self, path: Path) -> tuple[str, Column]:
        column = self._table.column(path[0], f"where.{path[0]}")
        if len(path) == 1:
            return ident(column.name), column
        if column.type not in ("json", "jsonb"):
            raise InvalidRequest(
                f"{column.name} is {column.type}: nothing lies below it.", field=f"where.{'.'.join(path)}"
            )
        self.values.append(orjson.dumps(list(path[1:])).decode())
        steps = f"array(select jsonb_array_elements_text(${len(self.values)}::jsonb))"
        return f"({ident(column.name)}::jsonb #> {steps})", Column(column.name, "jsonb")

    def _compare(self, path: Path, op: Op, value: Scalar) -> str:
        at, column = self._at(path)
        if len(path) > 1:
            self.values.append(orjson.dumps(value).decode())
            given = f"${len(self.values)}::jsonb"
            if value is None:
                return f"coalesce({at} = {given}, true)"
            return (
                f"coalesce(jsonb_typeof({at}) = jsonb_typeof({given}) and {at} {_SIGNS[op]} {given}, false)"
            )
        if value is None:
            return f"({at} is null)"
        return f"coalesce({at} {_SIGNS[op]} {self.value(column, value)}, false)"


_SIGNS = {Op.EQ: "=", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}


def shown(table: Table, row: tuple[Any, ...], order: list[Column], whole: bool) -> TableRow:
    data: dict[str, Any] = {}
    cut: list[str] = []
    for column, text in zip(table.columns, row, strict=False):
        if text is not None and not whole and len(text) > CUT:
            cut.append(column.name)
            text = text[:CUT]
        data[column.name] = _json(column, text)
    place = row[len(table.columns) :]
    texts = dict(zip((c.name for c in table.columns), row, strict=False)) | dict(
        zip((c.name for c in order), place, strict=False)
    )
    key = key_text(tuple(texts[c.name] for c in table.keys)) if table.keys else None
    return TableRow(key, data, tuple(cut), tuple(place))


def _json(column: Column, text: str | None) -> Any:
    if text is None:
        return None
    if column.type in WHOLE_NUMBERS:
        return int(text)
    if column.type == "boolean":
        return text == "true"
    if column.type in FLOATS and math.isfinite(number := float(text)):
        return number
    return text


def as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        str(value)
        if isinstance(value, int)
        else repr(value)
        if isinstance(value, float)
        else orjson.dumps(value).decode()
    )


def key_text(values: tuple[str, ...]) -> str:
    return orjson.dumps(list(values)).decode()


def parts_of(key: str, count: int) -> list[Any]:
    try:
        parts = orjson.loads(key) if len(key) <= MAX_KEY else None
    except orjson.JSONDecodeError:
        parts = None
    if (
        not isinstance(parts, list)
        or len(parts) != count
        or not all(isinstance(p, str | int | float) for p in parts)
    ):
        raise NotFound(
            f"{key[:80]!r} is not a row's key here.", field="id", hint="Use the id that records.query gave."
        )
    return parts


def keyed(relation: Relation) -> Relation:
    if not relation.keys:
        raise Conflict(f"{relation.name}: {NO_KEY}", hint="Give it a primary key.")
    return relation


def changeable(relation: Relation) -> Relation:
    if relation.table.fixed:
        raise Conflict(f"Rows of {relation.name} cannot be changed here. {relation.table.fixed}")
    return relation


def writable(relation: Relation, name: str) -> Column:
    column = relation.table.column(name, f"data.{name}")
    if not column.writable:
        raise InvalidRequest(
            f"{name} is made by the database itself.", field=f"data.{name}", hint="Leave it out."
        )
    return column


def missing(relation: Relation, key: str) -> NotFound:
    return NotFound(f"{relation.name} has no row {said(key)}.", field="id")
