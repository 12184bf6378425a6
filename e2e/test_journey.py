"""The whole way: from the setup link to rows that came back, in the browser, on all three engines."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from e2e.awkward import Mongo, Postgres, Sqlite
from e2e.console import ADMIN, PASSWORD, Console, Rest, running

pytestmark = pytest.mark.timeout(400)  # the pages may have to be built first

PLACES = (("orders", "local-postgresql"), ("events", "local-mongodb"), ("settings", "files"))
WORK = 90_000  # milliseconds a job may take on a busy machine


@dataclass
class Kept:
    """A database of the journey: where it is in the console, and its engine's own driver."""

    name: str
    provider: str
    data: Postgres | Mongo | Sqlite
    before: dict[str, Any]


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    async with running(tmp_path_factory.mktemp("journey")) as started:
        yield started


def row(page: Page, name: str) -> Locator:
    """The line of a list that is called so."""
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))


async def arrive(page: Page, title: str | re.Pattern[str]) -> None:
    await expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()


async def go(page: Page, name: str) -> None:
    """To a page, by the menu."""
    await page.get_by_role("navigation", name="Main").get_by_role("link", name=name, exact=True).click()
    await arrive(page, name)


async def first_run(page: Page, console: Console) -> None:
    await page.goto(console.setup_link)
    await arrive(page, "Create the administrator")
    await page.get_by_label("User name").fill(ADMIN)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_label("Repeat password").fill(PASSWORD)
    await page.get_by_role("button", name="Create administrator").click()
    await arrive(page, "Dashboard")
    await expect(page.get_by_role("region", name="First steps")).to_contain_text("Register a provider")


async def add_providers(page: Page, files: Path) -> None:
    await go(page, "Providers")
    await page.get_by_role("button", name="Start a private PostgreSQL").click()
    await expect(row(page, "local-postgresql")).to_contain_text("online", timeout=WORK)
    await page.get_by_role("button", name="Start a private server").click()
    await page.get_by_role("menuitem", name="Start a private MongoDB").click()
    await expect(row(page, "local-mongodb")).to_contain_text("online", timeout=WORK)
    await page.get_by_role("button", name="Add provider").click()
    dialog = page.get_by_role("dialog", name="Add provider")
    await dialog.get_by_role("radio", name="SQLite").click()
    await dialog.get_by_label("Name", exact=True).fill("files")
    await dialog.get_by_label("Directory").fill(str(files))
    save = dialog.get_by_role("button", name="Save provider")
    await expect(save).to_be_disabled()  # not before it was tested
    await dialog.get_by_role("button", name="Test connection").click()
    await expect(
        dialog.get_by_role("list", name="Connection test").get_by_role("listitem").first
    ).to_be_visible()
    await save.click()
    await expect(row(page, "files")).to_contain_text("online")


async def add_tenant(page: Page) -> None:
    await go(page, "Tenants")
    await page.get_by_role("button", name="New tenant").first.click()
    dialog = page.get_by_role("dialog", name="New tenant")
    await dialog.get_by_label("Name", exact=True).fill("acme")
    await dialog.get_by_label("Title").fill("Acme Größe & Co. 🏭")
    await dialog.get_by_role("button", name="Create tenant").click()
    await expect(row(page, "acme")).to_contain_text("Acme Größe & Co. 🏭")


async def add_database(page: Page, name: str, provider: str, isolation: str = "") -> str:
    """Creates a database; answers its address."""
    await go(page, "Databases")
    await page.get_by_role("button", name="New database").first.click()
    dialog = page.get_by_role("dialog", name="New database")
    await dialog.get_by_label("Name", exact=True).fill(name)
    choices = dialog.get_by_label("Provider")
    await choices.select_option(label=await choices.locator("option", has_text=provider).inner_text())
    await dialog.get_by_label("Tenant", exact=True).select_option(label="Acme Größe & Co. 🏭")
    if isolation:
        await dialog.get_by_text("Namespace, isolation and settings").click()
        await dialog.get_by_label("Isolation").select_option(label=isolation)
    await dialog.get_by_role("button", name="Create database").click()
    await arrive(page, name)
    await expect(page.get_by_role("main")).to_contain_text("ready")
    return page.url


async def driver(rest: Rest, servers: dict[str, Any], name: str) -> Postgres | Mongo | Sqlite:
    """A database for its engine's own driver, past the console."""
    found = (await rest.get("databases/list", q=name))["items"]
    [known] = [d for d in found if d["name"] == name]
    server = servers.get(known["provider_id"])
    if server is None:
        return Sqlite(known["location"])
    kind = {"postgresql": Postgres, "mongodb": Mongo}[server["kind"]]
    return kind(server["dsn"], known["physical_name"])


