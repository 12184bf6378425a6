"""Questions to lists and their answers: filters, order, pages."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from .errors import InvalidRequest

T = TypeVar("T")

MAX_LIMIT = 500


class Test(StrEnum):
    """How a clause compares."""

    ANY_OF = "any_of"
    NONE_OF = "none_of"
    BEFORE = "before"
    FROM = "from"

    __test__ = False  # the name is ours; pytest must not collect it


Value = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on one field; all clauses of a query must hold."""

    field: str
    test: Test
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a caller may see: everything, or rows of these tenants and of these providers."""

    everything: bool = False
    tenants: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()

    @property
    def nothing(self) -> bool:
        return not (self.everything or self.tenants or self.providers)


@dataclass(frozen=True, slots=True)
class Query:
    """A page of a list: clauses, free text, order, size; `cursor` continues, `offset` skips rows."""

    where: tuple[Clause, ...] = ()
    text: str = ""
    sort: str = "-created_at"
    limit: int = 50
    cursor: str | None = None
    offset: int = 0
    reach: Reach = field(default_factory=lambda: Reach(everything=True))


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows of one page, the cursor of the next one (none: this is the last) and the count of all rows."""

    items: tuple[T, ...]
    next: str | None
    total: int


def clause(name: str, text: str | None) -> tuple[Clause, ...]:
    """Read a filter as people write it: ``a`` or ``a,b`` (any of), ``!a`` or ``!a,b`` (none of).

    >>> clause("status", "!failed,queued")[0].test
    <Test.NONE_OF: 'none_of'>
    """
    if text is None or not text.strip():
        return ()
    negated = text.startswith("!")
    values = tuple(v.strip() for v in text.removeprefix("!").split(",") if v.strip())
    if not values:
        raise InvalidRequest(f"The filter {name} is empty.", field=name, hint="Write a, a,b or !a.")
    return (Clause(name, Test.NONE_OF if negated else Test.ANY_OF, values),)
