"""Every operation through every door: there, with the same permission, and with the same error."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from storage_core.cli import build
from storage_core.client import Client
from storage_core.domain.approval import APPROVAL_LIFE, Approval
from storage_core.domain.backup import Backup, BackupStatus
from storage_core.domain.errors import StorageError, revive
from storage_core.domain.identity import Session
from storage_core.domain.permission import MATRIX, Role, Rule
from storage_core.services.operation import Effect
from storage_core.wire import parts, route
from tests.integration.doors import BY_NAME, PASSWORD, Doors, Live

MISSING = "00000000-0000-4000-8000-000000000000"
CALLERS = (None, *reversed(Role))


class Stage:
    """Something to act on: a tenant, a provider of files, a database; and fresh things to use up."""

    def __init__(self, doors: Doors, folder: Path) -> None:
        self.doors, self.folder, self.count = doors, folder, 0

    async def set(self) -> None:
        self.tenant = (await self.doors.tenant("acme")).id
        self.folder.mkdir()
        self.provider = (await self._provider()).id
        self.database = (await self._database()).id

    def fresh(self, word: str = "x") -> str:
        self.count += 1
        return f"{word}-{self.count}"

    async def _provider(self) -> Any:
        connection = {"path": str(self.folder)}
        return await self.doors.call(
            "providers.create", name=self.fresh("files"), kind="sqlite", connection=connection
        )

    async def _database(self) -> Any:
        return await self.doors.call(
            "databases.create", provider_id=self.provider, name=self.fresh("db"), tenant_id=self.tenant
        )

    async def _tenant(self) -> Any:
        return await self.doors.call("tenants.create", name=self.fresh("tenant"))

    async def _suspended(self) -> Any:
        row = await self._tenant()
        return await self.doors.call("tenants.suspend", id=row.id, confirm=row.name)

    async def _backup(self) -> Backup:
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        row = Backup(id, self.database, self.provider, now, now, tenant_id=self.tenant, database_name="db")
        object.__setattr__(row, "status", BackupStatus.STORED)
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.backups.add(row)
        return row

    async def _job(self, *, cancelled: bool = False) -> Any:
        ticket = await self.doors.call("databases.optimize", id=self.database)
        if cancelled:
            await self.doors.call("jobs.cancel", id=ticket.job_id)
        return ticket.job_id

    async def _user(self) -> str:
        return await self.doors.user(self.fresh("user"), Role.VIEWER)

    async def _grant(self) -> str:
        user = await self._user()
        async with self.doors.core.kernel.catalog.read() as uow:
            return (await uow.grants.one(user_id=user)).id  # type: ignore[union-attr]

    async def _approval(self) -> str:
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        row = Approval(
            id, "tenants.delete", id, "somebody", "somebody", now, now + APPROVAL_LIFE, "tenant", self.tenant,
            "acme", self.tenant, permissions=("tenant.update",),
        )  # fmt: skip
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.approvals.add(row)
        return id

    async def _token(self) -> Any:
        name = self.fresh("user")
        await self.doors.user(name, Role.VIEWER)
        return await self.doors.call("tokens.create", name="t", user=name)

    async def _filter(self) -> Any:
        name = self.fresh("filter")
        return await self.doors.call("filters.create", page="/jobs", name=name, shared=True)

    async def _session(self) -> str:
        now, id = self.doors.clock(), self.doors.core.kernel.new_id()
        async with self.doors.core.kernel.catalog.write() as uow:
            await uow.sessions.add(Session(id, await self._user_in(uow), now, now, now))
        return id

    async def _user_in(self, uow: Any) -> str:
        return (await uow.users.one(username="viewer-global")).id

    async def request(self, name: str) -> dict[str, Any]:
        """A request that works for whoever may: each call gets what it needs afresh."""
        found = REQUESTS[name](self)
        return await found if asyncio.iscoroutine(found) else found  # type: ignore[return-value]


async def _confirmed(row: Awaitable[Any], name: Callable[[Any], str]) -> dict[str, Any]:
    made = await row
    return {"id": made.id, "confirm": name(made)}


async def _granted(user: Awaitable[str], stage: Stage) -> dict[str, Any]:
    return {"user_id": await user, "role": "Viewer", "scope": f"tenant:{stage.tenant}"}


async def _by_id(row: Awaitable[Any], **more: Any) -> dict[str, Any]:
    made = await row
    return {"id": getattr(made, "id", made), **more}


def _new(stage: Stage) -> dict[str, Any]:
    return {"provider_id": stage.provider, "name": stage.fresh("new"), "tenant_id": stage.tenant}


REQUESTS: dict[str, Callable[[Stage], Any]] = {
    "approvals.approve": lambda s: _by_id(s._approval()),
    "approvals.list": lambda s: {},
    "approvals.refuse": lambda s: _by_id(s._approval()),
    "audit.export": lambda s: {"operation": "tenants.create"},
    "audit.get": lambda s: {"id": "system:1"},
    "audit.heads": lambda s: {},
    "audit.list": lambda s: {"limit": 5},
    "audit.verify": lambda s: {},
    "backups.create": lambda s: {"database_id": s.database},
    "backups.delete": lambda s: _confirmed(s._backup(), lambda b: b.database_name),
    "backups.get": lambda s: _by_id(s._backup()),
    "backups.list": lambda s: {},
    "backups.restore": lambda s: _by_id(s._backup(), name=s.fresh("restored")),
    "backups.status": lambda s: _by_id(s._backup()),
    "backups.verify": lambda s: _by_id(s._backup()),
    "databases.adopt": lambda s: {**_new(s), "physical_name": "nowhere.sqlite3"},
    "databases.configure": lambda s: {"id": s.database, "default": True},
    "databases.create": _new,
    "databases.delete": lambda s: _confirmed(s._database(), lambda d: d.name),
    "databases.existing": lambda s: {"provider_id": s.provider},
    "databases.get": lambda s: {"id": s.database},
    "databases.list": lambda s: {},
    "databases.optimize": lambda s: {"id": s.database},
    "databases.schema": lambda s: {"id": s.database},
    "databases.stats": lambda s: {"id": s.database},
    "engines.list": lambda s: {},
    "engines.start": lambda s: {"kind": "mongodb", "name": "No Such Name"},
    "engines.stop": lambda s: {"name": "nobody"},
    "filters.create": lambda s: {"page": "/backups", "name": s.fresh("filter"), "query": "status=failed"},
    "filters.delete": lambda s: _by_id(s._filter()),
    "filters.list": lambda s: {},
    "grants.create": lambda s: _granted(s._user(), s),
    "grants.list": lambda s: {},
    "grants.revoke": lambda s: _by_id(s._grant()),
    "jobs.cancel": lambda s: _by_id(s._job()),
    "jobs.get": lambda s: _by_id(s._job()),
    "jobs.list": lambda s: {},
    "jobs.retry": lambda s: _by_id(s._job(cancelled=True)),
    "preferences.show": lambda s: {},
    "preferences.update": lambda s: {"theme": "dark"},
    "providers.create": lambda s: {
        "name": s.fresh("p"),
        "kind": "sqlite",
        "connection": {"path": str(s.folder)},
    },
    "providers.delete": lambda s: _confirmed(s._provider(), lambda p: p.name),
    "providers.get": lambda s: {"id": s.provider},
    "providers.list": lambda s: {},
    "providers.test": lambda s: {"id": s.provider},
    "providers.update": lambda s: {"id": s.provider, "name": s.fresh("files")},
    "sessions.list": lambda s: {},
    "sessions.revoke": lambda s: _by_id(s._session()),
    "settings.list": lambda s: {},
    "settings.update": lambda s: {"key": "two_person_rule", "value": "false", "confirm": "two_person_rule"},
    "tenants.create": lambda s: {"name": s.fresh("tenant")},
    "tenants.delete": lambda s: _confirmed(s._tenant(), lambda t: t.name),
    "tenants.get": lambda s: {"id": s.tenant},
    "tenants.list": lambda s: {},
    "tenants.resume": lambda s: _by_id(s._suspended()),
    "tenants.suspend": lambda s: _confirmed(s._tenant(), lambda t: t.name),
    "tenants.update": lambda s: {"id": s.tenant, "title": s.fresh("Title")},
    "tenants.usage": lambda s: {"id": s.tenant},
    "tokens.create": lambda s: {"name": s.fresh("token")},
    "tokens.list": lambda s: {},
    "tokens.revoke": lambda s: _by_id(s._token()),
    "users.create": lambda s: {"username": s.fresh("user"), "password": PASSWORD, "role": "Viewer"},
    "users.disable": lambda s: _by_id(s._user()),
    "users.list": lambda s: {},
    "users.password": lambda s: {"password": PASSWORD},
    "users.update": lambda s: _by_id(s._user(), username=s.fresh("renamed")),
}


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
        if isinstance(value, dict):
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
