"""Signing in with an identity provider: a certified one over its own forms, and one that breaks every rule in turn."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from starlette.responses import RedirectResponse, Response

from storage_core.domain.context import Door
from storage_core.domain.federation import FLOW_LIFE
from storage_core.domain.identity import FRESH_SIGN_IN, freshly_signed_in
from storage_core.domain.permission import Role
from tests.integration.doors import ADDRESS, PASSWORD, Doors, doors_at
from tests.integration.issuers import (
    CLIENT,
    SCOPES,
    SECRET,
    Certified,
    Liar,
    callback,
    free_port,
    install_provider,
    signing_key,
)
from tests.integration.test_sign_in import SAME, browser, me

START = "/api/auth/oidc"
RENEW = f"{START}/renew"
ROLES: dict[str, Any] = {"ops": ("Operator tenant:acme", "Viewer"), "admins": "Admin"}


def settings(issuer: str, **more: Any) -> dict[str, Any]:
    return {
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_scopes": SCOPES,
        "oidc_roles": ROLES,
        **more,
    }


@dataclass
class Lied:
    """A console that believes in the liar."""

    doors: Doors
    liar: Liar

    async def begun(self, http: httpx.AsyncClient, path: str = START) -> str:
        answer = await http.get(path)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{self.liar.issuer}/authorize?"), answer.headers
        return answer.headers["location"]

    async def tried(self, http: httpx.AsyncClient, **changes: str) -> str:
        """One whole sign-in; "ok", or the refusal's code."""
        said = self.liar.authorised(await self.begun(http)) | changes
        return outcome(await http.get(callback(said)))

    async def audited(self) -> str:
        """The last word of the audit log on a sign-in."""
        entries = (await self.doors.call("audit.list")).items
        return next(e.detail for e in entries if e.operation == "auth.oidc")


def outcome(answer: httpx.Response) -> str:
    if answer.status_code == 200:
        return "ok"
    assert answer.status_code == 303, answer.text
    assert "sc_session" not in answer.headers.get("set-cookie", "").replace('sc_session=""', "")
    [code] = parse_qs(urlsplit(answer.headers["location"]).query)["error"]
    return code


@pytest.fixture
async def lied(tmp_path: Path) -> AsyncIterator[Lied]:
    async with (
        Liar(free_port()).running() as liar,
        doors_at(tmp_path / "home", **settings(liar.issuer)) as doors,
    ):
        await doors.tenant("acme")
        yield Lied(doors, liar)


@pytest.fixture(scope="module")
async def certified() -> Certified:
    await asyncio.to_thread(install_provider)
    people = {"ann": {"groups": ["ops"]}, "bob": {"groups": []}, "root": {"groups": ["admins"]}}
    return Certified(free_port(), f"{ADDRESS}/api/auth/oidc/callback", people)


async def grants(http: httpx.AsyncClient) -> set[tuple[str, str]]:
    told = (await http.get("/api/auth/me")).json()
    return {(g["role"], g["scope"]) for g in told["grants"]}


