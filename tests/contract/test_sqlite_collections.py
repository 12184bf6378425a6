"""SQLite's collections hold the contract, and what is particular to files."""

import asyncio
import secrets
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from storage_core.domain.backup import Manifest, compare
from storage_core.domain.errors import Conflict, InvalidRequest, NotFound, StorageError
from storage_core.domain.provider import Endpoint
from storage_core.domain.query import Compare, Exists, Member, Op
from storage_core.domain.record import Find, Index, SortKey
from storage_core.ports.collection import Collections
from storage_core.providers.sqlite.collection_files import Files
from storage_core.providers.sqlite.collection_query import find_statement
from storage_core.providers.sqlite.collection_table import collection_table
from storage_core.providers.sqlite.collections import SqliteCollections
from storage_core.providers.sqlite.connect import reading
from storage_core.providers.sqlite.engine import SqliteEngine
from storage_core.providers.sqlite.place import Place
from tests.contract.collection_contract import T0, CollectionContract
from tests.contract.engine_contract import no_progress


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    made = SqliteEngine(Endpoint(path=str(tmp_path)), None)
    yield made
    await made.close()


@pytest.fixture
def collections(engine: SqliteEngine) -> Collections:
    assert engine.collections is not None
    return engine.collections


@pytest.fixture
async def database(engine: SqliteEngine) -> str:
    name = f"{secrets.token_hex(4)}.sqlite3"
    await engine.databases.create(name, {})
    return name


class TestSqliteCollections(CollectionContract):
    """The suite, on a new file for each test."""


# what is particular to files


async def test_a_dropped_database_is_let_go_and_made_anew(engine: SqliteEngine, database: str) -> None:
    assert engine.collections is not None
    some = engine.collections.collection(database, "orders")
    await some.insert("a", {"n": 1}, T0)
    assert await some.get("a") is not None
    await engine.databases.drop(database)
    with pytest.raises(NotFound):
        await some.get("a")
    with pytest.raises(NotFound):
        await some.insert("b", {}, T0)
    await engine.databases.create(database, {})
    assert await some.get("a") is None
    await some.insert("b", {}, T0)
    assert await some.count(None) == 1


async def test_a_file_that_another_program_replaced_is_opened_again(
    engine: SqliteEngine, database: str, tmp_path: Path
) -> None:
    assert engine.collections is not None
    some = engine.collections.collection(database, "orders")
    await some.insert("a", {}, T0)
    assert await some.count(None) == 1
    for path in [tmp_path / f"{database}{suffix}" for suffix in ("", "-wal", "-shm")]:
        path.unlink(missing_ok=True)
    other = SqliteEngine(Endpoint(path=str(tmp_path)), None)
    await other.databases.create(database, {})
    await some.insert("b", {}, T0)
    assert [row.id for row in await some.find(Find())] == ["b"]


async def test_a_table_of_others_is_no_collection(
    engine: SqliteEngine, database: str, tmp_path: Path
) -> None:
    assert engine.collections is not None
    with closing(sqlite3.connect(tmp_path / database)) as db:
        db.execute("CREATE TABLE c_orders (id TEXT PRIMARY KEY, body TEXT)")
    some = engine.collections.collection(database, "orders")
    for call in (some.get("a"), some.insert("a", {}, T0), some.count(None)):
        with pytest.raises(InvalidRequest, match="no collection"):
            await call
    assert await engine.collections.names(database) == ()


async def test_odd_names_of_fields_are_found(engine: SqliteEngine, database: str) -> None:
    assert engine.collections is not None
    some = engine.collections.collection(database, "orders")
    names = ['q"q', "b\\s", "%(a)s", "?", "'", "a[0]", "[", "tab\t", "ä", "0", ":x", "0.1.2.3.4.5.6"]
    for i, name in enumerate(names):
        await some.insert(f"d{i:02}", {name: i, "other": {name: "x"}}, T0)
    for i, name in enumerate(names[:-1]):
        assert [r.id for r in await some.find(Find(Compare((name,), Op.EQ, i)))] == [f"d{i:02}"], name
        assert await some.count(Exists(("other", name))) == 1, name


