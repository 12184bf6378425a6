"""A window of its own for the console: an app-mode browser, pywebview, or the default browser."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import sys
import webbrowser
from pathlib import Path

BROWSERS = (
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "microsoft-edge",
    "brave-browser",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
# pywebview insists on the main thread, so it gets a process; private mode has no localStorage, which Reflex needs
WEBVIEW = """
import sys, webview
webview.create_window("Storage Console", sys.argv[1], width=1280, height=860)
webview.start(private_mode=False, storage_path=sys.argv[2])
"""


def has_display() -> bool:
    """Says whether a window can open at all."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def window(url: str, profile: Path) -> list[str] | None:
    """Returns the command that shows `url` in a window and ends with it, None when only a browser tab is left."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser:
        command = [browser, f"--app={url}", f"--user-data-dir={profile}", "--no-first-run"]
        command += ["--no-default-browser-check", "--window-size=1280,860"]
        # as root Chromium's sandbox refuses to start
        return [*command, "--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else command
    if importlib.util.find_spec("webview"):
        return [sys.executable, "-c", WEBVIEW, url, str(profile)]
    return None


async def show(url: str, profile: Path) -> None:
    """Shows `url` and returns when its window closes; a mere browser tab never does."""
    command = window(url, profile)
    if command is None:
        webbrowser.open(url)
        await asyncio.Event().wait()
        return
    await asyncio.to_thread(profile.mkdir, parents=True, exist_ok=True)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
