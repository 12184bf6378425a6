"""MongoDB: a copy is its source, byte for byte, and every fault in one is found."""

import itertools
import secrets
from typing import Any

import bson
import pytest

from storage_core.domain.backup import Manifest, compare
from storage_core.domain.errors import DamagedArtifact, EngineFailure
from storage_core.ports.backup import Piece
from storage_core.providers.mongodb.batches import RawBatches
from storage_core.providers.mongodb.engine import MongoEngine
from storage_core.providers.mongodb.names import MARKER
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.mongodb.samples import add_largest, make_everything
from tests.contract.mongodb.support import Client, Server, names, plain_client, round_trip

pytestmark = pytest.mark.servers

Saved = tuple[list[Piece], Manifest]


@pytest.fixture(scope="module")
async def everything(mongodb_server: Server) -> Saved:
    """A dump of a database that holds everything, made once."""
    engine, client, name = MongoEngine(*mongodb_server), plain_client(mongodb_server), secrets.token_hex(5)
    await make_everything(client, name)
    saved = await dumped(engine.backup, name)
    await engine.databases.drop(name)
    await client.close()
    await engine.close()
    return saved


async def test_a_copy_equals_its_source_in_every_byte_and_definition(
    mongo: MongoEngine, client: Client, source: str, copy: str
) -> None:
    await make_everything(client, source)
    await add_largest(client, source)
    await round_trip(mongo, source, copy)
    assert await mongo.backup.finish(copy) == ()
    for name in ("plain", "log", "weather", "clustered", "checked", "system.js"):
        assert await raw(client, source, name) == await raw(client, copy, name), name
    assert await definitions(client, source) == await definitions(client, copy)


async def raw(client: Client, source: str, name: str) -> list[bytes]:
    stored = f"system.buckets.{name}" if name == "weather" else name
    options = bson.CodecOptions(document_class=bson.raw_bson.RawBSONDocument)
    found: Any = client[source].get_collection(stored, codec_options=options).find({})
    documents = [bytes(d.raw) async for d in found]
    return documents if name == "log" else sorted(documents)


async def definitions(client: Client, name: str) -> list[Any]:
    out: list[Any] = []
    async for entry in await client[name].list_collections():
        entry.get("info", {}).pop("uuid", None)
        if entry["type"] != "view":
            specs = [dict(sorted(s.items())) async for s in await client[name][entry["name"]].list_indexes()]
            entry["indexes"] = sorted(specs, key=lambda s: s["name"])
        out.append(bson.encode(entry))
    return sorted(out)


async def test_the_layout_is_mongodumps(everything: Saved) -> None:
    pieces, _ = everything
    members = list(dict.fromkeys(p.member for p in pieces))
    assert "gr%C3%B6%C3%9Fe%2F%20&%20100%25%20%27x%27.bson" in members
    assert {"weather.metadata.json", "system.buckets.weather.bson", "view.metadata.json"} <= set(members)
    assert "view.bson" not in members and not any("views" in m or MARKER in m for m in members)
    body = b"".join(p.data for p in pieces if p.member == "checked.bson")
    assert len(bson.decode_all(body)) == 3
    assert max(len(p.data) for p in pieces) <= 4 << 20


