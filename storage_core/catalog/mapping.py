"""Between domain objects and rows: enums by value, nested values as JSON text, the rest as it is."""

import dataclasses
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, Table

T = TypeVar("T")

_PLAIN = (str, int, float, bool, datetime)


class Mapper(Generic[T]):
    """Maps one domain dataclass to one table with columns of the same names."""

    def __init__(self, cls: type[T], table: Table) -> None:
        self.cls, self.table = cls, table
        hints = get_type_hints(cls)
        self._enums: dict[str, type[Enum]] = {}
        self._json: dict[str, TypeAdapter[Any]] = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            kind = _inner(hints[field.name])
            if isinstance(kind, type) and issubclass(kind, Enum):
                self._enums[field.name] = kind
            elif kind not in _PLAIN:
                self._json[field.name] = TypeAdapter(hints[field.name])
        self.names = tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]
        self.scalars = frozenset(n for n in self.names if n not in self._json)

    def row(self, value: T) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name in self.names:
            item = getattr(value, name)
            if item is not None and name in self._enums:
                item = item.value
            elif item is not None and name in self._json:
                item = self._json[name].dump_json(item).decode()
            out[name] = item
        return out

    def value(self, row: RowMapping) -> T:
        out: dict[str, Any] = {}
        for name in self.names:
            item = row[name]
            if item is not None and name in self._enums:
                item = self._enums[name](item)
            elif item is not None and name in self._json:
                item = self._json[name].validate_json(item)
            out[name] = item
        return self.cls(**out)


def _inner(hint: Any) -> Any:
    """The type without ``| None``."""
    if get_origin(hint) in (Union, UnionType):
        rest = [a for a in get_args(hint) if a is not NoneType]
        return rest[0] if len(rest) == 1 else hint
    return hint