def plan(path: Path, find: Find) -> str:
    sql, operands = find_statement(collection_table("orders"), find)
    with closing(sqlite3.connect(path)) as db:
        return " ".join(str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", operands))


async def test_filters_orders_and_pages_use_the_index(
    engine: SqliteEngine, database: str, tmp_path: Path
) -> None:
    assert engine.collections is not None
    some = engine.collections.collection(database, "orders")
    await some.create_index(Index("by_qty", (("qty",),)))
    await some.create_index(Index("by_sku", (("sku",),), unique=True))
    up, down = (SortKey(("qty",)),), (SortKey(("qty",), descending=True),)
    for find in (
        Find(Compare(("qty",), Op.EQ, 3)),
        Find(Compare(("qty",), Op.GT, 3)),
        Find(Compare(("qty",), Op.LTE, 2.5)),
        Find(Compare(("qty",), Op.EQ, None)),
        Find(Member(("qty",), (1, 2, "x"))),
        Find(sort=down),
        Find(sort=up, after=(3, "a")),
        Find(sort=down, after=(3, "a")),
    ):
        assert "SEARCH c_orders USING INDEX c_orders.by_qty" in plan(tmp_path / database, find), find
    assert plan(tmp_path / database, Find(sort=up)) == "SCAN c_orders USING INDEX c_orders.by_qty"
    assert "c_orders.by_sku" in plan(tmp_path / database, Find(Compare(("sku",), Op.EQ, "A1")))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_many_files_in_turn_keep_few_open(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    engine = SqliteEngine(Endpoint(path=str(tmp_path)), None)
    await engine.databases.create("first.sqlite3", {})
    await engine.close()
    content = (tmp_path / "first.sqlite3").read_bytes()
    for i in range(300):
        (tmp_path / f"{i}.sqlite3").write_bytes(content)
    files = Files(place, most=16)
    collections = SqliteCollections(files)
    threads = threading.active_count()
    for i in range(300):
        some = collections.collection(f"{i}.sqlite3", "orders")
        await some.insert("a", {"i": i}, T0)
        row = await some.get("a")
        assert row is not None and row.body == {"i": i}
        if i % 50 == 49:
            assert len(files.open) <= 16
            assert open_descriptors() < 16 * 7 + 100
            assert threading.active_count() <= threads + 32
    await files.close()


CHILD = """
import asyncio, sys
from datetime import UTC, datetime
from storage_core.domain.provider import Endpoint
from storage_core.providers.sqlite.engine import SqliteEngine

async def main():
    some = SqliteEngine(Endpoint(path=sys.argv[1]), None).collections.collection(sys.argv[2], "orders")
    async def task(t):
        for i in range(100000):
            await some.insert(f"{t}-{i}", {"i": i}, datetime.now(UTC))
            print(f"{t}-{i}", flush=True)
    await asyncio.gather(*(task(t) for t in range(8)))
asyncio.run(main())
"""


async def test_killed_writers_lose_nothing_acknowledged(
    engine: SqliteEngine, database: str, tmp_path: Path
) -> None:
    assert engine.collections is not None
    seen: set[str] = set()
    for lines in (1, 40, 333):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(tmp_path), database, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        for _ in range(lines):
            seen.add((await child.stdout.readline()).decode().strip())
        child.kill()
        seen |= {line for line in (await child.stdout.read()).decode().split("\n")[:-1] if line}
        await child.wait()
        some = engine.collections.collection(database, "orders")
        found = {row.id: row.body for row in await some.find(Find(limit=10_000))}
        assert seen <= found.keys()
        assert all(body == {"i": int(id.split("-")[1])} for id, body in found.items())
        await engine.collections.drop(database, "orders")
        seen.clear()


async def test_a_transaction_that_outlives_its_database_is_undone(
    engine: SqliteEngine, database: str
) -> None:
    assert engine.collections is not None
    with pytest.raises(Conflict):
        async with engine.collections.transaction(database) as session:
            await session.collection("orders").insert("a", {}, T0)
            await engine.databases.configure(database, {"user_version": "7"})
            await session.collection("orders").insert("b", {}, T0)
    assert await engine.collections.collection(database, "orders").count(None) == 0


async def test_files_with_json_in_their_schema_are_backed_up(
    engine: SqliteEngine, database: str, tmp_path: Path
) -> None:
    assert engine.backup is not None and engine.collections is not None
    some = engine.collections.collection(database, "orders")
    await some.create_index(Index("by_qty", (("qty",),), unique=True))
    await some.insert("a", {"qty": 1}, T0)
    async with engine.backup.dump(database, no_progress) as dump:
        await engine.backup.restore(
            dump.pieces(), "again.sqlite3", Manifest("sqlite", "0", "none", ()), no_progress
        )
        manifest = dump.manifest
    assert compare(manifest, await engine.backup.measure("again.sqlite3", manifest)) == ()
    row = await engine.collections.collection("again.sqlite3", "orders").get("a")
    assert row is not None and row.body == {"qty": 1}
    with closing(sqlite3.connect(tmp_path / database)) as db:
        db.execute("CREATE VIEW hostile AS SELECT load_extension('nowhere')")
        db.commit()
    with pytest.raises(StorageError), reading(tmp_path / database) as db:
        db.execute("SELECT * FROM hostile").fetchall()