async def test_people_sign_in_at_a_certified_provider_and_renew_there(
    certified: Certified, tmp_path: Path
) -> None:
    async with (
        certified.running(signing_key("one")),
        doors_at(tmp_path / "home", **settings(certified.issuer)) as doors,
        browser(doors) as http,
        httpx.AsyncClient() as there,
    ):
        await doors.tenant("acme")
        start = await http.get(START, params={"next": "/backups?q=1"})
        place = start.headers["location"]
        query = parse_qs(urlsplit(place).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["redirect_uri"] == [certified.redirect]
        back = await certified.visited(place, "ann", there)
        assert back.startswith(certified.redirect)
        answer = await http.get(back)
        assert answer.status_code == 200, answer.headers
        assert 'content="0;url=/backups?q=1"' in answer.text
        assert await grants(http) == {("Operator", "tenant"), ("Viewer", "global")}
        told = (await http.get("/api/auth/me")).json()
        assert (told["name"], told["renewed_by"]) == ("ann", "oidc")
        [session] = (await doors.call("sessions.list")).items

        assert (await http.get(back)).headers["location"] == "/login?error=sign_in_expired"

        async with doors.core.kernel.catalog.write() as uow:  # the provider has a clock of its own
            await uow.sessions.save(replace(session, proved_at=session.created_at - FRESH_SIGN_IN))
        assert not await fresh(doors, http)
        place = (await http.get(RENEW, params={"next": "/profile"})).headers["location"]
        assert parse_qs(urlsplit(place).query)["prompt"] == ["login"]
        answer = await http.get(await certified.visited(place, "ann", there))
        assert 'content="0;url=/profile"' in answer.text
        assert "set-cookie" in answer.headers
        assert "sc_session" not in answer.headers["set-cookie"]
        assert await fresh(doors, http)
        assert [s.id for s in (await doors.call("sessions.list")).items] == [session.id]

        place = (await http.get(RENEW)).headers["location"]
        async with httpx.AsyncClient() as somebody_else:
            back = await certified.visited(place, "root", somebody_else)
        assert outcome(await http.get(back)) == "identity_refused"


async def fresh(doors: Doors, http: httpx.AsyncClient) -> bool:
    ctx = await doors.core.auth.by_cookie(http.cookies["sc_session"], Door.REST, None, "c")
    assert ctx is not None
    return freshly_signed_in(ctx.signed_in_at, doors.clock())


async def signed_out(http: httpx.AsyncClient) -> httpx.Response:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return await http.post("/api/auth/logout", headers={**SAME, **form})


def led_to(answer: httpx.Response) -> str:
    """Where an answer sends a browser, by redirect or by itself."""
    if answer.is_redirect:
        return answer.headers["location"]
    [place] = re.findall(r'content="0;url=([^"]+)"', answer.text)
    return unescape(place)


async def test_signing_out_ends_the_session_at_the_certified_provider_too(
    certified: Certified, tmp_path: Path
) -> None:
    async with (
        certified.running(signing_key("one")),
        doors_at(tmp_path / "home", **settings(certified.issuer)) as doors,
        browser(doors) as http,
        httpx.AsyncClient() as there,
    ):
        place = (await http.get(START)).headers["location"]
        assert outcome(await http.get(await certified.visited(place, "root", there))) == "ok"
        silent = httpx.URL((await http.get(START)).headers["location"]).copy_merge_params({"prompt": "none"})
        assert "code=" in (await there.get(silent)).headers["location"], "signed in there"

        place = led_to(await signed_out(http))
        assert place.startswith(f"{certified.issuer}/session/end?client_id={CLIENT}&")
        assert await me(http) == 401
        asks = await there.get(place)
        [action] = re.findall(r'action="([^"]+)"', asks.text)
        [xsrf] = re.findall(r'name="xsrf" value="([^"]+)"', asks.text)
        done = await there.post(unescape(action), data={"xsrf": xsrf, "logout": "yes"})
        assert done.headers["location"] == f"{ADDRESS}/login"
        assert "login_required" in (await there.get(silent)).headers["location"], "signed out there"


async def test_signing_out_goes_nowhere_else(lied: Lied) -> None:
    """Whatever the provider calls its own, and whoever was never there."""
    good = f"{lied.liar.issuer}/leave?x=1"
    cases: dict[str, tuple[Any, str]] = {
        "good": (
            good,
            f"{good}&client_id={CLIENT}&post_logout_redirect_uri={quote_plus(ADDRESS + '/login')}",
        ),
        "none": (None, "/login"),
        "script": ("javascript:alert(1)", "/login"),
        "no text": (7, "/login"),
        "split": (f"{good}\r\nX: y", "/login"),
    }
    async with browser(lied.doors) as http:
        for case, (said, place) in cases.items():
            await arrived(lied, http, said)
            assert led_to(await signed_out(http)) == place, case
            assert led_to(await signed_out(http)) == "/login", "nobody was signed in"
        await arrived(lied, http, good)
        lied.doors.clock.ahead += timedelta(hours=1)
        lied.liar.answer = Response("away", 503)
        assert led_to(await signed_out(http)) == "/login", "a provider that is away keeps nobody here"
        lied.liar.answer = None
        await lied.doors.user("by-password", Role.VIEWER)
        said = {"username": "by-password", "password": PASSWORD}
        assert (await http.post("/api/auth/login", json=said)).status_code == 200
        assert led_to(await signed_out(http)) == "/login"


async def arrived(lied: Lied, http: httpx.AsyncClient, end_session: Any) -> None:
    """Signed in by a provider that describes itself so; an hour after it was asked last, so it is asked again."""
    lied.doors.clock.ahead += timedelta(hours=1)
    now = int(lied.doors.clock().timestamp())
    lied.liar.claims = bend(iat=now, auth_time=now, exp=now + 600)
    lied.liar.metadata = bend(end_session_endpoint=end_session)
    assert await lied.tried(http) == "ok"


async def test_the_certified_providers_keys_may_change(certified: Certified, tmp_path: Path) -> None:
    async with doors_at(tmp_path / "home", **settings(certified.issuer)) as doors:
        for key in (signing_key("one"), signing_key("two", "ES256")):
            async with certified.running(key), browser(doors) as http, httpx.AsyncClient() as there:
                place = (await http.get(START)).headers["location"]
                assert outcome(await http.get(await certified.visited(place, "root", there))) == "ok"
                assert await grants(http) == {("Admin", "global")}
            doors.clock.ahead += timedelta(seconds=11)  # keys are asked for again, if not all the time


async def test_without_a_role_people_wait_until_somebody_gives_them_one(
    certified: Certified, tmp_path: Path
) -> None:
    async with (
        certified.running(signing_key("one")),
        doors_at(tmp_path / "home", **settings(certified.issuer)) as doors,
        browser(doors) as http,
        httpx.AsyncClient() as there,
    ):
        place = (await http.get(START)).headers["location"]
        assert outcome(await http.get(await certified.visited(place, "bob", there))) == "no_role"
        assert await me(http) == 401
        [bob] = [u for u in (await doors.call("users.list")).items if u.username == "bob"]
        await doors.call("grants.create", user_id=bob.id, role="Viewer")
        place = (await http.get(START)).headers["location"]
        assert outcome(await http.get(await certified.visited(place, "bob", there))) == "ok"
        await doors.call("users.disable", id=bob.id)
        assert await me(http) == 401
        place = (await http.get(START)).headers["location"]
        assert outcome(await http.get(await certified.visited(place, "bob", there))) == "user_disabled"


def bend(**changes: Any) -> Any:
    return lambda claims: {k: v for k, v in {**claims, **changes}.items() if v is not None}


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "another nonce": ({"claims": bend(nonce="x")}, "nonce"),
    "no nonce": ({"claims": bend(nonce=None)}, "nonce"),
    "another audience": ({"claims": bend(aud="somebody-else")}, "aud"),
    "no audience": ({"claims": bend(aud=None)}, "aud"),
    "us among others, made for another": ({"claims": bend(aud=[CLIENT, "other"], azp="other")}, "azp"),
    "another issuer": ({"claims": bend(iss="https://evil.example")}, "iss"),
    "no issuer": ({"claims": bend(iss=None)}, "iss"),
    "over": ({"claims": bend(exp=1)}, "Expired"),
    "without end": ({"claims": bend(exp=None)}, "exp"),
    "from the future": ({"claims": bend(iat=4_000_000_000)}, "future"),
    "of nobody": ({"claims": bend(sub=None)}, "sub"),
    "of an empty name": ({"claims": bend(sub="")}, ""),
    "of a number": ({"claims": bend(sub=7)}, ""),
    "wrong hash of the access token": ({"claims": bend(at_hash="x")}, "at_hash"),
    "not signed": ({"header": lambda h: {**h, "alg": "none"}}, "alg"),
    "signed with our own secret": ({"header": lambda h: {**h, "alg": "HS256"}}, "alg"),
    "unknown key": ({"header": lambda h: {**h, "kid": "nobody"}}, "key"),
    "no signature": ({"token": lambda t: t.rpartition(".")[0] + "."}, "ignature"),
    "changed afterwards": ({"token": lambda t: _changed(t)}, "ignature"),
    "no token": ({"token": lambda t: "junk"}, ""),
    "an empty token": ({"token": lambda t: ""}, ""),
    "deep nonsense": ({"token": lambda t: "." * 4000}, ""),
}  # fmt: skip


