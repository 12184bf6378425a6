"""What belongs to somebody else reads exactly like what does not exist, whatever is asked of it."""

import json
import uuid
from typing import Any

import pytest

from storage_core.domain.permission import Role
from storage_core.wire import parts, route
from tests.integration.doors import BY_NAME, Doors, Live
from tests.integration.test_doors import MISSING, REQUESTS, Stage

#: Providers are shared ground: everybody signed in sees that they exist, though not where.
SHARED = frozenset({"providers.get", "providers.test"})


def ids_in(fields: dict[str, Any]) -> list[str]:
    """The fields that name a thing by its id."""
    return [name for name in fields if name == "id" or name.endswith("_id")]


TAKING_IDS = sorted(
    name
    for name, op in BY_NAME.items()
    if {f for f in op.request.model_fields if f == "id" or f.endswith("_id")}
)


@pytest.fixture(scope="module")
def stage(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Everything belongs to the tenant acme; the callers belong to the tenant other."""
    made = Stage(live.doors, tmp_path_factory.mktemp("files") / "root")
    live.do(made.set())
    live.do(live.doors.token(Role.VIEWER))
    other = live.do(live.doors.tenant("other"))
    for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
        live.do(live.doors.token(role, f"tenant:{other.id}"))
    return made


async def told(doors: Doors, name: str, scope: str, role: Role, fields: dict[str, Any]) -> tuple[int, str]:
    """Status and body of an answer, without what tells one request from another."""
    op = BY_NAME[name]
    path, query, body = parts(op, op.request(**fields))
    async with doors.rest(role, scope) as http:
        answer = await http.request(route(op).method, path, params=query, json=body)
    text = (
        json.dumps({k: v for k, v in answer.json().items() if k != "correlation_id"})
        if answer.is_error
        else "ok"
    )
    for field in ids_in(fields):
        text = text.replace(str(fields[field]), f"<{field}>")
    return answer.status_code, text


@pytest.mark.parametrize("name", TAKING_IDS)
def test_foreign_and_missing_are_one(live: Live, stage: Stage, name: str) -> None:
    scope = f"tenant:{live.doors.tenants['other'].id}"
    for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
        fields = live.do(stage.request(name))
        given = ids_in(fields)
        if not given:
            return
        foreign = live.do(told(live.doors, name, scope, role, fields))
        nowhere = {field: f"{MISSING[:-1]}{n}" for n, field in enumerate(given)}
        missing = live.do(told(live.doors, name, scope, role, {**fields, **nowhere}))
        if name in SHARED:
            assert foreign[0] in (200, 403)
            continue
        assert foreign == missing, role
        assert foreign[0] in (403, 404), role


def test_ids_are_unguessable(live: Live, stage: Stage) -> None:
    """Random ones, 122 bits each; nothing counts, nothing tells when it was made."""
    made = {live.doors.core.kernel.new_id() for _ in range(1000)}
    ids = [uuid.UUID(id) for id in made | {stage.tenant, stage.provider, stage.database}]
    assert {id.version for id in ids} == {4}
    assert len({str(id)[:8] for id in ids}) > 990
    fields = live.do(stage.request("jobs.get"))
    assert uuid.UUID(fields["id"]).version == 4
    assert REQUESTS
