"""A tenant's policy as people read and type it: nothing is lost on the way there and back."""

from typing import Any

import pytest
from pydantic import ValidationError

from storage_console.tenants.policy import from_form, in_fields, in_words
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.provider import EngineKind
from storage_core.domain.tenant import Policy

ALL = {f"engine_{kind.value}": "on" for kind in EngineKind}


def typed(policy: Policy) -> dict[str, Any]:
    """What the form sends when it is saved as it was opened."""
    fields = in_fields(policy)
    texts = {n: getattr(fields, n) for n in ("databases", "documents", "bytes", "connections")}
    ticks = {f"engine_{kind}": "on" for kind in fields.engines}
    return {**texts, **ticks, **({"encryption": "on"} if fields.encryption else {})}


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy((EngineKind.POSTGRESQL, EngineKind.SQLITE), True, 0, 1, 0, 100),
        Policy(databases=10, documents=1_234_567, bytes=1_234_567_891, connections=1),
        Policy(bytes=10_000_000_000_000),
        Policy(bytes=1500),
    ],
)
def test_a_form_that_is_saved_as_it_was_opened_changes_nothing(policy: Policy) -> None:
    assert Policy(**from_form("t", typed(policy)).model_dump(exclude={"id"})) == policy


@pytest.mark.parametrize(
    ("text", "count"),
    [("", None), ("0", 0), ("500", 500), ("10 GB", 10**10), ("1.5kB", 1500), ("1 500 mb", 15 * 10**8), ("1,000", 1000)],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text: str, count: int | None) -> None:
    assert from_form("t", {**ALL, "bytes": text}).bytes == count


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({**ALL, "bytes": "much"}, "bytes"),
        ({**ALL, "bytes": "-1"}, "bytes"),
        ({**ALL, "documents": "1.5"}, "documents"),
        ({}, "engines"),
    ],
)
def test_what_cannot_be_understood_names_its_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        from_form("t", data)
    assert refused.value.field == field


def test_limits_of_the_operation_name_the_field_too() -> None:
    with pytest.raises(ValidationError) as refused:
        from_form("t", {**ALL, "connections": "101"})
    assert refused.value.errors()[0]["loc"] == ("connections",)


def test_the_page_says_what_is_and_what_is_not_limited() -> None:
    said = in_words(Policy((EngineKind.MONGODB,), True, 5, 1000, 2_500_000, 8), 3)
    assert (said.engines, said.encryption, said.databases) == ("MongoDB", "required", "3 of 5")
    assert (said.documents, said.bytes, said.connections) == (
        "1\u202f000",
        "2\u202f500 kB",
        "8",
    )
    free = in_words(Policy(), 3)
    assert (free.engines, free.databases, free.bytes) == ("any", "no limit", "no limit")
