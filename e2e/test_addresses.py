"""Arriving at an address: nothing stands open, unknown ones say so, used links and suspended tenants too."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from e2e.conftest import Watch
from e2e.console import PASSWORD, Console, running
from e2e.people import OTHERS_PASSWORD, enter, visit

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

ONLY_ACME = "ann"


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """A console with a database of a tenant, and somebody who works for that tenant alone."""
    folder = tmp_path_factory.mktemp("console")
    (folder / "files").mkdir()
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as console:
        async with console.signed_in() as rest:
            connection = {"path": str(folder / "files")}
            provider = await rest.post("providers/create", name="files", kind="sqlite", connection=connection)
            tenant = await rest.post("tenants/create", name="acme")
            made = {"provider_id": provider["id"], "tenant_id": tenant["id"]}
            await rest.post("databases/create", name="ledger", **made)
            ann = {"username": ONLY_ACME, "password": OTHERS_PASSWORD, "role": "Operator"}
            await rest.post("users/create", **ann, scope=f"tenant:{tenant['id']}")
        yield console


@pytest.fixture
async def page(console: Console, open_browser: Any) -> Page:
    """A page of the administrator."""
    return await enter(await open_browser(console), console)


@pytest.fixture
async def stranger(console: Console, open_browser: Any) -> Page:
    return await (await open_browser(console)).new_page()


# -- dialogs


@pytest.mark.parametrize(
    ("address", "button", "again"),
    [
        ("/providers", "Add provider", "/providers"),
        ("/databases", "New database", "/databases?q=x"),
        ("/tenants", "New tenant", "/tenants"),
        ("/settings/users", "New user", "/settings/users"),
    ],
)
async def test_a_page_loaded_anew_begins_without_a_dialog(
    page: Page, address: str, button: str, again: str
) -> None:
    await visit(page, address)
    await page.get_by_role("button", name=button).first.click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await visit(page, again)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()  # which a dialog would hide
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_question_is_not_asked_again_by_a_reload(page: Page) -> None:
    await visit(page, "/tenants")
    await page.get_by_role("button", name="Actions").first.click()
    await page.get_by_role("menuitem", name="Suspend").click()
    await expect(page.get_by_role("alertdialog")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("row").filter(has_text="acme")).to_be_visible()
    await expect(page.get_by_role("alertdialog")).to_have_count(0)


async def test_the_way_back_closes_a_dialog_for_good(page: Page) -> None:
    await visit(page, "/jobs")
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Databases").click()
    await expect(page.get_by_role("heading", level=1, name="Databases")).to_be_visible()
    await page.get_by_role("button", name="New database").first.click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("heading", level=1, name="Jobs")).to_be_visible()
    await page.go_forward()
    await expect(page.get_by_role("heading", level=1, name="Databases")).to_be_visible()
    await expect(page.get_by_role("row").filter(has_text="ledger")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_lost_connection_is_said_dims_what_may_be_old_and_leaves_what_was_typed(
    page: Page, watch: Watch
) -> None:
    watch.allow("WebSocket|ERR_INTERNET_DISCONNECTED")
    await visit(page, "/tenants")
    await page.get_by_role("button", name="New tenant").first.click()
    name = page.get_by_role("dialog").get_by_label("Name", exact=True)
    await name.fill("half-typed")
    down = page.locator(".sc-frame[data-down='true']")
    banner = page.get_by_text("Reconnecting. What you see may be out of date.")
    main = page.locator(".sc-main")
    await expect(banner).to_be_hidden()
    await page.context.set_offline(True)
    await expect(down).to_have_count(1)
    await expect(banner).to_be_visible()
    await expect(main).to_have_css("opacity", "0.55")  # what may be out of date is dimmed
    await page.context.set_offline(False)
    await expect(down).to_have_count(0)
    await expect(banner).to_be_hidden()
    await expect(main).to_have_css("opacity", "1")
    await expect(name).to_have_value("half-typed")


# -- unknown addresses


@pytest.mark.parametrize("address", ["/nosuch", "/databases/one/two/three"])
async def test_an_unknown_address_is_a_page_with_a_way_back(page: Page, address: str, watch: Watch) -> None:
    watch.allow("status of 404")  # browsers report it
    answer = await page.goto(address)
    assert answer is not None and answer.status == 404
    await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
    await page.get_by_role("link", name="Go to the dashboard").click()
    await expect(page.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()


async def test_an_unknown_address_leads_strangers_to_the_sign_in(stranger: Page, watch: Watch) -> None:
    watch.allow("status of 404")
    answer = await stranger.goto("/nosuch")
    assert answer is not None and answer.status == 404
    await expect(stranger.get_by_role("heading", level=1)).to_have_text("There is no such page")
    await stranger.get_by_role("link", name="Go to the sign-in").click()
    await expect(stranger.get_by_role("heading", level=1, name="Sign in")).to_be_visible()


# -- the setup link


async def test_a_setup_link_that_is_over_says_so_and_offers_no_form(stranger: Page) -> None:
    await stranger.goto("/setup?token=Zx0Zx0Zx0Zx0Zx0Zx0Zx0Zx0")
    await expect(stranger.get_by_role("heading", level=1)).to_have_text("This setup link is over")
    await expect(stranger.get_by_text("It was used already or is too old.")).to_be_visible()
    await expect(stranger.get_by_role("button", name="Create administrator")).to_have_count(0)
    await stranger.get_by_role("link", name="Go to the sign-in").click()
    await expect(stranger).to_have_url(re.compile("/login"))


# -- suspended tenants


async def test_people_of_a_suspended_tenant_are_told_so_on_every_page(
    console: Console, open_browser: Any, tmp_path: Path
) -> None:
    page = await enter(await open_browser(console), console, ONLY_ACME)
    await visit(page, "/databases")
    await expect(page.get_by_role("row").filter(has_text="ledger")).to_be_visible()
    async with console.signed_in() as rest:
        [tenant] = (await rest.get("tenants/list", q="acme"))["items"]
        await rest.post(f"tenants/{tenant['id']}/suspend", confirm="acme")
        alert = page.get_by_role("main").get_by_role("alert")
        await expect(alert).to_contain_text("The tenant is suspended")  # without a reload
        await expect(page.get_by_role("main")).not_to_contain_text("ledger")
        for address in ("/databases", "/", "/providers", "/backups", "/jobs"):
            await page.goto(address)
            await expect(alert).to_contain_text("The tenant is suspended")
            await expect(alert).to_contain_text("'acme' is suspended")
            await expect(alert).to_contain_text("A SuperAdmin can resume it.")
            await expect(page.get_by_role("main")).not_to_contain_text("no answer")
        await rest.post(f"tenants/{tenant['id']}/resume")
    await page.goto("/databases")
    await expect(page.get_by_role("row").filter(has_text="ledger")).to_be_visible()


async def test_whoever_sees_all_sees_which_size_nobody_may_ask_for(console: Console, page: Page) -> None:
    async with console.signed_in() as rest:
        [tenant] = (await rest.get("tenants/list", q="acme"))["items"]
        await rest.post(f"tenants/{tenant['id']}/suspend", confirm="acme")
        await visit(page, "/databases")
        row = page.get_by_role("row").filter(has_text="ledger")
        await expect(row).to_contain_text("suspended")
        await expect(row).not_to_contain_text("no answer")
        await rest.post(f"tenants/{tenant['id']}/resume")
