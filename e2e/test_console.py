"""The console in a browser: signing in, keys, addresses, states, sizes, themes, roles."""

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from e2e import axe
from e2e.console import ADMIN, PASSWORD, Console, running

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

VIEWER, VIEWER_PASSWORD = "vera", "looking only, thank you"
HOSTILE = '<img src=x onerror="alert(1)"> & "Söhne"'
TENANTS = 30
WORK = 60_000  # milliseconds a job or a probe may take on a busy machine
SIGN_IN = "Sign in"


@dataclass
class Furnished:
    """A console with something on every page."""

    console: Console
    database: str
    large: str
    backup: str
    job: str
    cookies: dict[str, str]

    @property
    def pages(self) -> list[str]:
        """The address of every page for people who are signed in."""
        lists = ["/", "/providers", "/tenants", "/databases", "/backups", "/jobs", "/profile", "/settings"]
        lists += [
            f"/settings/{tab}"
            for tab in ("users", "sessions", "tokens", "secrets", "approvals", "notifications")
        ]
        one = [f"/databases/{self.database}", f"/backups/{self.backup}", f"/jobs/{self.job}"]
        return [*lists, *one, "/audit", "/audit/system:1"]


@pytest.fixture(scope="module")
async def furnished(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Furnished]:
    folder = tmp_path_factory.mktemp("console")
    files = folder / "files"
    files.mkdir()
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as console:
        async with console.signed_in() as rest:
            for n in range(TENANTS):
                title = HOSTILE if n == 7 else f"Tenant number {n}"
                tenant = await rest.post("tenants/create", name=f"t-{n:02}", title=title)
            await rest.post("users/create", username=VIEWER, password=VIEWER_PASSWORD, role="Viewer")
            starting = asyncio.create_task(rest.post("engines/start", kind="postgresql"))
            provider = await rest.post(
                "providers/create", name="files", kind="sqlite", connection={"path": str(files)}
            )
            made = {
                name: await rest.post(
                    "databases/create", name=name, provider_id=provider["id"], tenant_id=tenant["id"]
                )
                for name in ("ledger", "large")
            }
            await asyncio.to_thread(fill, Path(made["ledger"]["location"]), 100)
            await asyncio.to_thread(fill, Path(made["large"]["location"]), 1_000_000)
            await console.cli("backups", "create", "--database-id", made["ledger"]["id"], "--wait")
            await starting
            cookie = rest.cookie
        async with console.signed_in(VIEWER, VIEWER_PASSWORD) as rest:
            [backup] = (await rest.get("backups/list"))["items"]
            cookies = {ADMIN: cookie, VIEWER: rest.cookie}
        yield Furnished(
            console, made["ledger"]["id"], made["large"]["id"], backup["id"], backup["job_id"], cookies
        )


def fill(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table entries (id integer primary key, body blob)")
        db.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)"
            " insert into entries select i, randomblob(200) from n",
            (rows,),
        )


@pytest.fixture
async def stranger(furnished: Furnished, open_browser: Any) -> Page:
    """A browser nobody is signed in with."""
    return await (await open_browser(furnished.console)).new_page()


@pytest.fixture
async def signed_in(furnished: Furnished, open_browser: Any) -> Any:
    """Opens a browser with somebody's session."""

    async def opened(who: str = ADMIN, **options: Any) -> BrowserContext:
        context: BrowserContext = await open_browser(furnished.console, **options)
        cookie = {"name": "sc_session", "value": furnished.cookies[who], "url": furnished.console.url}
        await context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Strict"}])  # type: ignore[list-item]
        return context

    return opened


@pytest.fixture
async def page(signed_in: Any) -> Page:
    """A page of the administrator."""
    return await (await signed_in()).new_page()


async def visit(page: Page, address: str) -> None:
    """Opens an address and waits until the page has what it shows."""
    await page.goto(address)
    await settled(page)


async def settled(page: Page) -> None:
    await expect(page.locator("main > *").nth(1)).to_be_visible()
    await expect(page.locator("main [aria-busy='true']")).to_have_count(0)


