"""Signing in with an identity provider as people do: its own forms, in the browser, and back."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from playwright.async_api import BrowserContext, Page, expect

from e2e.console import PASSWORD, Console, _free_port, running
from e2e.people import age_sign_ins
from e2e.test_settings import confirm
from tests.integration.issuers import CLIENT, SCOPES, SECRET, Certified, install_provider, signing_key

pytestmark = pytest.mark.timeout(300)


@dataclass
class House:
    """A console and the provider its people are known at."""

    console: Console
    provider: Certified


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    await asyncio.to_thread(install_provider)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    people = {"ann": {"groups": ["admins"]}, "bob": {"groups": []}, "zoe": {"groups": ["chiefs"]}}
    provider = Certified(_free_port(), f"{url}/api/auth/oidc/callback", people)
    settings = {
        "STORAGE_PORT": str(port),
        "STORAGE_ADMIN_PASSWORD": PASSWORD,
        "STORAGE_OIDC_ISSUER": provider.issuer,
        "STORAGE_OIDC_CLIENT_ID": CLIENT,
        "STORAGE_OIDC_CLIENT_SECRET": SECRET,
        "STORAGE_OIDC_SCOPES": SCOPES,
        "STORAGE_OIDC_NAME": "the house",
        "STORAGE_OIDC_ROLES": '{"admins": "Admin", "chiefs": "SuperAdmin"}',
    }
    async with (
        provider.running(signing_key("one")),
        running(tmp_path_factory.mktemp("house"), **settings) as console,
    ):
        yield House(console, provider)


async def through_the_provider(page: Page, house: House, login: str, *, known: bool = False) -> None:
    """Its sign-in form, and at the first time its consent form."""
    await expect(page).to_have_url(re.compile(re.escape(house.provider.issuer)))
    await page.get_by_placeholder("Enter any login").fill(login)
    await page.get_by_placeholder("and password").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    if not known:
        await page.get_by_role("button", name="Continue").click()


async def test_ann_signs_in_at_her_provider_and_goes_on_to_the_page_she_wanted(
    house: House, context: BrowserContext
) -> None:
    page = await context.new_page()
    await page.goto(f"{house.console.url}/login?next=%2Ftenants")
    await page.get_by_role("link", name="Sign in with the house").click()
    await through_the_provider(page, house, "ann")
    await expect(page).to_have_url(f"{house.console.url}/tenants")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Tenants")
    me = await (await context.request.get(f"{house.console.url}/api/auth/me")).json()
    assert (me["name"], me["renewed_by"]) == ("ann", "oidc")
    cookies = {c["name"]: c for c in await context.cookies(house.console.url)}
    assert cookies["sc_session"]["httpOnly"]
    assert cookies["sc_session"]["sameSite"] == "Strict"
    assert "sc_flow" not in cookies

    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Yes, sign me out").click()  # the provider's own question
    await expect(page).to_have_url(f"{house.console.url}/login")
    assert "sc_session" not in {c["name"] for c in await context.cookies(house.console.url)}
    await page.get_by_role("link", name="Sign in with the house").click()
    await expect(page.get_by_placeholder("Enter any login")).to_be_visible()


async def test_bob_is_told_that_he_holds_no_role_yet(house: House, context: BrowserContext) -> None:
    page = await context.new_page()
    await page.goto(f"{house.console.url}/login")
    await page.get_by_role("link", name="Sign in with the house").click()
    await through_the_provider(page, house, "bob")
    await expect(page).to_have_url(re.compile("/login"))
    await expect(page.get_by_text("hold no role yet")).to_be_visible()


async def test_what_wants_a_fresh_sign_in_sends_people_to_their_provider_and_goes_on(
    house: House, context: BrowserContext
) -> None:
    page = await context.new_page()
    await page.goto(f"{house.console.url}/login?next=%2Fsettings")
    await page.get_by_role("link", name="Sign in with the house").click()
    await through_the_provider(page, house, "zoe")
    await page.get_by_role("button", name="Change Rate address").click()
    dialog = page.get_by_role("alertdialog")
    await dialog.get_by_label("New value").fill("17000")
    await expect(dialog.get_by_text("18000 becomes 17000")).to_be_visible()
    age_sign_ins(house.console)
    await confirm(page, "rate_address", "less is enough", "Save")
    async with context.expect_page() as opening:
        await dialog.get_by_role("link", name="Confirm in a new tab").click()
    there = await opening.value
    await through_the_provider(there, house, "zoe", known=True)
    await expect(there).to_have_url(f"{house.console.url}/settings")
    await dialog.get_by_role("button", name="Go on").click()
    await expect(dialog).to_be_hidden()
    row = page.get_by_role("listitem").filter(has_text="rate_address")
    await expect(row).to_contain_text("17000")
