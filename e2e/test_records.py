"""The records tab: a thousand rows feel like ten, and what somebody else changed is not overwritten."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from e2e import axe
from e2e.console import ADMIN, PASSWORD, Console, running
from e2e.people import OTHERS_PASSWORD, enter, visit

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

ROWS = 1203


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("records")
    files = folder / "files"
    files.mkdir()
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as running_console:
        yield running_console


@pytest.fixture(scope="module")
async def database(console: Console, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A database of a tenant with a table of a thousand rows, a view, and a collection of documents."""
    files = tmp_path_factory.mktemp("files")
    async with console.signed_in() as rest:
        tenant = await rest.post("tenants/create", name="acme")
        provider = await rest.post(
            "providers/create", name="files", kind="sqlite", connection={"path": str(files)}
        )
        row = await rest.post(
            "databases/create", name="shop", provider_id=provider["id"], tenant_id=tenant["id"]
        )
        with closing(sqlite3.connect(row["location"])) as db, db:
            db.execute("create table orders (id integer primary key, status text, qty int, note text)")
            states = ("new", "paid", "sent")
            rows = [(n, states[n % 3], n % 7, f"note {n}") for n in range(1, ROWS + 1)]
            db.executemany("insert into orders values (?, ?, ?, ?)", rows)
            db.execute("create view paid as select * from orders where status = 'paid'")
        await rest.post(
            "users/create", username="vera", password=OTHERS_PASSWORD, role="Viewer", scope="tenant:acme"
        )
    return row


@pytest.fixture
async def page(console: Console, database: dict[str, Any], open_browser: Any) -> Page:
    page = await enter(await open_browser(console), console, ADMIN)
    await visit(page, f"/databases/{database['id']}?tab=records&in=orders")
    await expect(page.get_by_text(counted(ROWS))).to_be_visible()
    return page


def counted(total: int) -> re.Pattern[str]:
    """A number of four digits, as people read it."""
    return re.compile(f"of {total // 1000}.{total % 1000:03}")


def rows(page: Page) -> Any:
    return page.get_by_role("region", name="Rows").locator("tbody tr")


async def test_pages_filters_and_orders_stay_in_the_address(page: Page) -> None:
    await expect(rows(page)).to_have_count(50)
    await page.get_by_role("button", name="Next page").click()
    await expect(page.get_by_text("51\N{EN DASH}100 of")).to_be_visible()
    await expect(rows(page).first).to_contain_text("note 51")
    await page.get_by_role("button", name="Previous page").click()
    await expect(rows(page).first).to_contain_text("note 1")
    await page.get_by_label("Filter as JSON").fill('{"status": "paid", "qty": {"$gte": 5}}')
    await page.get_by_role("button", name="Filter", exact=True).click()
    expected = len([n for n in range(1, ROWS + 1) if n % 3 == 1 and n % 7 >= 5])
    await expect(page.get_by_text(f"of {expected}")).to_be_visible()
    await page.get_by_role("columnheader", name="id").get_by_role("button").click()
    await expect(page.get_by_role("columnheader", name="id")).to_have_attribute("aria-sort", "ascending")
    await page.get_by_role("columnheader", name="id").get_by_role("button").click()
    await expect(page.get_by_role("columnheader", name="id")).to_have_attribute("aria-sort", "descending")
    await expect(page).to_have_url(re.compile("sort=-id"))
    await page.reload()
    await expect(page.get_by_text(f"of {expected}")).to_be_visible()
    await expect(page.get_by_role("columnheader", name="id")).to_have_attribute("aria-sort", "descending")


async def test_a_filter_that_cannot_be_understood_says_why(page: Page) -> None:
    await page.get_by_label("Filter as JSON").fill('{"nothing": 1}')
    await page.get_by_role("button", name="Filter", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("no column")
    await page.get_by_label("Filter as JSON").fill("{")
    await page.get_by_role("button", name="Filter", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("not JSON")


async def test_a_row_is_changed_unless_somebody_was_faster(page: Page, database: dict[str, Any]) -> None:
    await rows(page).nth(4).get_by_role("button", name="Open record").click()
    box = page.get_by_role("dialog")
    await expect(box).to_contain_text('"note": "note 5"')
    await box.get_by_role("button", name="Edit").click()
    text = box.get_by_role("textbox", name="JSON")
    await text.fill((await text.input_value()).replace("note 5", "mine"))
    with closing(sqlite3.connect(database["location"])) as db, db:
        db.execute("update orders set note = 'theirs' where id = 5")
    await box.get_by_role("button", name="Save").click()
    await expect(box).to_contain_text("Somebody else")
    await box.get_by_role("button", name="Cancel").click()
    await rows(page).nth(5).get_by_role("button", name="Open record").click()
    await box.get_by_role("button", name="Edit").click()
    await text.fill((await text.input_value()).replace("note 6", "mended"))
    await box.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved")).to_be_visible()
    with closing(sqlite3.connect(database["location"])) as db:
        found = dict(db.execute("select id, note from orders where id in (5, 6)").fetchall())
    assert found == {5: "theirs", 6: "mended"}


async def test_a_row_is_added_and_deleted(page: Page, database: dict[str, Any]) -> None:
    await page.get_by_role("button", name="New record").click()
    box = page.get_by_role("dialog")
    await box.get_by_role("textbox", name="JSON").fill('{"status": "new", "qty": 1, "note": "added"}')
    await box.get_by_role("button", name="Save").click()
    await expect(page.get_by_text(counted(ROWS + 1))).to_be_visible()
    await page.get_by_label("Filter as JSON").fill('{"note": "added"}')
    await page.get_by_role("button", name="Filter", exact=True).click()
    await expect(rows(page)).to_have_count(1)
    await rows(page).first.get_by_role("button", name="Open record").click()
    await box.get_by_role("button", name="Delete").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Delete row").click()
    await expect(page.get_by_text("Nothing matches")).to_be_visible()


async def test_a_view_is_read_only(page: Page) -> None:
    await page.get_by_label("Collection or table").select_option("paid")
    await expect(page.get_by_text("Read only.")).to_be_visible()
    await expect(page.get_by_role("button", name="New record")).to_be_disabled()


async def test_a_viewer_sees_no_records(
    console: Console, database: dict[str, Any], open_browser: Any
) -> None:
    page = await enter(await open_browser(console), console, "vera")
    await visit(page, f"/databases/{database['id']}?tab=records")
    await expect(page.get_by_text("Not for your role").first).to_be_visible()
    await expect(page.get_by_text("note 1", exact=True)).to_have_count(0)


async def test_the_tab_has_no_barriers(page: Page, pytestconfig: pytest.Config) -> None:
    script = axe.source(Path(pytestconfig.cache.mkdir("axe")))
    await axe.assert_none(page, script)
    await rows(page).first.get_by_role("button", name="Open record").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await axe.assert_none(page, script)
