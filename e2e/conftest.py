"""A browser, and what every page must never do: shout in its console, or talk to anybody else."""

import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Request, WebError, expect

from e2e.console import Console

PATIENCE = 20_000  # milliseconds; two busy cores
ALLOWED = ("data:", "blob:", "about:")

expect.set_options(timeout=PATIENCE)


def pytest_configure(config: pytest.Config) -> None:
    config.option.screenshot = "only-on-failure"  # into test-results/


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's own Chromium; a container has neither a sandbox nor a large /dev/shm."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    return {**browser_type_launch_args, "executable_path": shutil.which("chromium"), "args": flags}


@dataclass
class Watch:
    """What the pages of a test said and asked for."""

    own: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    _allowed: list[re.Pattern[str]] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Errors that this test provokes."""
        self._allowed.append(re.compile(pattern))

    @property
    def unexpected(self) -> list[str]:
        return [e for e in self.errors if not any(p.search(e) for p in self._allowed)]

    def follow(self, context: BrowserContext) -> None:
        context.on("console", self._said)
        context.on("weberror", self._failed)
        context.on("request", self._asked)
        context.on("page", lambda page: page.on("websocket", lambda ws: self._reached(ws.url)))

    def _said(self, message: ConsoleMessage) -> None:
        line = f"{message.type}: {message.text} ({message.location.get('url', '')})"
        self.lines.append(line)
        if message.type == "error":
            self.errors.append(line)

    def _failed(self, error: WebError) -> None:
        self.lines.append(f"uncaught: {error.error}")
        self.errors.append(self.lines[-1])

    def _asked(self, request: Request) -> None:
        self._reached(request.url)

    def _reached(self, url: str) -> None:
        self.lines.append(f"request: {url.partition('?')[0]}")
        if not url.startswith(ALLOWED) and urlsplit(url).netloc not in self.own:
            self.strangers.append(url)


@pytest.fixture
def watch(request: pytest.FixtureRequest, output_path: str) -> Iterator[Watch]:
    """Every page of the test, watched; its console goes to test-results/ when something was wrong."""
    watching = Watch()
    yield watching
    report = getattr(request.node, "rep_call", None)
    if watching.unexpected or watching.strangers or (report is not None and report.failed):
        _keep(output_path, watching)
    assert not watching.unexpected, watching.unexpected
    assert not watching.strangers, f"requests to others: {watching.strangers}"


def _keep(output_path: str, watching: Watch) -> None:
    folder = Path(output_path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "console.log").write_text("\n".join(watching.lines), "utf-8")


@pytest.fixture
async def open_browser(new_context: Any, watch: Watch) -> Callable[..., Awaitable[BrowserContext]]:
    """Opens a browser of its own for a console: nobody signed in, every page watched."""

    async def opened(console: Console, **options: Any) -> BrowserContext:
        watch.own.add(console.host)
        context = await new_context(
            base_url=console.url,
            **{"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", **options},
        )
        context.set_default_timeout(PATIENCE)
        watch.follow(context)
        return context

    return opened
