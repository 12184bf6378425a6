"""Values of documents: what the three modes keep, change and refuse."""

import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import orjson
import ormsgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage_core.domain.errors import InvalidRequest
from storage_core.domain.plain import MAX_DEPTH, MAX_INT, is_plain, plain_json
from storage_core.domain.query import Compare, Op, compares, order_of, parse_where
from storage_core.domain.value import (
    Mode,
    decode,
    encode,
    encode_value,
    moment,
    operand,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: v != 0 or math.copysign(1, v) > 0)
NAMES = TEXT.filter(lambda name: not name.startswith("$"))
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 30), timezones=st.none() | st.just(UTC) | ZONES)

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
hashable = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6), st.binary(max_size=6),
    MOMENTS, st.dates(), st.times(), st.timedeltas(), st.uuids(), st.decimals(allow_nan=False),
)  # fmt: skip
#: What tagged mode keeps: everything that has a tag, in everything that holds something.
kept = st.recursive(
    hashable | st.binary(max_size=4).map(bytearray) | st.just(math.nan),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashable, inner, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.sets(hashable, max_size=3),
    ),
    max_leaves=10,
)
top = st.dictionaries(NAMES, kept, max_size=4)


def same(a: Any, b: Any) -> bool:
    """Equal, of one type, to the last bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, m) and same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, set | frozenset):
        return sorted(map(_exactly, a)) == sorted(map(_exactly, b))
    return _exactly(a) == _exactly(b)


def _exactly(value: Any) -> str:
    if isinstance(value, datetime | time):
        fold = value.fold if value.utcoffset() is None else 0  # an offset says it all
        return f"{type(value).__name__} {value.isoformat()} {fold}"
    return f"{type(value).__name__} {value!r}"


@given(st.dictionaries(NAMES, plain, max_size=4))
def test_plain_data_is_its_own_body_in_every_mode(data: dict[str, Any]) -> None:
    assert is_plain(data)
    for mode in Mode:
        encoded = encode(data, mode)
        assert same(encoded.body, data) and not encoded.tagged and encoded.losses == ()
    assert same(orjson.loads(orjson.dumps(data)), data), "what is plain, JSON holds exactly"
    assert same(decode(data), data)


class Shade(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Name(str): ...


ODD = [(), (1,), [(1, "x")], UUID(int=1), Shade.RED, Level.LOW, Name("a"), OrderedDict(a=1), orjson.Fragment(b"1"), b"a",
       bytearray(b"a"), memoryview(b"a"), {1}, 1j, object(), math.nan, math.inf, -math.inf, -0.0, 2**63, 2**64 - 1, 2**64,
       -(2**63) - 1, "\x00", "a\x00b", "\ud800", {"$a": 1}, {1: 2}, {Shade.RED: 1}, {Name("a"): 1}, {None: 1}, Decimal(1),
       datetime(2026, 1, 1), date(2026, 1, 1), time(1), timedelta(1), ormsgpack.Ext(1, b"")]  # fmt: skip
#: What looks in an encoder's writing like something that is not plain.
ALIKE = ["$5", "\\u0000", "\x7f", "\xff", "\x80", "πρστ", "\u02ff\u02c0", 2**53, 2**63 - 1, -(2**63), 1e308, -1e308, 5e-324, -5e-324,
         -1, 127, 128, 255, "[" * 100, {}, [], [[]] * 100, None, [None, True], 0.0, 1.5, "é€😀", "", {"": ""}]  # fmt: skip


@given(top)
@example({"a": [{} for _ in range(MAX_DEPTH + 1)]})
def test_two_encoders_find_plain_what_a_look_at_each_value_does(data: dict[str, Any]) -> None:
    found = plain_json(data)
    assert (found is not None) == is_plain(data)
    assert found is None or found == orjson.dumps(data)


@pytest.mark.parametrize("value", [*ODD, *ALIKE], ids=lambda value: type(value).__name__)
def test_what_is_odd_is_told_from_what_looks_like_it(value: Any) -> None:
    for data in ({"a": value}, {"a": [value]}, {"a": {"b": [1.5, value, "x"]}}):
        found = plain_json(data)
        assert (found is not None) == is_plain(data) == any(value is alike for alike in ALIKE)
        assert found is None or found == orjson.dumps(data)


@given(top)
@example({"a": -0.0, "b": math.inf, "c": 2**63, "d": "\x00\ud800", "e": {"$x": 1}, "f": {1: {True: ()}}})
@example({"a": {1: 1, 1.5: 2, "1": 3}, "b": [set(), frozenset({(1, "x")})]})
def test_tagged_values_come_back_exactly(data: dict[str, Any]) -> None:
    encoded = encode(data, Mode.TAGGED)
    stored = orjson.loads(orjson.dumps(encoded.body))
    assert same(stored, encoded.body), "a tagged body is plain JSON"
    assert same(decode(stored), data)
    assert encoded.losses == ()
    assert encoded.tagged == (not is_plain(data))


@given(top)
def test_lossy_bodies_are_plain_and_every_loss_is_told(data: dict[str, Any]) -> None:
    try:
        encoded = encode(data, Mode.LOSSY)
    except InvalidRequest as refused:  # two names that would become one
        assert "twice" in refused.detail and refused.field
        return
    assert is_plain(encoded.body) and not encoded.tagged
    assert bool(encoded.losses) == (not same(encoded.body, data))
    assert all(loss.path.startswith("data.") and loss.what for loss in encoded.losses)


@given(top)
def test_strict_takes_what_is_plain_and_names_the_path_of_the_rest(data: dict[str, Any]) -> None:
    if is_plain(data):
        assert encode(data).body is data
        return
    with pytest.raises(InvalidRequest) as refused:
        encode(data)
    assert refused.value.field is not None and refused.value.field.startswith("data.") and refused.value.hint


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"a": {"b": [1, {"c": Decimal(1)}]}}, "data.a.b.1.c"),
        ({"a": [1, (2,)]}, "data.a.1"),
        ({"a": {1: "x"}}, "data.a"),
        ({"a": {"$x": 1}}, "data.a"),
        ({"a": 1 << 63}, "data.a"),
        ({"a": [math.nan]}, "data.a.0"),
        ({"a": -0.0}, "data.a"),
        ({"a": "x\x00"}, "data.a"),
        ({"a": "\ud800"}, "data.a"),
        ({"a": {"b\x00": 1}}, "data.a"),
        ({"$a": 1}, "data"),
        ({1: 1}, "data"),
        ([], "data"),
    ],
)
def test_a_refusal_names_the_path(data: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        encode(data)
    assert refused.value.field == field
    assert refused.value.hint


class Shout(str): ...


class Count(int): ...


class Bag(dict[str, Any]): ...


def test_subclasses_are_no_plain_values() -> None:
    for value in (Shout("a"), Count(1), Bag(a=1)):
        assert not is_plain(value)
        for mode in (Mode.STRICT, Mode.TAGGED):
            with pytest.raises(InvalidRequest) as refused:
                encode({"a": {"b": value}}, mode)
            assert refused.value.field == "data.a.b"
    assert encode(Bag(a=1)).body == {"a": 1}, "the document itself may be any mapping"


def test_depth_has_an_end_in_every_mode() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 2):
        deep = [deep]
    for mode in Mode:
        with pytest.raises(InvalidRequest, match="levels deep"):
            encode({"a": deep}, mode)
    with pytest.raises(InvalidRequest):
        encode_value(deep, Mode.STRICT, "a")
    for levels in range(MAX_DEPTH + 2):
        assert (plain_json({"a": deep}) is not None) == is_plain({"a": deep}) == (levels > 2)
        deep = deep[0]


@pytest.mark.parametrize(
    ("value", "body", "what"),
    [
        (1 << 70, str(1 << 70), "beyond 64 bits"),
        (math.nan, None, "nan became null"),
        (-0.0, 0.0, "-0.0 became 0.0"),
        (Decimal("1.10"), 1.1, "Decimal 1.10 became 1.1"),
        (Decimal("NaN"), None, "became null"),
        (Decimal("1e999"), None, "became null"),
        (b"\x00", "AA==", "base64"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000000Z", "a datetime"),
        (date(2026, 1, 2), "2026-01-02", "a date"),
        (timedelta(seconds=90), 90.0, "seconds"),
        ((1, 2), [1, 2], "a tuple"),
        (UUID(int=1), str(UUID(int=1)), "a UUID"),
        ("a\x00\ud800", "a\N{REPLACEMENT CHARACTER}?", "replaced"),
    ],
)
def test_losses_say_what_became_of_a_value(value: Any, body: Any, what: str) -> None:
    encoded = encode({"x": [value]}, Mode.LOSSY)
    assert same(encoded.body, {"x": [body]})
    assert [loss.path for loss in encoded.losses] == ["data.x.0"] and what in encoded.losses[0].what


def test_lossy_names_are_told_too() -> None:
    encoded = encode({"x": {1: "a", "$b": "c", "d\x00": 1}}, Mode.LOSSY)
    assert encoded.body == {"x": {"1": "a", "b": "c", "d\N{REPLACEMENT CHARACTER}": 1}}
    assert len(encoded.losses) == 3
    with pytest.raises(InvalidRequest, match="twice"):
        encode({"x": {1: "a", "1": "b"}}, Mode.LOSSY)


@given(st.lists(st.datetimes(timezones=st.just(UTC) | ZONES), min_size=2, max_size=2))
def test_moments_sort_as_texts(pair: list[datetime]) -> None:
    try:
        first, second = map(moment, pair)
    except OverflowError:
        return  # a moment before the first or after the last year there is in UTC
    assert (first < second) == (pair[0] < pair[1]) and (first == second) == (pair[0] == pair[1])


@given(
    st.one_of(MOMENTS.filter(lambda m: m.tzinfo is not None)), MOMENTS.filter(lambda m: m.tzinfo is not None)
)
def test_operands_compare_as_the_values_do(stored: datetime, asked: datetime) -> None:
    body = encode({"at": stored}, Mode.TAGGED).body
    node = parse_where({"at": {"$lt": asked}}, operand(Mode.TAGGED))
    assert isinstance(node, Compare) and node.path == ("at", "$date")
    assert compares(body["at"]["$date"], node.op, node.value) == (stored < asked)


def test_operands_that_have_no_one_value_are_refused() -> None:
    at = operand(Mode.TAGGED)
    for value in ({"a": 1}, [1], (1,), {1}, frozenset()):
        with pytest.raises(InvalidRequest) as refused:
            at(("a", "b"), value)
        assert refused.value.field == "a.b"
    with pytest.raises(InvalidRequest):
        at(("a",), bytearray(b"x"))
    assert at(("a",), Decimal("1.5")) == (("a", "$numberDecimal"), "1.5")
    assert at(("a",), 5) == (("a",), 5)
    with pytest.raises(InvalidRequest):
        operand(Mode.STRICT)(("a",), Decimal(1))


def test_order_of_kinds() -> None:
    values = [None, -1, 0.5, MAX_INT, "", "Z", "a", False, True]
    assert sorted([*values[4:], *values[:4]], key=order_of) == values
    assert order_of([]) == order_of({}) == order_of({"a": 1}) > order_of(True)
    assert not compares(True, Op.EQ, 1) and compares(1, Op.EQ, 1.0) and not compares([], Op.EQ, None)
