"""MongoDB: writes, renames and new collections while a dump runs."""

import asyncio

import pytest

from storage_core.domain.backup import compare
from storage_core.domain.errors import Conflict, Interrupted
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.mongodb.support import Client

pytestmark = pytest.mark.servers


async def test_a_rename_during_the_dump_is_refused(mongo: MongoEngine, client: Client, source: str) -> None:
    await client[source].a.insert_one({"x": 1})
    await client[source].b.insert_one({"x": 1})
    with pytest.raises(Conflict):
        async with mongo.backup.dump(source, no_progress) as dump:
            async for piece in dump.pieces():
                if piece.member == "a.metadata.json":
                    await client[source].b.rename("c")


async def test_what_is_created_during_the_dump_is_not_in_it(
    mongo: MongoEngine, client: Client, source: str
) -> None:
    await client[source].a.insert_one({"x": 1})
    async with mongo.backup.dump(source, no_progress) as dump:
        async for _ in dump.pieces():
            await client[source].late.insert_one({"y": 2})
            await client[source].a.insert_one({"x": 2})
        assert {o.name: o.rows for o in dump.manifest.objects} == {"a": 1, "a$options": 0}


async def test_a_capped_collection_under_writes_is_marked_and_still_restores(
    mongo: MongoEngine, client: Client, source: str, copy: str
) -> None:
    log = await client[source].create_collection("log", capped=True, size=1 << 20)
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await log.insert_many([{"line": "x" * 500} for _ in range(200)])

    writer = asyncio.create_task(write())
    await asyncio.sleep(0.5)
    try:
        for _ in range(5):
            try:
                pieces, manifest = await dumped(mongo.backup, source)
                break
            except Interrupted:
                continue  # the collection rolled over beneath the read
    finally:
        stop.set()
        await writer
    (capped,) = (o for o in manifest.objects if o.kind == "capped")
    assert not capped.consistent and "capped" in capped.note
    await mongo.backup.restore(replay(pieces), copy, manifest, no_progress)
    assert compare(manifest, await mongo.backup.measure(copy, manifest)) == ()
