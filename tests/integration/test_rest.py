"""The REST door: tenants by header, repeated calls, lists, limits, events, and what problems look like."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from storage_core.domain.context import Door
from storage_core.domain.errors import NotFound, TenantSuspended
from storage_core.domain.job import Job, JobStatus, LogLine
from storage_core.domain.permission import Role
from storage_core.domain.sizes import MAX_BODY
from tests.integration.doors import ADDRESS, PASSWORD, Doors

BASE = "/api/storage"
CREATE = f"{BASE}/tenants/create"


# tenants


async def test_a_header_narrows_the_call_by_name_or_id(doors: Doors) -> None:
    acme, _ = await doors.tenant("acme"), await doors.tenant("other")
    async with doors.rest(Role.VIEWER) as http:
        for value in ("acme", acme.id):
            listed = (await http.get(f"{BASE}/tenants/list", headers={"X-Tenant-ID": value})).json()
            assert [t["name"] for t in listed["items"]] == ["acme"]
        assert (await http.get(f"{BASE}/tenants/list")).json()["total"] == 2
        told = (await http.get("/api/auth/me", headers={"X-Tenant-ID": "acme"})).json()
        assert told["tenant_id"] == acme.id


async def test_a_tenant_outside_ones_scope_does_not_exist(doors: Doors) -> None:
    other = await doors.tenant("other")
    await doors.tenant("acme")
    async with doors.rest(Role.ADMIN, "tenant:acme") as http:
        for value in ("other", other.id, "never-made"):
            answer = await http.get(f"{BASE}/tenants/list", headers={"X-Tenant-ID": value})
            assert (answer.status_code, answer.json()["field"]) == (404, "X-Tenant-ID")
        answer = await http.get(f"{BASE}/tenants/{other.id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert [t["name"] for t in (await http.get(f"{BASE}/tenants/list")).json()["items"]] == ["acme"]


async def test_a_narrowed_call_does_not_reach_another_tenant(doors: Doors) -> None:
    await doors.tenant("acme")
    other = await doors.tenant("other")
    async with doors.rest(X_Tenant_ID="acme") as http:
        assert (await http.get(f"{BASE}/tenants/{other.id}")).status_code == 404


async def test_a_doubtful_header_is_refused_before_anything_else(doors: Doors) -> None:
    async with doors.rest(None) as http:
        answer = await http.get(f"{BASE}/tenants/list", headers={"X-Namespace": "eu"})
        assert (answer.status_code, answer.json()["field"]) == (422, "X-Namespace")
        assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]


async def test_a_suspended_tenant_is_refused_at_every_door(doors: Doors) -> None:
    acme = await doors.tenant("acme")
    await doors.user("ann", Role.ADMIN, "tenant:acme")
    bound = (await doors.call("tokens.create", name="t", user="ann", scopes=("tenant:acme",))).token
    await doors.token(Role.OPERATOR, "tenant:acme")
    await doors.call("tenants.suspend", id=acme.id, confirm="acme", reason="unpaid\ninvoice")
    async with doors.rest(X_Tenant_ID="acme") as http:
        answer = await http.get(f"{BASE}/databases/list")
        assert (answer.status_code, answer.json()["code"]) == (423, "tenant_suspended")
        assert (await http.get(f"{BASE}/events")).status_code == 423
        assert (await http.get(f"{BASE}/tenants/{acme.id}")).status_code == 200, "it may be looked at"
    everywhere = [
        f"{BASE}/{path}" for path in ("databases/list", "backups/list", "jobs/list", "events", "tokens/list",
        "tenants/list", f"tenants/{acme.id}", f"tenants/{acme.id}/usage", "sessions/list")
    ]  # fmt: skip
    for http_of in (
        doors.rest(None, Authorization=f"Bearer {bound}"),
        doors.rest(Role.OPERATOR, "tenant:acme"),  # not narrowed: a suspended tenant is all they have
    ):
        async with http_of as http:
            for path in (*everywhere, "/metrics", "/api/auth/me"):
                answer = await http.get(path)
                assert (answer.status_code, "unpaid invoice" in answer.text) == (423, True), path
    ctx = await doors.core.auth.by_token(bound, None, "c")
    with pytest.raises(TenantSuspended):
        await doors.call("databases.list", ctx)
    await doors.call("tenants.resume", id=acme.id)
    assert (await doors.call("databases.list", ctx)).total == 0


async def test_people_of_a_suspended_tenant_look_after_their_own_sign_in_and_nothing_else(
    doors: Doors,
) -> None:
    acme = await doors.tenant("acme")
    await doors.user("ann", Role.ADMIN, "tenant:acme")
    token = await doors.call("tokens.create", name="t", user="ann")
    cookie = (await doors.core.auth.login("ann", PASSWORD, "127.0.0.1", "", "c")).cookie
    ann = await doors.core.auth.by_cookie(cookie, Door.CONSOLE, None, "c")
    assert ann is not None
    await doors.call("tenants.suspend", id=acme.id, confirm="acme")
    assert [t.status for t in (await doors.call("tenants.list", ann)).items] == ["suspended"]
    assert (await doors.call("tenants.get", ann, id=acme.id)).status == "suspended"
    assert (await doors.call("sessions.list", ann)).total == 1
    [listed] = (await doors.call("tokens.list", ann)).items
    assert listed.acts_as is None, "it opens nothing now"
    await doors.call("tokens.revoke", ann, id=token.id)
    for name, fields in (
        ("tenants.update", {"id": acme.id, "title": "Mine"}),
        ("tenants.usage", {"id": acme.id}),
        ("audit.get", {"id": f"{acme.id}:1"}),
        ("audit.list", {}),
        ("tokens.create", {"name": "more"}),
    ):
        with pytest.raises(TenantSuspended):
            await doors.call(name, ann, **fields)
    await doors.call("tenants.update", id=acme.id, title="Acme, in arrears")


async def test_what_is_suspended_leaves_the_lists_of_those_who_have_more(doors: Doors) -> None:
    folder = doors.core.settings.home / "files"
    files = await doors.call(
        "providers.create", name="files", kind="sqlite", connection={"path": str(folder)}
    )
    for name in ("acme", "other"):
        tenant = await doors.tenant(name)
        await doors.call("databases.create", provider_id=files.id, name=f"of-{name}", tenant_id=tenant.id)
    token = await doors.token(Role.VIEWER, "tenant:acme")
    ann = next(u for u in (await doors.call("users.list")).items if u.username.startswith("viewer"))
    await doors.call("grants.create", user_id=ann.id, role="Viewer", scope="tenant:other")
    ctx = await doors.core.auth.by_token(token, None, "c")
    assert (await doors.call("databases.list", ctx)).total == 2
    await doors.call("tenants.suspend", id=doors.tenants["acme"].id, confirm="acme")
    assert [d.name for d in (await doors.call("databases.list", ctx)).items] == ["of-other"]
    assert (await doors.call("databases.list")).total == 2, "who runs the whole sees the whole"


async def test_a_viewer_sees_that_things_exist_and_not_where(doors: Doors) -> None:
    folder = doors.core.settings.home / "files"
    files = await doors.call(
        "providers.create", name="files", kind="sqlite", connection={"path": str(folder)}
    )
    acme = await doors.tenant("acme")
    row = await doors.call("databases.create", provider_id=files.id, name="orders", tenant_id=acme.id)
    assert row.location.startswith(str(folder))
    now = doors.clock()
    job = Job(
        "j1", "backups.restore", now, now, "u", "u", tenant_id=acme.id, log=(LogLine(now, "to /there"),)
    )
    job = replace(job, result={"id": "d", "location": "/there"}, status=JobStatus.SUCCEEDED)
    async with doors.core.kernel.catalog.write() as uow:
        await uow.jobs.add(job)
    for role, sees in ((Role.VIEWER, False), (Role.OPERATOR, True)):
        async with doors.rest(role, "tenant:acme") as http:
            one = (await http.get(f"{BASE}/databases/{row.id}")).text
            all_ = (await http.get(f"{BASE}/databases/list")).text
            run = (await http.get(f"{BASE}/jobs/j1")).text
        assert (str(folder) in one, str(folder) in all_, "/there" in run) == (sees,) * 3


# repeated calls


async def test_the_same_key_answers_the_same_and_does_it_once(doors: Doors) -> None:
    async with doors.rest() as http:
        key = {"Idempotency-Key": "k-1"}
        first = await http.post(CREATE, json={"name": "acme"}, headers=key)
        again = await http.post(CREATE, json={"name": "acme"}, headers=key)
        assert first.status_code == again.status_code == 200
        assert first.json() == again.json()
        assert (await doors.call("tenants.list")).total == 1
        other = await http.post(CREATE, json={"name": "other"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        fresh = await http.post(CREATE, json={"name": "acme"}, headers={"Idempotency-Key": "k-2"})
        assert (fresh.status_code, fresh.json()["code"]) == (409, "name_taken")


async def test_a_failed_call_forgets_its_key(doors: Doors) -> None:
    async with doors.rest() as http:
        key = {"Idempotency-Key": "k"}
        await doors.tenant("acme")
        assert (await http.post(CREATE, json={"name": "acme"}, headers=key)).json()["code"] == "name_taken"
        assert (await http.post(CREATE, json={"name": "other"}, headers=key)).status_code == 200


async def test_a_key_is_its_callers_own(doors: Doors) -> None:
    key = {"Idempotency-Key": "k"}
    path = f"{BASE}/tokens/create"
    async with doors.rest(Role.ADMIN) as one, doors.rest(Role.OPERATOR) as two:
        first = (await one.post(path, json={"name": "t"}, headers=key)).json()
        second = (await two.post(path, json={"name": "t"}, headers=key)).json()
        assert first["id"] != second["id"]


async def test_two_at_once_do_it_once(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first runs: it is told so, and gets the answer later."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    new_id = doors.core.kernel.new_id

    class Slow:
        """Vault that seals the answer only when told."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def seal(self, value: bytes, binding: Any) -> str:
            begun.set()
            await go_on.wait()
            return await self._inner.seal(value, binding)

    object.__setattr__(doors.core.kernel, "vault", Slow(doors.core.kernel.vault))
    assert new_id
    async with doors.rest() as http:
        key = {"Idempotency-Key": "k"}
        first = asyncio.create_task(http.post(CREATE, json={"name": "acme"}, headers=key))
        await begun.wait()
        second = await http.post(CREATE, json={"name": "acme"}, headers=key)
        assert (second.status_code, second.json()["code"]) == (409, "conflict")
        go_on.set()
        assert (await first).status_code == 200
        assert (await http.post(CREATE, json={"name": "acme"}, headers=key)).json() == (await first).json()


