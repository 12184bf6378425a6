"""A tenant's policy in words, and from what people type back to it."""

import re
from dataclasses import dataclass
from typing import Any

from storage_console.parts import words
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.tenant import Policy
from storage_core.services.tenants import TenantPolicies

_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(words.UNITS)})?", re.IGNORECASE)
_FACTORS = {unit.lower(): 1000**n for n, unit in enumerate(words.UNITS)}


@dataclass(frozen=True, slots=True)
class PolicyWords:
    """What a tenant may have, as its page says it."""

    engines: str = ""
    encryption: str = ""
    databases: str = ""
    documents: str = ""
    bytes: str = ""
    connections: str = ""


@dataclass(frozen=True, slots=True)
class PolicyFields:
    """The same as it stands in the form: what is not limited is empty."""

    engines: tuple[str, ...] = ()
    encryption: bool = False
    databases: str = ""
    documents: str = ""
    bytes: str = ""
    connections: str = ""


def in_words(policy: Policy, databases: int) -> PolicyWords:
    """:param databases: how many it has."""
    limit = policy.databases
    kinds = policy.engines
    return PolicyWords(
        "any" if kinds is None else ", ".join(words.KINDS[kind.value] for kind in kinds) or "none",
        "required" if policy.encryption else "up to each program",
        "no limit" if limit is None else f"{words.number(databases)} of {words.number(limit)}",
        _limit(policy.documents, words.number),
        _limit(policy.bytes, size_text),
        _limit(policy.connections, words.number, "4, unless set"),
    )


def in_fields(policy: Policy) -> PolicyFields:
    engines = tuple(words.KINDS) if policy.engines is None else tuple(kind.value for kind in policy.engines)
    return PolicyFields(
        engines,
        policy.encryption,
        _text(policy.databases),
        _text(policy.documents),
        "" if policy.bytes is None else size_text(policy.bytes),
        _text(policy.connections),
    )


def from_form(id: str, data: dict[str, Any]) -> TenantPolicies:
    """The request of a form's values; InvalidRequest and ValidationError name the field."""
    engines = [kind for kind in words.KINDS if data.get(f"engine_{kind}")]
    if not engines:
        raise InvalidRequest(
            "No engine is ticked.", field="engines", hint="To allow no database at all, set Databases to 0."
        )
    return TenantPolicies.model_validate(
        {
            "id": id,
            "engines": None if len(engines) == len(words.KINDS) else engines,
            "encryption": bool(data.get("encryption")),
            "bytes": _size(str(data.get("bytes") or "")),
            **{name: _number(data, name) for name in ("databases", "documents", "connections")},
        }
    )


def size_text(count: int) -> str:
    """Bytes so that no digit is lost: ``10 GB``, ``1 500 MB``, ``1 234 567 B``."""
    unit = next(n for n in reversed(range(len(words.UNITS))) if count % 1000**n == 0 or n == 0)
    unit = 0 if count == 0 else unit
    return f"{words.number(count // 1000**unit)} {words.UNITS[unit]}"


def _size(text: str) -> int | None:
    text = _plain(text)
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InvalidRequest(
            "This is no size.", field="bytes", hint="Write 500 MB, 10 GB or a number of bytes."
        )
    return round(float(found[1]) * _FACTORS[(found[2] or "B").lower()]) if found[2] else int(float(found[1]))


def _number(data: dict[str, Any], name: str) -> int | None:
    text = _plain(str(data.get(name) or ""))
    if text and not text.isdecimal():
        raise InvalidRequest("This is no whole number.", field=name, hint="Leave it empty for no limit.")
    return int(text) if text else None


def _plain(text: str) -> str:
    """Without the gaps that people put between thousands."""
    return re.sub(r"(?<=\d)[\s\u202f\u00a0,']+(?=\d)", "", text).strip()


def _limit(value: int | None, say: Any, none: str = "no limit") -> str:
    return none if value is None else say(value)


def _text(value: int | None) -> str:
    return "" if value is None else words.number(value)
