"""Encrypted collections: sealed before the engine, the same answers for what may be asked, and nothing in the clear."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain.encryption import Encryption, checked_fields
from storage_core.domain.errors import InvalidRequest, NotFound, Unsupported, VersionConflict, WrongKey
from storage_core.domain.patch import patched
from storage_core.domain.query import Node, Path, matches, parse_where, projected
from storage_core.domain.record import Find, Index, Outcome, Row, SortKey, Write
from storage_core.domain.value import Mode, decode, encode, operand
from storage_core.providers.encrypted import Cipher, Encrypted

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Held:
    """The collections port over a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.made: list[Index] = []

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        self.rows[id] = Row(id, 1, at, at, dict(body), tagged)

    async def get(self, id: str) -> Row | None:
        row = self.rows.get(id)
        return row and Row(row.id, row.version, row.created_at, row.updated_at, row.body, row.tagged)

    async def _put(self, id: str, body: Mapping[str, Any], version: int | None, tagged: bool) -> Row:
        row = self.rows.get(id)
        if row is None:
            raise NotFound("no")
        if version not in (None, row.version):
            raise VersionConflict("no")
        self.rows[id] = Row(id, row.version + 1, row.created_at, NOW, dict(body), tagged)
        found = await self.get(id)
        assert found is not None
        return found

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        return await self._put(id, body, version, tagged)

    async def patch(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        *,
        unset: Sequence[Path] = (),
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        row = self.rows[id]
        return await self._put(id, patched(row.body, changes, unset), version, tagged or row.tagged)

    async def delete(self, id: str, *, version: int | None = None) -> None:
        del self.rows[id]

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        for write in writes:
            body = write.body or {} if write.text is None else orjson.loads(write.text)
            await self.insert(write.id, body, at, tagged=write.tagged)
        return [Outcome(write.id, 1) for write in writes]

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        out = []
        for w in writes:
            if w.body is not None:
                row = await self.replace(w.id, w.body, at, version=w.version)
            else:
                row = await self.patch(w.id, w.changes or {}, at, unset=w.unset, version=w.version)
            out.append(Outcome(w.id, row.version))
        return out

    def _matching(self, where: Node | None) -> list[Row]:
        return [r for r in self.rows.values() if where is None or matches(where, r.body, {"id": r.id})]

    async def find(self, find: Find) -> list[Row]:
        rows = [await self.get(row.id) for row in sorted(self._matching(find.where), key=lambda r: r.id)]
        found = [row for row in rows if row is not None]
        if find.fields is not None:
            for row in found:
                row.body = projected(row.body, find.fields)
        return found[: find.limit]

    async def count(self, where: Node | None) -> int:
        return len(self._matching(where))

    async def create_index(self, index: Index) -> None:
        self.made.append(index)

    async def indexes(self) -> tuple[Index, ...]:
        return tuple(self.made)

    async def drop_index(self, name: str) -> None:
        self.made = [index for index in self.made if index.name != name]


def sealed(*fields: str, searchable: tuple[str, ...] = (), key: bytes = b"k" * 32) -> tuple[Encrypted, Held]:
    held = Held()
    spec = Encryption("e", "acme", "db", "people", "origin", "", NOW, fields, searchable)
    return Encrypted(held, spec, Cipher(spec, key)), held


def where(given: dict[str, Any], mode: Mode = Mode.STRICT) -> Node | None:
    return parse_where(given, operand(mode))


WAYS = [((), ("ssn",)), (("ssn", "address.street"), ("ssn",))]


@pytest.mark.parametrize(("fields", "searchable"), WAYS)
async def test_what_is_sealed_comes_back_and_lies_nowhere_in_the_clear(
    fields: tuple[str, ...], searchable: tuple[str, ...]
) -> None:
    people, held = sealed(*fields, searchable=searchable)
    mark = secrets.token_hex(8)
    body = {"ssn": mark, "address": {"street": [mark, 1], "city": "Bern"}, "n": 1}
    await people.insert("a", body, NOW)
    second = Write("b", body)
    second.text = orjson.dumps(body)
    await people.insert_many([second], NOW)
    await people.insert("c", {"n": 0}, NOW)
    assert [row.body for row in await people.find(Find())] == [body, body, {"n": 0}]
    await people.patch("a", {("ssn",): mark + "2", ("address", "zip"): 3000}, NOW)
    await people.patch("b", {("address", "street", "0"): mark + "3"}, NOW, unset=[("n",)])
    await people.change_many([Write("c", changes={("address",): {"street": mark}})], NOW)
    rows = {row.id: row.body for row in await people.find(Find())}
    assert rows["a"] == {**body, "ssn": mark + "2", "address": {**body["address"], "zip": 3000}}  # type: ignore[dict-item]
    assert rows["b"] == {"ssn": mark, "address": {"street": [mark + "3", 1], "city": "Bern"}}
    assert rows["c"] == {"n": 0, "address": {"street": mark}}
    assert mark not in orjson.dumps([row.body for row in held.rows.values()]).decode()


@pytest.mark.parametrize(("fields", "searchable"), WAYS)
async def test_searchable_fields_are_found_by_equality_alone(
    fields: tuple[str, ...], searchable: tuple[str, ...]
) -> None:
    people, held = sealed(*fields, searchable=searchable)
    for id, ssn in (("a", "1"), ("b", "2"), ("c", 1), ("d", 1.0), ("e", True), ("f", None)):
        await people.insert(id, {"ssn": ssn}, NOW)

    async def ids(given: dict[str, Any]) -> str:
        return "".join(row.id for row in await people.find(Find(where(given))))

    assert await ids({"ssn": "1"}) == "a"
    assert await ids({"ssn": 1}) == "cd"
    assert await ids({"ssn": {"$ne": 1}}) == "abef"
    assert await ids({"ssn": {"$in": ["1", "2", None]}}) == "abf"
    assert await ids({"$not": {"ssn": True}}) == "abcdf"
    assert await people.count(where({"ssn": None})) == 1
    for refused in ({"ssn": {"$gt": "1"}}, {"ssn": {"$regex": "1"}}, {"ssn.x": 1}, {"$text": "one"}):
        with pytest.raises(Unsupported):
            await people.find(Find(where(refused)))
    with pytest.raises(Unsupported):
        await people.find(Find(sort=(SortKey(("ssn",)),)))
    await people.create_index(Index("by_ssn", (("ssn",),), unique=True))
    assert await people.indexes() == (Index("by_ssn", (("ssn",),), unique=True),)
    assert held.made[0].paths != (("ssn",),)


async def test_tagged_values_are_sealed_and_found() -> None:
    people, _ = sealed("born", searchable=("born",))
    encoded = encode({"born": NOW}, Mode.TAGGED)
    await people.insert("a", encoded.body, NOW, tagged=True)
    [row] = await people.find(Find(where({"born": NOW}, Mode.TAGGED)))
    assert decode(row.body) == {"born": NOW}
    assert row.tagged


async def test_a_sealed_value_opens_in_its_own_place_alone() -> None:
    people, held = sealed("ssn", "name")
    await people.insert("a", {"ssn": "1", "name": "x"}, NOW)
    await people.insert("b", {"ssn": "2", "name": "y"}, NOW)
    good = held.rows["a"].body
    for bad in (
        {**good, "ssn": held.rows["b"].body["ssn"]},
        {**good, "ssn": good["name"]},
        {**good, "ssn": {"sealed": good["ssn"]["sealed"][:-4] + "AAA="}},
        {**good, "ssn": {"sealed": "v2" + good["ssn"]["sealed"][2:]}},
        {**good, "ssn": "in the clear"},
    ):
        held.rows["a"].body = bad
        with pytest.raises(WrongKey):
            await people.get("a")
    other, elsewhere = sealed("ssn", "name", key=b"o" * 32)
    elsewhere.rows["a"] = Row("a", 1, NOW, NOW, good)
    with pytest.raises(WrongKey):
        await other.get("a")


async def test_a_document_without_the_form_of_its_fields_is_refused() -> None:
    people, held = sealed("address.street")
    for body in ({"address": "Main Street 1"}, {"address": [{"street": "Main Street 1"}]}):
        with pytest.raises(InvalidRequest) as refused:
            await people.insert("a", body, NOW)
        assert refused.value.field == "address.street"
        await people.insert("b", {}, NOW)
        with pytest.raises(InvalidRequest):
            await people.patch("b", {("address",): body["address"]}, NOW)
    assert set(held.rows) == {"b"}


async def test_a_patch_inside_a_sealed_value_loses_no_other_change() -> None:
    people, held = sealed("box")
    await people.insert("a", {"box": {"n": 0}}, NOW)
    original = held.replace
    raced = False

    async def raced_replace(*args: Any, **more: Any) -> Row:
        nonlocal raced
        if not raced:
            raced = True
            await people.patch("a", {("box",): {"n": 5}}, NOW)
        return await original(*args, **more)

    held.replace = raced_replace  # type: ignore[method-assign]
    row = await people.patch("a", {("box", "m"): 1}, NOW)
    assert row.body == {"box": {"n": 5, "m": 1}}
    with pytest.raises(VersionConflict):
        await people.patch("a", {("box", "m"): 2}, NOW, version=1)


def test_fields_that_overlap_or_are_not_sealed_are_refused() -> None:
    checked_fields(("a.b", "a.c"), ("a.b",))
    for fields, searchable in (
        (("a", "a.b"), ()),
        (("a",), ("b",)),
        (("a.0",), ()),
        (("$x",), ()),
        ((), ("a", "a")),
    ):
        with pytest.raises(InvalidRequest):
            checked_fields(fields, searchable)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=6,
)


@given(body=st.dictionaries(st.sampled_from(["s", "t", "u"]), VALUES, max_size=3), ask=VALUES)
async def test_encrypted_answers_as_plain(body: dict[str, Any], ask: Any) -> None:
    encoded = encode(body, Mode.TAGGED)
    plain = Held()
    await plain.insert("a", encoded.body, NOW)
    for people, _ in (sealed(searchable=("s",)), sealed("s", "t", searchable=("s",))):
        await people.insert("a", encoded.body, NOW)
        assert (await people.find(Find()))[0].body == encoded.body
        if not isinstance(ask, list | dict):
            node = where({"s": {"$ne": ask}}, Mode.TAGGED)
            assert await people.count(node) == await plain.count(node)