async def test_what_is_remembered_gives_no_secret_away(doors: Doors) -> None:
    """Two bodies that differ in a password only are two bodies; a token's answer is kept sealed."""
    async with doors.rest() as http:
        key = {"Idempotency-Key": "k"}
        user = {"username": "u", "password": "the first password", "role": "Viewer"}
        path = f"{BASE}/users/create"
        assert (await http.post(path, json=user, headers=key)).status_code == 200
        user["password"] = "another password"
        assert (await http.post(path, json=user, headers=key)).status_code == 409
        made = await http.post(f"{BASE}/tokens/create", json={"name": "t"}, headers=key)
        again = await http.post(f"{BASE}/tokens/create", json={"name": "t"}, headers=key)
        assert made.json() == again.json()
    home = doors.core.settings.home
    stored = b"".join(p.read_bytes() for p in home.glob("catalog.sqlite3*"))
    assert made.json()["token"].encode() not in stored
    assert b"first password" not in stored


# lists


async def names(http: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await http.get(f"{BASE}/tenants/list", params=query)
    assert answer.status_code == 200, answer.text
    return [t["name"] for t in answer.json()["items"]]


async def test_pages_follow_each_other_while_rows_come_and_go(doors: Doors) -> None:
    for letter in "abcdefg":
        await doors.tenant(letter)
    async with doors.rest(Role.VIEWER) as http:
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 2, "sort": "name"}
        while True:
            page = (await http.get(f"{BASE}/tenants/list", params=query)).json()
            seen += [t["name"] for t in page["items"]]
            await doors.tenant(f"{seen[-1]}0")  # behind the reader's last row, or right before it
            await doors.tenant(f"0{seen[-1]}")
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert [n for n in seen if len(n) == 1] == list("abcdefg")
        assert len(set(seen)) == len(seen)


