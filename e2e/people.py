"""Several people at one console, each in a browser of their own."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.async_api import BrowserContext, Page, expect

from e2e.console import ADMIN, PASSWORD, Console

OTHERS_PASSWORD = "a long one for the others"


async def enter(context: BrowserContext, console: Console, who: str = ADMIN, password: str = "") -> Page:
    """Signs somebody in and answers a page of theirs."""
    secret = password or (PASSWORD if who == ADMIN else OTHERS_PASSWORD)
    answer = await context.request.post(
        "/api/auth/login", data={"username": who, "password": secret}, headers={"Origin": console.url}
    )
    assert answer.ok, await answer.text()
    return await context.new_page()


async def visit(page: Page, address: str) -> None:
    """Opens an address and waits until the page has what it shows."""
    await page.goto(address)
    await expect(page.locator("main > *").nth(1)).to_be_visible()
    await expect(page.locator("main [aria-busy='true']")).to_have_count(0)


def overheard(page: Page) -> list[str]:
    """Everything that passes the page's websocket from now on, both ways."""
    heard: list[str] = []

    def follow(socket: Any) -> None:
        socket.on("framereceived", lambda data: heard.append(str(data)))
        socket.on("framesent", lambda data: heard.append(str(data)))

    page.on("websocket", follow)
    return heard


def age_sign_ins(console: Console) -> None:
    """Makes every sign-in older than what danger allows."""
    then = (datetime.now(UTC) - timedelta(minutes=6)).replace(tzinfo=None).isoformat(" ")
    with closing(sqlite3.connect(console.home / "catalog.sqlite3", timeout=30)) as db, db:
        db.execute("update sessions set proved_at = ?", (then,))
