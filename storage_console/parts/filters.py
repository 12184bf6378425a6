"""Filters of a list: what may be asked, what was asked, how it reads.

Filter("status", "Status", ("active", "suspended", "deleted=Gone"), default="!deleted")
Filter("address", "Address", kind="text")            # what is typed is looked for exactly; a,b means either
Filter("since", "From", kind="time")                 # a minute in UTC; cannot be turned around
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal["choice", "text", "time"]
MAX_TYPED = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """A field to filter by, its values (value, or value=Label) and what applies before anybody chose."""

    key: str
    label: str
    values: tuple[str, ...] = ()
    default: str = ""
    kind: Kind = "choice"

    def options(self) -> tuple[tuple[str, str], ...]:
        """Values with their labels."""
        parts = (v.partition("=") for v in self.values)
        return tuple((v, label or v.replace("_", " ").capitalize()) for v, _, label in parts)


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet and whether it is ticked."""

    value: str
    label: str
    on: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A filter as displayed; `text` sums it up, empty when it does nothing; `typed` is what was typed into it."""

    key: str
    label: str
    negated: bool
    text: str
    choices: list[Choice]
    kind: str = "choice"
    typed: str = ""


def facet(spec: Filter, value: str) -> Facet:
    """The facet that shows a filter's value, ``a,b`` or ``!a,b``."""
    negated, bare = value.startswith("!"), value.removeprefix("!")
    if spec.kind != "choice":
        said = f"{'is not' if negated else 'is'} {bare}" if spec.kind == "text" else bare.replace("T", " ")
        return Facet(spec.key, spec.label, negated, said if bare else "", [], spec.kind, bare)
    choices = [Choice(v, label, v in bare.split(",")) for v, label in spec.options()]
    chosen = [c.label for c in choices if c.on]
    text = f"{'is not' if negated else 'is'} {' or '.join(chosen)}" if chosen else ""
    return Facet(spec.key, spec.label, negated, text, choices)


def cleaned(spec: Filter, value: str | None) -> str:
    """A filter's value from outside: known values only, in their order; the default when not given."""
    if value is None:
        return spec.default
    bang, bare = "!" if value.startswith("!") else "", value.removeprefix("!")
    if spec.kind == "time":
        return _minute(bare)
    if spec.kind == "text":
        kept = [part for v in bare.split(",") if (part := "".join(c for c in v if c.isprintable()).strip())]
        return bang + ",".join(kept)[:MAX_TYPED] if kept else ""
    ticked = set(bare.split(","))
    kept = [v for v, _ in spec.options() if v in ticked]
    return bang + ",".join(kept) if kept else ""


def _minute(text: str) -> str:
    """A time as browsers write it, or nothing."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None).strftime("%Y-%m-%dT%H:%M")
    except ValueError:
        return ""
