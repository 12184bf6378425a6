"""Conditions on the rows of any table, as SQL with parameters."""

from dataclasses import dataclass
from typing import Any

import orjson

from ...domain.errors import InvalidRequest, NotFound, Unsupported
from ...domain.query import All, Any_, Compare, Exists, Member, Node, Not, Op, Path, Regex, Scalar
from ...domain.table import MAX_KEY, Table
from .connect import quoted

SIGNS = {Op.EQ: "=", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it is described; `rowid` is the name of SQLite's own key where it has none of its own."""

    table: Table
    rowid: str | None

    @property
    def name(self) -> str:
        return quoted(self.table.name)

    @property
    def keys(self) -> tuple[str, ...]:
        """What tells rows apart, as SQL."""
        own = tuple(quoted(column.name) for column in self.table.keys)
        return own or ((self.rowid,) if self.rowid else ())


class Statement:
    """Conditions as SQL over one table, with their parameters."""

    def __init__(self, relation: Relation) -> None:
        self._table = relation.table
        self.values: list[Any] = []

    def value(self, value: Any) -> str:
        self.values.append(int(value) if isinstance(value, bool) else value)
        return f"?{len(self.values)}"

    def where(self, node: Node | None) -> str:
        match node:
            case None:
                return "1"
            case All(nodes):
                return "(" + " AND ".join(self.where(n) for n in nodes) + ")"
            case Any_(nodes):
                return "(" + (" OR ".join(self.where(n) for n in nodes) or "0") + ")"
            case Not(inner):
                return f"NOT {self.where(inner)}"
            case Compare(path, op, value):
                return self._compare(path, op, value)
            case Member(path, values):
                return "(" + (" OR ".join(self._compare(path, Op.EQ, v) for v in values) or "0") + ")"
            case Exists(path):
                return f"({self._at(path)} IS NOT NULL)"
            case Regex():
                raise Unsupported(
                    "SQLite has no patterns of this kind.", field="where", hint="Compare texts."
                )
            case _:
                raise InvalidRequest("Only columns can be asked for in a table.", field="where")

    def after(self, order: list[tuple[str, bool]], place: tuple[Any, ...]) -> str:
        """Rows beyond a place: the first key that differs decides; null comes before everything."""
        if len(place) != len(order):
            raise InvalidRequest(
                "The cursor belongs to another order.", field="cursor", hint="Begin from the start."
            )
        ways: list[str] = []
        same: list[str] = []
        for (name, down), value in zip(order, place, strict=True):
            if value is None:
                beyond, equal = "0" if down else f"{name} IS NOT NULL", f"{name} IS NULL"
            else:
                given = self.value(value)
                beyond = f"({name} < {given} OR {name} IS NULL)" if down else f"{name} > {given}"
                equal = f"{name} = {given}"
            ways.append(" AND ".join([*same, beyond]))
            same.append(equal)
        return "(" + " OR ".join(f"({way})" for way in ways) + ")"

    def _at(self, path: Path) -> str:
        name = quoted(self._table.column(path[0], f"where.{path[0]}").name)
        if len(path) == 1:
            return name
        steps = "".join(f"[{p}]" if p.isdigit() else f".{orjson.dumps(p).decode()}" for p in path[1:])
        return f"(CASE WHEN json_valid({name}) THEN json_extract({name}, {self.value('$' + steps)}) END)"

    def _compare(self, path: Path, op: Op, value: Scalar) -> str:
        at = self._at(path)
        if value is None:
            return f"({at} IS NULL)"
        kind = "'text'" if isinstance(value, str) else "'integer', 'real'"
        return f"(typeof({at}) IN ({kind}) AND {at} {SIGNS[op]} {self.value(value)})"


def parts_of(key: str, count: int) -> list[Any]:
    """The values of a key as records show it."""
    try:
        parts = orjson.loads(key) if len(key) <= MAX_KEY else None
    except orjson.JSONDecodeError:
        parts = None
    if not isinstance(parts, list) or len(parts) != count:
        raise NotFound(
            f"{key[:80]!r} is not a row's key here.", field="id", hint="Use the id that records.query gave."
        )
    return parts
