"""Domain queries as SQL: filters, reach, order, keyset cursors. Fields are checked against the table."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, RowMapping, Select, Table, and_, false, func, or_, select, true
from sqlalchemy import types as sqltypes

from ..domain.errors import InvalidRequest
from ..domain.page import MAX_LIMIT, Clause, Query, Reach, Test
from .tables import UtcDateTime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Listing:
    """How one table is listed: which fields filter and sort, which ones free text searches, what reach means."""

    def __init__(
        self,
        table: Table,
        fields: frozenset[str],
        search: tuple[str, ...],
        reach: Mapping[str, str],
        key: tuple[str, ...] = ("id",),
    ) -> None:
        self.table, self.fields, self.search, self.reach, self.key = table, fields, search, reach, key

    def condition(self, query: Query) -> ColumnElement[bool]:
        parts = [self._clause(c) for c in query.where]
        if query.text.strip() and self.search:
            _refuse_nul(query.text, "q")
            pattern = "%" + _escaped(query.text.strip()) + "%"
            parts.append(or_(*(self.table.c[n].ilike(pattern, escape="\\") for n in self.search)))
        parts.append(self._reach(query.reach))
        return and_(*parts)

    def page(self, query: Query) -> tuple[Select[Any], Select[Any]]:
        """The rows of the page plus one more (is there a next?), and the count of all."""
        condition = self.condition(query)
        name = query.sort.removeprefix("-")
        if name not in self.fields:
            raise InvalidRequest(f"Cannot sort by {name[:40]!r}.", field="sort", hint=f"Use {self._names()}.")
        if not 1 <= query.limit <= MAX_LIMIT:
            raise InvalidRequest("limit is out of range.", field="limit", hint=f"Use 1 to {MAX_LIMIT}.")
        order, down = self._ordered(name), query.sort.startswith("-")
        keys = [order, *(self.table.c[k] for k in self.key)]
        rows = select(self.table).where(condition)
        if query.cursor is not None:
            rows = rows.where(_beyond(keys, self._decode(query.cursor, name), down))
        elif query.offset:
            rows = rows.offset(query.offset)
        rows = rows.order_by(*(k.desc() if down else k.asc() for k in keys)).limit(query.limit + 1)
        return rows, select(func.count()).select_from(self.table).where(condition)

    def cursor(self, row: RowMapping, sort: str) -> str:
        name = sort.removeprefix("-")
        value = row[name]
        if value is None:
            value = self._empty(name)
        shown = value.isoformat() if isinstance(value, datetime) else value
        raw = json.dumps([name, shown, *(row[k] for k in self.key)]).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _decode(self, cursor: str, name: str) -> list[Any]:
        try:
            field, value, *keys = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if field != name or len(keys) != len(self.key):
                raise ValueError(field)
            value = self._remembered(name, value)
            if not all(self._remembered(k, v) == v for k, v in zip(self.key, keys, strict=True)):
                raise ValueError(keys)
        except (ValueError, TypeError, KeyError):
            raise InvalidRequest(
                "The cursor does not belong to this list and order.",
                field="cursor",
                hint="Begin without a cursor.",
            ) from None
        return [value, *keys]

    def _remembered(self, name: str, value: Any) -> Any:
        """A cursor's value as its column has it; ValueError for one that no row of ours can have had."""
        kind = self.table.c[name].type
        if isinstance(kind, UtcDateTime):
            return _time(value)
        if isinstance(kind, Boolean):
            right: type | tuple[type, ...] = bool
        elif isinstance(kind, sqltypes.Integer):
            right = int
        else:
            right = (int, float) if isinstance(kind, sqltypes.Float) else str
        if not isinstance(value, right) or (isinstance(value, bool) and right is not bool):
            raise ValueError(value)
        if isinstance(value, int) and abs(value) > _largest(kind):
            raise ValueError(value)
        _refuse_nul(value, "cursor")
        return value

    def _ordered(self, name: str) -> ColumnElement[Any]:
        column = self.table.c[name]
        # What is computed does not say whether it may be NULL.
        may_miss = getattr(column, "nullable", True)
        return func.coalesce(column, self._empty(name), type_=column.type) if may_miss else column

    def _empty(self, name: str) -> Any:
        kind = self.table.c[name].type
        if isinstance(kind, UtcDateTime):
            return _EPOCH
        return 0 if isinstance(kind, (sqltypes.Integer, sqltypes.Float)) else ""

    def _clause(self, clause: Clause) -> ColumnElement[bool]:
        if clause.field not in self.fields:
            raise InvalidRequest(
                f"Cannot filter by {clause.field[:40]!r}.", field=clause.field, hint=self._names()
            )
        column = self.table.c[clause.field]
        values = [self._converted(column.type, v, clause.field) for v in clause.values]
        match clause.test:
            case Test.ANY_OF:
                return or_(column.in_([v for v in values if v is not None]), *_nulls(column, values))
            case Test.NONE_OF:
                rest = [v for v in values if v is not None]
                if None in values:
                    return and_(column.is_not(None), column.notin_(rest))
                return or_(column.notin_(rest), column.is_(None))
            case Test.BEFORE:
                return column < values[0]
            case Test.FROM:
                return column >= values[0]

    def _converted(self, kind: Any, value: Any, field: str) -> Any:
        if not isinstance(value, str):
            return value
        try:
            if isinstance(kind, Boolean):
                return {"true": True, "false": False}[value.lower()]
            if isinstance(kind, UtcDateTime):
                return _time(value)
            if isinstance(kind, sqltypes.Float):
                return float(value)
            if isinstance(kind, sqltypes.Integer):
                return _number(value, kind)
            _refuse_nul(value, field)
            return value
        except (ValueError, KeyError):
            raise InvalidRequest(f"{field} cannot be {value[:40]!r}.", field=field) from None

    def _reach(self, reach: Reach) -> ColumnElement[bool]:
        if reach.everything or not self.reach:
            return true()
        parts = []
        if reach.tenants and "tenants" in self.reach:
            parts.append(self.table.c[self.reach["tenants"]].in_(reach.tenants))
        if reach.providers and "providers" in self.reach:
            parts.append(self.table.c[self.reach["providers"]].in_(reach.providers))
        return or_(*parts) if parts else false()

    def _names(self) -> str:
        return ", ".join(sorted(self.fields))


def _largest(kind: Any) -> int:
    narrow = isinstance(kind, sqltypes.Integer) and not isinstance(kind, sqltypes.BigInteger)
    return 2**31 - 1 if narrow else 2**63 - 1


def _number(text: str, kind: Any) -> int:
    value = int(text)
    if abs(value) > _largest(kind):
        raise ValueError(text)
    return value


def _time(text: str) -> datetime:
    """A time as people or cursors write it; without a zone it is UTC."""
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _refuse_nul(value: Any, field: str) -> None:
    """PostgreSQL has no NUL in its text; no row has one either."""
    if isinstance(value, str) and "\x00" in value:
        raise InvalidRequest(f"{field} holds a NUL character.", field=field)


def _nulls(column: Any, values: list[Any]) -> list[ColumnElement[bool]]:
    return [column.is_(None)] if None in values else []


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _beyond(keys: list[Any], values: list[Any], down: bool) -> ColumnElement[bool]:
    """Row comparison spelt out: ``(a, b) > (x, y)`` for databases that differ in how they write it."""
    parts = []
    for i, (key, value) in enumerate(zip(keys, values, strict=True)):
        equal = [k == v for k, v in zip(keys[:i], values[:i], strict=True)]
        parts.append(and_(*equal, key < value if down else key > value))
    return or_(*parts)
