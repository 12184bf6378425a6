"""Every operation through every door: there, with the same permission, and with the same error."""

import asyncio
import json
import os
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from storage_core.cli import build
from storage_core.client import Client
from storage_core.domain.errors import StorageError, revive
from storage_core.domain.permission import MATRIX, Role, Rule
from storage_core.services.operation import Effect
from storage_core.wire import parts, route
from tests.integration.doors import BY_NAME, PASSWORD, Doors, Live
from tests.integration.stage import REQUESTS, Stage

MISSING = "00000000-0000-4000-8000-000000000000"
CALLERS = (None, *reversed(Role))


@pytest.fixture(scope="module")
def stage(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    made = Stage(live.doors, tmp_path_factory.mktemp("files") / "root")
    live.do(made.set())
    for role in Role:
        live.do(live.doors.token(role))
    return made


async def directly(doors: Doors, name: str, role: Role | None, fields: dict[str, Any]) -> str:
    """The outcome of the service's own method: ok, or the error's code."""
    try:
        ctx = await doors.context(role)
        assert ctx is not None
        await doors.call(name, ctx, **fields)
    except StorageError as error:
        return error.code
    return "ok"


async def by_rest(doors: Doors, name: str, role: Role | None, fields: dict[str, Any]) -> str:
    op = BY_NAME[name]
    path, query, body = parts(op, op.request(**fields))
    async with doors.rest(role) as http:
        response = await http.request(route(op).method, path, params=query, json=body)
    if response.is_success:
        assert response.status_code == route(op).status
        return "ok"
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["correlation_id"] == response.headers["x-correlation-id"] != "-"
    assert response.status_code == problem["status"] == revive(problem["code"], "").status
    return str(problem["code"])


async def by_client(doors: Doors, name: str, role: Role | None, fields: dict[str, Any]) -> str:
    op = BY_NAME[name]
    try:
        async with doors.sdk(role) as client:
            if op.stream:
                async with client.stream(op, op.request(**fields)) as pieces:
                    assert [piece async for piece in pieces]
            else:
                await client.call(op, op.request(**fields))
    except StorageError as error:
        return error.code
    return "ok"


def by_cli(live: Live, name: str, role: Role | None, fields: dict[str, Any]) -> str:
    token = "none" if role is None else live.do(live.doors.token(role))
    noun, verb = name.split(".")
    saved = ["--output", os.devnull] if BY_NAME[name].stream else []
    result = invoke(
        [noun, verb, *_arguments(name, fields), *saved, "--json"], STORAGE_URL=live.url, STORAGE_TOKEN=token
    )
    if result.exit_code == 0:
        json.loads(result.stdout)
        return "ok"
    return result.stderr.rpartition("code: ")[2].strip()


def invoke(arguments: list[str], **env: str) -> Result:
    return CliRunner().invoke(build(), arguments, env=env, prog_name="storage-console")


def _arguments(name: str, fields: dict[str, Any], prefix: str = "") -> list[str]:
    if name == "engines.start":
        return [fields["kind"], "--name", fields["name"]]
    if name == "engines.stop":
        return [fields["name"]]
    out: list[str] = []
    for key, value in fields.items():
        flag = "--" + (prefix + key).replace("_", "-")
        if isinstance(value, dict) and key in ("data", "was"):
            out += [flag, json.dumps(value)]
        elif isinstance(value, dict):
            out += _arguments("", value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            out.append(flag if value else f"--no-{flag[2:]}")
        else:
            out += [flag, str(value)]
    return out


def test_every_operation_is_mapped_here() -> None:
    """A new operation does not pass unseen: say above how to ask for it."""
    assert set(REQUESTS) == set(BY_NAME)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_operation_is_behind_every_door(live: Live, name: str) -> None:
    op = BY_NAME[name]
    assert name in live.doors.core.operations
    document = live.doors.app.openapi()
    where = route(op)
    assert document["paths"][where.path][where.method.lower()]["operationId"] == name
    result = invoke([op.noun, op.verb, "--help"])
    assert result.exit_code == 0, result.output
    assert op.summary.split()[0] in result.output
    assert ("--wait" in result.output) == (where.status == 202)
    assert (op.effect is Effect.LONG) <= (where.status == 202)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_all_doors_give_every_role_the_same_answer(live: Live, stage: Stage, name: str) -> None:
    rules = MATRIX[BY_NAME[name].needs]
    for role in CALLERS:
        outcomes: dict[str, str] = {}
        for door in (by_rest, by_client, *(() if role is None else (directly,))):
            fields = live.do(stage.request(name))
            outcomes[door.__name__] = live.do(door(live.doors, name, role, fields))
        outcomes["by_cli"] = by_cli(live, name, role, live.do(stage.request(name)))
        assert len(set(outcomes.values())) == 1, (role, outcomes)
        outcome = outcomes["by_rest"]
        if role is None:
            assert outcome == "unauthenticated"
        else:
            assert (outcome == "forbidden") == (rules[role] in (Rule.DENY, *FOREIGN.get(name, ()))), (
                role,
                outcome,
            )


#: Where the test's request is about somebody else's thing, "own only" means no.
FOREIGN: dict[str, tuple[Rule, ...]] = {
    "jobs.cancel": (Rule.OWN,),
    "jobs.retry": (Rule.OWN,),
    "audit.get": (Rule.OWN,),
    "audit.heads": (Rule.OWN,),
    "approvals.approve": tuple(Rule),
    "users.password": tuple(Rule),  # for people signed in, not for the tokens that knock here
}


BY_ID = sorted(n for n, op in BY_NAME.items() if route(op).by_id)


@pytest.mark.parametrize("name", BY_ID)
def test_a_missing_id_is_not_found_at_every_door(live: Live, stage: Stage, name: str) -> None:
    fields = {**live.do(stage.request(name)), "id": MISSING}
    for door in (directly, by_rest, by_client):
        assert live.do(door(live.doors, name, Role.SUPER_ADMIN, fields)) == "not_found", door.__name__
    assert by_cli(live, name, Role.SUPER_ADMIN, fields) == "not_found"


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("tenants.create", {"name": "x" * 49}, "name"),
        ("tenants.create", {}, "name"),
        ("providers.create", {"name": "p", "kind": "oracle", "connection": {"path": "/x"}}, "kind"),
        (
            "providers.create",
            {"name": "p", "kind": "postgresql", "connection": {"host": "h", "port": 0}},
            "connection.port",
        ),
        (
            "providers.create",
            {"name": "p", "kind": "sqlite", "connection": {"path": "x" * 5000}},
            "connection.path",
        ),
        ("databases.list", {"limit": 501}, "limit"),
        ("users.create", {"username": "u", "password": PASSWORD, "role": "King"}, "role"),
    ],
)
def test_a_wrong_value_is_refused_alike(live: Live, name: str, fields: dict[str, Any], field: str) -> None:
    op = BY_NAME[name]
    with pytest.raises(ValueError, match=field.rpartition(".")[2]):
        op.request(**fields)

    async def rest() -> httpx.Response:
        async with live.doors.rest() as http:
            given = {"params": fields} if route(op).method == "GET" else {"json": fields}
            return await http.request(route(op).method, route(op).path, **given)  # type: ignore[arg-type]

    response = live.do(rest())
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (
        422,
        "invalid_request",
        field,
    )
    result = invoke([*name.split("."), *_arguments(name, fields)])
    assert result.exit_code == 2
    assert f"--{field}" in result.stderr


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("tenants.create", {"name": "Not A Name"}, "name"),
        ("users.create", {"username": "u", "password": "short", "role": "Viewer"}, "password"),
        (
            "users.create",
            {"username": "u", "password": PASSWORD, "role": "Viewer", "scope": "tenant:no"},
            "scope",
        ),
        ("databases.list", {"sort": "colour"}, "sort"),
        ("databases.list", {"cursor": "!!"}, "cursor"),
    ],
)
def test_what_a_service_finds_wrong_is_bad_usage_too(
    live: Live, name: str, fields: dict[str, Any], field: str
) -> None:
    for door in (directly, by_rest, by_client):
        assert live.do(door(live.doors, name, Role.SUPER_ADMIN, fields)) == "invalid_request"
    token = live.do(live.doors.token(Role.SUPER_ADMIN))
    result = invoke([*name.split("."), *_arguments(name, fields)], STORAGE_URL=live.url, STORAGE_TOKEN=token)
    assert result.exit_code == 2
    assert f"--{field}" in result.stderr


def test_the_client_raises_what_the_service_raised(live: Live) -> None:
    async def call() -> None:
        async with live.doors.sdk(Role.VIEWER) as client:
            op = BY_NAME["tenants.get"]
            await client.call(op, op.request(id=MISSING))

    with pytest.raises(StorageError) as caught:
        live.do(call())
    direct = live.do(_caught(live.doors.call("tenants.get", id=MISSING)))
    assert (caught.value.code, caught.value.detail, caught.value.hint, caught.value.field) == (
        direct.code,
        direct.detail,
        direct.hint,
        direct.field,
    )


async def _caught(work: Awaitable[Any]) -> StorageError:
    try:
        await work
    except StorageError as error:
        return error
    raise AssertionError("it worked")


def test_a_server_that_is_away_is_unreachable() -> None:
    async def call() -> None:
        op = BY_NAME["tenants.list"]
        async with Client("http://127.0.0.1:1", "token") as client:
            await client.call(op, op.request())

    with pytest.raises(StorageError) as caught:
        asyncio.run(call())
    assert caught.value.code == "engine_unreachable"
