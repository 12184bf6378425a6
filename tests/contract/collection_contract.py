"""What every engine's collections must hold: inherit `CollectionContract`, give the hooks, and run.

The meaning is the model's (`tests.unit.memory_port` over `domain.query`); the tests use only the ports.
"""

import asyncio
import os
import random
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from storage_core.domain.errors import (
    Conflict,
    InvalidRequest,
    NameTaken,
    NotFound,
    QuotaExceeded,
    StorageError,
    Unsupported,
    VersionConflict,
)
from storage_core.domain.order import after_row, parse_sort
from storage_core.domain.query import Node, Path, parse_path, parse_where
from storage_core.domain.record import Ability, Find, Index, Outcome, Quota, Row, Write
from storage_core.domain.value import Mode, decode, encode, operand
from storage_core.ports.collection import Collection, Collections
from tests.unit.memory_port import MemoryCollections

T0 = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)
T1 = T0 + timedelta(microseconds=1)

#: Values that engines like to change on the way.
DELICATE: dict[str, Any] = {
    "float": 1.0,
    "big_float": 1e22,
    "edge": 1e16,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "sum": 0.1 + 0.2,
    "negative": -1.5e-7,
    "max": 2**63 - 1,
    "min": -(2**63),
    "beyond_double": 2**53 + 1,
    "zero": 0,
    "zero_float": 0.0,
    "true": True,
    "null": None,
    "empty": "",
    "text": "é \N{GRINNING FACE} '\"\\ \n\t \u2028",
    "list": [],
    "dict": {},
    "nested": [{"a": [[], {}, [1.0, 1]]}, None, False],
    "a.b": {"c.d": 1, "": 2},
    "": "no name",
    "0": {"1": "digits"},
    "Größe": "ü",
    "sc_": "_",
    "id": "of the body",
    "version": 7,
}

#: Bodies whose fields are of every kind, so that filters and orders meet all of them.
MIXED: list[dict[str, Any]] = [
    {"v": None},
    {},
    {"v": 1},
    {"v": 1.0, "n": 2},
    {"v": 2**53 + 1},
    {"v": 2**53},
    {"v": float(2**53)},
    {"v": -3.5},
    {"v": "a"},
    {"v": "B"},
    {"v": "ä"},
    {"v": "\N{GRINNING FACE}"},
    {"v": "\uffee"},
    {"v": ""},
    {"v": "1"},
    {"v": True},
    {"v": False, "n": 2},
    {"v": [1, "a"]},
    {"v": {"w": 1}},
    {"v": {"w": None}},
    {"v": [{"w": 1}, {"w": "x"}]},
    {"v": [], "n": None},
    {"v": {"0": "zero"}},
    {"v": ["zero"]},
    *({"v": text} for text in ("true", "[1", "-", "x" * 400, "x" * 400 + "a", "x" * 350, "x" * 349)),
]


def where(given: dict[str, Any] | None, mode: Mode = Mode.STRICT) -> Node | None:
    return parse_where(given, operand(mode))


def path(text: str) -> Path:
    return parse_path(text, "path")


def index(name: str, *paths: str, unique: bool = False) -> Index:
    return Index(name, tuple(path(p) for p in paths), unique)


SCALARS: list[Any] = [None, True, False, 0, 1, 1.0, -2.5, 2**53, 2**53 + 1, "", "a", "B", "ä", "1", "a b"]


def a_value(dice: random.Random, depth: int = 0) -> Any:
    if depth < 2 and dice.random() < 0.3:
        if dice.random() < 0.5:
            return [a_value(dice, depth + 1) for _ in range(dice.randint(0, 2))]
        return {dice.choice("ab0"): a_value(dice, depth + 1) for _ in range(dice.randint(0, 2))}
    return dice.choice(SCALARS)


def a_body(dice: random.Random) -> dict[str, Any]:
    return {name: a_value(dice) for name in "abc" if dice.random() < 0.7}


