"""The shape of every request: frozen, validated when made, described field by field."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..domain.page import MAX_LIMIT, Clause, Query, Reach, clause
from ..domain.sizes import MAX_DEPTH, too_deep

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
#: What unlocks an engine, and what people keep there, is the engine's business, but for what ends a text in C.
_NUL = re.compile(r"\x00")
_MANY: tuple[type, ...] = (dict, list, tuple)


@dataclass(frozen=True, slots=True)
class Lines:
    """Marks a field that is a text of lines: line ends and tabs are no control characters in it."""


LINES = Lines()


@dataclass(frozen=True, slots=True)
class People:
    """Marks a field that holds people's data: the audit log keeps a keyed hash of it, which tells nothing."""


PEOPLE = People()


@dataclass(frozen=True, slots=True)
class Data:
    """Marks a field that holds people's own data: what they keep, they may keep as it is."""


DATA = Data()


class Request(BaseModel):
    """Base of all requests. Docstrings of fields become their description in OpenAPI and ``--help``."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
        str_max_length=100_000,
    )

    @model_validator(mode="before")
    @classmethod
    def _shallow(cls, given: Any) -> Any:
        """Every door makes requests: whatever comes in is not descended into before it is known to be shallow."""
        if too_deep(given):
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        return given

    @field_validator("*")
    @classmethod
    def _printable(cls, value: Any, info: ValidationInfo) -> Any:
        """Control characters forge lines where texts are shown, and not every catalog and engine keeps a NUL."""
        marks = cls.model_fields[info.field_name or ""].metadata
        if _controlled(value, _NUL if DATA in marks else _CONTROL_IN_LINES if LINES in marks else _CONTROL):
            raise ValueError("must not contain control characters")
        return value


def _controlled(value: Any, control: re.Pattern[str]) -> bool:
    if isinstance(value, SecretStr):
        return _NUL.search(value.get_secret_value()) is not None
    if isinstance(value, _MANY):
        parts: Iterable[Any] = chain(value, value.values()) if isinstance(value, dict) else value
        return any(_controlled(part, control) for part in parts)
    return isinstance(value, str) and control.search(value) is not None


class ById(Request):
    """A request about one thing."""

    id: str = Field(min_length=1, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The id of the thing."""


class Confirmed(ById):
    """A request that needs its target's exact name typed."""

    confirm: str = Field("", max_length=128, examples=["orders"])
    """The exact name of what this is about, typed as a confirmation."""


class ListRequest(Request):
    """A page of a list. Filters read ``a``, ``a,b`` (any of) or ``!a`` (none of)."""

    limit: int = Field(50, ge=1, le=MAX_LIMIT, examples=[50])
    """Rows in the page."""
    cursor: str | None = Field(None, max_length=1000)
    """Where the page begins: `next` of the page before. Stable while rows come and go."""
    offset: int = Field(0, ge=0, le=10_000_000, examples=[0])
    """Rows to skip from the start, for numbered pages; not together with a cursor."""
    sort: str = Field("-created_at", max_length=64, examples=["-created_at"])
    """A field to sort by; with a leading minus, downwards."""
    q: Annotated[str, LINES] = Field("", max_length=200, examples=[""])
    """Free text to look for."""

    def query(self, reach: Reach, *clauses: tuple[Clause, ...]) -> Query:
        """The query these fields ask, narrowed to `reach`."""
        where = tuple(c for group in (*self.filters(), *clauses) for c in group)
        return Query(where, self.q, self.sort, self.limit, self.cursor, self.offset, reach)

    def filters(self) -> tuple[tuple[Clause, ...], ...]:
        """Every further text field of the request is a filter on the field of its name."""
        own = type(self).model_fields.keys() - ListRequest.model_fields.keys()
        return tuple(clause(name, getattr(self, name)) for name in sorted(own))

    def with_limit(self, limit: int) -> Self:
        return self.model_copy(update={"limit": limit})