def line(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))


async def names(page: Page) -> list[str]:
    """The first cell of each row."""
    return await page.locator("tbody tr td[data-fixed='true']").all_inner_texts()


async def sign_in(page: Page, password: str) -> None:
    await page.get_by_label("User name").fill(ADMIN)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name=SIGN_IN).click()


# -- signing in and out


async def test_a_wrong_password_says_so_and_the_right_one_opens(stranger: Page) -> None:
    await stranger.goto("/login")
    await expect(stranger.get_by_role("button", name=SIGN_IN)).to_be_visible()
    await expect(stranger.get_by_role("link", name=re.compile("Sign in with"))).to_have_count(
        0
    )  # no provider
    await sign_in(stranger, "not this one at all")
    await expect(stranger.get_by_text("User name or password is wrong.")).to_be_visible()
    await expect(stranger).to_have_url(re.compile("/login"))
    await sign_in(stranger, PASSWORD)
    await expect(stranger.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()


async def test_without_a_session_every_page_leads_to_the_sign_in(
    stranger: Page, furnished: Furnished
) -> None:
    for address in furnished.pages:
        await stranger.goto(address)
        await expect(stranger.get_by_role("heading", level=1, name=SIGN_IN)).to_be_visible()
        await expect(stranger).to_have_url(re.compile("/login"))


async def test_signing_out_ends_every_tab(stranger: Page, furnished: Furnished) -> None:
    await stranger.goto("/login")
    await sign_in(stranger, PASSWORD)
    await expect(stranger.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()
    other = await stranger.context.new_page()
    await visit(other, "/tenants")
    await stranger.get_by_role("button", name="Account").click()
    await stranger.get_by_role("button", name="Sign out").click()
    await expect(stranger.get_by_role("heading", level=1, name=SIGN_IN)).to_be_visible()
    async with furnished.console.signed_in() as rest:  # news, which the other tab may not have any more
        [tenant] = (await rest.get("tenants/list", q="t-29"))["items"]
        await rest.http.put(f"/api/storage/tenants/{tenant['id']}/update", json={"title": "Tenant number 29"})
    await expect(other.get_by_role("heading", level=1, name=SIGN_IN)).to_be_visible()
    await stranger.goto("/tenants")
    await expect(stranger.get_by_role("heading", level=1, name=SIGN_IN)).to_be_visible()


# -- keys


async def test_the_list_is_worked_by_keyboard(page: Page) -> None:
    await visit(page, "/tenants?sort=name")
    cursor = page.locator("tr[data-cursor='true']")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox", name="Filter")).to_be_focused()
    await page.keyboard.type("number 1")  # t-01 and the ten from t-10
    await expect(page.get_by_text("of 11 tenants")).to_be_visible()
    await page.keyboard.press("j")
    await expect(page.get_by_text("Nothing matches")).to_be_visible()  # while typing, a letter is a letter
    await page.keyboard.press("Backspace")
    await expect(page.get_by_text("of 11 tenants")).to_be_visible()
    await page.get_by_role("heading", level=1).click()
    for key, name in (("j", "t-01"), ("j", "t-10"), ("j", "t-11"), ("k", "t-10")):
        await page.keyboard.press(key)
        await expect(cursor).to_contain_text(name)
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Tenant number 10")
    await expect(dialog).to_contain_text("0 databases")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_the_palette_goes_anywhere(page: Page) -> None:
    await visit(page, "/tenants")
    box = page.get_by_role("combobox", name="Go to a page or run an action")
    await page.keyboard.press("Control+k")
    await expect(box).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(box).to_be_hidden()
    await page.keyboard.press("Control+k")
    await box.fill("restore proof")
    await expect(page.locator("#palette-options .sc-option")).to_have_count(1)
    await expect(page.locator("#palette-options .sc-option[data-active='true']")).to_contain_text("Backups")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="Backups")).to_be_visible()
    await expect(page).to_have_url(re.compile("/backups"))
    await expect(box).to_be_hidden()


