"""Collections in MongoDB: what its own habits would do otherwise, and what only it has."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

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
from storage_core.domain.provider import Endpoint
from storage_core.domain.query import All, Any_, Compare, Exists, Node, Not, Op, Own, Regex, Text
from storage_core.domain.record import Find, Index, Quota, SortKey, Write
from storage_core.ports.collection import Collection, Collections
from storage_core.providers.mongodb.collection_filter import condition
from storage_core.providers.mongodb.collection_order import Sorted
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.collection_contract import CollectionContract
from tests.contract.mongodb.support import Client

pytestmark = pytest.mark.servers

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


class TestMongoDBCollections(CollectionContract):
    @pytest.fixture
    def collections(self, mongo: MongoEngine) -> Collections:
        return mongo.collections

    @pytest.fixture
    def database(self, source: str) -> str:
        return source


@pytest.fixture
def orders(mongo: MongoEngine, source: str) -> Collection:
    return mongo.collections.collection(source, "orders")


@pytest.fixture
async def alone(standalone: Endpoint) -> AsyncIterator[MongoEngine]:
    """An engine on a server that is no replica set."""
    engine = MongoEngine(standalone, None)
    yield engine
    for found in await engine.databases.existing():
        await engine.databases.drop(found.physical_name)
    await engine.close()


async def ids(orders: Collection, where: Node | None, *sort: SortKey, **more: Any) -> list[str]:
    return [row.id for row in await orders.find(Find(where, sort, **more))]


async def test_documents_can_be_read_with_any_client(orders: Collection, client: Client, source: str) -> None:
    await orders.insert(
        "o-1", {"sku": "A1", "paid": {"$date": "2026-01-01T00:00:00.000001Z"}}, AT, tagged=True
    )
    assert await client[source]["sc_documents.orders"].find_one() == {
        "_id": "o-1",
        "version": 1,
        "created_at": "2026-01-02T03:04:05.678901Z",
        "updated_at": "2026-01-02T03:04:05.678901Z",
        "body": {"sku": "A1", "paid": {"$date": "2026-01-01T00:00:00.000001Z"}},
        "tagged": True,
    }


async def test_what_others_made_is_no_collection_of_ours(
    mongo: MongoEngine, client: Client, source: str, orders: Collection
) -> None:
    await client[source].orders.insert_one({"_id": "theirs"})
    await client[source].sc_documents.insert_one({"_id": "theirs"})
    assert await mongo.collections.names(source) == ()
    assert await orders.get("theirs") is None
    await client[source]["sc_documents.orders"].insert_one({"_id": "theirs"})
    with pytest.raises(Conflict, match="not a document of ours"):
        await orders.get("theirs")


async def test_an_order_tells_kinds_apart_as_everywhere(orders: Collection) -> None:
    values = [True, [5], {"a": 1}, "b", 2, None, [], False, "a", 1.5, [None]]
    for at, value in enumerate(values):
        await orders.insert(f"{at:02}", {"v": value}, AT)
    await orders.insert("11", {}, AT)
    up = [f"{at:02}" for at in (5, 11, 9, 4, 8, 3, 7, 0, 1, 2, 6, 10)]
    down = [f"{at:02}" for at in (1, 2, 6, 10, 0, 7, 3, 8, 4, 9, 5, 11)]
    for descending, expected in ((False, up), (True, down)):
        key = SortKey(("v",), descending=descending)
        for size in (1, 2, 5, 50):
            got: list[str] = []
            after: tuple[Any, ...] | None = None
            while page := await orders.find(Find(None, (key,), size, after)):
                got += [row.id for row in page]
                after = (page[-1].body.get("v"), page[-1].id)
            assert got == expected, (descending, size)


async def test_a_second_key_finds_its_odd_values_behind_a_page_too(orders: Collection) -> None:
    for at, (first, second) in enumerate([(1, 1), (1, True), (1, [0]), (2, 1)]):
        await orders.insert(str(at), {"a": first, "b": second}, AT)
    keys = (SortKey(("a",)), SortKey(("b",)))
    assert await ids(orders, None, *keys, limit=1, after=(1, 1, "0")) == ["1"]
    assert await ids(orders, None, *keys, limit=2, after=(1, 1, "0")) == ["1", "2"]


async def test_lists_are_not_looked_into(orders: Collection) -> None:
    await orders.insert("list", {"a": [1, {"b": 1}, None]}, AT)
    await orders.insert("dict", {"a": {"b": 1, "0": 1}}, AT)
    await orders.insert("keys", {"a": [{"0": 1}]}, AT)
    assert await ids(orders, Compare(("a",), Op.EQ, 1)) == []
    assert await ids(orders, Compare(("a",), Op.EQ, None)) == []
    assert await ids(orders, Compare(("a", "b"), Op.GT, 0)) == ["dict"]
    assert await ids(orders, Compare(("a", "b"), Op.EQ, None)) == ["keys", "list"]
    assert await ids(orders, Compare(("a", "0"), Op.EQ, 1)) == ["dict", "list"]
    assert await ids(orders, Not(Compare(("a", "0"), Op.EQ, 1))) == ["keys"]
    assert await ids(orders, Exists(("a", "1", "b"))) == ["list"]


async def test_conditions_and_orders_use_indexes(orders: Collection, client: Client, source: str) -> None:
    await orders.insert_many(
        [Write(f"{n:03}", {"qty": n, "at": {"$date": f"2026-{n:04}"}}, tagged=True) for n in range(300)], AT
    )
    await orders.create_index(Index("qty", (("qty",),)))
    await orders.create_index(Index("mail", (("mail",),), unique=True))
    await orders.create_index(Index("at", (("at",),)))
    await orders.insert("u", {"mail": "a@x.org"}, AT)
    raw = client[source]["sc_documents.orders"]

    async def examined(found: dict[str, Any], **more: Any) -> int:
        plan = await raw.find(found, **more).explain()
        return int(plan["executionStats"]["totalDocsExamined"])

    assert await examined(condition(Compare(("qty",), Op.EQ, 7))) == 1
    assert await examined(condition(Compare(("mail",), Op.EQ, "a@x.org"))) == 1
    assert await examined(condition(Compare(("at", "$date"), Op.GTE, "2026-0290"))) == 10
    assert await examined(condition(Compare(("at", "$date"), Op.EQ, "2026-0290"))) == 1
    page = Sorted.of(Find(None, (SortKey(("qty",)),), 20, (100, "100")))
    assert await examined(page.behind({}), sort=page.natural(), limit=20) <= 25


async def test_a_unique_index_leaves_out_what_lacks_its_fields(orders: Collection) -> None:
    index = Index("pair", (("a",), ("b", "c")), unique=True)
    await orders.create_index(index)
    await orders.create_index(index)
    assert await orders.indexes() == (index,)
    for id, body in enumerate(({"a": 1}, {"a": 1}, {"a": 1, "b": {"c": None}}, {"a": 1, "b": {"c": 2}}, {})):
        await orders.insert(str(id), body, AT)
    with pytest.raises(NameTaken) as taken:
        await orders.insert("9", {"a": 1.0, "b": {"c": 2}}, AT)
    assert taken.value.field == "pair"
    with pytest.raises(NameTaken):
        await orders.patch("0", {("b", "c"): 2}, AT)
    with pytest.raises(NameTaken) as named:
        await orders.create_index(Index("pair", (("a",),)))
    assert named.value.field == "name"
    with pytest.raises(Conflict, match="same values"):
        await orders.create_index(Index("one", (("a",),), unique=True))
    await orders.drop_index("pair")
    with pytest.raises(NotFound):
        await orders.drop_index("pair")


async def test_what_operators_cannot_say_is_patched_all_the_same(orders: Collection) -> None:
    await orders.insert("1", {"l": [1, {"a": 1}], "x": 1}, AT)
    row = await orders.patch("1", {("l", "1", "a"): 2, ("d.o", ""): 3}, AT, unset=(("x",),))
    assert (row.version, row.body) == (2, {"l": [1, {"a": 2}], "d.o": {"": 3}})
    for changes, unset in (({("l", "5"): 1}, ()), ({("l", "x"): 1}, ()), ({}, (("l", "x"),))):
        with pytest.raises(InvalidRequest) as refused:
            await orders.patch("1", changes, AT, unset=unset)
        assert str(refused.value.field).startswith("l.")
    outcomes = await orders.change_many(
        [Write("1", changes={("l", "x"): 1}), Write("1", changes={("y",): 1})], AT
    )
    assert [type(o.error) for o in outcomes] == [InvalidRequest, type(None)]
    assert outcomes[1].version == 3


async def test_a_bulk_call_says_of_each_item_what_became_of_it(orders: Collection) -> None:
    await orders.create_index(Index("n", (("n",),), unique=True))
    big = {"pad": "x" * (17 * 1024 * 1024)}
    items = [
        Write("a", {"n": 1}),
        Write("b", {"n": 1}),
        Write("a", {}),
        Write("big", big),
        Write("c", {"n": 2}),
    ]
    outcomes = await orders.insert_many(items, AT)
    assert [type(o.error) for o in outcomes] == [type(None), NameTaken, NameTaken, InvalidRequest, type(None)]
    assert [str(o.error.field) for o in outcomes if o.error] == ["n", "id", "data"]
    changes = [
        Write("a", changes={("n",): 5}, version=1),
        Write("c", changes={("n",): 5}),
        Write("gone", {"n": 7}),
        Write("c", {"n": 1}, version=1),
        Write("c", {"n": 8}, version=1),
        Write("a"),
        Write("a"),
        Write("c", version=9),
        Write("gone", version=1),
    ]
    outcomes = await orders.change_many(changes, AT)
    errors = [type(o.error) if o.error else o.version for o in outcomes]
    assert errors == [2, NameTaken, NotFound, 2, VersionConflict, None, NotFound, VersionConflict, NotFound]
    assert await ids(orders, None) == ["c"]


async def test_of_many_who_change_one_version_one_wins(orders: Collection) -> None:
    await orders.insert("1", {"n": 0}, AT)
    tries = [orders.change_many([Write("1", changes={("n",): n}, version=1)], AT) for n in range(20)]
    outcomes = [outcome for (outcome,) in await asyncio.gather(*tries)]
    assert sorted(type(o.error).__name__ for o in outcomes) == ["NoneType", *["VersionConflict"] * 19]
    tries = [orders.change_many([Write("1", changes={(f"k{n}",): n})], AT) for n in range(20)]
    outcomes = [outcome for (outcome,) in await asyncio.gather(*tries)]
    row = await orders.get("1")
    assert row is not None and row.version == 22 and len(row.body) == 21
    assert all(2 < (o.version or 0) <= 22 for o in outcomes)


async def test_patterns_and_words_are_the_servers(orders: Collection, client: Client, source: str) -> None:
    await orders.insert("1", {"t": "the quick fox", "l": ["fox"]}, AT)
    assert await ids(orders, Regex(("t",), "qu?i")) == ["1"]
    assert await ids(orders, Regex(("l",), "fox")) == []
    assert await ids(orders, Regex(("l", "0"), "fox")) == ["1"]
    for pattern in ("(", "a" * 40_000, "a\x00b"):
        with pytest.raises(InvalidRequest) as refused:
            await ids(orders, Regex(("t",), pattern))
        assert refused.value.field == "where"
    with pytest.raises(Unsupported, match="text index"):
        await ids(orders, Text("fox"))
    await client[source]["sc_documents.orders"].create_index([("body.t", "text")])
    assert await orders.indexes() == ()
    assert await ids(
        orders, All((Text("fox"), Compare(("t",), Op.GT, "a"))), SortKey(("t",), descending=True)
    ) == ["1"]
    with pytest.raises(Unsupported):
        await ids(orders, Any_((Text("fox"), Exists(("t",)))))
    with pytest.raises(InvalidRequest):
        await ids(orders, Own("id", Op.EQ, "\ud800"))


async def test_a_transaction_is_seen_whole_or_not_at_all(
    mongo: MongoEngine, source: str, orders: Collection
) -> None:
    await orders.insert("1", {}, AT)
    with pytest.raises(NotFound):
        async with mongo.collections.transaction(source) as session:
            inside = session.collection("orders")
            await inside.insert("2", {}, AT)
            with pytest.raises(NameTaken):
                await inside.insert("1", {}, AT)
            assert [
                type(o.error) for o in await inside.insert_many([Write("1", {}), Write("3", {})], AT)
            ] == [
                NameTaken,
                type(None),
            ]
            assert await inside.count(None) == 3
            assert await orders.count(None) == 1
            await inside.delete("gone")
    assert await ids(orders, None) == ["1"]
    async with mongo.collections.transaction(source) as session:
        await session.collection("orders").patch("1", {("a",): 1}, AT)
        await session.collection("others").insert("1", {}, AT)
    assert (await mongo.collections.collection(source, "others").get("1")) is not None


async def test_of_two_transactions_that_collide_one_is_told(
    mongo: MongoEngine, source: str, orders: Collection
) -> None:
    await orders.insert("1", {}, AT)
    with pytest.raises(Conflict) as told:
        async with mongo.collections.transaction(source) as second:
            assert await second.collection("orders").get("1") is not None
            async with mongo.collections.transaction(source) as first:
                await first.collection("orders").replace("1", {"first": 1}, AT)
            await second.collection("orders").replace("1", {"second": 1}, AT)
    assert type(told.value) is Conflict and "Repeat" in told.value.hint
    row = await orders.get("1")
    assert row is not None and row.body == {"first": 1}


async def test_a_standalone_server_has_no_transactions_and_says_why(alone: MongoEngine) -> None:
    with pytest.raises(Unsupported, match="standalone") as told:
        async with alone.collections.transaction("plain"):
            pass
    assert "replica set" in told.value.hint


@pytest.mark.parametrize("kind", ["replica set", "standalone"])
async def test_of_many_writers_on_the_last_unit_one_is_admitted(
    kind: str, mongo: MongoEngine, alone: MongoEngine, source: str
) -> None:
    engine = mongo if kind == "replica set" else alone
    await engine.collections.collection(source, "orders").insert("0", {"a": 1}, AT)
    orders = engine.collections.collection(source, "orders", Quota(documents=2))
    more = engine.collections.collection(source, "more", Quota(documents=2))

    async def tried(number: int) -> StorageError | None:
        try:
            await (orders if number % 2 else more).insert(f"n{number}", {}, AT)
        except StorageError as error:
            return error
        return None

    told = await asyncio.gather(*[tried(number) for number in range(60)])
    assert sorted(type(error).__name__ for error in told) == ["NoneType", *["QuotaExceeded"] * 59]
    assert await orders.count(None) + await more.count(None) == 2
    await engine.databases.drop(source)


@pytest.mark.parametrize("kind", ["replica set", "standalone"])
async def test_bytes_are_counted_and_given_back(
    kind: str, mongo: MongoEngine, alone: MongoEngine, source: str
) -> None:
    engine = mongo if kind == "replica set" else alone
    orders = engine.collections.collection(source, "orders", Quota(bytes=100))
    fifty = {"a": "x" * 42}
    await orders.insert("1", fifty, AT)
    with pytest.raises(NameTaken):
        await orders.insert("1", {}, AT)
    await orders.insert("2", fifty, AT)
    with pytest.raises(QuotaExceeded) as full:
        await orders.patch("1", {("b",): 1}, AT)
    assert full.value.field == "bytes"
    await orders.replace("1", {"a": "x" * 22}, AT, version=1)
    await orders.delete("2")
    outcomes = await orders.insert_many(
        [Write("3", fifty), Write("1", {}), Write("4", fifty), Write("5", {})], AT
    )
    errors = [type(o.error) if o.error else o.version for o in outcomes]
    assert errors == [1, NameTaken, QuotaExceeded, 1]
    done = await orders.change_many([Write("3"), Write("5", changes={("n",): 1})], AT)
    assert [o.version for o in done] == [None, 2]
    await engine.collections.drop(source, "orders")
    assert [o.error for o in await orders.insert_many([Write("1", fifty), Write("2", fifty)], AT)] == [
        None,
        None,
    ]
    await engine.databases.drop(source)


async def test_what_was_written_without_a_quota_counts_for_the_next_process(
    mongo: MongoEngine, source: str, orders: Collection, mongodb_server: tuple[Endpoint, str]
) -> None:
    bound = Quota(documents=2)
    await mongo.collections.collection(source, "orders", bound).insert("1", {}, AT)
    await orders.insert("2", {}, AT + timedelta(seconds=1))
    other = MongoEngine(*mongodb_server)
    with pytest.raises(QuotaExceeded):
        await other.collections.collection(source, "orders", bound).insert("3", {}, AT)
    await other.close()


async def test_a_counted_transaction_counts_with_its_own_end(mongo: MongoEngine, source: str) -> None:
    bound = Quota(documents=1)
    orders = mongo.collections.collection(source, "orders", bound)
    with pytest.raises(ZeroDivisionError):
        async with mongo.collections.transaction(source, bound) as session:
            await session.collection("orders").insert("1", {}, AT)
            raise ZeroDivisionError
    await orders.insert("1", {}, AT)
    with pytest.raises(QuotaExceeded):
        async with mongo.collections.transaction(source, bound) as session:
            await session.collection("orders").insert("2", {}, AT)
    assert await orders.count(None) == 1