def a_filter(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    kind = dice.random()
    if depth < 2 and kind < 0.2:
        return {dice.choice(["$and", "$or"]): [a_filter(dice, depth + 1) for _ in range(dice.randint(1, 3))]}
    if depth < 2 and kind < 0.3:
        return {"$not": a_filter(dice, depth + 1)}
    name = dice.choice(["a", "b", "a.b", "b.0", "c", "a.a.b"])
    if kind < 0.45:
        return {name: {"$exists": dice.random() < 0.5}}
    if kind < 0.6:
        return {name: {dice.choice(["$in", "$nin"]): dice.sample(SCALARS, dice.randint(0, 3))}}
    if kind < 0.8:
        ordered = [v for v in SCALARS if v is not None and not isinstance(v, bool)]
        return {name: {dice.choice(["$lt", "$lte", "$gt", "$gte"]): dice.choice(ordered)}}
    return {name: {dice.choice(["$eq", "$ne"]): dice.choice(SCALARS)}}


class CollectionContract:
    """The suite. Hooks: the fixtures `collections`, and `database`, an empty database's physical name."""

    #: Increments at once in the tests of races: files are slower than servers.
    crowd: ClassVar[int] = 100

    @pytest.fixture
    def name(self) -> str:
        return f"c_{secrets.token_hex(4)}"

    @pytest.fixture
    def some(self, collections: Collections, database: str, name: str) -> Collection:
        return collections.collection(database, name)

    async def fill(self, some: Collection, bodies: Sequence[dict[str, Any]]) -> None:
        writes = [Write(f"d{i:03}", body) for i, body in enumerate(bodies)]
        assert [o.error for o in await some.insert_many(writes, T0)] == [None] * len(bodies)

    # one document

    async def test_what_is_not_there(self, collections: Collections, database: str, some: Collection) -> None:
        assert await some.get("x") is None
        assert await some.find(Find()) == []
        assert await some.count(None) == 0
        assert await some.indexes() == ()
        for call in (some.delete("x"), some.replace("x", {}, T0), some.patch("x", {("a",): 1}, T0)):
            with pytest.raises(NotFound):
                await call
        await collections.drop(database, "never_made")
        assert "never_made" not in await collections.names(database)

    async def test_a_document_comes_back_as_it_was(self, some: Collection) -> None:
        await some.insert("o-1", {"sku": "A1", "qty": 3}, T0)
        assert await some.get("o-1") == Row("o-1", 1, T0, T0, {"sku": "A1", "qty": 3})
        assert await some.find(Find()) == [Row("o-1", 1, T0, T0, {"sku": "A1", "qty": 3})]
        assert await some.count(None) == 1

    async def test_delicate_values_keep_value_and_type(self, some: Collection) -> None:
        def shape(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: shape(v) for k, v in value.items()}
            return (
                [shape(v) for v in value] if isinstance(value, list) else (type(value).__name__, repr(value))
            )

        assert encode(DELICATE).body == DELICATE
        await some.insert("a", DELICATE, T0)
        await some.insert("b", {}, T0)
        await some.replace("b", DELICATE, T1)
        await some.insert("c", {}, T0)
        await some.patch("c", {("all",): DELICATE, ("f",): 1e22}, T1)
        rows = {row.id: row for row in await some.find(Find())}
        got = await some.get("a")
        assert got is not None
        for body in (got.body, rows["a"].body, rows["b"].body, rows["c"].body["all"]):
            changed = {k: (body.get(k), v) for k, v in DELICATE.items() if shape(body.get(k)) != shape(v)}
            assert not changed, changed
            assert body.keys() == DELICATE.keys()
        assert shape(rows["c"].body["f"]) == ("float", "1e+22")
        deep: Any = 1
        for _ in range(70):
            deep = {"d": [deep]}
        await some.insert("deep", {"d": deep, "long": "x" * 1_000_000}, T0)
        row = await some.get("deep")
        assert row is not None and row.body == {"d": deep, "long": "x" * 1_000_000}

    async def test_tagged_values_come_back_and_are_found(self, some: Collection) -> None:
        from decimal import Decimal
        from uuid import UUID

        data = {
            "at": T0, "price": Decimal("1.10"), "raw": b"\x00\xff", "who": UUID(int=5), "big": 1 << 80,
            "nan": float("inf"), "minus": -0.0, "map": {1: "one", "$set": (1, 2)}, "deep": [{"at": T0}],
        }  # fmt: skip
        encoded = encode(data, Mode.TAGGED)
        await some.insert("a", encoded.body, T0, tagged=True)
        await some.insert("b", {"at": 1}, T0)
        encoded = encode({"x": {"at": T1}}, Mode.TAGGED)
        await some.patch("b", {("x",): encoded.body["x"]}, T1, tagged=True)
        row, other = await some.get("a"), await some.get("b")
        assert row is not None and other is not None
        assert row.tagged and other.tagged
        assert decode(row.body) == data and repr(decode(row.body)["minus"]) == "-0.0"
        assert decode(other.body) == {"at": 1, "x": {"at": T1}}
        for question in (
            {"at": {"$lt": T1}},
            {"price": Decimal("1.10")},
            {"deep.0.at": T0},
            {"nan": float("inf")},
        ):
            assert [r.id for r in await some.find(Find(where(question, Mode.TAGGED)))] == ["a"], question

    async def test_versions_count_and_guard(self, some: Collection) -> None:
        await some.insert("a", {"n": 1}, T0)
        with pytest.raises(NameTaken):
            await some.insert("a", {"n": 2}, T0)
        assert await some.replace("a", {"n": 2}, T1, version=1) == Row("a", 2, T0, T1, {"n": 2})
        assert await some.patch("a", {("m",): 1}, T1, version=2) == Row("a", 3, T0, T1, {"n": 2, "m": 1})
        for call in (
            some.replace("a", {}, T1, version=2),
            some.patch("a", {("n",): 9}, T1, version=4),
            some.delete("a", version=1),
        ):
            with pytest.raises(VersionConflict):
                await call
        row = await some.get("a")
        assert row is not None and row.version == 3 and row.body == {"n": 2, "m": 1}
        await some.delete("a", version=3)
        assert await some.get("a") is None
        await some.insert("a", {}, T1)
        assert (await some.get("a")) == Row("a", 1, T1, T1, {})

    async def test_ids_are_data(self, some: Collection) -> None:
        ids = [
            "a/b",
            "../x",
            "a.b",
            "a b",
            "'\"`;--",
            "%s",
            "$where",
            "Größe",
            "a\\b",
            "A",
            "a",
            "-",
            "." * 128,
            "CON",
            "nul",
        ]
        for id in ids:
            await some.insert(id, {"id": id}, T0)
        assert [row.body["id"] for row in await some.find(Find())] == sorted(ids)
        for id in ids:
            row = await some.get(id)
            assert row is not None and row.body == {"id": id}

    async def test_patches_follow_paths(self, some: Collection) -> None:
        await some.insert("a", {"a": {"b": [1, {"c": 2}], "x": 1}, "n": 1, "l": []}, T0)
        row = await some.patch(
            "a",
            {path("a.b.1.c"): 3, path("p.q.r"): {"s": 1}, path("n"): None},
            T1,
            unset=[path("a.x"), path("gone.x"), path("a.b.9.c")],
        )
        assert row.body == {"a": {"b": [1, {"c": 3}]}, "n": None, "l": [], "p": {"q": {"r": {"s": 1}}}}
        for blocked in ("n.x", "a.b.x", "a.b.0.c", "a.b.7", "l.0"):
            with pytest.raises(InvalidRequest) as refused:
                await some.patch("a", {path("n"): 5, path(blocked): 1}, T1)
            assert refused.value.field == blocked
        with pytest.raises(InvalidRequest):
            await some.patch("a", {}, T1, unset=[path("a.b.0")])
        assert await some.get("a") == row
        row = await some.patch(
            "a", {path("a"): 1, path("Größe.0.-"): 2, path("sc_"): 3}, T1, unset=[path("n")]
        )
        assert row.body == {"a": 1, "l": [], "p": {"q": {"r": {"s": 1}}}, "Größe": {"0": {"-": 2}}, "sc_": 3}

    # many documents

    async def test_bulk_calls_say_what_became_of_each(self, some: Collection) -> None:
        await some.insert("b", {"n": 0}, T0)
        made = await some.insert_many([Write(id, {"n": i}) for i, id in enumerate("abcac")], T0)
        assert [(o.id, o.version, type(o.error)) for o in made] == [
            ("a", 1, type(None)), ("b", None, NameTaken), ("c", 1, type(None)), ("a", None, NameTaken), ("c", None, NameTaken)
        ]  # fmt: skip
        done = await some.change_many(
            [
                Write("a", {"r": 1}),
                Write("a", changes={path("x.y"): 1}, unset=(path("gone"),)),
                Write("b", changes={path("n"): 5}, version=9),
                Write("z", {}),
                Write("b", changes={path("n.x"): 5}),
                Write("c"),
                Write("c"),
                Write("b", {}, version=1),
                Write("b", version=2),
            ],
            T1,
        )
        assert [(o.id, o.version, type(o.error)) for o in done] == [
            ("a", 2, type(None)), ("a", 3, type(None)), ("b", None, VersionConflict), ("z", None, NotFound),
            ("b", None, InvalidRequest), ("c", None, type(None)), ("c", None, NotFound), ("b", 2, type(None)),
            ("b", None, type(None)),
        ]  # fmt: skip
        assert await some.find(Find()) == [Row("a", 3, T0, T1, {"r": 1, "x": {"y": 1}})]
        assert await some.insert_many([], T0) == [] == await some.change_many([], T0)

    async def test_the_first_bulk_call_of_all_may_fail_in_part(
        self, collections: Collections, database: str, name: str
    ) -> None:
        tight = collections.collection(database, name, Quota(documents=60))
        calls = [
            [Write(f"{n}-{i}", {"n": n}) for i in (*range(size), 0)] for n, size in enumerate((40, 2, 15))
        ]
        found = await asyncio.gather(
            *(tight.insert_many(writes, T0) for writes in calls),
            tight.insert("0-0", {}, T0),
            return_exceptions=True,
        )
        for outcomes in found[:3]:
            assert isinstance(outcomes, list)
            assert isinstance(outcomes[-1].error, NameTaken) and all(o.error is None for o in outcomes[1:-1])
        assert (found[0][0].error is None) != (found[3] is None)  # type: ignore[index]  # a list
        assert await tight.count(None) == 57
        more = await tight.insert_many([Write(f"more-{i}", {}) for i in range(40)], T0)
        assert [o.error is None for o in more] == [True] * 3 + [False] * 37

    async def test_a_thousand_at_once(self, some: Collection) -> None:
        writes = [Write(f"{i:05}", {"i": i, "s": str(i % 7)}) for i in range(1000)]
        assert all(o.version == 1 for o in await some.insert_many(writes, T0))
        assert await some.count(where({"s": "3", "i": {"$gte": 500}})) == len(
            [i for i in range(500, 1000) if i % 7 == 3]
        )
        changed = await some.change_many([Write(w.id, changes={("s",): "x"}) for w in writes[::2]], T1)
        assert all(o.version == 2 for o in changed)
        assert await some.count(where({"s": "x"})) == 500
        gone = await some.change_many([Write(w.id) for w in writes], T1)
        assert gone == [Outcome(w.id) for w in writes]
        assert await some.count(None) == 0

    # questions

    QUESTIONS: ClassVar[list[dict[str, Any]]] = [
        {"v": 1}, {"v": None}, {"v": True}, {"v": "1"}, {"v": {"$ne": 1}}, {"v": {"$ne": None}}, {"v": {"$gt": 0}},
        {"v": {"$lte": 1.0}}, {"v": {"$gt": 2**53}}, {"v": {"$gte": float(2**53)}}, {"v": {"$lt": "b"}},
        {"v": {"$gt": "Z"}}, {"v": {"$gte": ""}}, {"v": {"$in": [1, "a", None]}}, {"v": {"$in": []}},
        {"v": {"$nin": [True, "B"]}}, {"v": {"$exists": True}}, {"v": {"$exists": False}}, {"v.w": 1},
        {"v.w": None}, {"v.w": {"$exists": True}}, {"v.0": "zero"}, {"v.0": 1}, {"v.0.w": 1}, {"v.1.w": {"$gt": ""}},
        {"$or": [{"v": "a"}, {"n": 2}]}, {"$and": [{"v": {"$gt": 0}}, {"n": None}]}, {"$not": {"v": {"$gt": 0}}},
        {"v": {"$not": {"$gte": "a", "$lt": "c"}}}, {"$not": {"$or": [{"v": None}, {"v": {"$gt": ""}}]}},
        {"id": "d003"}, {"id": {"$gte": "d010", "$lt": "d012"}}, {"version": 1}, {"version": {"$gt": 1}},
        {"created_at": {"$lte": T0}}, {"created_at": {"$lt": T0}}, {"updated_at": T0}, {"$.id": None},
        {"id": {"$in": ["d001", "d002", "nope"]}}, {"v": {"$gt": -4, "$lt": 1.5}, "n": {"$exists": False}},
        {"v": {"$in": ["true", True, "[1", "1", "a", "x" * 400, None]}}, {"v": "true"}, {"v": "[1"}, {"v": "x" * 350},
    ]  # fmt: skip

    async def test_every_question_has_the_model_s_answer(self, some: Collection) -> None:
        model = MemoryCollections().collection("m", "m")
        await self.fill(some, MIXED)
        await self.fill(model, MIXED)
        for question in self.QUESTIONS:
            node = where(question)
            expected = [row.id for row in await model.find(Find(node))]
            assert [row.id for row in await some.find(Find(node))] == expected, question
            assert await some.count(node) == len(expected), question

    @pytest.mark.parametrize("seed", [1, 2, pytest.param(None, marks=pytest.mark.torture)])
    async def test_random_questions_have_the_model_s_answers(
        self, some: Collection, seed: int | None
    ) -> None:
        """Bodies, filters, orders and pages drawn at random; SEED and SIZE steer the campaign."""
        size = 1 if seed else int(os.environ.get("SIZE", "1")) * 50
        dice = random.Random(seed or int(os.environ.get("SEED", "1")))
        for over in ("a", "b", "a.b") if seed != 1 else ():
            await some.create_index(index(over.replace(".", "_"), over))
        for _ in range(size):
            model = MemoryCollections().collection("m", "m")
            bodies = [a_body(dice) for _ in range(40)]
            for row in await some.find(Find(limit=1000)):
                await some.delete(row.id)
            await self.fill(some, bodies)
            await self.fill(model, bodies)
            for _ in range(40):
                node, keys = (
                    where(a_filter(dice)),
                    parse_sort(dice.sample(["a", "-b", "a.b", "-id"], dice.randint(0, 2))),
                )
                find = Find(node, keys, dice.randint(1, 20))
                rows = await model.find(find)
                assert [r.id for r in await some.find(find)] == [r.id for r in rows], (bodies, find)
                if rows:
                    find = Find(node, keys, 7, after_row(find, rows[-1]))
                    assert await some.find(find) == await model.find(find), (bodies, find)

    @pytest.mark.parametrize(
        "sort", ["v", "-v", "n,v", "n,-v", "-n,v", "-id", "updated_at,-v", "-v.w,n", "v.0", "version,id"]
    )
    async def test_orders_and_pages_are_the_model_s(self, some: Collection, sort: str) -> None:
        model = MemoryCollections().collection("m", "m")
        await self.fill(some, MIXED)
        await self.fill(model, MIXED)
        for one in (some, model):
            await one.patch("d007", {("n",): "x"}, T1)
        keys = parse_sort(sort.split(","))
        expected = [row.id for row in await model.find(Find(sort=keys))]
        for size in (100, 1, 5, 3):
            if size == 3 and keys[0].path:
                await some.create_index(Index("first", (keys[0].path,)))
            seen: list[str] = []
            find = Find(sort=keys, limit=size)
            while rows := await some.find(find):
                seen += [row.id for row in rows]
                find = Find(sort=keys, limit=size, after=after_row(find, rows[-1]))
            assert seen == expected, size
        some_of, down = where({"v": {"$ne": "a"}}), Find(sort=keys, limit=4)
        rest = Find(some_of, keys, 100, after_row(down, (await model.find(down))[-1]))
        assert await some.find(rest) == await model.find(rest)

    async def test_pages_stand_while_others_write(self, some: Collection) -> None:
        await self.fill(some, [{"n": i // 2} for i in range(20)])
        find, seen = Find(sort=parse_sort("-n"), limit=3), list[str]()
        while rows := await some.find(find):
            seen += [row.id for row in rows]
            find = Find(sort=find.sort, limit=3, after=after_row(find, rows[-1]))
            await some.insert(f"new{len(seen)}", {"n": 99}, T1)
            if f"d{len(seen):03}" not in seen:
                continue
            await some.delete(rows[0].id)
        assert [id for id in seen if id.startswith("d")] == sorted(
            (f"d{i:03}" for i in range(20)), key=lambda id: (-(int(id[1:]) // 2), id)
        )

    async def test_projection(self, some: Collection) -> None:
        await some.insert("a", {"a": {"b": 1, "c": {"d": 2, "e": 3}}, "l": [{"x": 1}], "z": None}, T0)
        for fields, expected in (
            (("a.b",), {"a": {"b": 1}}),
            (("a.c.d", "z", "nope"), {"a": {"c": {"d": 2}}, "z": None}),
            (("l", "a.nope"), {"l": [{"x": 1}]}),
            (("a", "a.b"), {"a": {"b": 1, "c": {"d": 2, "e": 3}}}),
            (("l.0.x",), {}),
        ):
            [row] = await some.find(Find(fields=tuple(map(path, fields))))
            assert row.body == expected, fields

    async def test_what_an_engine_lacks_is_refused_before_reading(
        self, collections: Collections, some: Collection
    ) -> None:
        await some.insert("a", {"t": "Hello World"}, T0)
        for ability, question in (
            (Ability.REGEX, {"t": {"$regex": "^Hel+o"}}),
            (Ability.TEXT, {"$text": "world"}),
        ):
            for call in (some.find(Find(where(question))), some.count(where({"$not": question}))):
                if ability in collections.abilities:
                    await call
                else:
                    with pytest.raises(Unsupported):
                        await call
        if Ability.REGEX in collections.abilities:
            await some.insert("b", {"t": 5}, T0)
            assert [r.id for r in await some.find(Find(where({"t": {"$regex": "^Hel+o W"}})))] == ["a"]
            assert await some.count(where({"t": {"$not": {"$regex": "^x"}}})) == 2
            with pytest.raises(InvalidRequest):
                await some.find(Find(where({"t": {"$regex": "("}})))

    # indexes

    async def test_indexes_are_made_listed_used_and_dropped(self, some: Collection) -> None:
        await self.fill(some, MIXED)
        await some.create_index(index("by_v", "v"))
        await some.create_index(index("by_v", "v"))
        await some.create_index(index("deep", "v.w", "n"))
        assert set(await some.indexes()) == {index("by_v", "v"), index("deep", "v.w", "n")}
        with pytest.raises(NameTaken):
            await some.create_index(index("by_v", "n"))
        model = MemoryCollections().collection("m", "m")
        await self.fill(model, MIXED)
        for question in self.QUESTIONS:
            expected = [row.id for row in await model.find(Find(where(question)))]
            assert [row.id for row in await some.find(Find(where(question)))] == expected, question
        await some.drop_index("by_v")
        with pytest.raises(NotFound):
            await some.drop_index("by_v")
        assert await some.indexes() == (index("deep", "v.w", "n"),)

    async def test_unique_indexes(self, some: Collection) -> None:
        await some.create_index(index("u", "a", "b.c", unique=True))
        await some.insert("1", {"a": 1, "b": {"c": "x"}}, T0)
        await some.insert("2", {"a": 1, "b": {"c": "y"}}, T0)
        for i, lacking in enumerate(({"a": 1}, {"a": 1, "b": {"c": None}}, {"b": {"c": "x"}}, {})):
            await some.insert(f"l{i}", lacking, T0)
            await some.insert(f"m{i}", lacking, T0)
        for taken in ({"a": 1, "b": {"c": "x"}}, {"a": 1.0, "b": {"c": "y"}}):
            with pytest.raises(NameTaken) as refused:
                await some.insert("3", taken, T0)
            assert refused.value.field == "u"
        for call in (
            some.replace("2", {"a": 1, "b": {"c": "x"}}, T1),
            some.patch("2", {path("b.c"): "x"}, T1),
            some.patch("l0", {path("b.c"): "y"}, T1),
        ):
            with pytest.raises(NameTaken):
                await call
        made = await some.insert_many(
            [
                Write("4", {"a": 2, "b": {"c": "x"}}),
                Write("5", {"a": 2, "b": {"c": "x"}}),
                Write("6", {"a": 3}),
            ],
            T0,
        )
        assert [type(o.error) for o in made] == [type(None), NameTaken, type(None)]
        await some.insert("true", {"a": True, "b": {"c": "x"}}, T0)
        await some.insert("text", {"a": "1", "b": {"c": "x"}}, T0)
        row = await some.get("2")
        assert row is not None and row.version == 1
        await some.delete("1")
        await some.insert("7", {"a": 1, "b": {"c": "x"}}, T0)
        await some.insert("d1", {"z": 1}, T0)
        await some.insert("d2", {"z": 1}, T0)
        with pytest.raises(Conflict):
            await some.create_index(index("z", "z", unique=True))
        assert [i.name for i in await some.indexes()] == ["u"]

    async def test_names_and_drop(self, collections: Collections, database: str) -> None:
        one, two = collections.collection(database, "one"), collections.collection(database, "two")
        await one.insert("a", {}, T0)
        await two.insert("a", {"n": 1}, T0)
        await one.create_index(index("i", "n", unique=True))
        assert await collections.names(database) == ("one", "two")
        await collections.drop(database, "one")
        await collections.drop(database, "one")
        assert await collections.names(database) == ("two",)
        assert await one.get("a") is None and await one.indexes() == ()
        await one.insert("a", {"n": 1}, T0)
        await one.insert("b", {"n": 1}, T0)
        assert await two.count(None) == 1

    # together

    async def test_first_writes_at_once_make_one_collection(
        self, collections: Collections, database: str, name: str
    ) -> None:
        await asyncio.gather(
            *(collections.collection(database, name).insert(f"{i}", {"i": i}, T0) for i in range(20))
        )
        assert await collections.collection(database, name).count(None) == 20

    async def test_compare_and_set_loses_no_increment(self, some: Collection) -> None:
        await some.insert("n", {"n": 0}, T0)

        async def increment() -> None:
            while True:
                row = await some.get("n")
                assert row is not None
                try:
                    await some.patch("n", {("n",): row.body["n"] + 1}, T1, version=row.version)
                    return
                except VersionConflict:
                    continue

        await asyncio.gather(*(increment() for _ in range(self.crowd // 2)))
        row = await some.get("n")
        assert row is not None and row.body["n"] == self.crowd // 2 == row.version - 1

    async def test_patches_of_different_fields_all_stay(self, some: Collection) -> None:
        await some.insert("n", {"deep": {}}, T0)
        await asyncio.gather(
            *(some.patch("n", {("deep", f"f{i}"): i}, T1) for i in range(self.crowd // 4)),
            *(some.patch("n", {(f"t{i}",): i}, T1) for i in range(self.crowd // 4)),
        )
        row = await some.get("n")
        assert row is not None
        assert len(row.body["deep"]) == self.crowd // 4 and len(row.body) == 1 + self.crowd // 4

    async def test_cancelled_calls_are_done_or_not_done(self, some: Collection) -> None:
        await some.insert("warm", {}, T0)
        dice = random.Random(5)

        async def one(i: int) -> None:
            task = asyncio.ensure_future(some.insert(f"{i}", {"i": i, "pad": "x" * 2000}, T0))
            await asyncio.sleep(dice.random() * 0.004)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            read = asyncio.ensure_future(some.find(Find(limit=3)))
            await asyncio.sleep(dice.random() * 0.002)
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)

        for start in range(0, self.crowd * 2, 20):
            await asyncio.gather(*(one(i) for i in range(start, start + 20)))
        rows = await some.find(Find(limit=1000))
        assert all(row.id == "warm" or row.body == {"i": int(row.id), "pad": "x" * 2000} for row in rows)
        assert await some.count(None) == len(rows)
        await asyncio.gather(*(some.insert(f"after{i}", {}, T0) for i in range(40)))

    async def test_a_quota_counts_documents_and_bytes(
        self, collections: Collections, database: str, name: str
    ) -> None:
        plain = collections.collection(database, name)
        await plain.insert("before", {"x": "y"}, T0)
        tight = collections.collection(database, name, Quota(documents=3))
        await tight.insert("b", {}, T0)
        await collections.collection(database, f"{name}2", Quota(documents=3)).insert("c", {}, T0)
        with pytest.raises(QuotaExceeded):
            await tight.insert("d", {}, T0)
        outcomes = await tight.change_many([Write("b")], T0)
        assert outcomes[0].error is None
        made = await tight.insert_many([Write("e", {}), Write("f", {})], T0)
        assert [type(o.error) for o in made] == [type(None), QuotaExceeded]
        await tight.delete("before")
        await tight.insert("g", {}, T0)
        assert await tight.get("d") is None
        small = collections.collection(database, name, Quota(bytes=200))
        await small.replace("g", {"pad": "x" * 100}, T1)
        for call in (
            small.replace("g", {"pad": "x" * 400}, T1),
            small.patch("g", {("more",): "x" * 200}, T1),
            small.insert("h", {"pad": "x" * 200}, T1),
        ):
            with pytest.raises(QuotaExceeded):
                await call
        row = await small.get("g")
        assert row is not None and row.body == {"pad": "x" * 100}
        await small.patch("g", {("pad",): ""}, T1)
        await small.insert("h", {"pad": "x" * 100}, T1)

    async def test_the_last_unit_of_a_quota_is_given_once(
        self, collections: Collections, database: str, name: str
    ) -> None:
        last = collections.collection(database, name, Quota(documents=3))
        await last.insert_many([Write("a", {}), Write("b", {})], T0)

        async def one(i: int) -> bool:
            try:
                await last.insert(f"x{i}", {}, T0)
            except QuotaExceeded:
                return False
            return True

        assert sum(await asyncio.gather(*(one(i) for i in range(self.crowd * 10)))) == 1
        assert await last.count(None) == 3

    async def test_transactions(self, collections: Collections, database: str, name: str) -> None:
        if Ability.TRANSACTIONS not in collections.abilities:
            with pytest.raises(Unsupported):
                async with collections.transaction(database):
                    raise AssertionError("entered")
            return
        outside, other = collections.collection(database, name), collections.collection(database, f"{name}_2")
        await outside.insert("a", {"n": 1}, T0)
        await other.insert("a", {}, T0)
        async with collections.transaction(database) as session:
            inside = session.collection(name)
            await inside.patch("a", {("n",): 2}, T1)
            await inside.insert("b", {}, T1)
            await session.collection(f"{name}_2").delete("a")
            assert await inside.count(None) == 2
            seen = await outside.get("a")
            assert seen is not None and seen.body == {"n": 1} and await outside.get("b") is None
        assert await outside.count(None) == 2 and await other.count(None) == 0
        with pytest.raises(ZeroDivisionError):
            async with collections.transaction(database) as session:
                await session.collection(name).insert("c", {}, T1)
                await session.collection(name).delete("a")
                raise ZeroDivisionError
        assert await outside.get("c") is None and await outside.get("a") is not None

    async def test_transactions_that_collide_lose_nothing(
        self, collections: Collections, database: str, name: str
    ) -> None:
        if Ability.TRANSACTIONS not in collections.abilities:
            return
        await collections.collection(database, name).insert("n", {"n": 0}, T0)

        async def increment() -> None:
            for _ in range(200):
                try:
                    async with collections.transaction(database) as session:
                        inside = session.collection(name)
                        row = await inside.get("n")
                        assert row is not None
                        await inside.patch("n", {("n",): row.body["n"] + 1}, T1)
                    return
                except (Conflict, StorageError) as error:
                    if not isinstance(error, Conflict):
                        raise
            raise AssertionError("never got through")

        await asyncio.gather(*(increment() for _ in range(8)))
        row = await collections.collection(database, name).get("n")
        assert row is not None and row.body["n"] == 8