async def test_enter_opens_the_row_under_the_cursor(page: Page) -> None:
    await visit(page, "/databases?sort=name")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await expect(page.locator("tr[data-cursor='true']")).to_contain_text("ledger")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="ledger")).to_be_visible()


async def test_the_first_tab_stop_skips_to_the_content(page: Page) -> None:
    await visit(page, "/tenants")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    await expect(skip).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#content")).to_be_focused()


# -- addresses


async def test_filter_order_and_page_live_in_the_address(page: Page) -> None:
    await visit(page, "/tenants")
    await page.get_by_role("combobox", name="Rows").select_option("25")
    await page.get_by_role("button", name="Name", exact=True).click()
    await expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "ascending")
    await page.get_by_role("searchbox", name="Filter").fill("t-")
    await expect(page).to_have_url(re.compile("q=t-"))
    await page.get_by_role("button", name="Next page").click()
    await expect(page.get_by_text("26\u201330 of 30 tenants")).to_be_visible()
    await expect(page).to_have_url(re.compile(r"(?=.*sort=name)(?=.*page=2)(?=.*size=25)"))
    shown = await names(page)
    assert [n.strip() for n in shown] == [f"t-{n:02}" for n in range(25, TENANTS)]
    address = page.url

    await page.reload()
    await expect(page.get_by_text("26\u201330 of 30 tenants")).to_be_visible()
    assert await names(page) == shown

    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Jobs").click()
    await expect(page.get_by_role("heading", level=1, name="Jobs")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_text("26\u201330 of 30 tenants")).to_be_visible()
    assert page.url == address
    assert await names(page) == shown
    await expect(page.get_by_role("searchbox", name="Filter")).to_have_value("t-")


async def test_a_filter_can_be_turned_around(page: Page) -> None:
    await visit(page, "/providers")
    await page.get_by_role("button", name="Engine").first.click()
    await page.get_by_role("checkbox", name="SQLite").click()
    await expect(line(page, "local-postgresql")).to_have_count(0)
    await page.get_by_role("button", name="is not", exact=True).click()
    await expect(line(page, "files")).to_have_count(0)
    await expect(line(page, "local-postgresql")).to_be_visible()
    await expect(page).to_have_url(re.compile(r"kind=(!|%21)sqlite"))


async def test_an_address_full_of_nonsense_shows_the_list_anyway(page: Page) -> None:
    await visit(page, "/tenants?page=999999999&size=-1&sort=password&status=!!x,&cols=-,,&q=%F0%9F%A6%80")
    await expect(page.get_by_text("Nothing matches")).to_be_visible()
    await page.get_by_role("button", name="Clear filters").click()
    await expect(page.get_by_text("of 30 tenants")).to_be_visible()


# -- states


async def test_what_is_not_there_says_why_and_what_next(page: Page) -> None:
    await visit(page, "/jobs?status=failed")
    await expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    await page.get_by_role("button", name="Clear filters").click()
    await expect(line(page, "ledger").first).to_be_visible()


@pytest.mark.parametrize("noun", ["databases", "backups", "jobs"])
async def test_an_unknown_thing_is_an_error_with_a_way_on(page: Page, noun: str) -> None:
    await page.goto(f"/{noun}/nothing-of-that-id")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("nothing-of-that-id")
    await expect(alert).to_contain_text("not_found")
    await expect(alert.get_by_role("button", name="Try again")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)


async def test_a_form_says_at_the_field_what_is_wrong(page: Page) -> None:
    await visit(page, "/tenants")
    await page.get_by_role("button", name="New tenant").first.click()
    dialog = page.get_by_role("dialog", name="New tenant")
    for wrong, said in (("Not A Name", "is not a valid name"), ("t-01", "t-01")):
        await dialog.get_by_label("Name", exact=True).fill(wrong)
        await dialog.get_by_role("button", name="Create tenant").click()
        await expect(dialog.get_by_role("alert")).to_contain_text(said)
    await expect(dialog.get_by_label("Name", exact=True)).to_have_value("t-01")  # what was typed stays


