"""The audit page in a browser: real entries, filters on them, one entry's address, the badge, the signed export."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from e2e.console import ADMIN, PASSWORD, Console, running
from storage_core import audit_verify

pytestmark = pytest.mark.timeout(300)  # the pages may have to be built first

VIEWER, VIEWER_PASSWORD = "vera", "looking only, thank you"
CANARY = "a secret of seventeen words"


@dataclass
class Told:
    """A console whose log has something to tell."""

    console: Console
    cookies: dict[str, str]


@pytest.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    folder = tmp_path_factory.mktemp("console")
    async with running(folder, STORAGE_ADMIN_PASSWORD=PASSWORD) as console:
        async with console.signed_in() as rest:
            tenant = await rest.post("tenants/create", name="acme", title="Acme")
            await rest.http.put(f"/api/storage/tenants/{tenant['id']}/update", json={"title": "Acme & Söhne"})
            await rest.post("users/create", username="uwe", password=CANARY, role="Viewer")
            await rest.post("users/create", username=VIEWER, password=VIEWER_PASSWORD, role="Viewer")
            cookies = {ADMIN: rest.cookie}
        async with console.signed_in(VIEWER, VIEWER_PASSWORD) as rest:
            refused = await rest.http.post("/api/storage/tenants/create", json={"name": "mine"})
            assert refused.status_code == 403
            cookies[VIEWER] = rest.cookie
        yield Told(console, cookies)


@pytest.fixture
async def signed_in(told: Told, open_browser: Any) -> Any:
    async def opened(who: str = ADMIN) -> Page:
        context = await open_browser(told.console)
        cookie = {"name": "sc_session", "value": told.cookies[who], "url": told.console.url}
        await context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Strict"}])
        page: Page = await context.new_page()
        return page

    return opened


async def test_entries_are_read_filtered_and_have_addresses(signed_in: Any) -> None:
    page: Page = await signed_in()
    await page.goto("/audit")
    rows = page.get_by_role("row")
    updated = rows.filter(has_text="tenants.update")
    await expect(updated).to_have_count(1)  # the intents stay away until somebody asks
    await expect(updated).to_contain_text("Acme → Acme & Söhne")
    await expect(updated).to_contain_text("127.0.0.1")
    await expect(rows.filter(has_text="Refused")).to_contain_text(["tenants.create"])

    await page.get_by_role("button", name="More filters").click()
    await page.get_by_label("Actor", exact=True).fill(VIEWER)
    await expect(page).to_have_url(re.compile(f"actor_name={VIEWER}"))
    await expect(updated).to_have_count(0)
    await page.locator(".sc-typed-line", has_text="Actor").get_by_role("checkbox").click()
    await expect(page).to_have_url(re.compile(f"actor_name=!{VIEWER}"))
    await expect(updated).to_have_count(1)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Actor is not vera").click()
    await expect(page).to_have_url(re.compile(r"/audit$"))

    await updated.get_by_role("link").first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("tenants.update #2")
    change = page.get_by_role("row").filter(has_text="tenants.title")
    await expect(change).to_contain_text("Acme & Söhne")
    await page.reload()
    await expect(change).to_contain_text("Acme & Söhne")
    await page.get_by_role("link", name="#1").click()
    await expect(page.get_by_role("heading", name="What was asked for")).to_be_visible()


async def test_a_secret_is_shown_as_a_keyed_hash(signed_in: Any) -> None:
    page: Page = await signed_in()
    await page.goto("/audit?operation=users.create&phase=intent")
    row = page.get_by_role("row").filter(has_text="uwe")
    await expect(row).to_contain_text("hmac:")
    assert CANARY not in await page.content()


async def test_the_badge_says_how_far_the_log_is_whole(signed_in: Any, told: Told) -> None:
    page: Page = await signed_in()
    await page.goto("/audit")
    verdict = page.get_by_role("region", name="Verification")
    await expect(verdict).to_contain_text("Verified to #")
    _harm(
        told.console.home,
        "update audit set actor_name = actor_name || '.' where chain = 'system' and sequence = 3",
    )
    try:
        await page.get_by_role("button", name="Verify").click()
        await expect(verdict).to_contain_text("Not as it was written from system:3 on")
    finally:
        harmless = (
            "update audit set actor_name = rtrim(actor_name, '.') where chain = 'system' and sequence = 3"
        )
        _harm(told.console.home, harmless)
    await page.get_by_role("button", name="Verify").click()
    await expect(verdict).to_contain_text("Verified to #")


def _harm(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "catalog.sqlite3", timeout=30)) as catalog:
        catalog.execute(statement)
        catalog.commit()


async def test_the_badge_says_that_signed_heads_are_missing(signed_in: Any, told: Told) -> None:
    page: Page = await signed_in()
    verdict = page.get_by_role("region", name="Verification")
    heads = told.console.home / "audit" / "heads.jsonl"
    await page.goto("/audit")
    await expect(verdict).to_contain_text(re.compile(r"Compared with \d+ heads?"))
    kept = heads.rename(heads.with_suffix(".kept"))
    heads.mkdir()  # so that they are not exported again meanwhile
    try:
        await page.get_by_role("button", name="Verify").click()
        await expect(verdict).to_contain_text("signed heads missing")
    finally:
        heads.rmdir()
        kept.rename(heads)


async def test_the_signed_export_verifies_without_the_console(signed_in: Any, tmp_path: Path) -> None:
    page: Page = await signed_in()
    await page.goto("/audit")
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Signed export").click()
    file = tmp_path / "audit.jsonl"
    await (await started.value).save_as(file)
    first = json.loads(file.read_bytes().splitlines()[0])
    report = audit_verify.verify(file, None, audit_verify.signature_check(first["public_key"]))
    assert (report.complete, report.signed) == (True, True)


async def test_who_may_not_read_the_log_is_told_so(signed_in: Any) -> None:
    page: Page = await signed_in(VIEWER)
    await page.goto("/audit")
    await expect(page.get_by_role("alert").filter(has_text="permission")).to_be_visible()
    await expect(page.get_by_role("row")).to_have_count(0)
