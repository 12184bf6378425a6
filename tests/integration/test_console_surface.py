"""A hostile client against the running console: what the pages' websocket and the REST door refuse to anybody else."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from reflex_base.registry import RegistrationContext
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from e2e.console import PASSWORD, Console, Rest, running
from storage_console import storage_console as app_module
from storage_console.session import MARK, PUBLIC
from storage_core.domain.permission import MATRIX, Permission, Role, Rule

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

SECRET = "tenant-nobody-else-may-see"
ENGINE_IO = "/_event/?EIO=4&transport=websocket"
PREFIX = "42/_event,"
ROOT = "reflex___state____state"
VIEWER, VIEWER_PASSWORD = "vera", "looking only, thank you"


def handler(ending: str) -> str:
    """The full name of the one handler whose name ends so."""
    assert app_module.app
    found = [n for n in RegistrationContext.get().event_handlers if n.endswith(f"____{ending}")]
    assert len(found) == 1, f"{ending}: {found}"
    return found[0]


def handlers(*modules: str) -> dict[str, str]:
    """Full names of the handlers of these packages' states, with their marks."""
    assert app_module.app
    return {
        name: getattr(registered.handler.fn, MARK, "")
        for name, registered in RegistrationContext.get().event_handlers.items()
        if registered.states and registered.states[0].__module__.startswith(modules)
    }


def own_handlers() -> dict[str, str]:
    return handlers("storage_console.")


@dataclass
class Socket:
    """Socket.IO by hand, as a stranger would speak it."""

    ws: ClientConnection
    heard: list[str]

    async def send(self, name: Any, payload: Any = None, **router_data: Any) -> None:
        where = {"pathname": "/tenants", "asPath": "/tenants", "query": {}, **router_data}
        event = {"name": name, "payload": {} if payload is None else payload, "router_data": where}
        await self.ws.send(PREFIX + json.dumps(["event", event]))

    async def answers(self) -> list[dict[str, Any]]:
        """What came until now: a public handler is called with a mark of our own, which comes back last."""
        mark = f"mark-{uuid.uuid4().hex}"
        where = f"/setup?token={mark}"
        await self.send(handler("setup.load"), pathname="/setup", asPath=where, query={"token": mark})
        out: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while True:
                text = await self.receive()
                if not text.startswith(PREFIX):
                    continue
                if mark in text:
                    return out
                name, *rest = json.loads(text.removeprefix(PREFIX))
                if name == "event" and isinstance(rest[0], dict):
                    out.append(rest[0])

    async def receive(self) -> str:
        while True:
            text = await self.ws.recv()
            assert isinstance(text, str)
            if text == "2":
                await self.ws.send("3")
                continue
            self.heard.append(text)
            return text

    async def ask(self, name: Any, payload: Any = None, **router_data: Any) -> list[dict[str, Any]]:
        await self.send(name, payload, **router_data)
        return await self.answers()


