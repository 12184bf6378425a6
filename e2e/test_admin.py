"""The admin views in the browser: under our policy they look right, work without SQLAdmin's scripts having their way."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from e2e import axe
from e2e.conftest import Watch
from e2e.console import ADMIN, PASSWORD, Console, running

pytestmark = pytest.mark.timeout(400)  # the pages may have to be built first

VIEWS = {
    "Providers": "files",
    "Databases": "orders",
    "Backups": "orders",
    "Tenants": "acme",
    "Audit": "auth.login",
}


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("admin")
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as started:
        async with started.signed_in() as rest:
            await _furnish(rest, folder)
        yield started


async def _furnish(rest: Any, folder: Path) -> None:
    files = folder / "files"
    files.mkdir()
    provider = await rest.post(
        "providers/create", name="files", kind="sqlite", connection={"path": str(files)}
    )
    tenant = await rest.post("tenants/create", name="acme", title="Acme Corporation")
    made = await rest.post(
        "databases/create", provider_id=provider["id"], name="orders", tenant_id=tenant["id"]
    )
    await rest.post("backups/create", database_id=made["id"], note="=1+1")


@pytest.fixture
async def page(
    open_browser: Callable[..., Awaitable[BrowserContext]], console: Console, pytestconfig: pytest.Config
) -> Page:
    """Signed in, by way of the address that was asked for."""
    assert pytestconfig.cache is not None
    context = await open_browser(console)
    await context.add_init_script(axe.source(Path(pytestconfig.cache.mkdir("axe"))))
    page = await context.new_page()
    await page.goto("/admin/database/list?search=orders")
    await expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_visible()
    await page.get_by_label("User name").fill(ADMIN)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_url(re.compile(r"/admin/database/list\?search=orders$"))
    return page


async def test_every_view_opens_and_looks_right(page: Page, output_path: str) -> None:
    await page.goto("/admin/")
    await expect(page.get_by_role("heading", level=1, name="Admin")).to_be_visible()
    await _keep(page, output_path, "index")
    barriers = await axe.violations(page)
    for name, content in VIEWS.items():
        await page.get_by_role("navigation", name="Views").get_by_role("link", name=name, exact=True).click()
        await expect(page.get_by_role("heading", level=1, name=name, exact=True)).to_be_visible()
        row = page.get_by_role("row").filter(has_text=content).first
        await expect(row).to_be_visible()
        barriers += [f"{name}: {found}" for found in await axe.violations(page)]
        await _keep(page, output_path, f"{name}-list")
        await row.get_by_role("link").first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(name.removesuffix("s"))
        barriers += [f"{name}: {found}" for found in await axe.violations(page)]
        await _keep(page, output_path, f"{name}-details")
        await page.go_back()
    assert not barriers, "\n".join(barriers)


async def test_the_style_is_there(page: Page) -> None:
    """Fonts, icons and style sheets all come from here, and the policy lets them."""
    aside = page.get_by_role("complementary", name="Admin")
    await expect(aside).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
    fonts = await page.evaluate(
        "document.fonts.ready.then(all => [...all].filter(f => f.status === 'loaded').map(f => f.family))"
    )
    assert any("Awesome" in family for family in fonts), fonts
    # The one menu that needs a script opens.
    await page.get_by_role("button", name="Export").click()
    async with page.expect_download() as taken:
        await page.get_by_role("link", name="XLSX").click()
    assert (await taken.value).suggested_filename.endswith(".xlsx")


async def test_a_tenant_is_made_changed_and_deleted(page: Page, watch: Watch, output_path: str) -> None:
    watch.allow("status of 4(09|22)")
    await page.goto("/admin/tenant/list")
    await page.get_by_role("link", name="New tenant").click()
    await page.get_by_label("Name").fill("acme")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("alert")).to_contain_text("name is taken")
    await _keep(page, output_path, "tenant-refused")
    await page.get_by_label("Name").fill("initech")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("status")).to_have_text("Created.")
    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("Title").fill("Initech & Sons <b>")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("cell", name="Initech & Sons <b>")).to_be_visible()
    await page.get_by_role("link", name="Delete").click()
    await page.get_by_label("Confirm").fill("acme")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("alert")).to_contain_text("exact name")
    await page.get_by_label("Confirm").fill("initech")
    await _keep(page, output_path, "tenant-delete")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("status")).to_have_text("Deleted.")


async def test_narrow_screens_scroll_inside_the_table_only(
    open_browser: Callable[..., Awaitable[BrowserContext]], console: Console, output_path: str
) -> None:
    context = await open_browser(console, viewport={"width": 390, "height": 800})
    async with console.signed_in() as rest:
        await context.add_cookies([{"name": "sc_session", "value": rest.cookie, "url": console.url}])
        page = await context.new_page()
        for path in ("/admin/", "/admin/audit/list", "/admin/provider/create"):
            await page.goto(path)
            wide = await page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            await _keep(page, output_path, f"narrow{path.replace('/', '-')}")
            assert wide <= 0, path


async def _keep(page: Page, folder: str, name: str) -> None:
    await page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