def _changed(token: str) -> str:
    """Another subject under the same signature."""
    header, claims, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**told, "sub": "root"}).encode()).decode().rstrip("=")
    return f"{header}.{forged}.{signature}"


async def test_no_lie_of_a_provider_is_believed(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        for lie, (how, why) in LIES.items():
            for name, value in how.items():
                setattr(lied.liar, name, value)
            assert await lied.tried(http) == "identity_refused", lie
            assert why in await lied.audited(), lie
            assert await me(http) == 401, lie
            lied.liar.honest()
        assert not [u for u in (await lied.doors.call("users.list")).items if u.username == "liam"]
        assert await lied.tried(http) == "ok"


@pytest.mark.filterwarnings("ignore:Key size")
async def test_a_key_that_is_not_for_signatures_ambiguous_or_too_short_counts_for_nothing(lied: Lied) -> None:
    liar, [good] = lied.liar, lied.liar.keys
    short = dict(RSAKey.generate_key(1024, {"kid": "one", "alg": "RS256"}).as_dict(private=True))
    cases: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
        "for encryption": ([{**good, "kid": "signs"}, {**good, "use": "enc"}], {"kid": "one"}),
        "too short": ([short], {}),
        "ambiguous": ([good, dict(good)], {}),
        "unnamed among several": ([good, signing_key("two")], {"kid": None}),
    }
    async with browser(lied.doors) as http:
        for case, (keys, header) in cases.items():
            liar.keys, liar.header = keys, bend(**header)
            lied.doors.clock.ahead += timedelta(seconds=11)
            assert await lied.tried(http) == "identity_refused", case
            assert "key" in await lied.audited(), case
            liar.honest()