async def test_text_of_others_is_only_text(page: Page) -> None:
    await visit(page, "/tenants?q=t-07")
    await expect(line(page, "t-07")).to_contain_text(HOSTILE)
    await expect(page.locator("main img")).to_have_count(0)


async def test_work_is_seen_live_in_a_second_tab(page: Page, furnished: Furnished) -> None:
    jobs = await page.context.new_page()
    await visit(jobs, "/jobs")
    await jobs.evaluate("window.untouched = true")
    await visit(page, f"/databases/{furnished.large}")
    await page.get_by_role("button", name="Back up now").click()
    await expect(line(jobs, "large").get_by_role("progressbar")).to_be_visible(timeout=WORK)
    await expect(line(jobs, "large")).to_contain_text("succeeded", timeout=WORK)
    await expect(page.get_by_role("definition").get_by_text(re.compile("now|ago")).first).to_be_visible()
    assert await jobs.evaluate("window.untouched"), "the page was loaded again"


# -- roles


async def test_a_viewer_is_told_why_not(signed_in: Any, furnished: Furnished) -> None:
    page = await (await signed_in(VIEWER)).new_page()
    for address in ("/providers", "/tenants", "/databases", "/backups"):
        await visit(page, address)
        denied = page.get_by_role("button", name="Not allowed for your role").first
        await denied.hover()
        await expect(denied.get_by_role("tooltip")).to_be_visible()
        await expect(denied.get_by_role("tooltip")).to_contain_text(
            "Your role, Viewer, does not allow this. It takes"
        )
        await page.get_by_role("button", name="Actions").first.click()
        entry = page.get_by_role("menuitem", name=re.compile("Delete")).first
        await expect(entry).to_be_disabled()
        await expect(entry).to_contain_text("not for your role")
        await page.keyboard.press("Escape")
    await visit(page, "/tenants")
    for label in ("New tenant", "Add provider", "New database", "Back up"):
        await expect(page.get_by_role("button", name=label, exact=True)).to_have_count(0)


async def test_a_viewer_sees_no_address_of_an_engine(signed_in: Any, furnished: Furnished) -> None:
    page = await (await signed_in(VIEWER)).new_page()
    await visit(page, "/providers")
    await expect(line(page, "local-postgresql")).to_be_visible()
    await expect(page.get_by_role("main")).not_to_contain_text("127.0.0.1")
    await expect(page.get_by_role("main")).not_to_contain_text(str(furnished.console.folder))


# -- every page


async def test_every_page_has_one_heading_and_a_title(
    page: Page, stranger: Page, furnished: Furnished
) -> None:
    titles = []
    for address in furnished.pages:
        await visit(page, address)
        await expect(page.get_by_role("heading", level=1)).to_have_count(1)
        titles.append(await page.title())
    for address in ("/login", "/setup?token=Zx0Zx0Zx0Zx0", "/setup"):
        await stranger.goto(address)
        await expect(stranger.get_by_role("heading", level=1)).to_have_count(1)
        titles.append(await stranger.title())
    assert all(t.endswith("Storage Console") for t in titles), titles


@pytest.mark.parametrize("width", [320, 360])
async def test_narrow_screens_never_scroll_sideways(
    signed_in: Any, open_browser: Any, furnished: Furnished, width: int
) -> None:
    size = {"width": width, "height": 740}
    page = await (await signed_in(viewport=size)).new_page()
    door = await (await open_browser(furnished.console, viewport=size)).new_page()
    wide = []
    for address in furnished.pages:
        await visit(page, address)
        wide += await too_wide(page, address)
    for address in ("/login", "/setup?token=Zx0Zx0Zx0Zx0"):
        await door.goto(address)
        await expect(door.get_by_role("heading", level=1)).to_be_visible()
        wide += await too_wide(door, address)
    assert wide == []


async def too_wide(page: Page, address: str) -> list[str]:
    found = await page.evaluate(
        """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
            [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
            .slice(0, 3).map(e => e.tagName + '.' + e.className)"""
    )
    return [f"{address}: {element}" for element in found]


