"""MongoDB: who may do what, and what a user who may not is told."""

import pytest

from storage_core.domain.errors import MissingPrivilege, SignInRejected
from storage_core.domain.provider import StepStatus
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.mongodb.samples import MOMENT, make_everything
from tests.contract.mongodb.support import Client, Server, names, round_trip, user

pytestmark = pytest.mark.servers


async def test_a_user_without_privileges_is_told_which(mongodb_server: Server, client: Client) -> None:
    async with user(mongodb_server, client, "readAnyDatabase") as limited:
        steps = {s.name: s for s in await limited.check()}
        assert steps["sign_in"].status is StepStatus.PASSED
        assert (steps["privileges"].status, steps["privileges"].code) == (
            StepStatus.FAILED,
            "missing_privilege",
        )
        assert "dropDatabase" in steps["privileges"].detail
        assert "readWriteAnyDatabase" in steps["privileges"].fix
        with pytest.raises(MissingPrivilege):
            await limited.databases.create("sc_never", {})


async def test_the_recommended_roles_are_enough(
    mongodb_server: Server, client: Client, source: str, copy: str
) -> None:
    await make_everything(client, source)
    async with user(mongodb_server, client, "readWriteAnyDatabase", "dbAdminAnyDatabase") as limited:
        steps = await limited.check()
        assert all(s.status is StepStatus.PASSED for s in steps)
        assert "may not" not in steps[-1].detail
        await round_trip(limited, source, copy)
        assert await limited.backup.finish(copy) == ()


@pytest.mark.parametrize("what", ("time series", "stored functions"))
async def test_without_what_restoring_takes_the_check_passes_and_tells(
    mongodb_server: Server, mongo: MongoEngine, client: Client, source: str, copy: str, what: str
) -> None:
    if what == "time series":
        await client[source].create_collection("points", timeseries={"timeField": "at"})
        await client[source].points.insert_one({"at": MOMENT})
    else:
        await client[source]["system.js"].insert_one({"_id": "one", "value": 1})
    pieces, manifest = await dumped(mongo.backup, source)
    actions = {
        "find",
        "insert",
        "update",
        "remove",
        "bypassDocumentValidation",
        "createCollection",
        "createIndex",
    }
    actions |= {"collMod", "dropCollection", "dropDatabase", "listCollections", "listIndexes", "dbStats"}
    data = {"resource": {"db": "", "collection": ""}, "actions": [*actions, "collStats"]}
    every = {"resource": {"cluster": True}, "actions": ["listDatabases"]}
    role = f"plain_{source}"
    await client.admin.command({"createRole": role, "privileges": [data, every], "roles": []})
    try:
        async with user(mongodb_server, client, role) as limited:
            step = (await limited.check())[-1]
            assert step.status is StepStatus.PASSED, "registering works without"
            assert what in step.detail and "role restore" in step.detail
            with pytest.raises(MissingPrivilege) as caught:
                await limited.backup.restore(replay(pieces), copy, manifest, no_progress)
            assert "role restore" in caught.value.hint
            assert copy not in await names(mongo)
        async with user(mongodb_server, client, role, "restore") as enough:
            assert "may not" not in (await enough.check())[-1].detail
            await enough.backup.restore(replay(pieces), copy, manifest, no_progress)
    finally:
        await client.admin.command({"dropRole": role})


async def test_a_wrong_password_is_named_at_once_and_never_shown(mongodb_server: Server) -> None:
    wrong = MongoEngine(mongodb_server[0], "hunter2-wrong")
    steps = {s.name: s for s in await wrong.check()}
    assert steps["sign_in"].code == "engine_sign_in_rejected"
    assert steps["privileges"].status is StepStatus.SKIPPED
    with pytest.raises(SignInRejected) as caught:
        await wrong.databases.existing()
    health = await wrong.health()
    assert not health.online
    assert health.milliseconds < 3000, "the answer to a refused sign-in needs no waiting"
    assert "rejected" in (health.problem or "") and "password of the provider" in (health.problem or "")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error}{error!r}{error.args}{health}"
        error = error.__cause__
    await wrong.close()
