"""What a change changed, field by field, as the audit log keeps it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from .audit import Change

#: Rows that say nothing to people: of work and requests under way, or of keys.
UNTOLD = frozenset({"jobs", "orders", "data_keys", "credentials", "remembered", "misses", "setups"})
#: Fields that change with every save, or are told better elsewhere.
_LEFT_OUT = frozenset({"id", "created_at", "updated_at", "revision", "manifest"})
#: Fields that hold a secret, sealed or hashed: only a keyed hash of them is kept.
SEALED = frozenset({"envelope", "hash", "wrapped"})
MAX_CHANGES, MAX_VALUE = 60, 400


def differences(rows: Iterable[tuple[str, str, Any, Any]]) -> Iterator[Change]:
    """Before and after of every field that differs: `noun.field`, with an id where there are several rows."""
    told = [row for row in rows if row[0] not in UNTOLD]
    nouns = [noun for noun, *_ in told]
    for noun, id, before, after in told:
        name = noun if nouns.count(noun) == 1 else f"{noun}[{id[:8]}]"
        was, now = flat(before), flat(after)
        for field in [*was, *(f for f in now if f not in was)]:
            if was.get(field) != now.get(field):
                yield Change(f"{name}.{field}", was.get(field), now.get(field))


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """A domain object's fields as text, nested ones dotted; what is empty is left out."""
    if not is_dataclass(value):
        return {}
    out: dict[str, str] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if field.name in _LEFT_OUT:
            continue
        if is_dataclass(item):
            out |= flat(item, f"{prefix}{field.name}.")
        elif (text := shown(item)) is not None:
            out[prefix + field.name] = text
    return out


def shown(value: Any) -> str | None:
    """A value as text: strings as they are, times as ISO 8601, the rest as JSON; none for nothing."""
    if value is None or value == "" or value == ():
        return None
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)


def short(text: str | None, limit: int = MAX_VALUE) -> str | None:
    """As every catalog can keep it: no NUL, no lone surrogate, not endless."""
    if text is None:
        return None
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
