"""Takes a picture of every page into docs/images, on a console of its own with real engines and real backups."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from playwright.async_api import Page, async_playwright
from pymongo import AsyncMongoClient

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
COMMAND = Path(sys.executable).parent / "storage-console"
PASSWORD = "pictures-need-one-too"  # noqa: S105 - of a throw-away home
PORT = 8097
URL = f"http://127.0.0.1:{PORT}"
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PAGES = (
    "providers",
    "tenants",
    "databases",
    "backups",
    "jobs",
    "audit",
    "profile",
    "settings",
    "settings/users",
)
PEOPLE = (("ann", "Admin", "tenant:acme"), ("bob", "Operator", "global"), ("vera", "Viewer", "tenant:globex"))
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


async def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "STORAGE_HOME": f"{folder}/home", "STORAGE_ADMIN_PASSWORD": PASSWORD}
        (Path(folder) / "files").mkdir()
        async with console(env):
            try:
                await furnish(env, Path(folder) / "files")
                await invite(env)
                await pictures()
            finally:
                for kind in ("postgresql", "mongodb"):
                    await cli(env, "engines", "stop", kind)


@asynccontextmanager
async def console(env: dict[str, str]) -> AsyncIterator[None]:
    """`up`, until the block ends."""
    process = await asyncio.create_subprocess_exec(COMMAND, "up", "--port", str(PORT), env=env)
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(60):
            while not await answers(http):  # noqa: ASYNC110 - nothing to be notified by
                await asyncio.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get(f"{URL}/health/live")).is_success
    except httpx.TransportError:
        return False


async def cli(env: dict[str, str], *words: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        COMMAND, *words, "--json", env=env, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {process.returncode}")
    return httpx.Response(200, content=out).json()


async def furnish(env: dict[str, str], files: Path) -> None:
    """Two tenants with databases on all three engines, with rows, backups and proofs."""
    postgres = await cli(env, "engines", "start", "postgresql")
    mongo = await cli(env, "engines", "start", "mongodb")
    sqlite = await cli(
        env,
        "providers",
        "create",
        "--name",
        "edge-files",
        "--kind",
        "sqlite",
        "--connection.path",
        str(files),
    )
    for tenant, title in (("acme", "Acme Corporation"), ("globex", "Globex")):
        owner = await cli(env, "tenants", "create", "--name", tenant, "--title", title)
        for name, provider in (
            ("orders", postgres["provider_id"]),
            ("events", mongo["provider_id"]),
            ("settings", sqlite["id"]),
        ):
            row = await cli(
                env,
                "databases",
                "create",
                "--provider-id",
                provider,
                "--tenant-id",
                owner["id"],
                "--name",
                name,
            )
            await fill(name, row["physical_name"], postgres["dsn"], mongo["dsn"])
            await cli(env, "backups", "create", "--database-id", row["id"], "--wait")


async def invite(env: dict[str, str]) -> None:
    """A few people with roles, and a token."""
    for name, role, scope in PEOPLE:
        await cli(
            env,
            "users",
            "create",
            "--username",
            name,
            "--password",
            PASSWORD,
            "--role",
            role,
            "--scope",
            scope,
        )
    await cli(env, "tokens", "create", "--name", "nightly", "--user", "admin", "--scopes", "role:Viewer")


async def fill(name: str, physical: str, postgres: str, mongo: str) -> None:
    if name == "orders":
        connection = await asyncpg.connect(postgres.rsplit("/", 1)[0] + f"/{physical}")
        await connection.execute(
            "create table orders (id bigserial primary key, sku text, quantity int, at timestamptz default now());"
            "insert into orders (sku, quantity) select 'SKU-' || g, g % 7 from generate_series(1, 50000) g"
        )
        await connection.close()
    elif name == "events":
        async with AsyncMongoClient(mongo) as client:
            await client[physical]["events"].insert_many([{"kind": "click", "n": n} for n in range(20000)])


async def pictures() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        context = await browser.new_context(viewport=WIDE, color_scheme="light")
        page = await context.new_page()
        await page.goto(f"{URL}/login")
        await page.get_by_role("button", name="Sign in").wait_for()
        await shoot(page, "login")
        await page.get_by_label("User name").fill("admin")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", level=1).wait_for()
        await shoot(page, "dashboard")
        for name in PAGES:
            await page.goto(f"{URL}/{name}")
            await page.get_by_role("heading", level=1).wait_for()
            await shoot(page, name.replace("/", "-"))
        await save_filter(page)
        await shoot(page, "saved-filters")
        await page.set_viewport_size(NARROW)
        await page.goto(f"{URL}/backups")
        await page.get_by_role("heading", level=1).wait_for()
        await shoot(page, "backups-narrow")
        await browser.close()


async def save_filter(page: Page) -> None:
    """Keeps a filter and leaves the saved ones open."""
    await page.goto(f"{URL}/backups?status=proven&sort=-size_stored")
    for name in ("Proven, largest first", "This week"):
        await page.get_by_role("button", name="Saved filters").click()
        await page.get_by_label("Save these filters, order and columns as").fill(name)
        await page.get_by_role("button", name="Save", exact=True).click()
        await page.get_by_text(f"Saved as {name}").wait_for()
        await page.get_by_role("dialog").wait_for(state="hidden")
    await page.goto(f"{URL}/backups?status=proven&sort=-size_stored")
    await page.get_by_role("button", name="Saved filters").click()


async def shoot(page: Page, name: str) -> None:
    """Wait until rows are there and nothing moves any more, then take the picture."""
    await page.wait_for_load_state("networkidle")
    await page.wait_for_timeout(800)
    await page.screenshot(path=IMAGES / f"{name}.png")
    print(IMAGES / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
