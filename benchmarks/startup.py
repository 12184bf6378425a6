"""How fast `up` answers on a built tree, and how soon the first page can be used in a browser."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from playwright.async_api import async_playwright

ROUNDS = 3
PASSWORD = "benchmark-password"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


async def run(size_mb: int) -> dict[str, float | str]:
    """Seconds from the command to the first answer, and from address to a usable sign-in form; medians."""
    answers: list[float] = []
    pages: list[float] = []
    for _ in range(ROUNDS):
        async with started() as (url, seconds):
            answers.append(seconds)
            pages.append(await first_page(url))
    return {
        "up_answers_s": sorted(answers)[ROUNDS // 2],
        "first_page_s": sorted(pages)[ROUNDS // 2],
        "up_within_5_s": str(sorted(answers)[ROUNDS // 2] <= 5),
        "page_within_1.5_s": str(sorted(pages)[ROUNDS // 2] <= 1.5),
    }


@asynccontextmanager
async def started(**settings: str) -> AsyncIterator[tuple[str, float]]:
    """A console in a home of its own: its address, and the seconds until it answered."""
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "storage-console",
            "up",
            "--port",
            str(port),
            env={**os.environ, "STORAGE_HOME": home, "STORAGE_ADMIN_PASSWORD": PASSWORD, **settings},
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with httpx.AsyncClient() as http, asyncio.timeout(60):
                while not await answers(http, f"{url}/health/live"):  # noqa: ASYNC110 - nothing to be notified by
                    await asyncio.sleep(0.02)
            yield url, time.perf_counter() - began
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.TransportError:
        return False


async def first_page(url: str) -> float:
    """A cold browser: from the address to a sign-in button that can be pressed."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        page = await browser.new_page()
        began = time.perf_counter()
        await page.goto(f"{url}/login")
        await page.get_by_role("button", name="Sign in").click(trial=True)
        seconds = time.perf_counter() - began
        await browser.close()
        return seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
