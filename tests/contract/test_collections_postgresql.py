"""PostgreSQL's collections: the contract, and what is particular to tables and connections."""

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import orjson
import pytest

from storage_core.domain.errors import Conflict, NameTaken, NotFound, QuotaExceeded, Unsupported
from storage_core.domain.naming import schema_name
from storage_core.domain.order import after_row, parse_sort
from storage_core.domain.provider import Endpoint
from storage_core.domain.record import Find, Quota, Write
from storage_core.ports.collection import Collection, Collections
from storage_core.ports.engine import Engine
from storage_core.providers.postgresql.collection_index import physical
from storage_core.providers.postgresql.collection_sql import find_statement
from storage_core.providers.postgresql.collections import PostgresCollections
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.postgresql.hotpool import HotPools
from storage_core.providers.postgresql.indexes import Indexes
from tests.contract.collection_contract import T0, T1, CollectionContract, index, where

pytestmark = pytest.mark.servers
Server = tuple[Endpoint, str]


@pytest.fixture(scope="module")
async def engine(postgresql_server: Server) -> AsyncIterator[Engine]:
    engine = PostgresEngine(*postgresql_server)
    yield engine
    await engine.close()


class TestPostgresql(CollectionContract):
    @pytest.fixture
    def collections(self, engine: Engine) -> Collections:
        assert engine.collections is not None
        return engine.collections

    @pytest.fixture
    async def database(self, engine: Engine) -> AsyncIterator[str]:
        name = f"sc_collections_{secrets.token_hex(4)}"
        await engine.databases.create(name, {})
        yield name
        await engine.databases.drop(name)


class TestSchemas(TestPostgresql):
    """The same in a schema of the shared database."""

    @pytest.fixture
    async def database(self, engine: Engine) -> AsyncIterator[str]:
        name = schema_name(f"sc_collections_{secrets.token_hex(4)}")
        await engine.databases.create(name, {})
        yield name
        await engine.databases.drop(name)


@pytest.fixture(scope="module")
async def shared(engine: Engine) -> AsyncIterator[str]:
    name = f"sc_tables_{secrets.token_hex(4)}"
    await engine.databases.create(name, {})
    yield name
    await engine.databases.drop(name)


async def connected(server: Server, database: str) -> asyncpg.Connection:
    """A connection beside the engine's, which takes packed bodies as they are."""
    endpoint, password = server
    connection = await asyncpg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database=database
    )
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=lambda raw: raw, decoder=bytes
    )
    return connection


