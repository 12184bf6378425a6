"""What every list page can do: saved filters, exports that are the filtered set, acts on many rows with their report."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from python_calamine import CalamineWorkbook

from e2e import axe
from e2e.console import ADMIN, PASSWORD, Console, running
from e2e.people import OTHERS_PASSWORD, enter, visit

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

OTHERS = {"ann": ("Admin", "global"), "olga": ("Operator", "tenant:acme"), "vera": ("Viewer", "tenant:acme")}
FORMULA = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("lists")
    files = folder / "files"
    files.mkdir()
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as running_console:
        async with running_console.signed_in() as rest:
            acme = await rest.post("tenants/create", name="acme", title=FORMULA)
            for n in range(60):
                row = await rest.post("tenants/create", name=f"t-{n:02}", title=f"Number {n}")
                if n % 3 == 0:
                    await rest.post(f"tenants/{row['id']}/suspend", confirm=row["name"])
            provider = await rest.post(
                "providers/create", name="files", kind="sqlite", connection={"path": str(files)}
            )
            for name in ("ledger", "orders"):
                await rest.post(
                    "databases/create", name=name, provider_id=provider["id"], tenant_id=acme["id"]
                )
            for name, (role, scope) in OTHERS.items():
                await rest.post(
                    "users/create", username=name, password=OTHERS_PASSWORD, role=role, scope=scope
                )
        yield running_console


@pytest.fixture
async def as_user(console: Console, open_browser: Any) -> Any:
    """Opens a page of somebody who is signed in."""

    async def opened(who: str = ADMIN, **options: Any) -> Page:
        return await enter(await open_browser(console, **options), console, who)

    return opened


async def save(page: Page, name: str, *, shared: bool = False) -> None:
    await page.get_by_role("button", name="Saved filters").click()
    box = page.get_by_role("dialog", name="Saved filters")
    await box.get_by_label(re.compile("Save these filters")).fill(name)
    if shared:
        await box.get_by_text("Share with those who work here").click()
    await box.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text(f"Saved as {name}")).to_be_visible()
    await expect(box).to_be_hidden()


async def test_a_saved_filter_comes_back_with_order_and_columns(as_user: Any) -> None:
    page = await as_user()
    await visit(page, "/tenants?status=suspended&sort=-name&cols=-title")
    await save(page, "Stopped ones")
    await visit(page, "/tenants")
    await page.get_by_role("button", name="Saved filters").click()
    await page.get_by_role("dialog").get_by_role("button", name=re.compile("^Stopped ones")).click()
    await expect(page.get_by_text("of 20 tenants")).to_be_visible()
    await expect(page.locator("tbody tr").first).to_contain_text("t-57")
    await expect(page.get_by_role("columnheader", name="Title")).to_have_count(0)
    await expect(page).to_have_url(re.compile(r"(?=.*status=suspended)(?=.*sort=-name)(?=.*cols=-title)"))
    await expect(page.get_by_role("button", name="Saved filters: Stopped ones")).to_be_visible()

    # the same name twice is refused where it was typed
    await page.get_by_role("button", name=re.compile("^Saved filters")).click()
    box = page.get_by_role("dialog", name="Saved filters")
    await box.get_by_label(re.compile("Save these filters")).fill("Stopped ones")
    await box.get_by_role("button", name="Save", exact=True).click()
    await expect(box.get_by_role("alert")).to_contain_text("exists already")
    await box.get_by_role("button", name="Delete Stopped ones").click()
    await expect(box.get_by_text("None yet")).to_be_visible()


async def test_a_private_filter_is_nobody_elses_and_a_shared_one_stays_in_its_tenant(as_user: Any) -> None:
    olga, vera, ann = await as_user("olga"), await as_user("vera"), await as_user("ann")
    await visit(olga, "/databases?q=led")
    await save(olga, "Only mine")
    await save(olga, "For all of us", shared=True)
    for page, sees in ((vera, True), (ann, False)):
        await visit(page, "/databases")
        await page.get_by_role("button", name="Saved filters").click()
        box = page.get_by_role("dialog", name="Saved filters")
        await expect(box.get_by_role("button", name="Save", exact=True)).to_be_visible()
        await expect(box.get_by_text("Only mine")).to_have_count(0)
        await expect(box.get_by_text("For all of us")).to_have_count(1 if sees else 0)
    await vera.get_by_role("button", name=re.compile("^For all of us")).click()
    await expect(vera.get_by_text("of 1 database")).to_be_visible()


async def test_every_export_is_exactly_what_the_filters_leave(as_user: Any, tmp_path: Path) -> None:
    page = await as_user()
    await visit(page, "/tenants?status=!suspended&sort=name&size=25")
    await expect(page.get_by_text("of 41 tenants")).to_be_visible()
    tables: dict[str, list[list[str]]] = {}
    for kind in ("CSV", "XLSX", "JSON"):
        await page.get_by_role("button", name="Export").click()
        async with page.expect_download() as coming:
            await page.get_by_role("link", name=kind, exact=True).click()
        file = tmp_path / f"tenants.{kind.lower()}"
        await (await coming.value).save_as(file)
        await page.keyboard.press("Escape")
        tables[kind] = read(kind, file)
    assert tables["CSV"] == tables["XLSX"]
    head, *rows = tables["XLSX"]
    assert [row[head.index("name")] for row in rows] == ["acme", *(f"t-{n:02}" for n in range(60) if n % 3)]
    assert rows[0][head.index("title")] == f"'{FORMULA}"
    assert tables["JSON"][1][head.index("title")] == FORMULA  # for programs, as it is
    assert [r[0] for r in tables["JSON"]] == [r[0] for r in tables["XLSX"]]


async def test_rows_that_are_not_what_was_asked_for_are_dimmed(as_user: Any) -> None:
    page = await as_user()
    await visit(page, "/tenants?size=25")
    rows, box = page.locator(".sc-list .sc-scroll"), page.get_by_role("searchbox", name="Filter")
    await expect(page.locator("tbody tr")).to_have_count(25)
    await expect(rows).to_have_css("opacity", "1")
    await box.fill("t-\x01")
    await expect(page.get_by_role("alert")).to_contain_text("wrong value")
    await expect(page.locator("tbody tr")).to_have_count(25)
    await expect(rows).to_have_css("opacity", "0.55")
    await box.fill("t-1")
    await expect(page.locator("tbody tr")).to_have_count(10)
    await expect(rows).to_have_css("opacity", "1")


def read(kind: str, file: Path) -> list[list[str]]:
    """A table's cells as text."""
    if kind == "XLSX":
        rows = CalamineWorkbook.from_path(file).get_sheet_by_index(0).to_python()
        return [[str(cell) for cell in row] for row in rows]
    if kind == "CSV":
        return list(csv.reader(io.StringIO(file.read_text("utf-8"))))
    items: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return [list(items[0]), *([str(v or "") for v in item.values()] for item in items)]


