"""Filters as people write them."""

import pytest

from storage_core.domain.errors import InvalidRequest
from storage_core.domain.page import Clause, Test, clause


@pytest.mark.parametrize(
    ("text", "test", "values"),
    [
        ("a", Test.ANY_OF, ("a",)),
        ("a,b", Test.ANY_OF, ("a", "b")),
        (" a , b ,", Test.ANY_OF, ("a", "b")),
        ("!a", Test.NONE_OF, ("a",)),
        ("!a, b", Test.NONE_OF, ("a", "b")),
        ("a!", Test.ANY_OF, ("a!",)),
        ("!!a", Test.NONE_OF, ("!a",)),
    ],
)
def test_a_filter_is_read(text: str, test: Test, values: tuple[str, ...]) -> None:
    assert clause("status", text) == (Clause("status", test, values),)


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_filter_is_no_clause(text: str | None) -> None:
    assert clause("status", text) == ()


@pytest.mark.parametrize("text", ["!", ",", " , ,", "!,"])
def test_an_empty_filter_is_refused_naming_the_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        clause("status", text)
    assert caught.value.field == "status"