@pytest.fixture
async def sql(postgresql_server: Server, shared: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connected(postgresql_server, shared)
    yield connection
    await connection.close()


def opened(engine: Engine, database: str, name: str, quota: Quota | None = None) -> Collection:
    assert engine.collections is not None
    return engine.collections.collection(database, name, quota)


def pools_of(engine: Engine) -> HotPools:
    assert isinstance(engine.collections, PostgresCollections)
    return engine.collections.pools


async def test_questions_use_declared_indexes(engine: Engine, shared: str, sql: asyncpg.Connection) -> None:
    some = opened(engine, shared, "planned")
    bodies = [{"user": i % 200, "name": f"n{i}", "total": i / 2, "a": {"b": i}} for i in range(3000)]
    await some.insert_many([Write(f"d{i:05}", body) for i, body in enumerate(bodies)], T0)
    declared = (
        index("u_n", "user", "name"),
        index("t", "total"),
        index("n", "name", unique=True),
        index("d", "a.b"),
    )
    for one in declared:
        await some.create_index(one)
    assert set(await some.indexes()) == set(declared)
    await sql.execute("analyze collections.planned")
    for question in (
        {"user": 5},
        {"user": 5.0},
        {"user": {"$in": [5, 6, "x"]}},
        {"user": None},
        {"user": 5, "name": "n205"},
        {"user": 5, "name": {"$gte": "n2", "$lt": "n3"}},
        {"name": "n7"},
        {"name": {"$gt": "n2990", "$lt": "n3"}},
        {"total": {"$gt": 1490}},
        {"total": {"$gte": 3, "$lt": 9.5}},
        {"a.b": {"$lte": 7}},
        {"a.b": 7},
    ):
        statement, values = find_statement("planned", Find(where(question)))
        plan = "\n".join(row[0] for row in await sql.fetch(f"explain {statement}", *values))
        assert "Index Cond" in plan and "Seq Scan" not in plan, (question, plan)


MANY = """insert into collections.{0} select 'd' || lpad(i::text, 6, '0'), 1, $1, $1,
    jsonb_build_object('n', i * 7919 % {1}, 't', 't' || lpad((i * 12347 % {1})::text, 6, '0'), 'few', i % 20), false
    from generate_series(1, {1}) i"""


async def test_a_page_in_an_index_s_order_reads_little_more_than_itself(
    engine: Engine, shared: str, sql: asyncpg.Connection
) -> None:
    count, limit = 100_000, 100
    some = opened(engine, shared, "paged")
    await some.insert("d", {}, T0)
    await sql.execute(MANY.format("paged", count), T0)
    for path in ("n", "t", "few"):
        await some.create_index(index(path, path))
    await sql.execute("analyze collections.paged")

    def most(plan: dict[str, Any]) -> int:
        """The most rows that a step of a plan met."""
        met = int((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
        return max(met, *map(most, plan.get("Plans", [])), 0)

    for order in ("n", "-n", "t", "-t", "few", "-few"):
        find = Find(sort=parse_sort(order), limit=limit)
        for _ in range(2):
            statement, values = find_statement("paged", find, indexed=True)
            [found] = orjson.loads(
                await sql.fetchval(f"explain (analyze, timing off, format json) {statement}", *values)
            )
            # equal values come in order of id: at worst all of one are looked at
            assert most(found["Plan"]) <= 3 * limit + (count // 20 if "few" in order else 0), (order, found)
            rows = await some.find(find)
            assert len(rows) == limit
            find = Find(sort=find.sort, limit=limit, after=after_row(find, rows[-1]))
    assert isinstance(engine.collections, PostgresCollections)
    assert engine.collections.known[shared, "paged"].ordered == {("n",), ("t",), ("few",)}


async def test_words_are_found_by_an_administrator_s_index(
    engine: Engine, shared: str, sql: asyncpg.Connection
) -> None:
    some = opened(engine, shared, "wordy")
    bodies = [{"t": "the quick fox", "n": 1}, {"t": "slow foxes", "n": 2}, {"t": "a {dog}"}, {"t": 5}, {}]
    await some.insert_many([Write(f"{i}", body) for i, body in enumerate(bodies)], T0)
    assert isinstance(engine.collections, PostgresCollections)
    for call in (some.find(Find(where({"$text": "fox"}))), some.count(where({"n": 1, "$text": "fox"}))):
        with pytest.raises(Unsupported, match="full-text index"):
            await call
    await sql.execute(
        "create index on collections.wordy using gin (to_tsvector('english', coalesce(body #>> '{t}', '')))"
    )
    engine.collections.known.clear()

    async def ids(question: dict[str, Any], sort: str = "id") -> list[str]:
        return [row.id for row in await some.find(Find(where(question), parse_sort(sort)))]

    assert await ids({"$text": "fox"}) == ["0", "1"]
    assert await ids({"$text": "fox -quick"}) == ["1"]
    assert await ids({"$text": "dog or quick", "n": None}) == ["2"]
    assert await ids({"$and": [{"$text": "fox"}, {"n": {"$gt": 0}}]}, "-n") == ["1", "0"]
    assert await some.count(where({"$text": "'; drop table"})) == 0
    for inside in ({"$or": [{"$text": "fox"}, {"n": 1}]}, {"$not": {"$text": "fox"}}):
        with pytest.raises(Unsupported):
            await ids(inside)
    words = await Indexes(engine.collections, shared).words("wordy")
    statement, values = find_statement("wordy", Find(where({"$text": "fox"})), words=words)
    async with sql.transaction():
        await sql.execute("set local enable_seqscan = off; set local enable_indexscan = off")
        plan = await sql.fetch(f"explain {statement}", *values)
    assert any("Bitmap Index Scan" in row[0] for row in plan), plan
    async with engine.collections.transaction(shared) as session:
        found = await session.collection("wordy").find(Find(where({"$text": "fox"})))
        assert [row.id for row in found] == ["0", "1"]


async def test_what_an_interrupted_index_left_is_replaced(
    engine: Engine, shared: str, sql: asyncpg.Connection
) -> None:
    some = opened(engine, shared, "leftover")
    await some.insert_many([Write("a", {"n": 1}), Write("b", {"n": 1})], T0)
    place = f'"{physical("leftover", "by_n")}"'
    with pytest.raises(asyncpg.UniqueViolationError):
        await sql.execute(f"create unique index concurrently {place} on collections.leftover ((body -> 'n'))")
    assert await some.indexes() == ()
    await some.create_index(index("by_n", "n"))
    assert await some.indexes() == (index("by_n", "n"),)
    invalid = "select count(*) from pg_index where not indisvalid"
    assert await sql.fetchval(invalid) == 0
    await some.drop_index("by_n")
    assert await sql.fetchval("select count(*) from pg_indexes where tablename = 'leftover'") == 1


async def test_long_texts_are_kept_found_and_compared_whole(engine: Engine, shared: str) -> None:
    some = opened(engine, shared, "long")
    await some.create_index(index("plain", "t"))
    await some.create_index(index("once", "u", unique=True))
    dice = random.Random(1)
    long = "".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(9000))
    await some.insert("a", {"t": long, "u": long}, T0)
    await some.insert("b", {"t": long + "b", "u": long + "b"}, T0)
    for question, found in (
        ({"t": long}, ["a"]),
        ({"t": {"$gt": long}}, ["b"]),
        ({"t": {"$lte": long}}, ["a"]),
        ({"t": {"$in": [long + "b", 1]}}, ["b"]),
        ({"t": {"$ne": long}}, ["b"]),
    ):
        assert [row.id for row in await some.find(Find(where(question)))] == found
    with pytest.raises(NameTaken) as refused:
        await some.insert("c", {"u": long}, T0)
    assert refused.value.field == "once"


async def test_large_numbers_are_found_and_paged_through(engine: Engine, shared: str) -> None:
    some = opened(engine, shared, "large")
    await some.create_index(index("v", "v"))
    values = [
        1e23,
        1e22,
        2**63 - 1,
        9.223372036854775e18,
        1e300,
        -1e23,
        5e-324,
        -5e-324,
        1e16,
        10**16 + 1,
        2e19,
    ]
    await some.insert_many([Write(f"{i:02}", {"v": value}) for i, value in enumerate(values)], T0)
    for i, value in enumerate(values):
        assert [row.id for row in await some.find(Find(where({"v": value})))] == [f"{i:02}"], value
        above = {f"{n:02}" for n, other in enumerate(values) if other > value}
        assert {row.id for row in await some.find(Find(where({"v": {"$gt": value}})))} == above, value
    find, seen = Find(sort=parse_sort("v"), limit=1), list[float]()
    while rows := await some.find(find):
        seen.append(rows[0].body["v"])
        find = Find(sort=find.sort, limit=1, after=after_row(find, rows[0]))
    assert seen == sorted(values)


async def test_a_table_of_somebody_else_s_is_left_alone(
    engine: Engine, shared: str, sql: asyncpg.Connection
) -> None:
    await sql.execute("create schema if not exists collections")
    await sql.execute("create table collections.theirs (n int)")
    some = opened(engine, shared, "theirs")
    for call in (some.insert("a", {}, T0), some.insert_many([Write("a", {})], T0), some.get("a")):
        with pytest.raises(Conflict) as refused:
            await call
        assert refused.value.field == "collection"
    assert engine.collections is not None
    assert "theirs" not in await engine.collections.names(shared)
    await engine.collections.drop(shared, "theirs")
    assert await sql.fetchval("select count(*) from collections.theirs") == 0


async def test_a_database_made_again_begins_anew(engine: Engine) -> None:
    name = f"sc_again_{secrets.token_hex(4)}"
    for _ in range(2):
        await engine.databases.create(name, {})
        counted = opened(engine, name, "orders", Quota(documents=2))
        await counted.insert("a", {}, T0)
        await counted.insert("b", {}, T0)
        with pytest.raises(QuotaExceeded):
            await counted.insert("c", {}, T0)
        await engine.databases.drop(name)
        with pytest.raises(NotFound):
            await counted.get("a")


async def test_lost_connections_are_replaced(engine: Engine, shared: str, sql: asyncpg.Connection) -> None:
    some = opened(engine, shared, "lost")
    await some.insert("a", {"n": 1}, T0)
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"
    for _ in range(3):
        await asyncio.gather(*(some.get("a") for _ in range(8)))
        await sql.fetch(kill, shared)
        assert {
            row and row.body["n"] for row in await asyncio.gather(*(some.get("a") for _ in range(8)))
        } == {1}


async def cut_short(
    calls: Sequence[Callable[[], Awaitable[object]]], seed: int, times: int, share: float
) -> None:
    """Calls at random, some of them cancelled at any moment."""
    dice = random.Random(seed)
    for _ in range(times):
        task = asyncio.ensure_future(dice.choice(calls)())
        if dice.random() < share:
            await asyncio.sleep(dice.random() * 0.003)
            task.cancel()
        with contextlib.suppress(Conflict, NotFound, asyncio.CancelledError):
            await task


async def test_counters_stay_right(engine: Engine, postgresql_server: Server) -> None:
    """Whoever writes at once, whatever fails, however calls end."""
    database = f"sc_counters_{secrets.token_hex(4)}"
    await engine.databases.create(database, {})
    quota = Quota(documents=10, bytes=2500)
    some = opened(engine, database, "orders", quota)
    dice = random.Random(3)

    def id(of: int = 12) -> str:
        return f"d{dice.randrange(of)}"

    def pad() -> dict[str, str]:
        return {"pad": "x" * dice.randrange(400)}

    async def together() -> None:
        assert engine.collections is not None
        async with engine.collections.transaction(database, quota) as session:
            await session.collection("orders").insert(id(), pad(), T0)
            await session.collection("others").replace(id(5), pad(), T1)

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: some.insert(id(), pad(), T0),
        lambda: some.replace(id(), pad(), T1),
        lambda: some.patch(id(), {("a", "b"): pad()}, T1),
        lambda: some.patch(id(), {("c",): pad()}, T1, unset=[("pad",)]),
        lambda: some.delete(id()),
        lambda: some.insert_many([Write(id(), pad()) for _ in range(4)], T0),
        lambda: some.change_many([Write(id(), pad()), Write(id(), pad()), Write(id())], T1),
        together,
    ]
    await opened(engine, database, "others", quota).insert("d0", {}, T0)
    await asyncio.gather(*(cut_short(calls, seed, 60, 0.1) for seed in range(8)))
    sql = await connected(postgresql_server, database)
    kept = await sql.fetchrow("select documents, bytes from collections._quota")
    real = await sql.fetchrow("""select count(*), sum(octet_length(body::text)) from
        (select body from collections.orders union all select body from collections.others) d""")
    assert tuple(kept) == tuple(real) and kept["documents"] > 2
    assert await opened(engine, database, "orders").count(None) <= 10
    await sql.close()
    await engine.databases.drop(database)


@pytest.mark.parametrize("times", [300, pytest.param(None, marks=pytest.mark.torture)])
async def test_cancelled_calls_leak_no_connection(
    engine: Engine, shared: str, sql: asyncpg.Connection, times: int | None
) -> None:
    """SIZE steers the campaign: 10 000 for each."""
    times = times or 10_000 * int(os.environ.get("SIZE", "1"))
    some = opened(engine, shared, f"cut_{secrets.token_hex(3)}")
    counted = opened(engine, shared, f"cut_{secrets.token_hex(3)}", Quota(documents=10**6))
    await some.insert("a", {"n": 1, "pad": "x" * 500}, T0)
    fresh = iter(range(10**9))

    async def together() -> None:
        assert engine.collections is not None
        async with engine.collections.transaction(shared) as session:
            await session.collection("cut_both").insert(f"{next(fresh)}", {}, T0)
            await session.collection("cut_both").find(Find(limit=5))

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: some.get("a"),
        lambda: some.find(Find(where({"n": 1}), limit=5)),
        lambda: some.patch("a", {("n",): 1}, T1),
        lambda: some.insert(f"{next(fresh)}", {"n": 2}, T0),
        lambda: some.insert_many([Write(f"{next(fresh)}", {"n": 2}) for _ in range(20)], T0),
        lambda: counted.insert(f"{next(fresh)}", {}, T0),
        together,
    ]
    await asyncio.gather(*(cut_short(calls, seed, times // 12, 0.9) for seed in range(12)))
    pools = pools_of(engine)
    pool = pools.of(shared)
    assert pool.open == len(pool.free) <= pool.size
    assert pools.live == sum(len(pools.of(name).free) for name in pools.databases)
    assert len(await asyncio.gather(*(some.get("a") for _ in range(50)))) == 50
    pools.close_idle(shared)
    assert pools.of(shared).open == 0
    others = "select count(*) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"
    # the server sees to it in its own time
    async with asyncio.timeout(10):
        while await sql.fetchval(f"select pg_sleep(0.01), ({others})", shared, column=1):
            pass


async def test_databases_share_the_server_s_connections(postgresql_server: Server) -> None:
    engine = PostgresEngine(*postgresql_server)
    assert isinstance(engine.collections, PostgresCollections)
    pools = engine.collections.pools = HotPools(engine.collections.connect, per_database=2, most=3)
    names = [f"sc_many_{secrets.token_hex(4)}" for _ in range(4)]
    for name in names:
        await engine.databases.create(name, {})
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        some = opened(engine, names[number % 4], "orders")
        for turn in range(6):
            await some.insert(f"{number}.{turn}", {}, T0)
            most = max(most, pools.live)

    await asyncio.gather(*(work(number) for number in range(16)))
    assert most <= 3
    assert [await opened(engine, name, "orders").count(None) for name in names] == [24] * 4
    for name in names:
        await engine.databases.drop(name)
    await engine.close()
    assert pools.live == 0