async def test_order_offset_and_limit(doors: Doors) -> None:
    for letter in "bcad":
        await doors.tenant(letter)
    async with doors.rest(Role.VIEWER) as http:
        assert await names(http) == list("dacb"), "newest first"
        assert await names(http, sort="name") == list("abcd")
        assert await names(http, sort="-name", limit=2, offset=1) == list("cb")
        assert await names(http, sort="name", offset=9) == []
        page = (await http.get(f"{BASE}/tenants/list", params={"limit": 3})).json()
        assert (len(page["items"]), page["total"]) == (3, 4)


async def test_filters_and_words(doors: Doors) -> None:
    for name in ("acme", "acme-eu", "other"):
        await doors.tenant(name)
    await doors.call("tenants.suspend", id=doors.tenants["other"].id, confirm="other")
    async with doors.rest(Role.VIEWER) as http:
        assert await names(http, status="suspended") == ["other"]
        assert await names(http, status="!suspended", sort="name") == ["acme", "acme-eu"]
        assert await names(http, status="active,suspended", sort="name", q="ac") == ["acme", "acme-eu"]
        assert await names(http, status="!active,suspended") == []
        assert await names(http, q="ACME-e") == ["acme-eu"]
        assert await names(http, q="%") == []
        assert await names(http, q="_") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"sort": "colour"}, "sort"),
        ({"sort": "name; drop table tenants"}, "sort"),
        ({"cursor": "!!!"}, "cursor"),
        ({"cursor": "e30"}, "cursor"),
        ({"cursor": "WzEsMiwzXQ"}, "cursor"),
        ({"cursor": "\u00e4"}, "cursor"),
        ({"status": "!"}, "status"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_question_is_a_422_with_its_field(
    shared: Doors, query: dict[str, str], field: str
) -> None:
    async with shared.rest(Role.VIEWER) as http:
        answer = await http.get(f"{BASE}/tenants/list", params=query)
    assert answer.status_code == 422, answer.text
    assert (answer.json()["code"], answer.json()["field"]) == ("invalid_request", field)


async def test_a_cursor_belongs_to_its_order(doors: Doors) -> None:
    for letter in "ab":
        await doors.tenant(letter)
    async with doors.rest(Role.VIEWER) as http:
        query = {"limit": 1, "sort": "name"}
        cursor = (await http.get(f"{BASE}/tenants/list", params=query)).json()["next"]
        for sort in ("created_at", "-created_at"):
            answer = await http.get(f"{BASE}/tenants/list", params={"sort": sort, "cursor": cursor})
            assert answer.status_code == 422
        assert await names(http, sort="name", cursor=cursor) == ["b"]


# what cannot be read


async def test_a_problem_is_the_same_shape_everywhere(shared: Doors) -> None:
    async with shared.rest() as http:
        for method, path, body, status, code in (
            ("GET", "/api/storage/nothing/here", None, 404, "not_found"),
            ("PATCH", CREATE, None, 405, "method_not_allowed"),
            ("POST", CREATE, b"{", 400, "malformed"),
            ("POST", CREATE, b"[]", 422, "invalid_request"),
            ("POST", CREATE, b'{"name": "x", "surprise": 1}', 422, "invalid_request"),
            ("POST", CREATE, b"", 422, "invalid_request"),
            ("POST", "/api/auth/login", b"{", 400, "malformed"),
            ("GET", f"{BASE}/tenants/{'x' * 65}", None, 422, "invalid_request"),
            ("GET", f"{BASE}/audit/verify?x=1", None, 422, "invalid_request"),
        ):
            answer = await http.request(
                method, path, content=body, headers={"Content-Type": "application/json"}
            )
            problem = answer.json()
            assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status), path
            assert answer.headers["content-type"] == "application/problem+json"
            assert set(problem) == {
                *("type", "code", "title", "status", "detail", "hint", "field", "correlation_id")
            }


