"""An archive's table of contents: which of its lines are restored here, and in words what is left out."""

import re
from dataclasses import dataclass

from .facts import Facts
from .limits import SUPERUSER_KINDS, Limits

LINE = re.compile(r"\d+; \d+ \d+ (.+)")


@dataclass(frozen=True, slots=True)
class Selection:
    """`lines` is what pg_restore reads as its list; `skipped` says what is not in it."""

    lines: str
    skipped: tuple[str, ...]


def select(listing: str, facts: Facts, limits: Limits) -> Selection:
    """Leave out what our user cannot make on this server."""
    kept: list[str] = []
    skipped: list[str] = []
    homeless = {
        (p.schema, p.table, p.name): limits.missing(p.roles)
        for p in facts.policies
        if limits.missing(p.roles)
    }
    for line in listing.splitlines():
        found = LINE.fullmatch(line)
        if found is None:
            continue
        entry = found.group(1)
        why = _left_out(entry, limits)
        why = _homeless(entry, homeless) if why is None else why
        if why is None:
            kept.append(line)
        elif why:
            skipped.append(why)
    return Selection("\n".join(kept) + "\n", tuple(dict.fromkeys(skipped)))


def _left_out(entry: str, limits: Limits) -> str | None:
    """None to keep an entry; otherwise why not, empty where something else says so already."""
    if entry.startswith("EXTENSION - "):
        return limits.no_extension(entry.removeprefix("EXTENSION - ").rstrip())
    if entry.startswith("COMMENT - EXTENSION "):
        name = entry.removeprefix("COMMENT - EXTENSION ").rstrip().strip('"')
        return "" if limits.no_extension(name) else None
    if limits.superuser:
        return None
    for kind, entries in SUPERUSER_KINDS.items():
        for name in entries:
            if entry.startswith(f"{name} "):
                return f"{kind} {_without_owner(entry.removeprefix(f'{name} '))}: needs a superuser"
            if entry.startswith("COMMENT ") and f" {name} " in entry:
                return ""
    return None


def _without_owner(rest: str) -> str:
    """The schema, if any, and the name out of what follows an entry's kind; no owner is a blank at the end."""
    name = rest.rstrip() if rest.endswith(" ") else rest.rpartition(" ")[0]
    return name.removeprefix("- ").removeprefix("CAST ").removeprefix("USER MAPPING ")


def _homeless(entry: str, policies: dict[tuple[str, str, str], tuple[str, ...]]) -> str | None:
    """Policies for roles that do not exist here, and comments on them."""
    for (schema, table, name), roles in policies.items():
        if entry.startswith(_one_line(f"POLICY {schema} {table} {name} ")):
            return f"policy {name} on {schema}.{table}: the role {', '.join(roles)} does not exist here"
        if entry.startswith("COMMENT ") and (
            _one_line(f" POLICY {name} ON ") in entry or _one_line(f' POLICY "{name}" ON ') in entry
        ):
            return ""
    return None


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\r", " ")
