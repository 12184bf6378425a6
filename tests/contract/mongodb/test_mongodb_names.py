"""MongoDB: names, the marker, settings and what a schema shows."""

import asyncio
import secrets

import pytest

from storage_core.domain.backup import compare
from storage_core.domain.errors import InvalidRequest, NameTaken
from storage_core.providers.mongodb.engine import MongoEngine
from storage_core.providers.mongodb.names import MARKER, NOTE_EXPIRY
from tests.contract.engine_contract import dumped
from tests.contract.mongodb.samples import MOMENT, make_everything
from tests.contract.mongodb.support import Client, names, round_trip

pytestmark = pytest.mark.servers


async def test_a_name_that_differs_only_in_case_is_taken(
    mongo: MongoEngine, client: Client, source: str
) -> None:
    with pytest.raises(NameTaken) as caught:
        await mongo.databases.create(source.upper(), {})
    assert caught.value.field == "name"


async def test_two_creators_at_once_make_one_database(mongo: MongoEngine, client: Client, copy: str) -> None:
    made = await asyncio.gather(*(mongo.databases.create(copy, {}) for _ in range(8)), return_exceptions=True)
    assert [type(m) for m in made].count(str) == 1
    assert sum(isinstance(m, NameTaken) for m in made) == 7


async def test_an_empty_database_shows_nothing_and_survives_its_last_collection(
    mongo: MongoEngine, client: Client, source: str
) -> None:
    assert (await mongo.databases.stats(source)).objects == 0
    assert (await mongo.databases.schema(source)).objects == ()
    pieces, manifest = await dumped(mongo.backup, source)
    assert [p.member for p in pieces] == ["prelude.json"] and manifest.objects == ()
    await client[source].things.insert_one({})
    await client[source].things.drop()
    assert source in await names(mongo)


async def test_a_collection_of_the_users_own_named_like_the_marker_is_data(
    mongo: MongoEngine, client: Client, copy: str
) -> None:
    source = f"theirs_{secrets.token_hex(4)}"
    theirs = client[source][MARKER]
    await theirs.insert_one({"_id": NOTE_EXPIRY, "rules": "theirs", "at": MOMENT})
    await theirs.create_index("at", name="ttl", expireAfterSeconds=10**9)
    await client[source][f"{MARKER}_"].insert_one({"theirs": True})
    try:
        manifest = await round_trip(mongo, source, copy)
        assert manifest.rows == 2
        assert await mongo.backup.finish(copy) == ()
        assert compare(manifest, await mongo.backup.measure(copy, manifest)) == ()
        assert (await client[copy][MARKER].index_information())["ttl"]["expireAfterSeconds"] == 10**9
        stats = await mongo.databases.stats(copy)
        assert (stats.objects, stats.rows_estimate) == (2, 2)
    finally:
        await mongo.databases.drop(source)


async def test_settings_are_the_databases_own(mongo: MongoEngine, client: Client, source: str) -> None:
    await mongo.databases.configure(source, {"profiling": "slow", "slow_ms": "7"})
    now = await client[source].command({"profile": -1})
    assert (now["was"], now["filter"]) == (1, {"millis": {"$gte": 7}})
    for wrong in ({"slow_ms": "-1"}, {"profiling": "loud"}, {"slow_ms": "5", "slowms": "5"}):
        with pytest.raises(InvalidRequest):
            await mongo.databases.configure(source, wrong)
    assert (await client[source].command({"profile": -1}))["filter"] == now["filter"]


async def test_optimize_compacts_everything_that_has_storage(
    mongo: MongoEngine, client: Client, source: str
) -> None:
    await client[source].create_collection("log", capped=True, size=4096)
    await client[source].create_collection("points", timeseries={"timeField": "at"})
    await client[source].points.insert_one({"at": MOMENT})
    await client[source].create_collection("view", viewOn="points", pipeline=[])
    steps = (await mongo.databases.optimize(source)).steps
    assert steps == ("compacted log: 0 bytes freed", "left points as it is: MongoDB compacts no time series")


async def test_schema_shows_kinds_fields_and_options(mongo: MongoEngine, client: Client, source: str) -> None:
    await make_everything(client, source)
    found = {o.name: o for o in (await mongo.databases.schema(source)).objects}
    assert {found[n].kind for n in ("plain", "log", "weather", "view")} == {
        *("collection", "capped", "timeseries", "view")
    }
    fields = {c.name: c for c in found["indexed"].columns}
    assert fields["email"].type == "string" and not fields["email"].nullable and fields["maybe"].nullable
    assert any(i.unique and i.name == "unique_email" for i in found["indexed"].indexes)
    assert "$regex" in (found["checked"].definition or "")
