"""Whoever is out is out everywhere: open pages are closed by the server, streams end, tokens are worth nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from e2e.console import PASSWORD, Console, Rest, running
from tests.integration.test_console_surface import PREFIX, ROOT, Socket, events, handler, session, socket

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

ANN_PASSWORD = "another long one for the tests"
LATER = "made-afterwards"


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    async with running(tmp_path_factory.mktemp("hang-up"), STORAGE_ADMIN_PASSWORD=PASSWORD) as started:
        yield started


@asynccontextmanager
async def a_user(root: Rest, name: str) -> AsyncIterator[str]:
    yield (await root.post("users/create", username=name, password=ANN_PASSWORD, role="Admin"))["id"]


async def opened(stack: AsyncExitStack, console: Console, cookie: str) -> Socket:
    """A page that refreshes itself, ready."""
    one = await stack.enter_async_context(socket(console, cookie))
    await one.ask(f"{ROOT}.hydrate")
    await one.ask(handler("tenants.load"))
    await one.send(handler("tenants.live"))
    await one.answers()
    return one


async def last_words(one: Socket) -> list[tuple[str, str]]:
    """What a socket hears until the server closes it: orders to the browser."""
    heard = []
    async with asyncio.timeout(20):
        try:
            while True:
                text = await one.receive()
                if text.startswith(PREFIX + "["):
                    name, *rest = json.loads(text.removeprefix(PREFIX))
                    heard += [rest[0]] if name == "event" and isinstance(rest[0], dict) else []
        except ConnectionClosed:
            return events(heard)


async def stream_until_its_end(http: httpx.AsyncClient, listening: asyncio.Event) -> str:
    heard = ""
    async with http.stream("GET", "/api/storage/events", timeout=60) as answer:
        assert answer.status_code == 200
        async for text in answer.aiter_text():
            heard += text
            listening.set()
    return heard


async def test_a_revoked_session_is_hung_up_on_and_no_other(console: Console) -> None:
    async with console.signed_in() as root, AsyncExitStack() as stack, a_user(root, "ann"):
        one, other = [
            await stack.enter_async_context(session(console, "ann", ANN_PASSWORD)) for _ in range(2)
        ]
        first, second = await opened(stack, console, one), await opened(stack, console, one)
        bystander = await opened(stack, console, other)
        sessions = (await root.get("sessions/list", sort="-created_at", limit=2))["items"]
        await root.post(f"sessions/{sessions[1]['id']}/revoke")
        for page in (first, second):
            assert ("_sc_goto", "/login") in await last_words(page)
        assert await bystander.ask(handler("tenants.refresh"))


async def test_signing_out_closes_the_other_tabs(console: Console) -> None:
    async with console.signed_in() as rest, AsyncExitStack() as stack:
        tab = await opened(stack, console, rest.cookie)
        assert (await rest.http.post("/api/auth/logout")).status_code == 200
        assert ("_sc_goto", "/login") in await last_words(tab)


@pytest.mark.parametrize("door", ["rest", "another process"])
async def test_a_disabled_users_pages_streams_and_tokens_stop_at_once(console: Console, door: str) -> None:
    name = f"leaver-{door[:4]}"
    async with console.signed_in() as root, AsyncExitStack() as stack, a_user(root, name) as id:
        token = (await root.post("tokens/create", name="t", user=name))["token"]
        mine = await stack.enter_async_context(console.signed_in(name, ANN_PASSWORD))
        program = await stack.enter_async_context(
            httpx.AsyncClient(base_url=console.url, headers={"Authorization": f"Bearer {token}"})
        )
        pages = [await opened(stack, console, mine.cookie) for _ in range(2)]
        listening = [asyncio.Event(), asyncio.Event()]
        streams = [
            asyncio.create_task(stream_until_its_end(http, one))
            for http, one in zip((mine.http, program), listening, strict=True)
        ]
        for one in listening:
            await asyncio.wait_for(one.wait(), 20)
        for http in (mine.http, program):
            assert (await http.get("/api/auth/me")).status_code == 200

        if door == "rest":
            await root.post(f"users/{id}/disable")
        else:
            await console.cli("users", "disable", "--id", id)
        later = f"{LATER}-{door[:4]}"
        await root.post("tenants/create", name=later)

        for page in pages:
            assert ("_sc_goto", "/login") in await last_words(page)
            assert later not in "".join(page.heard)
        for stream in streams:
            assert "tenants" not in await asyncio.wait_for(stream, 20)
        for http in (mine.http, program):
            assert (await http.get("/api/auth/me")).status_code == 401


async def test_a_revoked_tokens_stream_ends(console: Console) -> None:
    async with console.signed_in() as root, AsyncExitStack() as stack:
        made = await root.post("tokens/create", name="t", user="admin")
        headers = {"Authorization": f"Bearer {made['token']}"}
        program = await stack.enter_async_context(httpx.AsyncClient(base_url=console.url, headers=headers))
        listening = asyncio.Event()
        stream = asyncio.create_task(stream_until_its_end(program, listening))
        await asyncio.wait_for(listening.wait(), 20)
        await root.post(f"tokens/{made['id']}/revoke")
        await asyncio.wait_for(stream, 10)  # before the next ping