@pytest.mark.parametrize(
    "fault", ("order", "validator", "hidden", "view", "expiry", "point", "zero", "collation", "same_sum")
)
async def test_subtler_faults_are_found(
    mongo: MongoEngine, client: Client, everything: Saved, copy: str, fault: str
) -> None:
    pieces, manifest = everything
    await mongo.backup.restore(replay(pieces), copy, manifest, no_progress)
    found = client[copy]
    match fault:
        case "order":
            first, *lines = [d async for d in found.log.find()]
            await found.log.drop()
            await found.create_collection("log", capped=True, size=8192, max=40)
            await found.log.insert_many([*lines, first])
        case "validator":
            await found.command({"collMod": "checked", "validator": {}})
        case "hidden":
            await found.command({"collMod": "indexed", "index": {"name": "sparse_hidden", "hidden": False}})
        case "view":
            await found.command({"collMod": "view", "viewOn": "indexed", "pipeline": []})
        case "expiry":
            await found.command(
                {"collMod": "indexed", "index": {"name": "expires", "expireAfterSeconds": 9**9}}
            )
        case "point":
            await found["system.buckets.weather"].delete_one({})
        case "zero":
            await found.plain.update_one(
                {"value": bson.Timestamp(0, 0)}, {"$set": {"value": bson.Timestamp(0, 1)}}
            )
        case "collation":
            await found.folded.drop_index("simple")
            await found.folded.create_index("w", name="simple", collation={"locale": "de"})
        case "same_sum":
            for n in (11, 12):
                await found.indexed.update_one({"_id": n}, {"$set": {"text": "gleich"}})
    assert compare(manifest, await mongo.backup.measure(copy, manifest)) != ()


async def test_a_skipped_batch_is_found(
    mongo: MongoEngine, client: Client, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client[source].rows.insert_many([{"pad": "x" * 1000} for _ in range(30_000)])
    original, seen = RawBatches.next, itertools.count()

    async def skipping(cursor: RawBatches) -> bytes | None:
        batch = await original(cursor)
        return await original(cursor) if next(seen) == 1 else batch

    monkeypatch.setattr(RawBatches, "next", skipping)
    with pytest.raises(EngineFailure):
        await dumped(mongo.backup, source)


@pytest.mark.parametrize("damage", ("length", "no_metadata", "twice", "garbage", "huge"))
async def test_damage_is_refused_and_leaves_nothing(
    mongo: MongoEngine, client: Client, source: str, copy: str, damage: str
) -> None:
    await client[source].a.insert_many([{"x": n} for n in range(100)])
    pieces, manifest = await dumped(mongo.backup, source)
    prelude, metadata, data = pieces[0], pieces[1], Piece("a.bson", b"".join(p.data for p in pieces[2:]))
    broken = {
        "length": [prelude, metadata, Piece("a.bson", b"\xff\xff\xff\x7f" + data.data[4:])],
        "no_metadata": [prelude, data],
        "twice": [prelude, metadata, data, metadata],
        "garbage": [prelude, metadata, Piece("a.bson", bytes(reversed(data.data)))],
        "huge": [prelude, Piece("a.metadata.json", b'{"x":' + b" " * (65 << 20))],
    }[damage]
    with pytest.raises(DamagedArtifact):
        await mongo.backup.restore(replay(broken), copy, manifest, no_progress)
    assert copy not in await names(mongo)


async def test_pieces_may_be_cut_anywhere(mongo: MongoEngine, client: Client, source: str, copy: str) -> None:
    await client[source].a.insert_many([{"x": n, "pad": "y" * n} for n in range(50)])
    pieces, manifest = await dumped(mongo.backup, source)
    crumbs = [Piece(p.member, p.data[at : at + 3]) for p in pieces for at in range(0, len(p.data), 3)]
    await mongo.backup.restore(replay(crumbs), copy, manifest, no_progress)
    assert compare(manifest, await mongo.backup.measure(copy, manifest)) == ()


@pytest.mark.parametrize("said", ({}, {"validationAction": "warn"}, {"validationLevel": "moderate"}))
async def test_a_validator_with_the_servers_defaults_is_proven(
    mongo: MongoEngine, client: Client, source: str, copy: str, said: dict[str, str]
) -> None:
    await client[source].create_collection("ruled", validator={"x": {"$exists": True}}, **said)
    pieces, manifest = await dumped(mongo.backup, source)
    await mongo.backup.restore(replay(pieces), copy, manifest, no_progress)
    assert compare(manifest, await mongo.backup.measure(copy, manifest)) == ()
