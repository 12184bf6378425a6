"""Schedules in a browser: one is made with its next runs before its eyes, taken by the worker, changed, removed."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from e2e import axe
from e2e.console import PASSWORD, Console, running
from e2e.people import enter, visit

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first


@pytest.fixture(scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("schedules")
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as running_console:
        async with running_console.signed_in() as rest:
            files = folder / "files"
            files.mkdir()
            connection = {"path": str(files)}
            provider = await rest.post("providers/create", name="files", kind="sqlite", connection=connection)
            await rest.post("databases/create", name="shop", provider_id=provider["id"])
        yield running_console


@pytest.fixture
def barriers(pytestconfig: pytest.Config) -> str:
    """The script that looks for what keeps people out."""
    assert pytestconfig.cache is not None
    return axe.source(Path(pytestconfig.cache.mkdir("axe")))


async def test_a_schedule_is_previewed_made_shortened_and_removed(
    console: Console, open_browser: Any, barriers: str
) -> None:
    page = await enter(await open_browser(console), console)
    await visit(page, "/backups/schedules")
    await page.get_by_role("button", name="New schedule").first.click()
    dialog = page.get_by_role("dialog", name="New schedule")
    await dialog.get_by_label("Name").fill("nightly")
    await dialog.get_by_label("When").fill("61 2 * * *")
    await dialog.get_by_label("Time zone").fill("Europe/Berlin")
    await dialog.get_by_role("button", name="Preview").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Bad minute")
    await dialog.get_by_label("When").fill("30 2 * * *")
    await axe.assert_none(page, barriers)
    await dialog.get_by_role("button", name="Preview").click()
    await expect(dialog.get_by_text("At 02:30 every day, Europe/Berlin")).to_be_visible()
    runs = dialog.get_by_role("list", name="Next runs").get_by_role("listitem")
    await expect(runs).to_have_text([re.compile(r"02:30 CES?T$")] * 5)
    await dialog.get_by_role("button", name="Save schedule").click()
    row = page.get_by_role("row").filter(has_text="nightly")
    await expect(row).to_contain_text("Every database")
    await expect(row).to_contain_text("7 daily, 4 weekly, 12 monthly")
    await axe.assert_none(page, barriers)
    for width in (1280, 360):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.set_viewport_size({"width": 1280, "height": 800})

    await row.get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Edit").click()
    dialog = page.get_by_role("dialog", name="Schedule nightly")
    await dialog.get_by_label("Daily").fill("2")
    await dialog.get_by_role("button", name="Preview").click()
    await expect(dialog.get_by_text("Of its 0 backups none goes now.")).to_be_visible()
    await expect(dialog.get_by_text("It keeps less than before.")).to_be_visible()
    await dialog.get_by_label("Type the schedule's name").fill("nightly")
    await dialog.get_by_role("button", name="Save schedule").click()
    await expect(row).to_contain_text("2 daily, 4 weekly, 12 monthly")

    await row.get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Remove").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Remove schedule").click()
    await expect(page.get_by_text("No schedules yet")).to_be_visible()