async def back_up(page: Page, watching: Page, kept: Kept) -> None:
    """Starts a backup; another window, which nobody touches, shows it proven."""
    await go(page, "Backups")
    await page.get_by_role("button", name="Back up", exact=True).first.click()
    dialog = page.get_by_role("dialog", name="Back up a database")
    await dialog.get_by_label("Database").select_option(label=kept.name)
    await dialog.get_by_label("Note").fill("before it is dropped")
    await dialog.get_by_role("button", name="Back up now").click()
    await arrive(page, f"Back up {kept.name}")
    line = row(watching, kept.name)
    await expect(line).to_contain_text("proven", timeout=WORK)
    await expect(line.get_by_role("cell").nth(await column(watching, "Rows"))).to_have_text(
        str(kept.data.rows)
    )
    await expect(page.get_by_role("region", name="Progress")).to_contain_text("succeeded")


async def column(page: Page, label: str) -> int:
    """Which cell of a row stands below this heading."""
    heads = await page.get_by_role("columnheader").all_inner_texts()
    return next(n for n, text in enumerate(heads) if text.strip() == label)


async def see_proof(page: Page, kept: Kept) -> None:
    await go(page, "Backups")
    await row(page, kept.name).get_by_role("link", name=kept.name).click()
    await arrive(page, re.compile(f"^{kept.name},"))
    standing = page.get_by_role("region", name="Standing")
    await expect(standing).to_contain_text(f"Proven, {kept.data.rows} rows")
    await expect(page.get_by_role("region", name="Differences")).to_have_count(0)


async def drop(page: Page, kept: Kept) -> None:
    await go(page, "Databases")
    await row(page, kept.name).get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Delete").click()
    dialog = page.get_by_role("alertdialog", name=f"Delete {kept.name}")
    await expect(dialog).to_contain_text("1 backup survives")
    confirm = dialog.get_by_role("button", name="Delete database")
    await dialog.get_by_label("Reason").fill("the journey loses it")
    typed = dialog.get_by_label(re.compile("to confirm"))
    await typed.fill(kept.name[:-1])
    await expect(confirm).to_be_disabled()  # not the exact name
    await typed.fill(kept.name)
    await confirm.click()
    await expect(dialog).to_be_hidden()
    await expect(row(page, kept.name)).to_have_count(0)
    assert not await kept.data.exists()


async def restore(page: Page, kept: Kept) -> str:
    """Restores its backup into a new database; answers that one's name."""
    name = f"{kept.name}-back"
    await go(page, "Backups")
    await row(page, kept.name).get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Restore").click()
    dialog = page.get_by_role("dialog", name="Restore")
    await dialog.get_by_label("New database").fill(name)
    await dialog.get_by_role("button", name="Preview").click()
    await expect(dialog).to_contain_text(f"A new database {name} is made on {kept.provider}")
    await expect(dialog).to_contain_text(f"{kept.data.rows} rows")
    await dialog.get_by_role("button", name="Start restore").click()
    await arrive(page, f"Restore {name}")  # not the page of the restore before
    await page.get_by_role("link", name="Open the restored database").click(timeout=WORK)
    await arrive(page, name)
    await expect(page.get_by_role("main")).to_contain_text("ready")
    return name


async def test_from_the_setup_link_to_rows_that_came_back(
    console: Console, open_browser: Any, tmp_path: Path
) -> None:
    browser = await open_browser(console)
    page = await browser.new_page()
    files = tmp_path / "files"
    files.mkdir()

    await first_run(page, console)
    await add_providers(page, files)
    await add_tenant(page)

    servers = {s["provider_id"]: s for s in await console.cli("engines", "list")}
    async with console.signed_in() as rest:
        journey: list[Kept] = []
        for name, provider in PLACES:
            await add_database(page, name, provider)
            data = await driver(rest, servers, name)
            await data.fill()
            journey.append(Kept(name, provider, data, await data.read()))
        await prove_live(browser, page, journey)
        for kept in journey:
            await see_proof(page, kept)
            await drop(page, kept)
        for kept in journey:
            restored = await driver(rest, servers, await restore(page, kept))
            after = await restored.read()
            assert after.keys() == kept.before.keys()
            for part, expected in kept.before.items():
                assert after[part] == expected, f"{kept.name}: {part}"

    await add_database(page, "small", "local-postgresql", "A schema in the shared database")
    await expect(page.get_by_role("main")).to_contain_text("sc_shared/sc_acme_small_")
    await go(page, "Dashboard")
    await expect(page.get_by_role("link", name=re.compile("Databases 4"))).to_be_visible()


async def prove_live(browser: BrowserContext, page: Page, journey: list[Kept]) -> None:
    """Backs each up in one window and sees it proven in another one that is never loaded again."""
    watching = await browser.new_page()
    await watching.goto("/backups")
    await expect(watching.get_by_role("heading", name="No backups yet")).to_be_visible()
    await watching.evaluate("window.untouched = true")
    for kept in journey:
        await back_up(page, watching, kept)
    assert await watching.evaluate("window.untouched"), "the page was loaded again"
    await watching.close()
