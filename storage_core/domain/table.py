"""Tables and collections that others made: what people browse and edit in them, a row at a time."""

from dataclasses import dataclass
from typing import Any

from .errors import InvalidRequest
from .query import Node

#: Values longer than this many characters (texts) or bytes (binary) come cut in a page of rows, whole by their key.
CUT = 2000
MAX_KEY = 4000


@dataclass(frozen=True, slots=True)
class Column:
    """A column, with its type in the engine's own words. `key`: part of what tells rows apart."""

    name: str
    type: str
    nullable: bool = True
    key: bool = False
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table, view or foreign collection. Rows can be changed where `fixed` is empty; else it says why not."""

    name: str
    kind: str
    columns: tuple[Column, ...]
    fixed: str = ""

    def column(self, name: str, field: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns[:20])
        raise InvalidRequest(
            f"{self.name} has no column {name[:60]!r}.", field=field, hint=f"It has {known}."
        )

    @property
    def keys(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.key)


@dataclass(frozen=True, slots=True)
class RowsFind:
    """At most `limit` rows that match, in order of `sort` (column, descending), then of their key.

    `after` is where the page before ended, as its last row's `place`. `whole`: nothing is cut.
    """

    where: Node | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    limit: int = 100
    after: tuple[Any, ...] | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row: `key` names it (none where it cannot be told apart), `cut` are columns whose value is not whole.

    `place` is where it stands in the order that was asked for.
    """

    key: str | None
    data: dict[str, Any]
    cut: tuple[str, ...] = ()
    place: tuple[Any, ...] = ()