async def test_an_answer_counts_once_in_the_browser_that_asked_and_for_minutes(lied: Lied) -> None:
    async with browser(lied.doors) as http, browser(lied.doors) as other:
        said = lied.liar.authorised(await lied.begun(http))
        assert outcome(await other.get(callback(said))) == "sign_in_expired", "no cookie at all"
        await lied.begun(other)
        assert outcome(await other.get(callback(said))) == "sign_in_expired", "another browser's own flow"
        assert lied.liar.asked.count("token") == 0, "no code was redeemed for a stranger"

        said = lied.liar.authorised(await lied.begun(http))
        flow = http.cookies["sc_flow"]
        answers = []
        for _ in range(3):
            answers.append(outcome(await http.get(callback(said), headers={"Cookie": f"sc_flow={flow}"})))
        assert answers == ["ok", "sign_in_expired", "sign_in_expired"]
        again = {**said, "code": lied.liar.authorised(await lied.begun(other))["code"]}
        http.cookies.clear()
        replayed = await http.get(callback(again), headers={"Cookie": f"sc_flow={flow}"})
        assert outcome(replayed) == "sign_in_expired", "the same state with a fresh code"

        said = lied.liar.authorised(await lied.begun(http))
        lied.doors.clock.ahead += FLOW_LIFE + timedelta(seconds=1)
        assert outcome(await http.get(callback(said))) == "sign_in_expired"


async def test_one_answer_sent_many_times_at_once_opens_one_session(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        said = lied.liar.authorised(await lied.begun(http))
        cookie = {"Cookie": f"sc_flow={http.cookies['sc_flow']}"}
        answers = await asyncio.gather(*(http.get(callback(said), headers=cookie) for _ in range(8)))
        assert sorted(outcome(a) for a in answers) == ["ok"] + ["sign_in_expired"] * 7
        assert lied.liar.asked.count("token") == 1


async def test_a_used_code_of_somebody_else_is_not_taken(lied: Lied) -> None:
    async with browser(lied.doors) as victim, browser(lied.doors) as thief:
        theirs = lied.liar.authorised(await lied.begun(victim))
        assert outcome(await victim.get(callback(theirs))) == "ok"
        assert await lied.tried(thief, code=theirs["code"]) == "identity_refused", "redeemed before"
        # a fresh one, begun in the victim's browser: nonce and verifier are not the thief's
        fresh_one = lied.liar.authorised(await lied.begun(victim))
        assert await lied.tried(thief, code=fresh_one["code"]) == "identity_refused"
        assert "nonce" in await lied.audited()


async def test_an_answer_of_another_provider_is_not_taken(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        assert await lied.tried(http, iss="https://evil.example") == "identity_refused"
        assert lied.liar.asked.count("token") == 0, "the code did not go to the wrong one"
        lied.doors.clock.ahead += timedelta(hours=2)
        lied.liar.metadata = bend(authorization_response_iss_parameter_supported=True)
        lied.liar.claims = bend(exp=4_000_000_000)
        said = lied.liar.authorised(await lied.begun(http))
        del said["iss"]
        assert outcome(await http.get(callback(said))) == "identity_refused"
        assert await lied.tried(http, error="access_denied") == "identity_refused"
        said = lied.liar.authorised(await lied.begun(http))
        twice = await http.get(callback(said) + "&code=x")
        assert outcome(twice) == "sign_in_expired"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": None},
        {"jwks_uri": ["x"]},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http:///x"},
    ],
    ids=str,
)
async def test_a_provider_that_describes_itself_wrongly_is_not_asked_further(
    lied: Lied, metadata: dict[str, Any]
) -> None:
    lied.liar.metadata = bend(**metadata)
    async with browser(lied.doors) as http:
        answer = await http.get(START)
        assert answer.headers["location"] == "/login?error=issuer_unavailable"
        assert lied.liar.asked == ["metadata"]


