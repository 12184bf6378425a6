"""Signing in over REST: form and JSON, cookies, tokens, their limits and their end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from storage_core.domain.errors import Forbidden, InvalidRequest
from storage_core.domain.identity import (
    SESSION_ABSOLUTE,
    SESSION_IDLE,
    SESSION_KEPT,
    SETUP_LINK_LIFE,
    CredentialKind,
)
from storage_core.domain.page import Query
from storage_core.domain.permission import Role
from storage_core.services.sessions import EndedSessions
from storage_core.services.tokens import CreateToken
from tests.integration.doors import ADDRESS, PASSWORD, Doors

ANN = {"username": "ann", "password": PASSWORD}
SAME = {"Origin": ADDRESS}
CREATE = "/api/storage/tenants/create"


@asynccontextmanager
async def browser(
    doors: Doors, url: str = ADDRESS, host: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=doors.transport((host, 1)), base_url=url) as client:
        yield client


async def signed_in(http: httpx.AsyncClient) -> httpx.Response:
    answer = await http.post("/api/auth/login", json=ANN)
    assert answer.status_code == 200, answer.text
    return answer


async def me(http: httpx.AsyncClient) -> int:
    return (await http.get("/api/auth/me")).status_code


@pytest.fixture
async def ann(doors: Doors) -> str:
    return await doors.user("ann", Role.ADMIN)


async def test_json_answers_200_or_401_and_sets_a_strict_cookie(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        assert await me(http) == 401
        wrong = await http.post("/api/auth/login", json={**ANN, "password": "wrong"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthenticated")
        assert "set-cookie" not in wrong.headers
        answer = await signed_in(http)
        assert answer.json() == {"id": ann, "username": "ann"}
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("sc_session=")
        for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
            assert part in cookie
        assert "Secure" not in cookie
        assert "Domain" not in cookie
        mine = (await http.get("/api/auth/me")).json()
        assert (mine["name"], mine["grants"][0]["role"]) == ("ann", "Admin")


async def test_on_https_the_cookie_is_secure_and_bound_to_the_host(doors: Doors, ann: str) -> None:
    async with browser(doors, "https://console.example", "203.0.113.9") as http:
        cookie = (await signed_in(http)).headers["set-cookie"]
        assert cookie.startswith("__Host-sc_session=")
        assert "Secure" in cookie
        assert await me(http) == 200


async def test_a_form_is_redirected_and_only_within_the_console(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        for onward, place in (
            ("/backups?q=1", "/backups?q=1"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
        ):
            answer = await http.post("/api/auth/login", data=ANN, headers=SAME, params={"next": onward})
            assert (answer.status_code, answer.headers["location"]) == (303, place)
        wrong = await http.post("/api/auth/login", data={"username": "ann"}, headers=SAME)
        assert (wrong.status_code, wrong.headers["location"]) == (303, "/login?error=unauthenticated")


@pytest.mark.parametrize("path", ["login", "setup"])
async def test_plain_http_is_for_this_machine_only(doors: Doors, ann: str, path: str) -> None:
    async with browser(doors, "http://console.example", "203.0.113.9") as http:
        answer = await http.post(f"/api/auth/{path}", json={**ANN, "token": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


async def test_a_cookie_over_plain_http_from_afar_is_refused(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        value = (await signed_in(http)).cookies["sc_session"]
    async with browser(doors, "http://console.example", "203.0.113.9") as http:
        answer = await http.get("/api/auth/me", headers={"Cookie": f"sc_session={value}"})
        assert answer.status_code == 403
    async with browser(doors, ADDRESS, "::ffff:127.0.0.1") as http:
        assert (await http.get("/api/auth/me", headers={"Cookie": f"sc_session={value}"})).status_code == 200


async def test_a_change_by_cookie_needs_our_own_origin(doors: Doors, ann: str) -> None:
    await doors.user("root", Role.SUPER_ADMIN)
    async with browser(doors) as http:
        await http.post("/api/auth/login", json={"username": "root", "password": PASSWORD})
        for headers, status in (
            ({}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": SAME["Origin"].replace("http:", "https:")}, 403),
            ({"Origin": "http://127.0.0.1:8081"}, 403),
            ({**SAME, "Sec-Fetch-Site": "cross-site"}, 403),
            ({**SAME, "Sec-Fetch-Site": "same-site"}, 403),
            ({**SAME, "Sec-Fetch-Site": "same-origin"}, 200),
        ):
            answer = await http.post(CREATE, json={"name": "acme"}, headers=headers)
            assert answer.status_code == status, headers
        cross = await http.get("/api/auth/me", headers={"Sec-Fetch-Site": "cross-site"})
        assert (cross.status_code, cross.json()["code"]) == (403, "cross_site")


async def test_another_site_cannot_sign_a_visitor_in(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        for given in (
            {"data": ANN},  # a form without any origin is no browser's
            {"data": ANN, "headers": {"Origin": "https://evil.example"}},
            {"json": ANN, "headers": {"Origin": "https://evil.example"}},
            {"json": ANN, "headers": {"Sec-Fetch-Site": "cross-site"}},
            {"content": '{"username": "ann", "password": "' + PASSWORD + '"}',
             "headers": {"Content-Type": "text/plain", "Origin": "null"}},
        ):  # fmt: skip
            answer = await http.post("/api/auth/login", **given)  # type: ignore[arg-type]
            assert "set-cookie" not in answer.headers, given
        out = await http.post("/api/auth/logout", headers={"Origin": "https://evil.example"})
        assert out.status_code == 403


async def test_logout_ends_the_session_for_good(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        value = (await signed_in(http)).cookies["sc_session"]
        assert (await http.post("/api/auth/logout", headers=SAME)).status_code == 200
        assert await me(http) == 401
        assert (await http.get("/api/auth/me", headers={"Cookie": f"sc_session={value}"})).status_code == 401


async def test_every_sign_in_is_a_new_session(doors: Doors, ann: str) -> None:
    async with browser(doors) as one, browser(doors) as two:
        first, second = await signed_in(one), await signed_in(two)
        assert first.cookies["sc_session"] != second.cookies["sc_session"]


async def test_a_new_sign_in_ends_the_session_it_takes_the_place_of(doors: Doors, ann: str) -> None:
    async with browser(doors) as http, browser(doors) as other:
        await signed_in(other)
        old = (await signed_in(http)).cookies["sc_session"]
        await signed_in(http)
        assert await me(http) == 200
        assert await me(other) == 200, "another browser's session goes on"
        http.cookies.clear()
        assert (await http.get("/api/auth/me", headers={"Cookie": f"sc_session={old}"})).status_code == 401


async def test_an_idle_session_ends_and_a_used_one_ends_too(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        doors.clock.ahead = SESSION_IDLE - timedelta(minutes=1)
        assert await me(http) == 200
        doors.clock.ahead += SESSION_IDLE - timedelta(minutes=1)
        assert await me(http) == 200, "it was used in between"
        doors.clock.ahead += SESSION_IDLE + timedelta(minutes=1)
        assert await me(http) == 401
        start = doors.clock.ahead
        await signed_in(http)
        while doors.clock.ahead - start < SESSION_ABSOLUTE - timedelta(hours=2):
            doors.clock.ahead += timedelta(hours=1)
            assert await me(http) == 200
        doors.clock.ahead = start + SESSION_ABSOLUTE + timedelta(minutes=1)
        assert await me(http) == 401


async def test_a_disabled_user_stops_at_once(doors: Doors, ann: str) -> None:
    token = (await doors.call("tokens.create", name="t", user="ann")).token
    async with browser(doors) as http, browser(doors) as program:
        program.headers["Authorization"] = f"Bearer {token}"
        await signed_in(http)
        assert (await me(http), await me(program)) == (200, 200)
        await doors.call("users.disable", id=ann)
        assert (await me(http), await me(program)) == (401, 401)
        assert (await http.post("/api/auth/login", json=ANN)).status_code == 401


async def test_a_revoked_session_or_token_stops_at_once(doors: Doors, ann: str) -> None:
    made = await doors.call("tokens.create", name="t", user="ann")
    async with browser(doors) as http, browser(doors) as program:
        program.headers["Authorization"] = f"Bearer {made.token}"
        await signed_in(http)
        session = (await doors.call("sessions.list")).items[0]
        await doors.call("sessions.revoke", id=session.id)
        assert (await me(http), await me(program)) == (401, 200)
        await doors.call("tokens.revoke", id=made.id)
        assert await me(program) == 401


async def test_a_token_expires_on_time(doors: Doors, ann: str) -> None:
    end = doors.clock() + timedelta(hours=1)
    made = await doors.call("tokens.create", name="t", user="ann", expires_at=end)
    async with browser(doors) as http:
        http.headers["Authorization"] = f"Bearer {made.token}"
        assert await me(http) == 200
        doors.clock.ahead = timedelta(hours=1, seconds=1)
        assert await me(http) == 401


async def test_a_token_counts_in_the_header_only(doors: Doors, ann: str) -> None:
    token = (await doors.call("tokens.create", name="t", user="ann")).token
    async with browser(doors) as http:
        for path, headers in (
            (f"/api/auth/me?token={token}", {}),
            (f"/api/auth/me?access_token={token}", {}),
            ("/api/auth/me", {"Cookie": f"sc_session={token}"}),
            ("/api/auth/me", {"Cookie": f"token={token}"}),
            ("/api/auth/me", {"Authorization": token}),
            ("/api/auth/me", {"Authorization": f"Basic {token}"}),
            ("/api/auth/me", {"Authorization": f"Bearer {token}x"}),
        ):
            assert (await http.get(path, headers=headers)).status_code == 401, (path, headers)
        cookie = (await signed_in(http)).cookies["sc_session"]
        http.cookies.clear()
        assert (
            await http.get("/api/auth/me", headers={"Authorization": f"Bearer {cookie}"})
        ).status_code == 401


async def test_a_wrong_header_is_not_saved_by_a_cookie(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        assert (await http.get("/api/auth/me", headers={"Authorization": "Bearer sct_x"})).status_code == 401


async def test_guessing_is_slowed_down_also_all_at_once(doors: Doors, ann: str) -> None:
    await doors.user("bob", Role.VIEWER)
    async with browser(doors) as http:
        guesses = [http.post("/api/auth/login", json={**ANN, "password": f"guess {i}"}) for i in range(14)]
        right = http.post("/api/auth/login", json=ANN)
        codes = [a.status_code for a in await asyncio.gather(*guesses)]
        assert codes.count(401) == 10
        assert codes.count(429) == 4
        refused = await right
        assert refused.status_code == 429, "the right password does not help any more"
        assert 290 < int(refused.headers["retry-after"]) <= 300
        assert refused.json()["hint"] == "Wait 5 minutes and try again."
        doors.clock.ahead = timedelta(minutes=4)
        form = await http.post("/api/auth/login", data=ANN, headers=SAME)
        assert (form.status_code, form.headers["location"].rpartition("=")[0]) == (
            303,
            "/login?error=too_many_requests&wait",
        )
        wait = int(form.headers["location"].rpartition("=")[2])
        assert 50 < wait <= 60, "one truth, for people and programs"
        doors.clock.ahead += timedelta(seconds=wait)
        assert (await http.post("/api/auth/login", json=ANN)).status_code == 200
        other = await http.post("/api/auth/login", json={"username": "bob", "password": PASSWORD})
        assert other.status_code == 200


async def test_a_right_password_forgives_the_wrong_ones_before(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        for _ in range(3):
            for _ in range(5):
                await http.post("/api/auth/login", json={**ANN, "password": "wrong"})
            await signed_in(http)


async def test_unknown_users_read_like_known_ones(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        known = (await http.post("/api/auth/login", json={**ANN, "password": "wrong"})).json()
        unknown = (await http.post("/api/auth/login", json={**ANN, "username": "nobody"})).json()
        for answer in (known, unknown):
            del answer["correlation_id"]
        assert known == unknown


async def test_the_setup_link_works_once(doors: Doors) -> None:
    old = await doors.core.auth.setup_token()
    token = await doors.core.auth.setup_token()
    claim = {**ANN, "token": token}
    assert token is not None and await doors.core.auth.setup_open(token)
    assert not await doors.core.auth.setup_open("guess")
    async with browser(doors) as http:
        for given, status in (
            ({**claim, "token": "guess"}, 410),
            ({**claim, "token": old}, 410),
            ({**claim, "password": "short"}, 422),
            ({"token": token}, 422),
        ):
            assert (await http.post("/api/auth/setup", json=given)).status_code == status
        answers = await asyncio.gather(
            *(http.post("/api/auth/setup", json={**claim, "username": n}) for n in "ab")
        )
        assert sorted(a.status_code for a in answers) == [200, 410]
        assert (await http.get("/api/auth/me")).json()["grants"][0]["role"] == "SuperAdmin"
        again = await http.post("/api/auth/setup", json=claim)
        assert (again.status_code, again.json()["code"]) == (410, "gone")
    assert await doors.core.auth.setup_token() is None
    assert not await doors.core.auth.setup_open(token)


async def test_an_old_setup_link_is_gone(doors: Doors) -> None:
    token = await doors.core.auth.setup_token()
    doors.clock.ahead = SETUP_LINK_LIFE + timedelta(seconds=1)
    assert token is not None and not await doors.core.auth.setup_open(token)
    async with browser(doors) as http:
        answer = await http.post("/api/auth/setup", data={**ANN, "token": token}, headers=SAME)
        assert answer.status_code == 303
        assert "error=gone" in answer.headers["location"]


async def test_a_token_is_never_more_than_asked_for_or_than_its_owner(doors: Doors) -> None:
    acme, other = await doors.tenant("acme"), await doors.tenant("other")
    await doors.user("root", Role.SUPER_ADMIN)

    async def grants(token: str) -> Any:
        async with browser(doors) as http:
            http.headers["Authorization"] = f"Bearer {token}"
            told = (await http.get("/api/auth/me")).json()
            return told["tenant_id"], [(g["role"], g["scope_id"]) for g in told["grants"]]

    made = await doors.call("tokens.create", name="t", user="root", scopes=("role:Operator", "tenant:acme"))
    assert await grants(made.token) == (acme.id, [("Operator", acme.id)])
    narrow = await doors.core.auth.by_token(made.token, None, "c")
    assert narrow is not None
    # what it makes itself stays inside: neither role nor tenant can be got rid of
    child = await doors.call("tokens.create", narrow, name="child")
    assert await grants(child.token) == (acme.id, [("Operator", acme.id)])
    child = await doors.call("tokens.create", narrow, name="child", scopes=("role:SuperAdmin",))
    assert await grants(child.token) == (acme.id, [("Operator", acme.id)])
    with pytest.raises(InvalidRequest):
        await doors.call("tokens.create", narrow, name="child", scopes=(f"tenant:{other.id}",))
    with pytest.raises(InvalidRequest):
        await doors.call("tokens.create", name="t", user="root", scopes=("everything",))


async def test_a_tokens_token_ends_with_it(doors: Doors) -> None:
    await doors.user("root", Role.SUPER_ADMIN)
    end = doors.clock() + timedelta(hours=1)
    made = await doors.call("tokens.create", name="t", user="root", expires_at=end)
    ctx = await doors.core.auth.by_token(made.token, None, "c")
    assert (await doors.call("tokens.create", ctx, name="child")).expires_at == end


async def test_a_viewers_token_is_read_only_whatever_comes_later(doors: Doors) -> None:
    ctx = await doors.context(Role.VIEWER)
    made = await doors.call("tokens.create", ctx, name="t")
    row = next(t for t in (await doors.call("tokens.list")).items if t.id == made.id)
    assert row.role is Role.VIEWER


async def test_nobody_makes_anything_above_themselves(doors: Doors) -> None:
    await doors.tenant("acme")
    await doors.user("root", Role.SUPER_ADMIN)
    admin = await doors.context(Role.ADMIN)
    scoped = await doors.context(Role.ADMIN, "tenant:acme")
    user = {"username": "x", "password": PASSWORD}
    with pytest.raises(Forbidden):
        await doors.call("users.create", admin, **user, role="SuperAdmin")
    with pytest.raises(Forbidden):
        await doors.call("users.create", scoped, **user, role="Viewer", scope="global")
    with pytest.raises(Forbidden):
        await doors.core.tokens.create(admin, CreateToken(name="t", user="root"))  # type: ignore[arg-type]
    root = next(u for u in (await doors.call("users.list")).items if u.username == "root")
    with pytest.raises(Forbidden):
        await doors.call("users.disable", admin, id=root.id)
    await doors.call("users.create", scoped, **user, role="Admin", scope="tenant:acme")
    await doors.call("users.create", admin, username="y", password=PASSWORD, role="Admin")


async def test_an_operator_reads_only_their_own_part_of_the_audit_log(doors: Doors) -> None:
    await doors.tenant("acme")
    ctx = await doors.context(Role.OPERATOR)
    assert ctx is not None
    await doors.call("tokens.create", ctx, name="mine")
    seen = (await doors.call("audit.list", ctx)).items
    assert {e.actor_id for e in seen} == {ctx.actor.id}
    assert "tokens.create" in {e.operation for e in seen}
    assert {e.actor_id for e in (await doors.call("audit.list")).items} > {ctx.actor.id}


async def test_sessions_nobody_can_use_any_more_are_forgotten(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        doors.clock.ahead = SESSION_ABSOLUTE + SESSION_KEPT - timedelta(minutes=5)
        young = (await signed_in(http)).cookies["sc_session"]
    ended = EndedSessions(doors.core.kernel)
    await ended.forget()
    assert await kept(doors) == (2, 2)
    doors.clock.ahead += timedelta(minutes=10)
    await ended.forget()
    assert await kept(doors) == (1, 1)
    assert await doors.core.auth.session_of(young) is not None
    said = await doors.call("audit.list", operation="auth.login")
    assert len(said.items) == 2, "the log knows of both"


async def kept(doors: Doors) -> tuple[int, int]:
    async with doors.core.kernel.catalog.read() as uow:
        kinds = [c.kind for c in (await uow.credentials.find(Query(sort="created_at"))).items]
        return (await uow.sessions.find(Query(sort="created_at"))).total, kinds.count(CredentialKind.SESSION)
