"""The filter language: what is understood, what is refused and where, what it means."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain.errors import InvalidRequest
from storage_core.domain.order import after_row, decode_cursor, encode_cursor, parse_sort
from storage_core.domain.query import (
    MAX_DEPTH,
    MAX_NODES,
    MAX_VALUES,
    All,
    Any_,
    Compare,
    Exists,
    Member,
    Not,
    Op,
    Own,
    Regex,
    Text,
    conditions,
    matches,
    parse_path,
    parse_where,
    projected,
    value_at,
)
from storage_core.domain.record import Find, Row
from storage_core.domain.value import Mode, operand

T0 = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)
STRICT = operand(Mode.STRICT)
OWN = {"id": "o-1", "version": 3, "created_at": T0, "updated_at": T0}


def parsed(where: Any) -> Any:
    return parse_where(where, STRICT)


def holds(where: dict[str, Any], body: dict[str, Any]) -> bool:
    node = parsed(where)
    return node is None or matches(node, body, OWN)


@pytest.mark.parametrize(
    ("where", "node"),
    [
        (None, None),
        ({}, None),
        ({"a": 1}, Compare(("a",), Op.EQ, 1)),
        ({"a.b.0": "x"}, Compare(("a", "b", "0"), Op.EQ, "x")),
        ({"a": {"$gte": 1, "$lt": 5}}, All((Compare(("a",), Op.GTE, 1), Compare(("a",), Op.LT, 5)))),
        ({"a": {"$ne": None}}, Not(Compare(("a",), Op.EQ, None))),
        ({"a": {"$in": [1, None]}}, Member(("a",), (1, None))),
        ({"a": {"$in": []}}, Member(("a",), ())),
        ({"a": {"$nin": (1,)}}, Not(Member(("a",), (1,)))),
        ({"a": {"$exists": False}}, Not(Exists(("a",)))),
        ({"a": {"$not": {"$gt": 1}}}, Not(Compare(("a",), Op.GT, 1))),
        ({"$or": [{"a": 1}, {"b": 2}]}, Any_((Compare(("a",), Op.EQ, 1), Compare(("b",), Op.EQ, 2)))),
        ({"$and": [{"a": 1}]}, Compare(("a",), Op.EQ, 1)),
        ({"$not": {"a": 1}}, Not(Compare(("a",), Op.EQ, 1))),
        ({"id": "x"}, Own("id", Op.EQ, "x")),
        ({"$.id": "x"}, Compare(("id",), Op.EQ, "x")),
        ({"id": {"$in": ["x", "y"]}}, Any_((Own("id", Op.EQ, "x"), Own("id", Op.EQ, "y")))),
        ({"a": {"$regex": "^x"}}, Regex(("a",), "^x")),
        ({"$text": "some words"}, Text("some words")),
    ],
)
def test_filters_are_understood(where: Any, node: Any) -> None:
    assert parsed(where) == node


def deep(levels: int) -> dict[str, Any]:
    return {"$not": deep(levels - 1)} if levels else {"a": 1}


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ([1], "where"),
        ("a", "where"),
        ({"$or": []}, "where.$or"),
        ({"$or": {"a": 1}}, "where.$or"),
        ({"$or": "ab"}, "where.$or"),
        ({"$and": [{"a": 1}, 5]}, "where.$and.1"),
        ({"$and": [{}]}, "where.$and.0"),
        ({"$not": {}}, "where.$not"),
        ({"$nor": [{"a": 1}]}, "where.$nor"),
        ({"a": {"$near": 1}}, "where.a.$near"),
        ({"a": {"$gt": 1, "b": 2}}, "where.a.b"),
        ({"a": {"$in": 5}}, "where.a.$in"),
        ({"a": {"$in": "xyz"}}, "where.a.$in"),
        ({"a": {"$in": list(range(MAX_VALUES + 1))}}, "where.a.$in"),
        ({"a": {"$exists": 1}}, "where.a.$exists"),
        ({"id": {"$exists": True}}, "where.id.$exists"),
        ({"a": {"$not": 5}}, "where.a.$not"),
        ({"a": {"$not": {}}}, "where.a.$not"),
        ({"a": {"$gt": None}}, "where.a.$gt"),
        ({"a": {"$lt": True}}, "where.a.$lt"),
        ({"a": {"$regex": 5}}, "where.a.$regex"),
        ({"id": {"$regex": "x"}}, "where.id.$regex"),
        ({"$text": " "}, "where.$text"),
        ({"id": 5}, "where.id"),
        ({"version": True}, "where.version"),
        ({"created_at": "2026"}, "where.created_at"),
        ({"created_at": datetime(2026, 1, 1)}, "where.created_at"),
        ({"a..b": 1}, "where.a..b"),
        ({"a.$b": 1}, "where.a.$b"),
        ({"": 1}, "where."),
        ({5: 1}, "where.5"),
    ],
)
def test_a_filter_that_is_none_is_refused_where_it_goes_wrong(where: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(where)
    assert refused.value.field == field
    assert refused.value.hint


def test_filters_have_an_end() -> None:
    assert parsed({f"f{n}": n for n in range(MAX_NODES)}) is not None
    with pytest.raises(InvalidRequest, match=str(MAX_NODES)):
        parsed({f"f{n}": n for n in range(MAX_NODES + 1)})
    assert parsed(deep(MAX_DEPTH)) is not None
    with pytest.raises(InvalidRequest, match="deep"):
        parsed(deep(MAX_DEPTH + 1))
    nested: dict[str, Any] = {"$gt": 1}
    for _ in range(MAX_DEPTH + 1):
        nested = {"$not": nested}
    with pytest.raises(InvalidRequest, match="deep"):
        parsed({"a": nested})


@pytest.mark.parametrize(
    ("where", "body", "answer"),
    [
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, True),
        ({"a": None}, {"a": None}, True),
        ({"a": {"$ne": 1}}, {}, True),
        ({"a": {"$exists": True}}, {"a": None}, True),
        ({"a": {"$gt": 1}}, {"a": "2"}, False),
        ({"a": {"$not": {"$gt": 1}}}, {"a": "2"}, True),
        ({"a": {"$gt": "B"}}, {"a": "a"}, True),
        ({"a.b": 1}, {"a": [{"b": 1}]}, False),
        ({"a.0.b": 1}, {"a": [{"b": 1}]}, True),
        ({"a.00.b": 1}, {"a": [{"b": 1}]}, False),
        ({"a.0": 1}, {"a": {"0": 1}}, True),
        ({"a": 1}, {"a": [1]}, False),
        ({"a": {"$in": [1, "x", None]}}, {"a": []}, False),
        ({"a": 2**53}, {"a": float(2**53)}, True),
        ({"a": 2**53 + 1}, {"a": float(2**53)}, False),
        ({"version": {"$gte": 3}, "$.version": 1}, {"version": 1}, True),
        ({"created_at": {"$lt": T0}}, {}, False),
        ({}, {}, True),
    ],
)
def test_filters_mean_one_thing(where: dict[str, Any], body: dict[str, Any], answer: bool) -> None:
    assert holds(where, body) is answer
    if where:
        assert holds({"$not": where}, body) is not answer


def test_conditions_are_all_of_them() -> None:
    node = parsed({"a": {"$not": {"$gt": 1}}, "$or": [{"b": 1}, {"$text": "x"}]})
    assert {type(n) for n in conditions(node)} == {All, Not, Compare, Any_, Text}


def test_paths() -> None:
    assert parse_path("a.b", "x") == ("a", "b") == parse_path("$.a.b", "x")
    body = {"a": [{"b": 1}], "0": {"": 2}}
    assert value_at(body, ("a", "0", "b")) == 1
    for path in (("a", "-1"), ("a", "1"), ("a", "²"), ("a", "0" * 20), ("a", "0", "b", "c"), ("nope",)):
        assert value_at(body, path, "missing") == "missing", path
    assert projected(body, [("a",), ("a", "0", "b"), ("0", "")]) == body
    assert projected({"a": {"b": 1, "c": 2}}, [("a", "b"), ("a", "nope"), ("b", "c")]) == {"a": {"b": 1}}
    whole = {"a": {"b": 1, "c": 2}}
    assert projected(whole, [("a", "b"), ("a",)]) == whole == projected(whole, [("a",), ("a", "b")])
    assert whole == {"a": {"b": 1, "c": 2}}


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5) | st.floats(-9, 9)
)


@given(scalars | st.just([1]) | st.just({"x": 1}), st.text(min_size=1, max_size=5).filter(str.isprintable))
def test_a_cursor_leads_back_to_its_place_and_fits_no_other_order(value: Any, id: str) -> None:
    find = Find(sort=parse_sort(["-a.b", "created_at"]))
    place = after_row(find, Row(id, 1, T0, T0, {"a": {"b": value}}))
    assert decode_cursor(find, encode_cursor(find, place)) == place
    for other in (["a.b", "created_at"], ["-a.b"], ["-a.b", "updated_at"], []):
        with pytest.raises(InvalidRequest):
            decode_cursor(Find(sort=parse_sort(other)), encode_cursor(find, place))


@given(st.text(max_size=30))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_cursor(Find(sort=parse_sort("a")), text, "cursor")
    assert refused.value.field == "cursor"