@pytest.mark.parametrize(
    "answer",
    [
        RedirectResponse("http://169.254.169.254/latest"),
        Response("x" * 3_000_000),
        Response("[" * 100_000),
        Response("nonsense", 500),
        Response(b"\xff\xfe", 200),
    ],
    ids=["redirect", "huge", "deep", "failing", "binary"],
)
async def test_a_provider_that_answers_nonsense_is_unavailable(lied: Lied, answer: Response) -> None:
    lied.liar.answer = answer
    async with browser(lied.doors) as http:
        assert (await http.get(START)).headers["location"] == "/login?error=issuer_unavailable"
        lied.liar.honest()
        assert await lied.tried(http) == "ok"


async def test_redirects_of_the_token_endpoint_are_not_followed(lied: Lied) -> None:
    lied.liar.metadata = bend(token_endpoint=f"{lied.liar.issuer}/elsewhere")
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "identity_refused"
        assert lied.liar.asked == ["metadata"], "the form was POSTed once, and not carried on"


async def test_metadata_may_not_lead_the_console_to_other_places(lied: Lied) -> None:
    lied.liar.metadata = bend(token_endpoint="http://169.254.169.254/token")
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "issuer_unavailable"


async def test_a_changed_key_is_asked_for_and_an_unknown_one_not_all_the_time(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "ok"
        lied.liar.keys.append(signing_key("two", "ES256"))
        lied.liar.signs = 1
        lied.doors.clock.ahead += timedelta(seconds=11)
        assert await lied.tried(http) == "ok"
        asked = lied.liar.asked.count("keys")
        lied.liar.header = lambda h: {**h, "kid": "nobody"}
        for _ in range(5):
            assert await lied.tried(http) == "identity_refused"
        assert lied.liar.asked.count("keys") <= asked + 1


async def test_the_client_proves_itself_and_that_it_was_it_who_asked(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        await lied.tried(http)
        [form] = lied.liar.forms
        pair = base64.b64decode(form["authorization"].removeprefix("Basic ")).decode()
        assert pair == "console:a+secret%3A+with+%2B+and+%25"
        assert len(form["code_verifier"]) == 43
        assert SECRET not in json.dumps(form)


async def test_people_are_known_by_issuer_and_subject_never_by_a_name(lied: Lied) -> None:
    root = await lied.doors.user("liam", Role.SUPER_ADMIN)
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "ok"
        told = (await http.get("/api/auth/me")).json()
        assert told["id"] != root
        assert told["name"] == "liam@127.0.0.1"
        assert {g["role"] for g in told["grants"]} == {"Operator", "Viewer"}
        first = told["id"]
    lied.liar.claims = bend(preferred_username="another name", email="root@example.com")
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "ok"
        assert (await http.get("/api/auth/me")).json()["id"] == first, "the same subject"
    lied.liar.claims = bend(sub="subject-2", preferred_username="liam\u200b\n")
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "ok"
        told = (await http.get("/api/auth/me")).json()
        assert told["id"] not in (first, root)
        assert told["name"].startswith("liam@127.0.0.1-")


async def test_groups_give_and_take_roles_and_what_people_gave_stays(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        assert await lied.tried(http) == "ok"
        id = (await http.get("/api/auth/me")).json()["id"]
        await lied.doors.call("grants.create", user_id=id, role="Operator")
        lied.liar.claims = bend(groups=["admins", "unknown", 7])
        assert await lied.tried(http) == "ok"
        assert await grants(http) == {("Admin", "global"), ("Operator", "global")}
        lied.liar.claims = bend(groups="admins")
        assert await lied.tried(http) == "ok"
        assert await grants(http) == {("Operator", "global")}, "a text is no list of groups"


async def test_claims_may_come_from_userinfo_but_only_of_the_same_person(lied: Lied) -> None:
    lied.liar.claims = bend(groups=None, preferred_username=None)
    async with browser(lied.doors) as http:
        lied.liar.userinfo = {"sub": "subject-2", "groups": ["admins"], "preferred_username": "x"}
        assert await lied.tried(http) == "identity_refused"
        lied.liar.userinfo["sub"] = "subject-1"
        assert await lied.tried(http) == "ok"
        assert await grants(http) == {("Admin", "global")}


async def test_a_default_role_is_for_whoever_has_no_other(tmp_path: Path) -> None:
    async with (
        Liar(free_port()).running() as liar,
        doors_at(tmp_path / "home", **settings(liar.issuer, oidc_default_role="Viewer")) as doors,
        browser(doors) as http,
    ):
        lied = Lied(doors, liar)
        liar.claims = bend(groups=[])
        assert await lied.tried(http) == "ok"
        assert await grants(http) == {("Viewer", "global")}
        liar.claims = bend(groups=["admins"])
        assert await lied.tried(http) == "ok"
        assert await grants(http) == {("Admin", "global")}


async def test_a_sign_in_that_the_provider_did_not_check_just_now_is_not_fresh(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        for claims in (bend(auth_time=1), bend(auth_time=None)):
            lied.liar.claims = claims
            assert await lied.tried(http) == "ok"
            assert not await fresh(lied.doors, http)
            said = lied.liar.authorised(await lied.begun(http, RENEW))
            assert outcome(await http.get(callback(said))) == "sign_in_again"
            assert not await fresh(lied.doors, http)
        lied.liar.honest()
        said = lied.liar.authorised(await lied.begun(http, RENEW))
        assert outcome(await http.get(callback(said))) == "ok"
        assert await fresh(lied.doors, http)


async def test_nobody_is_led_to_another_site(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        for onward in ("//evil.example", "https://evil.example", "/\\evil.example", "/x\n", "/" + "x" * 600):
            place = (await http.get(START, params={"next": onward})).headers["location"]
            answer = await http.get(callback(lied.liar.authorised(place)))
            assert 'content="0;url=/"' in answer.text, onward
        place = (await http.get(START, params={"next": '/a"><script>alert(1)</script>'})).headers["location"]
        answer = await http.get(callback(lied.liar.authorised(place)))
        assert "<script" not in answer.text


async def test_the_cookies_are_strict_and_the_flows_one_is_short(lied: Lied) -> None:
    async with browser(lied.doors, "https://console.example", "203.0.113.9") as http:
        answer = await http.get(START)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-sc_flow=")
        for part in ("HttpOnly", "Secure", "SameSite=lax", "Max-Age=600", "Path=/"):
            assert part in cookie
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        for name in ("state", "nonce", "code_challenge"):
            assert query[name][0] not in cookie
        answer = await http.get(callback(lied.liar.authorised(answer.headers["location"])))
        cookies = answer.headers.get_list("set-cookie")
        [session] = [c for c in cookies if c.startswith("__Host-sc_session=")]
        assert "SameSite=strict" in session
        assert any(c.startswith('__Host-sc_flow=""') for c in cookies)
    async with browser(lied.doors, "http://console.example", "203.0.113.9") as http:
        assert (await http.get(START)).headers["location"] == "/login?error=cross_site"


async def test_renewing_needs_a_session_of_ones_own_and_our_own_page(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        assert (await http.get(RENEW)).headers["location"] == "/login?error=unauthenticated"
        await lied.tried(http)
        cross = await http.get(RENEW, headers={"Sec-Fetch-Site": "cross-site"})
        assert cross.headers["location"] == "/login?error=cross_site"
        said = lied.liar.authorised(await lied.begun(http, RENEW))
        await http.post("/api/auth/logout", headers=SAME)
        assert outcome(await http.get(callback(said))) == "sign_in_expired"


async def test_without_a_provider_there_is_nothing_to_sign_in_with(doors: Doors) -> None:
    async with browser(doors) as http:
        assert (await http.get(START)).headers["location"] == "/login?error=not_found"
        assert outcome(await http.get(callback({"code": "x", "state": "x"}))) == "not_found"
    assert doors.core.federation.offered is None


async def test_who_signs_in_elsewhere_cannot_make_a_password_here(lied: Lied) -> None:
    async with browser(lied.doors) as http:
        await lied.tried(http)
        answer = await http.post("/api/storage/users/password", json={"password": PASSWORD}, headers=SAME)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
