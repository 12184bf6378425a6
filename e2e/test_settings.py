"""The profile and the settings in a browser: own tokens and sign-ins, people and roles, options, a second person."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from e2e import axe
from e2e.conftest import Watch
from e2e.console import ADMIN, PASSWORD, Console, running
from e2e.people import OTHERS_PASSWORD, age_sign_ins, enter, overheard, visit
from tests.integration.receivers import a_hook

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

PEOPLE = {"ann": "Admin", "carol": "SuperAdmin", "olga": "Operator", "pete": "Operator"}
SIGN_IN = "Sign in"


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("settings")
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as running_console:
        async with running_console.signed_in() as rest:
            await rest.post("tenants/create", name="acme", title="Acme")
            for name, role in PEOPLE.items():
                await rest.post(
                    "users/create", username=name, password=OTHERS_PASSWORD, role=role, confirm=name
                )
        yield running_console


@pytest.fixture
def barriers(pytestconfig: pytest.Config) -> str:
    """The script that looks for what keeps people out."""
    assert pytestconfig.cache is not None
    return axe.source(Path(pytestconfig.cache.mkdir("axe")))


@pytest.fixture
async def as_user(console: Console, open_browser: Any) -> Any:
    """Opens a page of somebody who is signed in."""

    async def opened(who: str = ADMIN, password: str = "", **options: Any) -> Page:
        return await enter(await open_browser(console, **options), console, who, password)

    return opened


def line(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))


async def who_am_i(console: Console, token: str) -> int:
    async with httpx.AsyncClient(base_url=console.url) as http:
        answer = await http.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code


# -- profile


async def test_a_token_is_shown_once_and_ends_when_it_is_revoked(as_user: Any, console: Console) -> None:
    page = await as_user("olga")
    heard = overheard(page)
    await visit(page, "/profile")
    await page.get_by_role("button", name="New token").click()
    dialog = page.get_by_role("dialog", name="New API token")
    await dialog.get_by_label("Name").fill("nightly")
    await dialog.get_by_label("Rights").select_option("role:Viewer")
    await dialog.get_by_role("button", name="Create token").click()
    box = dialog.get_by_label("Shown this once")
    await expect(box).to_have_value(re.compile("^sct_"))
    token = await box.input_value()
    assert await who_am_i(console, token) == 200
    await dialog.get_by_role("button", name="Done").click()
    row = page.get_by_role("listitem").filter(has_text="nightly")
    await expect(row).to_contain_text("Viewer at most")
    await visit(page, "/profile")
    await expect(row).to_be_visible()
    assert token not in await page.content()
    assert heard
    assert not [frame for frame in heard if token in frame], "the token passed the websocket"

    await page.get_by_role("button", name="Revoke nightly").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Revoke token").click()
    await expect(row).to_contain_text("revoked")
    assert await who_am_i(console, token) == 401


async def test_a_wrong_name_is_refused_at_its_field(as_user: Any, watch: Watch) -> None:
    watch.allow("422.*tokens/create")  # browsers report every refused request
    page = await as_user("olga")
    await visit(page, "/profile")
    await page.get_by_role("button", name="New token").click()
    dialog = page.get_by_role("dialog", name="New API token")
    await dialog.get_by_label("Name").fill("x" * 64)
    await dialog.get_by_label("Name").evaluate("e => { e.maxLength = 100; e.value += 'x'; }")
    await dialog.get_by_role("button", name="Create token").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("64")
    await expect(dialog.get_by_label("Name")).to_have_attribute("aria-invalid", "true")


async def test_other_sign_ins_end_from_the_profile(as_user: Any) -> None:
    here, there = await as_user("pete"), await as_user("pete")
    await visit(there, "/databases")
    await visit(here, "/profile")
    await expect(here.get_by_text("this one")).to_have_count(1)
    await here.get_by_role("button", name="End all others").click()
    await here.get_by_role("alertdialog").get_by_role("button", name="End them").click()
    await expect(here.get_by_text("1 sign-in ended")).to_be_visible()
    await expect(there.get_by_role("heading", level=1, name=SIGN_IN)).to_be_visible()
    await expect(here.get_by_role("heading", level=1, name="Profile")).to_be_visible()


async def test_ones_own_password_needs_the_present_one(as_user: Any, console: Console, watch: Watch) -> None:
    watch.allow("401.*auth/renew")
    page = await as_user("pete")
    heard = overheard(page)
    age_sign_ins(console)
    await visit(page, "/profile")
    wanted = "a quite different password"
    for current, said in (("not the one I have", "wrong"), (OTHERS_PASSWORD, "Password changed")):
        await page.get_by_label("Current password").fill(current)
        await page.get_by_label("New password").fill(wanted)
        await page.get_by_label("Repeat the new one").fill(wanted)
        await page.get_by_role("button", name="Change password").click()
        await expect(page.get_by_text(re.compile(said)).first).to_be_visible()
    assert not [frame for frame in heard if wanted in frame or OTHERS_PASSWORD in frame]
    async with console.signed_in("pete", wanted):
        pass


async def test_preferences_are_applied_and_kept(as_user: Any, console: Console) -> None:
    page = await as_user("ann", color_scheme="light", locale="en-GB", timezone_id="UTC")
    await visit(page, "/profile")
    await page.get_by_label("Theme").select_option("dark")
    await page.get_by_label("Motion").select_option("none")
    await page.get_by_label("Time zone").fill("Mars/Olympus")
    await page.get_by_role("button", name="Save preferences").click()
    await expect(page.get_by_role("alert")).to_contain_text("is no time zone")
    await page.get_by_label("Time zone").fill("Asia/Tokyo")
    await page.get_by_label("Language of dates").select_option("de-DE")
    await page.get_by_label("Start page").select_option("/jobs")
    await page.get_by_role("button", name="Save preferences").click()
    await expect(page.get_by_text("Preferences saved")).to_be_visible()
    await expect(page.locator("html")).to_have_class(re.compile("dark"))
    await expect(page.locator("html")).to_have_attribute("data-motion", "none")

    again = await (await page.context.browser.new_context(base_url=console.url)).new_page()  # type: ignore[union-attr]
    await again.goto("/login")
    await again.get_by_label("User name").fill("ann")
    await again.get_by_label("Password").fill(OTHERS_PASSWORD)
    await again.get_by_role("button", name=SIGN_IN).click()
    await expect(again.get_by_role("heading", level=1, name="Jobs")).to_be_visible()
    await expect(again.locator("html")).to_have_class(re.compile("dark"))
    await visit(again, "/tenants")
    time = line(again, "acme").get_by_role("time")
    await expect(time).to_have_attribute(
        "title",
        re.compile(r"(Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag|Sonntag), .*(GMT\+9|Japan|MEZ.*)"),
    )
    await expect(time).to_contain_text("vor")
    await again.context.close()
    as_before = {"theme": "system", "motion": "system"}  # the next test begins anew
    async with console.signed_in("ann", OTHERS_PASSWORD) as rest:
        (await rest.http.put("/api/storage/preferences/update", json=as_before)).raise_for_status()


# -- users and roles


async def test_a_user_is_made_given_a_role_and_disabled(as_user: Any, console: Console, watch: Watch) -> None:
    watch.allow("409.*users/create")
    page = await as_user()
    heard = overheard(page)
    await visit(page, "/settings/users")
    await page.get_by_role("button", name="New user").click()
    dialog = page.get_by_role("dialog", name="New user")
    await dialog.get_by_label("User name", exact=True).fill("ann")
    await dialog.get_by_label("Password").fill(OTHERS_PASSWORD)
    await dialog.get_by_role("button", name="Create user").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("exists already")
    await dialog.get_by_label("User name", exact=True).fill("nora")
    await dialog.get_by_label("Where").select_option(label="Tenant Acme")
    await dialog.get_by_role("button", name="Create user").click()
    await expect(dialog).to_be_hidden()
    await expect(line(page, "nora")).to_contain_text("Viewer in tenant Acme")
    assert not [frame for frame in heard if OTHERS_PASSWORD in frame], "the password passed the websocket"

    await page.get_by_role("button", name="nora").click()
    roles = page.get_by_role("dialog", name="Roles of nora")
    await roles.get_by_label("Role", exact=True).select_option("Operator")
    await roles.get_by_label("Where").select_option(label="Tenant Acme")
    await roles.get_by_role("button", name="Give role").click()
    await expect(roles.get_by_role("listitem")).to_have_count(2)
    await roles.get_by_role("button", name="Take away Viewer in tenant Acme").click()
    await expect(roles.get_by_role("listitem")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(line(page, "nora")).to_contain_text("Operator in tenant Acme")

    theirs = await as_user("nora")
    await visit(theirs, "/databases")
    await line(page, "nora").get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Disable").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Disable user").click()
    await expect(line(page, "nora")).to_contain_text("disabled")
    await expect(theirs.get_by_role("heading", level=1, name=SIGN_IN)).to_be_visible()
    await line(page, "nora").get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Enable").click()
    await expect(line(page, "nora")).to_contain_text("active")
    async with console.signed_in("nora", OTHERS_PASSWORD):
        pass


async def test_an_operator_is_told_whose_page_this_is(as_user: Any) -> None:
    page = await as_user("olga")
    await page.goto("/settings/users")
    await expect(page.get_by_role("alert")).to_contain_text("Your role does not allow this")
    await page.goto("/settings")
    await expect(page.get_by_role("alert")).to_contain_text("forbidden")
    await visit(page, "/settings/sessions")  # everybody has sign-ins of their own
    await expect(page.locator("tbody tr").first).to_contain_text("olga")


# -- who is told


async def test_a_channel_is_added_tried_and_removed(as_user: Any, watch: Watch, barriers: str) -> None:
    watch.allow("422.*notifications/create")
    page = await as_user()
    heard = overheard(page)
    await visit(page, "/settings/notifications")
    async with a_hook() as hook:
        await page.get_by_role("button", name="New channel").first.click()
        await page.get_by_role("menuitem", name="Web hook").click()
        dialog = page.get_by_role("dialog", name="New channel: Web hook")
        await dialog.get_by_label("Name").fill("On call")
        await dialog.get_by_label("Address").fill(hook.url)
        await dialog.get_by_label("Scope").select_option(label="Tenant Acme")
        await dialog.get_by_label("backup.proven").uncheck()
        await axe.assert_none(page, barriers)
        await dialog.get_by_role("button", name="Add channel").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("not a valid name")
        await dialog.get_by_label("Name").fill("on-call")
        await dialog.get_by_role("button", name="Add channel").click()
        await expect(dialog.get_by_label("Shown this once")).to_have_value(re.compile("^whsec_"))
        await dialog.get_by_role("button", name="Done").click()
        row = line(page, "on-call")
        await expect(row).to_contain_text("Acme")
        await expect(row).to_contain_text("7 events")
        await row.get_by_role("button", name="Actions").click()
        await page.get_by_role("menuitem", name="Send a test").click()
        await expect(page.get_by_text("on-call took the notice")).to_be_visible()
        assert len(hook.posts) == 1
    assert not [frame for frame in heard if "secret-path" in frame or "whsec_" in frame]
    await row.get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Remove").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Remove channel").click()
    await expect(row).to_have_count(0)


# -- options, and the second person


async def confirm(page: Page, name: str, reason: str, label: str) -> Locator:
    dialog = page.get_by_role("alertdialog")
    await dialog.get_by_label(re.compile("^Type")).fill(name)
    await dialog.get_by_label("Reason").fill(reason)
    await dialog.get_by_role("button", name=label).click()
    return dialog


async def test_an_option_is_changed_checked_first_and_a_stale_sign_in_renewed_on_the_spot(
    as_user: Any, console: Console, watch: Watch, barriers: str
) -> None:
    watch.allow("401.*auth/renew")
    page = await as_user()
    heard = overheard(page)
    await visit(page, "/settings")
    row = page.get_by_role("listitem").filter(has_text="rate_address")
    await expect(row).to_contain_text("default")
    await page.get_by_role("button", name="Change Rate address").click()
    dialog = page.get_by_role("alertdialog")
    await dialog.get_by_label("New value").fill("many")
    await expect(dialog.get_by_role("alert")).to_contain_text("whole number")
    await dialog.get_by_label("New value").fill("17000")
    await expect(dialog.get_by_text("18000 becomes 17000")).to_be_visible()
    age_sign_ins(console)
    await confirm(page, "rate_address", "less is enough", "Save")
    await expect(dialog.get_by_label("Your password")).to_be_visible()
    await axe.assert_none(page, barriers)
    await dialog.get_by_label("Your password").fill("not my password")
    await dialog.get_by_role("button", name="Confirm").click()
    await expect(dialog.get_by_text("The password is wrong.")).to_be_visible()
    await dialog.get_by_label("Your password").fill(PASSWORD)
    await dialog.get_by_label("Your password").press("Enter")
    await expect(dialog).to_be_hidden()
    await expect(row).to_contain_text("17000")
    await expect(row).to_contain_text("set here")
    assert not [frame for frame in heard if PASSWORD in frame], "the password passed the websocket"
    await page.get_by_role("button", name="Reset Rate address").click()
    await confirm(page, "rate_address", "back", "Reset")
    await expect(row).to_contain_text("default")


async def test_danger_waits_for_a_second_person_and_then_passes_once(
    as_user: Any, console: Console, barriers: str
) -> None:
    page, second = await as_user(), await as_user("carol")
    async with console.signed_in() as rest:
        await rest.http.put(
            "/api/storage/settings/update",
            json={"key": "two_person_rule", "value": "true", "confirm": "two_person_rule"},
        )
    await visit(page, "/tenants")
    await line(page, "acme").get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Suspend").click()
    dialog = await confirm(page, "acme", "unpaid", "Suspend tenant")
    await expect(dialog.get_by_text("A second person approves this.")).to_be_visible()
    await axe.assert_none(page, barriers)
    await dialog.get_by_role("link", name="See what waits").click()
    await expect(page.get_by_role("heading", level=1, name="Approvals")).to_be_visible()
    await expect(line(page, "tenants.suspend")).to_contain_text("pending")
    await line(page, "tenants.suspend").get_by_role("button", name="Actions").click()
    await expect(page.get_by_role("menuitem", name="Approve")).to_be_disabled()  # never oneself
    await page.keyboard.press("Escape")

    await visit(second, "/settings/approvals?status=pending")
    await expect(line(second, "tenants.suspend")).to_contain_text("unpaid")
    await line(second, "tenants.suspend").get_by_role("button", name="Actions").click()
    await second.get_by_role("menuitem", name="Approve").click()
    await second.get_by_role("alertdialog").get_by_role("button", name="Approve").click()
    await expect(second.get_by_text("Approved; admin repeats it now")).to_be_visible()

    await visit(page, "/tenants")
    await line(page, "acme").get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Suspend").click()
    await expect(await confirm(page, "acme", "unpaid", "Suspend tenant")).to_be_hidden()
    await expect(line(page, "acme")).to_contain_text("suspended")
    await visit(second, "/settings/approvals")
    await expect(line(second, "tenants.suspend")).to_contain_text("used")


# -- secrets


async def test_a_key_is_rotated_from_the_page(as_user: Any) -> None:
    page = await as_user("ann")
    await visit(page, "/settings/secrets?kind=key")
    row = page.locator("tbody tr").filter(has_text="system")
    await expect(row).to_contain_text("v1")
    await row.get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Rotate this key").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Rotate").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Rotate", timeout=30_000)
    await expect(page.get_by_text("succeeded").first).to_be_visible(timeout=60_000)


@pytest.mark.servers
async def test_a_provider_gets_other_credentials_which_are_tried_first(
    as_user: Any, console: Console, watch: Watch, barriers: str
) -> None:
    watch.allow("credentials")  # the browser reports the refused request
    server = await console.cli("engines", "start", "postgresql")
    where, _, rest_of = server["dsn"].partition("://")[2].rpartition("@")
    user, _, password = where.partition(":")
    host, _, port = rest_of.partition("/")[0].partition(":")
    async with console.signed_in() as rest:
        connection = {"host": host, "port": int(port), "user": user, "password": unquote(password)}
        await rest.post("providers/create", name="outside", kind="postgresql", connection=connection)
    page = await as_user("ann")
    heard = overheard(page)
    await visit(page, "/settings/secrets?kind=password")
    row = page.locator("tbody tr").filter(has_text="outside")  # also while a dialog hides it
    await expect(row).to_contain_text("v1")

    async def begin() -> Locator:
        await row.get_by_role("button", name="Actions").click()
        await page.get_by_role("menuitem", name="New credentials").click()
        return page.get_by_role("dialog", name="New credentials of outside")

    dialog = await begin()
    await dialog.get_by_label("Password").fill("not what the engine knows")
    await dialog.get_by_role("button", name="Test and use").click()
    await expect(dialog.get_by_role("alert")).to_be_visible(timeout=60_000)
    await axe.assert_none(page, barriers)
    await expect(row).to_contain_text("v1")
    await dialog.get_by_role("button", name="Generate").click()
    await expect(dialog).to_be_hidden(timeout=60_000)
    await expect(
        row.filter(has_text=re.compile(r"Password\s*v2"))
    ).to_be_visible()  # beside the set before, which drains
    assert not [frame for frame in heard if "not what the engine knows" in frame]
    async with console.signed_in() as rest:
        [provider] = (await rest.get("providers/list", q="outside"))["items"]
        steps = await rest.post("providers/test", id=provider["id"])
        assert {s["status"] for s in steps} <= {"passed", "skipped"}  # no TLS on loopback
