"""Filters of a list: what may be asked, what was asked, how it reads.

Filter("status", "Status", ("active", "suspended", "deleted=Gone"), default="!deleted")
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filter:
    """A field to filter by, its values (value, or value=Label) and what applies before anybody chose."""

    key: str
    label: str
    values: tuple[str, ...]
    default: str = ""

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
    """A filter as displayed; `text` sums it up, empty when it does nothing."""

    key: str
    label: str
    negated: bool
    text: str
    choices: list[Choice]


def facet(spec: Filter, value: str) -> Facet:
    """The facet that shows a filter's value, ``a,b`` or ``!a,b``."""
    negated, ticked = value.startswith("!"), set(value.removeprefix("!").split(","))
    choices = [Choice(v, label, v in ticked) for v, label in spec.options()]
    chosen = [c.label for c in choices if c.on]
    text = f"{'is not' if negated else 'is'} {' or '.join(chosen)}" if chosen else ""
    return Facet(spec.key, spec.label, negated, text, choices)


def cleaned(spec: Filter, value: str | None) -> str:
    """A filter's value from outside: known values only, in their order; the default when not given."""
    if value is None:
        return spec.default
    ticked = set(value.removeprefix("!").split(","))
    kept = [v for v, _ in spec.options() if v in ticked]
    return ("!" if value.startswith("!") else "") + ",".join(kept) if kept else ""
