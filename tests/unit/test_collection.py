"""Collections as applications use them: values, patches, pages, bulk calls; over the port in memory."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from storage_core.bootstrap.sources import OrderedIds
from storage_core.domain.errors import (
    InvalidRequest,
    NameTaken,
    NotFound,
    TenantMismatch,
    Unreachable,
    VersionConflict,
)
from storage_core.domain.value import Mode
from storage_core.ports.collection import Collection as Port
from storage_core.storage import Change, Collection, DocumentPage
from storage_core.storage.link import Tie
from storage_core.tenancy import TenantScope, tenant_scope
from tests.unit.memory_port import MemoryCollections


class Tied:
    """A tie to the port in memory, which tests move."""

    def __init__(self, port: MemoryCollections) -> None:
        self.port, self.database = port, "db"
        self.stamp: object | None = object()
        self.binds = 0

    async def bind(self, name: str) -> tuple[Port, object]:
        self.binds += 1
        self.stamp = self.stamp or object()
        return self.port.collection(self.database, name), self.stamp

    def check(self, scope: TenantScope) -> None:
        if scope.tenant != "acme":
            raise TenantMismatch("Another tenant is in force.")


class Desk:
    def __init__(self) -> None:
        self.port = MemoryCollections()
        self.tie = Tied(self.port)
        self.at = datetime(2026, 1, 2, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at

    def collection(self, mode: Mode = Mode.STRICT, name: str = "orders") -> Collection:
        tie: Tie = self.tie
        return Collection(name, mode, tie, self.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def orders(desk: Desk) -> Collection:
    return desk.collection()


async def test_a_document_goes_in_and_comes_out(desk: Desk, orders: Collection) -> None:
    order = await orders.insert({"sku": "A1", "qty": 3})
    assert (order.version, order.created_at, order.updated_at) == (1, desk.at, desk.at)
    assert order.data == {"sku": "A1", "qty": 3}
    assert await orders.get(order.id) == order
    assert await orders.get("nobody") is None


async def test_what_was_written_does_not_follow_what_the_caller_does_next(orders: Collection) -> None:
    data = {"sku": "A1"}
    order = await orders.insert(data)
    data["sku"] = "B2"
    assert order.data == {"sku": "A1"}


async def test_own_ids_are_kept_and_never_taken_twice(orders: Collection) -> None:
    assert (await orders.insert({}, id="o-1")).id == "o-1"
    with pytest.raises(NameTaken):
        await orders.insert({}, id="o-1")
    for wrong in ("", "x" * 129, "a\nb", 7):
        with pytest.raises(InvalidRequest) as refused:
            await orders.insert({}, id=wrong)  # type: ignore[arg-type]
        assert refused.value.field == "id"


def test_generated_ids_are_uuids_in_order_that_tell_nothing_of_each_other() -> None:
    ids = [make() for make in [OrderedIds()] for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(id).version for id in ids} == {7}
    assert {uuid.UUID(id).variant for id in ids} == {uuid.RFC_4122}
    assert len({id[19:] for id in ids}) == len(ids)
    still = OrderedIds(clock=lambda: 1_700_000_000_123_456_789)
    stuck = [still() for _ in range(10)]
    assert stuck == sorted(set(stuck))
    assert stuck[0].startswith("018bcfe5-687b-7")


async def test_an_update_changes_fields_by_path_and_removes_others(orders: Collection) -> None:
    order = await orders.insert({"sku": "A1", "to": {"city": "Bern", "zip": "3000"}, "note": "x"})
    order = await orders.update(order.id, {"to.city": "Basel", "$.id": 7}, unset=["note"], version=1)
    assert order.data == {"sku": "A1", "to": {"city": "Basel", "zip": "3000"}, "id": 7}
    assert order.version == 2
    with pytest.raises(VersionConflict):
        await orders.update(order.id, {"qty": 1}, version=1)
    with pytest.raises(NotFound):
        await orders.update("nobody", {"qty": 1})
    replaced = await orders.replace(order.id, {"qty": 1}, version=2)
    assert (replaced.data, replaced.version, replaced.created_at) == ({"qty": 1}, 3, order.created_at)
    await orders.delete(order.id, version=3)
    assert await orders.get(order.id) is None


@pytest.mark.parametrize(
    ("changes", "unset", "field"),
    [
        ({"version": 3}, (), "changes"),
        ({"a..b": 3}, (), "changes"),
        ({7: 3}, (), "changes"),
        ({}, (), "changes"),
        ([1], (), "changes"),
        ({"a": Decimal(1)}, (), "changes.a"),
        ({}, ("created_at",), "unset"),
        ({}, (7,), "unset"),
    ],
)
async def test_a_wrong_change_is_refused_by_its_field(
    orders: Collection, changes: Any, unset: Any, field: str
) -> None:
    await orders.insert({"a": 1}, id="o")
    with pytest.raises(InvalidRequest) as refused:
        await orders.update("o", changes, unset=unset)
    assert refused.value.field == field


async def test_strict_refuses_tagged_keeps_lossy_reports(desk: Desk) -> None:
    when = datetime(2026, 5, 1, 12, tzinfo=UTC)
    strict, tagged, lossy = (desk.collection(mode) for mode in Mode)
    with pytest.raises(InvalidRequest) as refused:
        await strict.insert({"lines": [{"due": when}]})
    assert refused.value.field == "data.lines.0.due"
    kept = await tagged.insert({"due": when, "price": Decimal("1.10")})
    assert kept.data == {"due": when, "price": Decimal("1.10")}
    # Whoever reads it, reads what was written.
    for reader in (strict, tagged, lossy):
        found = await reader.get(kept.id)
        assert found is not None
        assert found.data == kept.data
    assert [d.id async for d in tagged.query({"due": {"$gte": when}})] == [kept.id]
    lost = await lossy.insert({"price": Decimal("1.10")})
    assert (lost.data, [loss.path for loss in lost.losses]) == ({"price": 1.1}, ["data.price"])
    lost = await lossy.update(lost.id, {"price": Decimal("2.20")})
    assert (lost.data, [loss.path for loss in lost.losses]) == ({"price": 2.2}, ["changes.price"])


async def test_a_query_reads_every_document_once_page_by_page(desk: Desk, orders: Collection) -> None:
    await orders.insert_many([{"n": n % 7} for n in range(1234)])
    found = [document async for document in orders.query({"n": {"$ne": 3}}, sort=["-n", "created_at"])]
    assert len(found) == len({document.id for document in found}) == 1234 - 176
    assert [d.data["n"] for d in found] == sorted((d.data["n"] for d in found), reverse=True)
    assert desk.port.faults.calls.count("find") == 3
    assert len(await orders.query(limit=150).all()) == 150
    assert await orders.query(limit=0).all() == []
    first = await orders.query(sort="-n").first()
    assert first is not None
    assert first.data["n"] == 6
    assert await orders.count({"n": 3}) == 176
    assert len([d async for d in orders]) == 1234


async def test_pages_are_stable_while_others_write(orders: Collection) -> None:
    await orders.insert_many([{"n": n, "more": {"x": n}} for n in range(50)])
    seen: list[int] = []
    page = DocumentPage((), None)
    while True:
        page = await orders.query(sort="-n", limit=7, fields=["more.x"], after=page.next).page()
        seen += [document.data["more"]["x"] for document in page.items]
        assert all(document.data == {"more": {"x": document.data["more"]["x"]}} for document in page.items)
        if page.next is None:
            break
        await orders.insert({"n": 1000, "more": {"x": 1000}})
        await orders.delete(page.items[0].id)
    assert seen == list(range(49, -1, -1))


async def test_a_cursor_of_another_order_or_of_nothing_is_refused(orders: Collection) -> None:
    await orders.insert_many([{"n": n} for n in range(5)])
    page = await orders.query(sort="n", limit=2).page()
    assert page.next is not None
    for sort, after in (("-n", page.next), ("n", "x"), ("n", "W10"), ("n", page.next[:-3])):
        with pytest.raises(InvalidRequest) as refused:
            orders.query(sort=sort, after=after)
        assert refused.value.field == "after"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"where": {"a": {"$near": 1}}}, "where.a.$near"),
        ({"sort": ["a", "b", "c", "d", "e"]}, "sort"),
        ({"sort": "a..b"}, "sort"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"fields": "a"}, "fields"),
        ({"fields": []}, "fields"),
        ({"fields": ["version"]}, "fields"),
    ],
)
def test_a_wrong_question_is_refused_before_anything_is_read(
    orders: Collection, asked: Any, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        orders.query(**asked)
    assert refused.value.field == field


async def test_bulk_calls_answer_item_by_item_in_order(orders: Collection) -> None:
    outcomes = await orders.insert_many([{"n": 1}, {"n": Decimal(1)}, {"n": 3}], ids=["a", "b", "a"])
    assert [(o.id, o.version, o.error and o.error.field) for o in outcomes] == [
        ("a", 1, None),
        ("b", None, "items.1.n"),
        ("a", None, "id"),
    ]
    outcomes = await orders.update_many(
        [Change("a", {"n": 2}, version=1), Change("x", {"n": 2}), Change("a", {"n": 3}, version=1)]
    )
    assert [(o.version, o.error and o.error.code) for o in outcomes] == [
        (2, None),
        (None, "not_found"),
        (None, "version_conflict"),
    ]
    outcomes = await orders.delete_many(["a", "", "a"])
    assert [o.error and o.error.code for o in outcomes] == [None, "invalid_request", "not_found"]
    assert len(await orders.insert_many({"n": n} for n in range(2500))) == 2500
    with pytest.raises(InvalidRequest):
        await orders.insert_many([{}], ids=["a", "b"])


async def test_a_handle_binds_again_only_after_news(desk: Desk, orders: Collection) -> None:
    await orders.insert({}, id="a")
    await orders.get("a")
    assert desk.tie.binds == 1
    desk.tie.database, desk.tie.stamp = "moved", None
    assert await orders.get("a") is None
    await orders.count()
    assert desk.tie.binds == 2


async def test_a_handle_works_without_a_scope_and_in_its_own_alone(orders: Collection) -> None:
    order = await orders.insert({"n": 1})
    with tenant_scope("acme"):
        assert await orders.get(order.id) == order
    calls = (
        lambda: orders.insert({}),
        lambda: orders.get("a"),
        lambda: orders.update("a", {"n": 1}),
        lambda: orders.replace("a", {}),
        lambda: orders.delete("a"),
        lambda: orders.insert_many([{}]),
        lambda: orders.update_many([Change("a", {"n": 1})]),
        lambda: orders.delete_many(["a"]),
        lambda: orders.query().all(),
        lambda: orders.query().first(),
        lambda: orders.query().page(),
        orders.count,
        lambda: orders.create_index("n"),
        orders.indexes,
        lambda: orders.drop_index("n"),
    )
    with tenant_scope("globex"):
        for call in calls:
            with pytest.raises(TenantMismatch):
                await call()
    assert await orders.count() == 1


async def test_many_tasks_share_one_handle(orders: Collection) -> None:
    await asyncio.gather(*(orders.insert({"n": n}) for n in range(200)))
    assert await orders.count() == 200


async def test_a_bulk_call_that_is_cancelled_leaves_no_batch_under_way(
    desk: Desk, orders: Collection
) -> None:
    await orders.count()
    desk.port.faults.held = asyncio.Event()
    call = asyncio.create_task(orders.insert_many({"n": n} for n in range(3000)))
    await desk.port.faults.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    desk.port.faults.held.set()
    assert desk.port.faults.calls.count("insert_many") == 1
    assert not [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_sent"]


async def test_a_bulk_call_ends_with_the_first_batch_that_fails(desk: Desk, orders: Collection) -> None:
    await orders.count()
    desk.port.faults.before = [Unreachable("away")]
    with pytest.raises(Unreachable):
        await orders.insert_many({"n": n} for n in range(3000))
    assert await orders.count() == 0
