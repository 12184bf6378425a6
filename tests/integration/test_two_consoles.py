"""Two consoles over one PostgreSQL catalog: sign-ins, their end and guesses are the same at both."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from e2e.console import PASSWORD, Console, running
from storage_core.domain.provider import Endpoint
from storage_core.services.backoff import PER_ACCOUNT
from tests.integration.homes import a_postgresql_database
from tests.integration.test_console_surface import ROOT, handler, socket
from tests.integration.test_hang_up import ANN_PASSWORD, a_user, last_words, opened, stream_until_its_end

pytestmark = [pytest.mark.timeout(300), pytest.mark.servers]


@pytest.fixture(scope="module")
async def consoles(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: tuple[Endpoint, str]
) -> AsyncIterator[tuple[Console, Console]]:
    folder = tmp_path_factory.mktemp("two")
    async with a_postgresql_database(postgresql_server) as url, AsyncExitStack() as stack:
        settings = {
            "STORAGE_CATALOG_URL": url,
            "STORAGE_MASTER_KEY": secrets.token_hex(32),
            "STORAGE_ADMIN_PASSWORD": PASSWORD,
        }
        started = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            started.append(await stack.enter_async_context(running(folder / name, **settings)))
        yield started[0], started[1]


async def guess(console: Console, username: str, password: str) -> int:
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
        answer = await http.post("/api/auth/login", json={"username": username, "password": password})
        return answer.status_code


async def test_a_session_is_good_at_both_and_ends_at_both(consoles: tuple[Console, Console]) -> None:
    one, two = consoles
    async with one.signed_in() as rest, AsyncExitStack() as stack:
        page = await opened(stack, two, rest.cookie)
        there = await stack.enter_async_context(
            httpx.AsyncClient(base_url=two.url, headers={"Cookie": f"sc_session={rest.cookie}"})
        )
        assert (await there.get("/api/auth/me")).json()["name"] == "admin"
        [session] = (await rest.get("sessions/list", limit=1))["items"]
        await rest.post(f"sessions/{session['id']}/revoke")
        assert ("_sc_goto", "/login") in await last_words(page)
        assert (await there.get("/api/auth/me")).status_code == 401


async def test_who_is_disabled_at_one_hears_nothing_more_at_the_other(
    consoles: tuple[Console, Console],
) -> None:
    one, two = consoles
    async with one.signed_in() as root, AsyncExitStack() as stack, a_user(root, "ann") as id:
        theirs = await stack.enter_async_context(two.signed_in("ann", ANN_PASSWORD))
        page = await stack.enter_async_context(socket(two, theirs.cookie))
        await page.ask(f"{ROOT}.hydrate")
        await page.ask(handler("tenants.load"))
        listening = asyncio.Event()
        stream = asyncio.create_task(stream_until_its_end(theirs.http, listening))
        await asyncio.wait_for(listening.wait(), 20)
        await root.post(f"users/{id}/disable")
        await root.post("tenants/create", name="later")
        assert ("_sc_goto", "/login") in await last_words(page)
        assert "tenants" not in await asyncio.wait_for(stream, 20)


async def test_guesses_count_together_also_all_at_once(consoles: tuple[Console, Console]) -> None:
    one, two = consoles
    async with one.signed_in() as root, a_user(root, "bob"):
        guesses = [guess(c, "bob", f"guess {i}") for i in range(PER_ACCOUNT) for c in consoles]
        codes = await asyncio.gather(*guesses)
        assert codes.count(401) == PER_ACCOUNT, codes
        assert codes.count(429) == PER_ACCOUNT
        assert [await guess(c, "bob", ANN_PASSWORD) for c in (one, two)] == [429, 429]
        assert await guess(two, "admin", PASSWORD) == 200