async def test_an_act_on_all_that_match_reports_row_by_row(as_user: Any, console: Console) -> None:
    page = await as_user()
    await visit(page, "/tenants?sort=name&size=25&q=t-")
    await page.get_by_role("checkbox", name="Select this page").click()
    await page.get_by_role("button", name="Select all 60 tenants").click()
    await expect(page.get_by_text("All 60 tenants selected")).to_be_visible()
    await page.get_by_role("button", name="Resume", exact=True).click()
    dialog = page.get_by_role("dialog", name="Resume tenants")
    await expect(dialog).to_contain_text("20 of 60 done, 40 not eligible")
    lines = dialog.get_by_role("listitem")
    await expect(lines).to_have_count(60)
    await expect(lines.first).to_contain_text("t-01")  # what was not eligible comes first, and says why
    await expect(lines.first).to_contain_text("active")
    await expect(lines.last).to_contain_text("It works again")
    await dialog.get_by_role("button", name="Close").click()
    await expect(page.get_by_text("60 tenants selected")).to_have_count(0)
    async with console.signed_in() as rest:
        assert (await rest.get("tenants/list", status="suspended"))["total"] == 0


async def test_a_bulk_act_needs_the_right_of_each_row(as_user: Any, console: Console) -> None:
    page = await as_user("vera")
    await visit(page, "/databases")
    await page.get_by_role("checkbox", name="Select this page").click()
    await expect(
        page.get_by_role("region", name="Selection").get_by_role("button", name="Back up")
    ).to_have_count(0)
    await expect(page.get_by_role("button", name="Not allowed for your role").first).to_be_visible()


async def test_appearance_follows_its_person_to_another_browser(as_user: Any) -> None:
    page = await as_user("ann", color_scheme="light")
    await visit(page, "/tenants")
    await expect(page.locator("html")).to_have_class(re.compile("light"))
    await page.get_by_role("button", name="Switch light and dark").click()
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("button", name="Compact rows").click()
    await expect(page.locator("[data-density='compact']")).to_have_count(1)
    other = await as_user("ann", color_scheme="light")
    await visit(other, "/tenants")
    await expect(other.locator("html")).to_have_class(re.compile("dark"))
    await expect(other.locator("[data-density='compact']")).to_have_count(1)


async def test_what_a_tenant_may_have_is_seen_and_changed_on_its_page(
    console: Console, as_user: Any, pytestconfig: pytest.Config
) -> None:
    page = await as_user()
    await visit(page, "/tenants?q=acme")
    row = page.get_by_role("row").filter(has_text="acme")
    await row.get_by_role("button", name="acme").click()
    detail = page.get_by_role("dialog")
    await expect(detail.get_by_text("no limit").first).to_be_visible()
    await detail.get_by_role("button", name="Edit policy").click()
    form = page.get_by_role("dialog", name="Edit policy")
    await form.get_by_label("TinyDB").uncheck()
    await form.get_by_label("Databases", exact=True).fill("5")
    await form.get_by_label("Size per database").fill("a lot")
    await form.get_by_role("button", name="Save policy").click()
    await expect(form.get_by_role("alert")).to_contain_text("no size")
    await form.get_by_label("Size per database").fill("1.5 GB")
    await form.get_by_role("button", name="Save policy").click()
    await expect(form).to_be_hidden()
    async with console.signed_in() as rest:
        [tenant] = (await rest.get("tenants/list", q="acme"))["items"]
    policy = tenant["policy"]
    assert (policy["databases"], policy["bytes"], policy["documents"]) == (5, 1_500_000_000, None)
    assert policy["engines"] == ["postgresql", "mongodb", "sqlite", "localfile"]
    await row.get_by_role("button", name="acme").click()
    await expect(detail).to_contain_text("2 of 5")
    await expect(detail).to_contain_text("MB")
    await axe.assert_none(page, axe.source(Path(pytestconfig.cache.mkdir("axe"))))
    looking = await as_user("vera")
    await visit(looking, "/tenants?q=acme")
    await looking.get_by_role("row").filter(has_text="acme").get_by_role("button", name="acme").click()
    await expect(looking.get_by_role("dialog")).to_contain_text("2 of 5")
    await expect(looking.get_by_role("dialog").get_by_role("button", name="Edit policy")).to_have_count(0)