async def test_the_menu_of_a_narrow_screen(signed_in: Any) -> None:
    page = await (await signed_in(viewport={"width": 360, "height": 740})).new_page()
    await visit(page, "/tenants")
    await expect(page.get_by_role("navigation", name="Main")).to_be_hidden()
    await page.get_by_role("button", name="Menu").click()
    await page.get_by_role("navigation", name="Menu").get_by_role("link", name="Jobs").click()
    await expect(page.get_by_role("heading", level=1, name="Jobs")).to_be_visible()
    await expect(page.get_by_role("navigation", name="Menu")).to_be_hidden()


async def test_dark_mode_stays(page: Page, furnished: Furnished) -> None:
    await visit(page, "/tenants")

    async def dark() -> bool:
        red, green, blue = await page.evaluate(
            """() => {
                let e = document.elementFromPoint(innerWidth - 5, innerHeight - 5);
                const seen = (e) => getComputedStyle(e).backgroundColor;
                while (e.parentElement && /, 0\\)$|transparent/.test(seen(e))) e = e.parentElement;
                const c = document.createElement('canvas').getContext('2d');
                c.fillStyle = seen(e); c.fillRect(0, 0, 1, 1);
                return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3); }"""
        )
        return red + green + blue < 3 * 128

    switch = page.get_by_role("button", name="Switch light and dark")
    html = page.locator("html")
    began = await dark()
    await expect(html).to_have_class(re.compile("dark" if began else "light"))
    await switch.click()
    await expect(html).to_have_class(re.compile("light" if began else "dark"))
    assert await dark() is not began
    await page.reload()
    await settled(page)
    await expect(html).to_have_class(re.compile("light" if began else "dark"))
    assert await dark() is not began
    async with furnished.console.signed_in() as rest:  # it is kept for the person: the next test begins anew
        await rest.http.put("/api/storage/preferences/update", json={"theme": "system"})


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_page_has_a_barrier(
    signed_in: Any, open_browser: Any, furnished: Furnished, theme: str, pytestconfig: pytest.Config
) -> None:
    assert pytestconfig.cache is not None
    script = axe.source(Path(pytestconfig.cache.mkdir("axe")))
    look = {"color_scheme": theme, "reduced_motion": "reduce"}  # nothing is judged while it fades in
    member, anybody = await signed_in(**look), await open_browser(furnished.console, **look)
    for context in (member, anybody):
        await context.add_init_script(script)
    page, door = await member.new_page(), await anybody.new_page()
    barriers = []
    for address in furnished.pages:
        await visit(page, address)
        await expect(page.locator(".radix-themes").first).to_have_class(re.compile(theme))
        barriers += [f"{address}: {found}" for found in await axe.violations(page)]
    for address in ("/login", "/login?error=unauthenticated", "/setup?token=Zx0Zx0Zx0Zx0", "/setup"):
        await door.goto(address)
        await expect(door.get_by_role("heading", level=1)).to_be_visible()
        await expect(door.locator(".radix-themes").first).to_have_class(re.compile(theme))
        barriers += [f"{address}: {found}" for found in await axe.violations(door)]
    for address, opens, role in DIALOGS:
        await visit(page, address)
        await expect(page.locator(".radix-themes").first).to_have_class(re.compile(theme))
        await opens(page)
        await expect(page.get_by_role(role)).to_be_visible()
        barriers += [f"{address} {opens.__name__}: {found}" for found in await axe.violations(page)]
        await page.keyboard.press("Escape")
        await expect(page.get_by_role(role)).to_be_hidden()
    for address in ("/jobs?status=failed", "/databases/unknown"):  # empty and error
        await page.goto(address)
        await expect(page.get_by_text(re.compile("Nothing matches|not_found"))).to_be_visible()
        await expect(page.locator(".radix-themes").first).to_have_class(re.compile(theme))
        barriers += [f"{address}: {found}" for found in await axe.violations(page)]
    assert barriers == [], "\n".join(barriers)


async def keys(page: Page) -> None:
    await page.keyboard.press("?")


async def palette(page: Page) -> None:
    await page.keyboard.press("Control+k")


async def new_tenant(page: Page) -> None:
    await page.get_by_role("button", name="New tenant").first.click()