async def test_a_stranger_learns_nothing_about_the_body(shared: Doors) -> None:
    async with shared.rest(None) as http:
        assert (await http.post(CREATE, json={"wrong": 1})).status_code == 401


async def test_a_wrong_value_is_never_repeated(shared: Doors) -> None:
    async with shared.rest() as http:
        for secret in ("hunter2", 12345678901):
            body = {"username": "u", "password": {"nested": secret}, "role": "King"}
            answer = await http.post(f"{BASE}/users/create", json=body)
            assert answer.status_code == 422
            assert str(secret) not in answer.text


async def test_a_body_may_be_left_out_where_everything_has_a_default(doors: Doors) -> None:
    async with doors.rest() as http:
        answer = await http.post(f"{BASE}/backups/missing/restore")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_large_body_is_refused_announced_or_not(shared: Doors) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * (MAX_BODY // 8)

    async with shared.rest() as http:
        headers = {"Content-Type": "application/json"}
        for path in (CREATE, "/api/auth/login"):
            for content in (b" " * (MAX_BODY + 1), pieces()):
                answer = await http.post(path, content=content, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), path
        assert (await http.post(CREATE, content=b" " * 1000, headers=headers)).status_code == 400


async def test_the_unexpected_is_told_without_its_details(
    shared: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(shared.core.kernel.catalog, "ping", broken)
    async with shared.rest() as http:
        answer = await http.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text


async def test_alive_ready_metrics_and_docs(shared: Doors) -> None:
    async with shared.rest(None) as http:
        assert (await http.get("/health/live")).json() == {"status": "live"}
        assert (await http.get("/health/ready")).json() == {"status": "ready"}
        assert (await http.get("/metrics")).status_code == 401
        page = await http.get("/api/docs")
        assert "<script" not in page.text
        assert "POST /api/storage/backups/create" in page.text
    async with shared.rest(Role.VIEWER) as http:
        assert "python_info" in (await http.get("/metrics")).text


# events


@asynccontextmanager
async def listening(doors: Doors, role: Role, scope: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events a caller hears, straight from the ASGI application: httpx's transport waits for the end."""
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    over = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await over.wait()
        return {"type": "http.disconnect"}

    token = await doors.token(role, scope)
    scope_: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "scheme": "http",
        "path": f"{BASE}/events",
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "headers": [(b"host", b"127.0.0.1:8080"), (b"authorization", f"Bearer {token}".encode())],
    }
    task = asyncio.create_task(doors.app(scope_, receive, sent.put))
    start = await asyncio.wait_for(sent.get(), 20)
    assert start["status"] == 200
    assert (await asyncio.wait_for(sent.get(), 20))["body"] == b": listening\n\n"

    async def heard() -> AsyncIterator[dict[str, Any]]:
        while True:
            message = await asyncio.wait_for(sent.get(), 20)
            if not message.get("more_body"):
                return
            fields = dict(
                line.split(": ", 1) for line in message["body"].decode().splitlines() if ": " in line
            )
            if "data" in fields:
                yield {"topic": fields["event"], **json.loads(fields["data"])}

    try:
        yield heard()
    finally:
        over.set()
        await asyncio.wait_for(task, 20)


async def test_events_arrive_within_reach_only(doors: Doors) -> None:
    acme, other = await doors.tenant("acme"), await doors.tenant("other")
    async with (
        listening(doors, Role.VIEWER, "tenant:acme") as few,
        listening(doors, Role.VIEWER, "global") as all_,
    ):
        for tenant in (other, acme):
            await doors.call("tenants.update", id=tenant.id, title="new")
        # The making of the tenants may still be on its way to both listeners.
        heard_by_few = [e async for e in _until(few, acme.id)]
        assert {(e["topic"], e["id"]) for e in heard_by_few} == {("tenants", acme.id)}
        heard = [e async for e in _until(all_, acme.id)]
        assert {other.id, acme.id} <= {e["id"] for e in heard}


async def _until(events: AsyncIterator[dict[str, Any]], id: str) -> AsyncIterator[dict[str, Any]]:
    async for event in events:
        yield event
        if event["id"] == id and event["verb"] == "changed":
            return


async def test_a_revoked_token_hears_nothing_more(doors: Doors) -> None:
    acme = await doors.tenant("acme")
    async with listening(doors, Role.VIEWER, "global") as events:
        token = (await doors.call("tokens.list")).items[0]
        await doors.call("tokens.revoke", id=token.id)
        await doors.call("tenants.update", id=acme.id, title="new")
        assert [e async for e in events] == []


async def test_a_missing_tenant_in_the_sdk_is_the_same_error(doors: Doors) -> None:
    from tests.integration.doors import BY_NAME

    async with doors.sdk(Role.VIEWER, tenant="never-made") as client:
        op = BY_NAME["tenants.list"]
        with pytest.raises(NotFound) as caught:
            await client.call(op, op.request())
    assert caught.value.field == "X-Tenant-ID"
    assert ADDRESS