def events(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The orders to the browser in these answers: their names and what they say."""
    found = [event for answer in answers for event in answer.get("events") or ()]
    return [(e["name"], e["payload"].get("path") or e["payload"].get("message", "")) for e in found]


def changed(answers: list[dict[str, Any]]) -> set[str]:
    """The console's own states that these answers change in the browser."""
    return {
        s
        for a in answers
        for s in a.get("delta") or ()
        if ".storage_console" in s and not s.endswith("____session")
    }


TO_LOGIN = [("_sc_goto", "/login")]
NOT_ALLOWED = [("_sc_toast", "Not allowed")]


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """A running console with one tenant and a viewer."""
    async with running(tmp_path_factory.mktemp("surface"), STORAGE_ADMIN_PASSWORD=PASSWORD) as started:
        async with started.signed_in() as rest:
            await rest.post("tenants/create", name=SECRET)
            await rest.post("users/create", username=VIEWER, password=VIEWER_PASSWORD, role="Viewer")
        yield started


@asynccontextmanager
async def socket(
    console: Console, cookie: str = "", token: str = "", origin: str | None = "", host: str = ""
) -> AsyncIterator[Socket]:
    """A connection as far as the console lets it come; nothing given is what its own page would send."""
    headers = {"Cookie": f"sc_session={cookie}"} if cookie else {}
    name, _, port = console.host.partition(":")
    address = f"ws://{host or console.host}{ENGINE_IO}&token={token or uuid.uuid4()}"
    said = console.url if origin == "" else origin
    async with connect(address, origin=said, additional_headers=headers, host=name, port=int(port)) as ws:
        made = Socket(ws, [])
        assert (await made.receive()).startswith("0{")
        await ws.send("40/_event,")
        while not (await made.receive()).startswith("40/_event,{"):
            pass  # who comes with a token in use is told a new one first
        yield made


@asynccontextmanager
async def session(console: Console, username: str = "admin", password: str = PASSWORD) -> AsyncIterator[str]:
    async with console.signed_in(username, password) as rest:
        yield rest.cookie


def foreign(console: Console) -> dict[str, str | None]:
    name, _, port = console.host.partition(":")
    return {
        "foreign": "https://evil.example",
        "missing": None,
        "null": "null",
        "empty scheme": f"//{console.host}",
        "bare": console.host,
        "subdomain": f"http://{console.host}.evil.example",
        "subdomain with our port": f"http://{name}.evil.example:{port}",
        "user part": f"http://{console.host}@evil.example",
        "user part before us": f"http://evil.example@{console.host}",
        "backslash": f"http://evil.example\\@{console.host}",
        "another port": f"http://{name}:{int(port) + 1}",
        "no port": f"http://{name}",
        "another name of this machine": f"http://localhost:{port}",
        "longer port": f"{console.url}0",
        "extension": f"chrome-extension://{name}",
        "another scheme": f"ftp://{console.host}",
        "our name over https": f"https://{console.host}",
        "a path": f"{console.url}/",
        "a query": f"{console.url}?x",
        "twice": f"{console.url} {console.url}",
        "user of ours": f"http://user@{console.host}",
        "dot": f"http://{name}.:{port}",
        "short form": f"http://127.1:{port}",
        "mapped": f"http://[::ffff:127.0.0.1]:{port}",
    }


CASES = sorted(foreign(Console(None, "http://127.0.0.1:1", {}, None)))  # type: ignore[arg-type]


async def test_our_own_origin_is_let_in(console: Console) -> None:
    async with socket(console) as one:
        assert await one.ask(f"{ROOT}.hydrate")


@pytest.fixture(scope="module")
async def admins(console: Console) -> AsyncIterator[str]:
    """The cookie of an administrator who only looks."""
    async with session(console) as cookie:
        yield cookie


@pytest.mark.parametrize("case", CASES)
async def test_other_origins_never_get_a_websocket(console: Console, case: str, admins: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with socket(console, admins, origin=foreign(console)[case]):
            pass
    assert refusal.value.response.status_code == 403


async def test_other_host_names_are_not_served(console: Console) -> None:
    # what a rebound DNS name would send: host and origin agree, and are not ours
    port = console.host.partition(":")[2]
    for host in (
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"127.1:{port}",
        f"2130706433:{port}",
    ):
        with pytest.raises(InvalidStatus) as refusal:
            async with socket(console, origin=f"http://{host}", host=host):
                pass
        assert refusal.value.response.status_code == 403
        async with httpx.AsyncClient() as http:
            for path in ("/", "/login", "/api/auth/me", "/export/tenants.csv", "/assets/x.js"):
                answer = await http.get(f"{console.url}{path}", headers={"Host": host})
                assert answer.status_code == 421, f"{host} {path}: {answer.status_code}"


async def test_polling_is_refused(console: Console) -> None:
    async with httpx.AsyncClient(base_url=console.url, headers={"Origin": console.url}) as http:
        for path in (
            "/_event/?EIO=4&transport=polling",
            "/_event?EIO=4&transport=polling",
            "/_event/",
            "/_event/x",
        ):
            for method in ("GET", "POST", "OPTIONS"):
                answer = await http.request(method, path, content=b"40/_event," if method == "POST" else None)
                assert answer.status_code == 403, f"{method} {path}: {answer.status_code}"
                assert "sid" not in answer.text


async def test_no_other_path_speaks_websocket(console: Console) -> None:
    for path in ("/", "/ws", "/socket.io/?EIO=4&transport=websocket", "/api/storage/events", "/admin"):
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://{console.host}{path}", origin=console.url):  # type: ignore[arg-type]
                pass


async def test_uploads_past_the_api_do_not_exist(console: Console) -> None:
    async with httpx.AsyncClient(base_url=console.url, headers={"Origin": console.url}) as http:
        answer = await http.post("/_upload", files={"files": b"x"})
        assert answer.status_code == 404


async def test_a_stranger_is_sent_to_the_sign_in_by_every_handler(console: Console) -> None:
    marks = {n: m for n, m in own_handlers().items() if m != PUBLIC and not n.endswith(".setvar")}
    assert len(marks) > 100
    async with socket(console) as one:
        await one.ask(f"{ROOT}.hydrate")
        for name in marks:
            answers = await one.ask(name)
            assert events(answers) == TO_LOGIN, f"{name}: {answers}"
            assert changed(answers) == set(), f"{name}: {answers}"
        assert SECRET not in "".join(one.heard)


async def test_setting_variables_is_refused_to_everybody(console: Console) -> None:
    everywhere = [n for n in handlers("storage_console.", "reflex.") if n.endswith(".setvar")]
    own = [n for n in own_handlers() if n.endswith(".setvar")]
    assert own
    assert len(everywhere) > len(own)
    async with session(console) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        for name in everywhere:
            answers = await one.ask(name, {"var_name": "role", "value": "SuperAdmin"})
            assert events(answers) == NOT_ALLOWED, f"{name}: {answers}"
            assert changed(answers) == set(), f"{name}: {answers}"


@pytest.mark.parametrize(
    "method",
    [
        *("_reload", "_list", "_rows", "_confirmed", "_ask", "_read", "__init__", "__class__", "_chosen"),
        *("reset", "get_state", "get_value", "dict", "set_q", "nothing", "load.extra", ""),
    ],
)
async def test_only_handlers_can_be_called_by_name(console: Console, method: str, admins: str) -> None:
    state = handler("tenants.load").rpartition(".")[0]
    async with socket(console, admins) as one:
        await one.ask(f"{ROOT}.hydrate")
        answers = await one.ask(f"{state}.{method}")
        assert changed(answers) == set(), answers
        assert events(answers) == NOT_ALLOWED
        assert SECRET not in json.dumps(answers)


@pytest.mark.parametrize("payload", [None, {"value": False}, {"value": {"x": 1}}, [7]])
async def test_what_no_page_asks_is_refused_and_leaves_no_trace_in_the_log(
    console: Console, payload: Any
) -> None:
    state = handler("tenants.load").rpartition(".")[0]
    hydrated = [n for n in RegistrationContext.get().event_handlers if n.endswith(".set_is_hydrated")]
    assert len(hydrated) == 2
    async with session(console, VIEWER, VIEWER_PASSWORD) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        log = console.folder / "stderr.log"
        before = log.stat().st_size
        for name in (f"{state}._reload", f"{state}.nothing", "nothing", "", 7, ["x"], {}, *hydrated):
            assert events(await one.ask(name, payload)) == NOT_ALLOWED, name
        for text in ("[]", "null", "7", '"not json"', "{}"):
            await one.ws.send(f'{PREFIX}["event",{text}]')
            assert events(await one.answers()) == NOT_ALLOWED, text
        assert log.read_bytes()[before:] == b""


async def test_forged_router_data_makes_nobody_signed_in(console: Console) -> None:
    async with session(console) as cookie, socket(console) as one:
        await one.ask(f"{ROOT}.hydrate")
        forged = {
            "headers": {"cookie": f"sc_session={cookie}", "authorization": f"Bearer {cookie}"},
            "ip": "127.0.0.1",
            "token": str(uuid.uuid4()),
            "sid": "x",
        }
        answers = await one.ask(handler("tenants.load"), None, **forged)
        assert events(answers) == TO_LOGIN
        assert SECRET not in "".join(one.heard)


async def test_a_client_token_of_somebody_signed_in_opens_nothing(console: Console) -> None:
    token = str(uuid.uuid4())
    async with session(console) as cookie, socket(console, cookie, token) as owner:
        await owner.ask(f"{ROOT}.hydrate")
        assert SECRET in json.dumps(await owner.ask(handler("tenants.load")))
        async with socket(console, token=token) as thief:  # while the tab is open
            await thief.ask(f"{ROOT}.hydrate")
            assert events(await thief.ask(handler("tenants.load"))) == TO_LOGIN
            assert SECRET not in "".join(thief.heard)
    async with socket(console, token=token) as thief:  # after it was closed: the state is still in memory
        for name in ("hydrate", "on_load_internal", "update_vars_internal"):
            found = [n for n in RegistrationContext.get().event_handlers if n.endswith(f".{name}")]
            await thief.ask(found[0], {"vars": {}} if name.startswith("update") else None)
        await thief.ask(handler("tenants.key"), {"name": "j"})
        assert SECRET not in "".join(thief.heard)
        assert '"admin"' not in "".join(thief.heard)


async def test_the_browser_cannot_choose_who_it_is(console: Console) -> None:
    async with session(console, VIEWER, VIEWER_PASSWORD) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        session_state = next(n for n in own_handlers() if n.endswith("____session.setvar")).rpartition(".")[0]
        claims = {
            f"{session_state}.{v}": x
            for v, x in (("role", "SuperAdmin"), ("can", ["tenant.admin"]), ("_key", ""))
        }
        update = next(
            n for n in RegistrationContext.get().event_handlers if n.endswith(".update_vars_internal")
        )
        await one.ask(update, {"vars": claims})
        assert events(await one.ask(handler("tenants.resume"), {"id": "x"})) == NOT_ALLOWED
        assert '"SuperAdmin"' not in "".join(one.heard)


async def test_the_session_cookie_never_reaches_a_page(console: Console) -> None:
    async with session(console) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        await one.ask(handler("overview.load"), pathname="/", asPath="/")
        assert cookie not in "".join(one.heard)


async def is_out(one: Socket, name: str, payload: Any = None) -> bool:
    """Whether the socket's next event is refused, or the server has closed it by now."""
    try:
        answers = await one.ask(handler(name), payload)
    except ConnectionClosed:
        return True
    return set(events(answers)) == set(TO_LOGIN) and changed(answers) == set()


async def test_after_signing_out_the_open_websocket_is_worth_nothing(console: Console) -> None:
    async with console.signed_in() as rest, socket(console, rest.cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        assert SECRET in json.dumps(await one.ask(handler("tenants.load")))
        assert (await rest.http.post("/api/auth/logout", json={})).status_code == 200
        one.heard.clear()
        for name in ("tenants.load", "tenants.refresh", "new_tenant.form_show", "shell.offer_tenants"):
            assert await is_out(one, name, {"shown": True} if "offer" in name else None)
        assert SECRET not in "".join(one.heard)


async def test_a_disabled_user_is_out_at_once(console: Console) -> None:
    async with console.signed_in() as rest:
        user = await rest.post("users/create", username="gone", password=VIEWER_PASSWORD, role="Admin")
        async with session(console, "gone", VIEWER_PASSWORD) as cookie, socket(console, cookie) as one:
            await one.ask(f"{ROOT}.hydrate")
            assert SECRET in json.dumps(await one.ask(handler("tenants.load")))
            await rest.post(f"users/{user['id']}/disable")
            assert await is_out(one, "tenants.refresh")


def beyond(role: Role) -> list[str]:
    """The handlers whose mark this role holds nowhere."""
    return [
        n
        for n, mark in own_handlers().items()
        if mark in list(Permission) and MATRIX[Permission(mark)][role] < Rule.OWN
    ]


async def test_another_pages_handler_asks_for_what_its_own_page_asks(console: Console) -> None:
    async with session(console, VIEWER, VIEWER_PASSWORD) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        forbidden = beyond(Role.VIEWER)
        assert len(forbidden) > 20
        for name in forbidden:
            for where in ("/login", "/profile"):
                answers = await one.ask(name, pathname=where, asPath=where)
                assert events(answers) == NOT_ALLOWED, f"{name} from {where}: {answers}"
                assert changed(answers) == set(), f"{name} from {where}: {answers}"


@asynccontextmanager
async def somebody(console: Console, rest: Rest, role: str) -> AsyncIterator[tuple[str, str]]:
    """A user of a test's own, signed in: their id and cookie."""
    name = f"u{uuid.uuid4().hex[:8]}"
    user = await rest.post("users/create", username=name, password=VIEWER_PASSWORD, role=role)
    async with session(console, name, VIEWER_PASSWORD) as cookie:
        yield user["id"], cookie


async def demoted(rest: Rest, user_id: str, to: str | None, scope: str = "global") -> None:
    """Take every role away, and give another one."""
    before = (await rest.get("grants/list", user_id=user_id))["items"]
    if to is not None:
        await rest.post("grants/create", user_id=user_id, role=to, scope=scope)
    for grant in before:
        await rest.post(f"grants/{grant['id']}/revoke")


async def test_a_lowered_role_holds_from_the_very_next_event(console: Console) -> None:
    async with (
        console.signed_in() as rest,
        somebody(console, rest, "Admin") as (user, cookie),
        socket(console, cookie) as one,
    ):
        await one.ask(f"{ROOT}.hydrate")
        await one.ask(handler("tenants.load"))
        lost = [n for n in beyond(Role.VIEWER) if n not in beyond(Role.ADMIN)]
        assert len(lost) > 10
        assert events(await one.ask(handler("databases.load"))) == []
        await demoted(rest, user, "Viewer")
        for name in lost:
            assert events(await one.ask(name)) == NOT_ALLOWED, name
        assert events(await one.ask(handler("tenants.load"))) == [], "what is left of it still works"
        await demoted(rest, user, None)
        for name in lost[:3]:
            assert events(await one.ask(name)) == NOT_ALLOWED, name


async def hears(one: Socket, text: str) -> None:
    async with asyncio.timeout(30):
        while text not in await one.receive():
            pass


@pytest.mark.parametrize("end", ["role", "disable", "revoke", "sign out"])
async def test_a_page_that_refreshes_itself_stops_at_once(console: Console, end: str) -> None:
    first, second, third = (f"live-{uuid.uuid4().hex[:8]}" for _ in range(3))
    async with (
        console.signed_in() as rest,
        somebody(console, rest, "Viewer") as (user, cookie),
        socket(console, cookie) as one,
        socket(console, rest.cookie) as watching,
    ):
        for each in (one, watching):
            await each.ask(f"{ROOT}.hydrate")
            await each.ask(handler("tenants.load"))
            await each.send(handler("tenants.live"))
        await rest.post("tenants/create", name=first)
        await hears(one, first)
        await hears(watching, first)

        match end:
            case "role":
                await demoted(rest, user, "Viewer", f"tenant:{SECRET}")
            case "disable":
                await rest.post(f"users/{user}/disable")
            case "revoke":
                [mine] = [
                    s for s in (await rest.get("sessions/list", limit=500))["items"] if s["user_id"] == user
                ]
                await rest.post(f"sessions/{mine['id']}/revoke")
            case _:
                async with httpx.AsyncClient(base_url=console.url, headers={"Origin": console.url}) as http:
                    http.cookies.set("sc_session", cookie)
                    assert (await http.post("/api/auth/logout", json={})).status_code == 200
        # two changes, each seen by somebody whose refreshing goes on: then the other one has had its turn as well
        for name in (second, third):
            await rest.post("tenants/create", name=name)
            await hears(watching, name)
        if end == "role":
            await one.answers()
        else:
            async with asyncio.timeout(30):
                with pytest.raises(ConnectionClosed):
                    while True:
                        await one.receive()
        told = "".join(one.heard)
        assert second not in told
        assert third not in told
        assert ("_sc_goto" in told) == (end != "role")


async def test_a_viewer_cannot_do_what_the_page_does_not_offer(console: Console) -> None:
    async with console.signed_in() as rest:
        [tenant] = (await rest.get("tenants/list", q=SECRET))["items"]
        async with session(console, VIEWER, VIEWER_PASSWORD) as cookie, socket(console, cookie) as one:
            await one.ask(f"{ROOT}.hydrate")
            await one.ask(handler("tenants.load"))
            refused = (
                ("tenants.ask_delete", {"id": tenant["id"]}),
                ("tenants.ask_suspend", {"id": tenant["id"]}),
                ("edit_tenant.edit", {"id": tenant["id"]}),
                ("providers.start_server", {"kind": "postgresql", "name": ""}),
                ("provider_form.submit", {"data": {"name": "x", "path": "/tmp"}}),
                ("databases.ask_delete", {"id": "x"}),
                ("backups.ask_delete", {"id": "x"}),
            )
            for name, payload in refused:
                assert events(await one.ask(handler(name), payload)) == NOT_ALLOWED, name
            # a form's own handler is open to whoever is signed in: the operation behind it refuses
            answers = await one.ask(handler("new_tenant.form_submit"), {"data": {"name": "sneaked-in"}})
            assert '"forbidden"' in json.dumps(answers)
            await one.ask(handler("tenants.confirm_go"))
        names = {t["name"] for t in (await rest.get("tenants/list"))["items"]}
        assert SECRET in names
        assert "sneaked-in" not in names


@pytest.mark.parametrize(
    "junk",
    [
        '42/_event,["event"]',
        '42/_event,["event",null]',
        '42/_event,["event",7]',
        '42/_event,["event",{"name":7,"payload":[],"router_data":3}]',
        '42/_event,["event",{"name":"x","payload":{},"router_data":{}}]',
        '42/_event,["event","not json"]',
        '42/_event,["client_error",{"message":"\\u0000x"}]',
        "42/_event,[",
        "42/other,[]",
        "451-/_event,[]",
        "9" * 2000,
    ],
)
async def test_junk_disturbs_nobody(console: Console, junk: str, admins: str) -> None:
    async with socket(console, admins) as neighbour, socket(console, admins) as one:
        await neighbour.ask(f"{ROOT}.hydrate")
        await one.ws.send(junk)
        try:
            await one.ask(handler("tenants.load"))
        except ConnectionClosed:
            pass  # to hang up on it is a fair answer
        assert SECRET in json.dumps(await neighbour.ask(handler("tenants.load")))


async def test_wrong_types_in_a_payload_are_no_way_in(console: Console) -> None:
    async with session(console) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        await one.ask(handler("tenants.load"))
        for name in ("tenants.search", "tenants.tick", "tenants.turn", "tenants.resize", "tenants.look", "tenants.column",
                     "new_tenant.form_submit", "tenants.key", "tenants.pick"):  # fmt: skip
            for value in ({"$gt": ""}, [["x"]], None, True, 1e308, "\x00", "x" * 100_000, -1):
                fields = ("text", "key", "value", "pages", "size", "id", "data", "name")
                await one.ask(handler(name), dict.fromkeys(fields, value))
    async with session(console) as cookie, socket(console, cookie) as another:
        await another.ask(f"{ROOT}.hydrate")
        assert SECRET in json.dumps(await another.ask(handler("tenants.load")))


async def test_an_oversized_frame_is_not_taken(console: Console) -> None:
    async with session(console) as cookie, socket(console, cookie) as one:
        with pytest.raises(ConnectionClosed):
            await one.ws.send(
                PREFIX + json.dumps(["event", {"name": "x", "payload": {"a": "x" * 2_000_000}}])
            )
            await one.answers()
    assert one.ws.close_code in (1009, 1006), "too big, or hung up on while it was still sending"
    async with session(console) as cookie, socket(console, cookie) as one:
        await one.ask(f"{ROOT}.hydrate")
        for piece in (b"x" * 2_000_000, "x" * 2_000_000, json.dumps("\\u0000" * 340_000)):
            try:
                async with socket(console, cookie) as other:
                    await other.ws.send(piece)
                    await other.answers()
                    pytest.fail("a frame of two megabytes was taken")
            except ConnectionClosed:
                pass
        assert SECRET in json.dumps(await one.ask(handler("tenants.load"))), "a neighbour notices nothing"


async def test_many_small_pieces_are_no_large_frame(console: Console) -> None:
    """A message in fragments counts as one."""
    async with session(console) as cookie, socket(console, cookie) as one:

        async def pieces() -> AsyncIterator[str]:
            for _ in range(40):
                yield "x" * 50_000

        with pytest.raises(ConnectionClosed):
            await one.ws.send(pieces())
            await one.answers()


PAGES = (
    "/",
    "/login",
    "/setup",
    "/providers",
    "/tenants",
    "/databases",
    "/backups",
    "/jobs",
    "/databases/x",
    "/nowhere",
)


@pytest.mark.parametrize("path", [*PAGES, "/api/docs"])
async def test_every_page_is_under_the_strict_policy(console: Console, path: str) -> None:
    async with httpx.AsyncClient(base_url=console.url) as http:
        answer = await http.get(path)
    assert answer.status_code == (404 if path == "/nowhere" else 200)
    policy = dict(
        part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["object-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    scripts = policy["script-src"].split()
    assert "'unsafe-eval'" not in scripts
    assert "'unsafe-inline'" not in scripts
    assert all(word == "'self'" or word.startswith("'sha256-") for word in scripts)
    assert answer.headers["x-content-type-options"] == "nosniff"
    elsewhere = re.findall(r"""(?:src|href|action)=["']((?:https?:)?//[^"']+)""", answer.text)
    assert elsewhere == []


async def test_another_site_cannot_act_with_the_cookie(console: Console) -> None:
    async with console.signed_in() as rest:
        http = rest.http
        del http.headers["Origin"]
        sites: tuple[dict[str, str], ...] = (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"{console.url}.evil.example"},
            {"Origin": f"http://localhost:{console.host.partition(':')[2]}"},
            {"Origin": console.url, "Sec-Fetch-Site": "cross-site"},
            {"Origin": console.url, "Sec-Fetch-Site": "same-site"},
        )
        for headers in sites:
            for kind in ("application/json", "text/plain"):
                answer = await http.post(
                    "/api/storage/tenants/create",
                    content=json.dumps({"name": "from-afar"}),
                    headers={**headers, "Content-Type": kind},
                )
                assert answer.status_code == 403, f"{headers}: {answer.status_code} {answer.text}"
            assert (await http.post("/api/auth/logout", headers=headers)).status_code == 403
        ours = {"Origin": console.url, "Sec-Fetch-Site": "same-origin"}
        listed = await http.get("/api/storage/tenants/list", headers=ours)
        names = {t["name"] for t in listed.json()["items"]}
        assert SECRET in names
        assert "from-afar" not in names


async def test_another_site_cannot_sign_a_visitor_in(console: Console) -> None:
    async with httpx.AsyncClient(base_url=console.url) as http:
        form = {"username": "admin", "password": PASSWORD}
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await http.post("/api/auth/login", data=form, headers=headers)
            assert "set-cookie" not in answer.headers
            answer = await http.post("/api/auth/login", json=form, headers=headers)
            assert answer.status_code == 403


async def test_exports_are_for_people_signed_in(console: Console) -> None:
    async with httpx.AsyncClient(base_url=console.url) as http:
        for topic in ("tenants", "providers", "databases", "backups", "jobs"):
            assert (await http.get(f"/export/{topic}.csv")).status_code == 401
    async with console.signed_in() as rest:
        assert SECRET in (await rest.http.get("/export/tenants.csv")).text
        assert (await rest.http.get("/export/users.csv")).status_code == 404


# -- floods; last, since an option holds for everybody


async def test_events_are_counted_like_requests(console: Console) -> None:
    """By sign-in: whoever floods is told to wait, in the same connection, and nobody else notices."""
    async with (
        console.signed_in() as rest,
        session(console, VIEWER, VIEWER_PASSWORD) as cookie,
        socket(console, cookie) as one,
        socket(console, rest.cookie) as neighbour,
    ):
        await one.ask(f"{ROOT}.hydrate")
        await neighbour.ask(f"{ROOT}.hydrate")
        update = {"key": "rate_caller", "value": "400", "confirm": "rate_caller"}
        (await rest.http.put("/api/storage/settings/update", json=update)).raise_for_status()
        async with asyncio.timeout(60):
            while events([await flooded(one)]) != [("_sc_toast", "Too many requests")]:
                pass
        assert SECRET in json.dumps(await neighbour.ask(handler("tenants.load")))
        update = {"key": "rate_caller", "value": None, "confirm": "rate_caller"}
        (await rest.http.put("/api/storage/settings/update", json=update)).raise_for_status()


async def flooded(one: Socket) -> dict[str, Any]:
    """The last answer to a hundred events that no page sends."""
    for _ in range(100):
        await one.send("nothing")
    text = ""
    for _ in range(100):
        while not (text := await one.receive()).startswith(PREFIX):
            pass
    return dict(json.loads(text.removeprefix(PREFIX))[1])
