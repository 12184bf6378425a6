"""MongoDB deployments of other shapes: standalone, silent, absent."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient

from storage_core.domain.backup import compare
from storage_core.domain.errors import InvalidRequest, NameUnresolved, NotFound, Unreachable
from storage_core.domain.provider import Endpoint, StepStatus
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.mongodb.samples import make_everything
from tests.contract.mongodb.support import Client, failing, free_port

pytestmark = pytest.mark.servers


@pytest.fixture
async def engine(standalone: Endpoint) -> AsyncIterator[MongoEngine]:
    engine = MongoEngine(standalone, None)
    yield engine
    for found in await engine.databases.existing():
        await engine.databases.drop(found.physical_name)
    await engine.close()


@pytest.fixture
async def client(standalone: Endpoint) -> AsyncIterator[Client]:
    client: Client = AsyncMongoClient(host=standalone.host, port=standalone.port)
    yield client
    await client.close()


async def test_a_standalone_copy_is_whole_and_says_it_is_no_snapshot(
    engine: MongoEngine, client: Client
) -> None:
    await make_everything(client, "source")
    pieces, manifest = await dumped(engine.backup, "source")
    data = [o for o in manifest.objects if o.kind in ("collection", "capped", "timeseries")]
    assert len(data) == 10
    assert all(not o.consistent and o.note for o in data)
    assert all(o.consistent for o in manifest.objects if o not in data)
    await engine.backup.restore(replay(pieces), "copy", manifest, no_progress)
    assert compare(manifest, await engine.backup.measure("copy", manifest)) == ()
    abilities = {c.name: c for c in (await engine.info()).capabilities}
    assert not abilities["consistent_backup"].present
    assert "replica set" in abilities["consistent_backup"].reason


async def test_a_server_without_sign_in_passes_the_check(engine: MongoEngine) -> None:
    assert [s.status for s in await engine.check()] == [StepStatus.PASSED] * 5


async def test_nothing_listens() -> None:
    code, step, error = await failing(Endpoint(host="127.0.0.1", port=free_port(), user="u"))
    assert (code, step) == ("engine_unreachable", "tcp")
    assert isinstance(error, Unreachable)


async def test_a_host_that_does_not_exist() -> None:
    code, step, error = await failing(Endpoint(host="nobody.invalid", port=27017))
    assert (code, step) == ("name_unresolved", "name")
    assert isinstance(error, NameUnresolved)


async def test_a_server_that_never_answers() -> None:
    server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    async with server:
        code, step, error = await failing(Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1]))
    assert (code, step) == ("engine_unreachable", "tls")
    assert isinstance(error, Unreachable)


@pytest.mark.parametrize(
    "host", ("mongodb://u:p@evil", "a,b", "a/b", "/run/mongodb.sock", "a b", "u@h", "h?x=1")
)
async def test_a_host_is_never_a_connection_string(host: str) -> None:
    engine = MongoEngine(Endpoint(host=host, port=1), "sesame")
    with pytest.raises(InvalidRequest) as caught:
        await engine.databases.existing()
    assert host not in caught.value.detail
    assert (await engine.check())[0].status is StepStatus.FAILED


async def test_measuring_what_is_not_there(engine: MongoEngine) -> None:
    with pytest.raises(NotFound):
        await dumped(engine.backup, "nothing")