async def add_provider(page: Page) -> None:
    await page.get_by_role("button", name="Add provider").first.click()


async def delete(page: Page) -> None:
    await page.get_by_role("button", name="Actions").first.click()
    await page.get_by_role("menuitem", name="Delete").click()


async def saved_filters(page: Page) -> None:
    await page.get_by_role("button", name="Saved filters").click()


async def bulk_report(page: Page) -> None:
    await page.get_by_role("checkbox", name="Select this page").click()
    await page.get_by_role("button", name="Resume", exact=True).click()
    await expect(page.get_by_text(re.compile("not eligible"))).to_be_visible()


async def new_token(page: Page) -> None:
    await page.get_by_role("button", name="New token").click()


async def new_user(page: Page) -> None:
    await page.get_by_role("button", name="New user").click()
    await page.get_by_label("Role", exact=True).select_option("SuperAdmin")


async def roles_of(page: Page) -> None:
    await page.get_by_role("button", name=VIEWER).click()
    await expect(page.get_by_role("button", name=re.compile("Take away"))).to_be_visible()


async def change_option(page: Page) -> None:
    await page.get_by_role("button", name="Change Two-person rule").click()


async def recovery_key(page: Page) -> None:
    await page.get_by_role("button", name="Master key").click()
    await page.get_by_role("menuitem", name="Export a recovery key").click()


DIALOGS: tuple[tuple[str, Any, Any], ...] = (
    ("/tenants", keys, "dialog"),
    ("/tenants", palette, "dialog"),
    ("/tenants", new_tenant, "dialog"),
    ("/providers", add_provider, "dialog"),
    ("/databases", delete, "alertdialog"),
    ("/tenants", saved_filters, "dialog"),
    ("/tenants?size=25&q=t-0", bulk_report, "dialog"),
    ("/profile", new_token, "dialog"),
    ("/settings/users", new_user, "dialog"),
    ("/settings/users", roles_of, "dialog"),
    ("/settings", change_option, "alertdialog"),
    ("/settings/secrets", recovery_key, "dialog"),
)


# -- trouble; last, since it takes a server away


async def test_a_killed_server_is_shown_offline_and_started_again(page: Page, furnished: Furnished) -> None:
    [server] = await furnished.console.cli("engines", "list")
    async with furnished.console.signed_in() as rest:
        host, _, port = server["dsn"].rpartition("@")[2].partition("/")[0].partition(":")
        password = unquote(server["dsn"].partition("://")[2].partition("@")[0].partition(":")[2])
        connection = {"host": host, "port": int(port), "user": server["user"], "password": password}
        await rest.post("providers/create", name="foreign", kind="postgresql", connection=connection)
    await visit(page, "/providers")
    await expect(line(page, "foreign")).to_contain_text("online")
    os.kill(server["pid"], signal.SIGKILL)

    # tested: the step that failed, and its fix
    await line(page, "foreign").get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Test connection").click()
    dialog = page.get_by_role("dialog", name="Connection test")
    failed = dialog.get_by_role("listitem").filter(has=page.get_by_label("Failed"))
    await expect(failed).to_contain_text("Connect")
    await expect(failed.locator(".sc-fix")).not_to_be_empty()
    await dialog.get_by_role("button", name="Close").click()
    await expect(line(page, "foreign")).to_contain_text("offline")

    # noticed by itself, and told wherever one looks
    await expect(line(page, "local-postgresql")).to_contain_text("offline", timeout=WORK)
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Dashboard").click()
    await expect(page.get_by_role("link", name="local-postgresql is offline")).to_be_visible()
    await page.get_by_role("link", name="local-postgresql is offline").click()
    await expect(page).to_have_url(re.compile("status=offline"))

    await line(page, "local-postgresql").get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Start server").click()
    await expect(line(page, "local-postgresql")).to_have_count(
        0, timeout=WORK
    )  # no longer one that is offline
    await page.get_by_role("button", name="Clear", exact=True).click()
    await expect(line(page, "local-postgresql")).to_contain_text("online")
