"""Options: what can be set while the console runs, as data. The catalog keeps what differs from the defaults."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from .errors import InvalidRequest
from .outbound import networks

MAX_TEXT = 2000


class OptionKind(StrEnum):
    """How an option's value is written."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class StoredOption:
    """A value somebody set; `id` is the option's key, `value` its text."""

    id: str
    value: str
    set_by: str
    created_at: datetime
    updated_at: datetime


def _option(
    default: Any, text: str, *, low: int = 0, high: int = 2**31 - 1, check: Callable[[str], object] = str
) -> Any:
    """`check` raises InvalidRequest for a text that is none."""
    return field(default=default, metadata={"text": text, "low": low, "high": high, "check": check})


def _networks(text: str) -> object:
    return networks(text, "value")


@dataclass(frozen=True, slots=True)
class Options:
    """Every option with its value in force. A field is an option: its type, default, bounds and words."""

    two_person_rule: bool = _option(
        False,
        "Dangerous operations marked so need a second person's approval, bound to exactly what was asked.",
    )
    outbound_private: bool = _option(
        True, "Providers may be on private networks (10.0.0.0/8, fc00::/7 and their like)."
    )
    outbound_loopback: bool = _option(
        False, "Providers may be on the console's own machine, also where others than its own people use it."
    )
    outbound_networks: str = _option(
        "", "Further networks that may be connected to, separated by commas (10.1.0.0/16).", check=_networks
    )
    audit_heads_seconds: int = _option(
        60, "Seconds between two exports of the audit log's signed heads.", low=5, high=86_400
    )
    rate_caller: int = _option(12_000, "Requests a minute of one token or session; 0 is no limit.")
    rate_address: int = _option(18_000, "Requests a minute of one address; 0 is no limit.")
    rate_sign_in: int = _option(300, "Sign-ins a minute of one address; 0 is no limit.")


_KINDS = {bool: OptionKind.BOOLEAN, int: OptionKind.NUMBER, str: OptionKind.TEXT}
KEYS = tuple(f.name for f in fields(Options))
_FIELDS = {f.name: f for f in fields(Options)}
_DEFAULTS = Options()


def option_kind(key: str) -> OptionKind:
    return _KINDS[type(getattr(_DEFAULTS, key))]


def option_text(key: str) -> str:
    return str(_FIELDS[key].metadata["text"])


def option_default(key: str) -> str:
    return written(getattr(_DEFAULTS, key))


def written(value: bool | int | str) -> str:
    """A value as text: what is stored, shown and typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read(key: str, text: str) -> bool | int | str:
    """A typed text as the option's value; InvalidRequest says what it may be."""
    if key not in _FIELDS:
        raise InvalidRequest(
            f"{key[:64]!r} is not an option.", field="key", hint=f"Options are {', '.join(KEYS)}."
        )
    text = text.strip()
    limits = _FIELDS[key].metadata
    match option_kind(key):
        case OptionKind.BOOLEAN:
            if text.lower() not in ("true", "false"):
                raise InvalidRequest(f"{key} is true or false.", field="value")
            return text.lower() == "true"
        case OptionKind.NUMBER:
            number = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else -1
            if not limits["low"] <= number <= limits["high"]:
                raise InvalidRequest(
                    f"{key} is a whole number from {limits['low']} to {limits['high']}.", field="value"
                )
            return number
        case OptionKind.TEXT:
            if len(text) > MAX_TEXT or not (text.isprintable() or text == ""):
                raise InvalidRequest(f"{key} is at most {MAX_TEXT} printable characters.", field="value")
            limits["check"](text)
            return text


def options_of(stored: tuple[StoredOption, ...]) -> Options:
    """The options in force: defaults, and what was set. A stored value no version knows any more is passed over."""
    values: dict[str, Any] = {}
    for row in stored:
        try:
            values[row.id] = read(row.id, row.value)
        except InvalidRequest:
            continue
    return Options(**values)
