"""Proving again who one is, inside a session: what counts as a fresh sign-in, and who never has one."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from storage_core.domain.context import Context, Door, local_context, system_context
from storage_core.domain.identity import FRESH_SIGN_IN, SESSION_ABSOLUTE, freshly_signed_in
from storage_core.domain.permission import Role
from tests.integration.doors import ADDRESS, PASSWORD, Doors
from tests.integration.test_sign_in import SAME, browser, me, signed_in

RENEW = "/api/auth/renew"


@pytest.fixture
async def ann(doors: Doors) -> str:
    return await doors.user("ann", Role.ADMIN)


async def renewed(http: httpx.AsyncClient, password: str = PASSWORD, **more: Any) -> httpx.Response:
    return await http.post(RENEW, json={"password": password}, headers=SAME, **more)


async def asked(doors: Doors, http: httpx.AsyncClient) -> Context:
    ctx = await doors.core.auth.by_cookie(http.cookies["sc_session"], Door.REST, None, "c")
    assert ctx is not None
    return ctx


async def test_a_sign_in_is_fresh_for_minutes_and_again_when_renewed(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        session, cookie = (await doors.call("sessions.list")).items[0], http.cookies["sc_session"]
        assert freshly_signed_in((await asked(doors, http)).signed_in_at, doors.clock())
        doors.clock.ahead = FRESH_SIGN_IN + timedelta(seconds=1)
        assert not freshly_signed_in((await asked(doors, http)).signed_in_at, doors.clock())
        answer = await renewed(http)
        assert answer.status_code == 200, answer.text
        ctx = await asked(doors, http)
        assert freshly_signed_in(ctx.signed_in_at, doors.clock())
        assert ctx.signed_in_at is not None
        assert answer.json() == {"signed_in_at": ctx.signed_in_at.isoformat()}
        assert "set-cookie" not in answer.headers
        after = (await doors.call("sessions.list")).items[0]
        assert (after.id, after.created_at) == (session.id, session.created_at)
        assert http.cookies["sc_session"] == cookie


async def test_renewing_does_not_outlive_the_absolute_limit(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        for _ in range(11):
            doors.clock.ahead += timedelta(hours=1)
            assert (await renewed(http)).status_code == 200
        doors.clock.ahead = SESSION_ABSOLUTE + timedelta(minutes=1)
        assert (await renewed(http)).status_code == 401
        assert await me(http) == 401


async def test_tokens_programs_and_the_system_have_no_sign_in(doors: Doors, ann: str) -> None:
    ctx = await doors.context(Role.ADMIN)
    assert ctx is not None
    for one in (ctx, local_context("somebody", "c"), system_context("upkeep", "c")):
        assert one.signed_in_at is None
        assert not freshly_signed_in(one.signed_in_at, doors.clock())
    async with doors.rest(Role.ADMIN) as http:
        assert (await renewed(http)).status_code == 401, "a token has nothing to renew"


async def test_a_wrong_password_renews_nothing_and_guesses_count_like_at_the_sign_in(
    doors: Doors, ann: str
) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        before = (await asked(doors, http)).signed_in_at
        codes = [(await renewed(http, f"guess {i}")).status_code for i in range(12)]
        assert codes == [401] * 10 + [429] * 2
        assert (await renewed(http)).status_code == 429
        assert (
            await http.post("/api/auth/login", json={"username": "ann", "password": PASSWORD})
        ).status_code == 429
        assert (await asked(doors, http)).signed_in_at == before
        assert await me(http) == 200, "the session itself goes on"


async def test_renewing_needs_a_live_session_and_our_own_origin(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        assert (await renewed(http)).json()["code"] == "unauthenticated"
        await signed_in(http)
        assert (await renewed(http, "wrong")).json()["code"] == "wrong_password"
        for headers in ({}, {"Origin": "https://evil.example"}, {**SAME, "Sec-Fetch-Site": "cross-site"}):
            answer = await http.post(RENEW, json={"password": PASSWORD}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        await doors.call("users.disable", id=ann)
        assert (await renewed(http)).json()["code"] == "unauthenticated"
    async with browser(doors, "http://console.example", "203.0.113.9") as http:
        assert (await renewed(http)).status_code == 403


async def test_a_form_is_sent_back_to_where_it_came_from_and_nowhere_else(doors: Doors, ann: str) -> None:
    async with browser(doors) as http:
        await signed_in(http)
        for onward, password, place in (
            ("/databases/1?tab=a", PASSWORD, "/databases/1?tab=a"),
            ("//evil.example", PASSWORD, "/"),
            ("/profile", "wrong", "/profile?error=wrong_password"),
            ("/profile?a=1", "wrong", "/profile?a=1&error=wrong_password"),
        ):
            answer = await http.post(
                RENEW, data={"password": password}, headers=SAME, params={"next": onward}
            )
            assert (answer.status_code, answer.headers["location"]) == (303, place)
        await http.post("/api/auth/logout", headers=SAME)
        answer = await http.post(RENEW, data={"password": PASSWORD}, headers=SAME)
        assert answer.headers["location"] == "/login?error=unauthenticated"


async def test_renewals_are_audited(doors: Doors, ann: str) -> None:
    async with browser(doors, ADDRESS, "127.0.0.9") as http:
        await signed_in(http)
        await renewed(http, "wrong")
        await renewed(http)
    seen = [e for e in (await doors.call("audit.list")).items if e.operation == "auth.renew"]
    assert sorted((e.result, e.actor_id, e.address) for e in seen) == [
        ("ok", ann, "127.0.0.9"), ("refused", ann, "127.0.0.9")
    ]  # fmt: skip
