"""MongoDB: expiry rules wait until a restored copy was measured, then `finish` switches them on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pymongo import AsyncMongoClient, IndexModel

from storage_core.domain.backup import compare
from storage_core.domain.errors import Unreachable
from storage_core.domain.provider import Endpoint
from storage_core.providers.mongodb.engine import MongoEngine
from storage_core.providers.mongodb.finish import Rule
from storage_core.providers.mongodb.names import MARKER, NOTE_EXPIRY, NOTE_RESTORED
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.mongodb.samples import MOMENT
from tests.contract.mongodb.support import Client, round_trip

pytestmark = pytest.mark.servers


@pytest.fixture
async def engine(standalone: Endpoint) -> AsyncIterator[MongoEngine]:
    engine = MongoEngine(standalone, None)
    yield engine
    for found in await engine.databases.existing():
        await engine.databases.drop(found.physical_name)
    await engine.close()


@pytest.fixture
async def plain(standalone: Endpoint) -> AsyncIterator[Client]:
    """A plain driver; the server's search for expired documents is off until a test wants it."""
    plain: Client = AsyncMongoClient(host=standalone.host, port=standalone.port)
    await watch(plain, on=False)
    yield plain
    await watch(plain, on=True)
    await plain.close()


async def watch(plain: Client, *, on: bool) -> None:
    await plain.admin.command({"setParameter": 1, "ttlMonitorEnabled": on})


async def searched(plain: Client, times: int) -> None:
    """Wait until the server has looked for expired documents so many times more."""

    async def passes() -> int:
        return (await plain.admin.command("serverStatus"))["metrics"]["ttl"]["passes"]

    until = await passes() + times
    for _ in range(400):
        if await passes() >= until:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the server does not look for expired documents")


async def fill(plain: Client, name: str) -> None:
    database = plain[name]
    await database.sessions.insert_many([{"_id": n, "at": MOMENT} for n in range(20)])
    await database.sessions.create_index("at", name="ttl", expireAfterSeconds=60)
    await database.create_collection("points", timeseries={"timeField": "at"}, expireAfterSeconds=60)
    await database.points.insert_one({"at": MOMENT})


async def test_nothing_expires_before_the_finish_and_everything_after(
    engine: MongoEngine, plain: Client
) -> None:
    await fill(plain, "source")
    pieces, manifest = await dumped(engine.backup, "source")
    for name in ("kept", "sc_scratch_proof"):
        await engine.backup.restore(replay(pieces), name, manifest, no_progress)
    await watch(plain, on=True)
    await searched(plain, 2)
    assert compare(manifest, await engine.backup.measure("kept", manifest)) == ()
    told = await engine.backup.finish("kept")
    assert sorted(told) == [
        "1 documents have expired already; points will remove them.",
        "20 documents have expired already; index ttl of sessions will remove them.",
    ]
    await searched(plain, 2)
    for name in ("sessions", "points"):
        assert await plain["kept"][name].count_documents({}) == 0, name
    assert [note["_id"] async for note in plain["kept"][MARKER].find()] == [NOTE_RESTORED]
    assert await engine.backup.finish("kept") == ()
    assert compare(manifest, await engine.backup.measure("sc_scratch_proof", manifest)) == ()


async def test_a_finished_copy_has_its_sources_rules(engine: MongoEngine, plain: Client) -> None:
    await fill(plain, "source")
    manifest = await round_trip(engine, "source", "kept")
    await engine.backup.finish("kept")
    assert compare(manifest, await engine.backup.measure("kept", manifest)) == ()
    assert (await plain["kept"].sessions.index_information())["ttl"]["expireAfterSeconds"] == 60
    (points,) = await (await plain["kept"].list_collections(filter={"name": "points"})).to_list()
    assert points["options"]["expireAfterSeconds"] == 60


async def test_a_finish_that_was_cut_off_is_repeated(
    engine: MongoEngine, plain: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(plain, "source")
    manifest = await round_trip(engine, "source", "kept")
    command = Rule.command.fget
    assert command is not None

    def cut(rule: Rule) -> object:
        if rule.index is None:
            raise Unreachable("the server went away")
        return command(rule)

    monkeypatch.setattr(Rule, "command", property(cut))
    with pytest.raises(Unreachable):
        await engine.backup.finish("kept")
    assert await plain["kept"][MARKER].count_documents({"_id": NOTE_EXPIRY}) == 1
    assert compare(manifest, await engine.backup.measure("kept", manifest)) == ()
    _, half = await dumped(engine.backup, "kept")
    assert compare(manifest, half.objects) == (), "a backup in between loses no rule"
    monkeypatch.undo()
    assert len(await engine.backup.finish("kept")) == 2
    assert compare(manifest, await engine.backup.measure("kept", manifest)) == ()


async def test_every_kind_of_rule_is_counted_as_the_server_removes(
    engine: MongoEngine, plain: Client
) -> None:
    things = plain["source"].things
    late = MOMENT + timedelta(days=36_500)
    await things.insert_many([{"n": n, "a": MOMENT, "b": MOMENT, "c": [late, MOMENT]} for n in range(6)])
    await things.insert_many([{"n": 7, "a": late, "b": "no date", "c": late}, {"n": 8}])
    await things.create_indexes(
        [
            IndexModel(
                [("a", 1)], name="part", expireAfterSeconds=5, partialFilterExpression={"n": {"$lt": 2}}
            ),
            IndexModel([("b", 1)], name="unseen", expireAfterSeconds=5, hidden=True),
            IndexModel(
                [("c", 1)], name="words", expireAfterSeconds=5, collation={"locale": "de"}, sparse=True
            ),
            IndexModel([("n", 1)], name="far", expireAfterSeconds=2**31 - 1),
        ]
    )
    await plain["source"].create_collection(
        "clustered", clusteredIndex={"key": {"_id": 1}, "unique": True}, expireAfterSeconds=5
    )
    await plain["source"].clustered.insert_many([{"_id": MOMENT}, {"_id": late}])
    manifest = await round_trip(engine, "source", "kept")
    told = {line.partition(" have expired already; ")[::2] for line in await engine.backup.finish("kept")}
    assert told == {
        ("2 documents", "index part of things will remove them."),
        ("6 documents", "index unseen of things will remove them."),
        ("6 documents", "index words of things will remove them."),
        ("1 documents", "clustered will remove them."),
    }
    assert compare(manifest, await engine.backup.measure("kept", manifest)) == ()


async def test_what_was_dropped_meanwhile_is_told(engine: MongoEngine, plain: Client) -> None:
    await fill(plain, "source")
    await round_trip(engine, "source", "kept")
    await plain["kept"].points.drop()
    await plain["kept"].sessions.drop_index("ttl")
    told = await engine.backup.finish("kept")
    assert sorted(told) == [
        "An expiry rule of points has nothing left to apply to.",
        "An expiry rule of sessions has nothing left to apply to.",
    ]
    assert await engine.backup.finish("kept") == ()
