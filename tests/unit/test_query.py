"""Filters: the short way through the parser gives the same trees and the same refusals as the long one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain import query
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.plain import is_plain
from storage_core.domain.query import parse_where, projected
from storage_core.domain.value import Mode, encode, operand

FIELDS = st.sampled_from(
    ["a", "a.b", "a..b", "id", "version", "$.id", "$and", "$text", "$x", "", "x.$date", "a.$"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.sampled_from([0, 1, -0.0, 1.5, float("nan"), "", "x", "é", "\x00", "\ud800", (1 << 53), b"x"]),
)
OPERATORS = st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$exists", "$no"])
CONDITIONS = st.one_of(
    SCALARS, st.dictionaries(OPERATORS, SCALARS, max_size=3), st.lists(SCALARS, max_size=2)
)


@given(st.dictionaries(FIELDS, CONDITIONS, max_size=5), st.sampled_from(Mode))
def test_the_short_way_means_what_the_long_one_means(where: dict[str, Any], mode: Mode) -> None:
    def long() -> Any:
        return query._Parser(operand(mode), query.OWN).conditions(where, "where", 0) if where else None

    def outcome(parse: Any) -> Any:
        try:
            return repr(parse())
        except InvalidRequest as error:
            return (error.field, error.detail)

    assert outcome(lambda: parse_where(where, operand(mode))) == outcome(long)


def test_a_projection_keeps_dictionaries_and_nothing_else_on_the_way() -> None:
    body = {"a": {"b": 1, "c": 2}, "l": [{"x": 1}], "n": None}
    assert projected(body, (("a", "b"), ("n",), ("z",), ("l", "0"))) == {"a": {"b": 1}, "n": None}
    assert projected(body, (("a", "b"), ("a",))) == {"a": {"b": 1, "c": 2}}
    assert projected(body, (("a",), ("a", "z"))) == {"a": {"b": 1, "c": 2}}
    assert projected(body, (("a", "b"), ("a", "c"))) == {"a": {"b": 1, "c": 2}}
    assert body == {"a": {"b": 1, "c": 2}, "l": [{"x": 1}], "n": None}


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [{1: 1}, {"$x": 1}, {"a\x00": 1}, {"a": {"b": [-0.0]}}, {Text("a"): 1}, {"a": Text("b")}, {"a": (1,)}],
)
def test_what_is_not_plain_is_seen_however_often_its_names_were_seen(value: dict[Any, Any]) -> None:
    assert is_plain({"a": {"b": [1]}, "x": 1})
    assert not is_plain(value)
    assert not is_plain([value])


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(79):
        deep = {"a": deep}
    assert is_plain(deep)
    assert encode(deep).body == deep
    assert not is_plain({"a": {"a": deep}})
    with pytest.raises(InvalidRequest):
        encode({"a": {"a": deep}})
