"""axe-core for the tests: fetched once from npm, checked against its hash, kept in pytest's cache."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

VERSION = "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="  # as npm's registry states it
NPM = Path(sys.executable).parent / "npm"


def source(cache: Path) -> str:
    """The script; skips the test where neither the cache nor npm has it."""
    kept = cache / f"axe-{VERSION}.js"
    if not kept.exists():
        package = _fetched(cache)
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        assert digest == SHA512, f"axe-core {VERSION} is not what it was: {digest}"
        with tarfile.open(package) as archive:
            script = archive.extractfile("package/axe.min.js")
            assert script is not None
            kept.write_bytes(script.read())
        package.unlink()
    return kept.read_text("utf-8")


def _fetched(cache: Path) -> Path:
    command = [NPM, "pack", f"axe-core@{VERSION}", "--json", "--pack-destination", cache, "--ignore-scripts"]
    path = f"{NPM.parent}{os.pathsep}{os.environ.get('PATH', '')}"  # our Node, as for building the pages
    env = {**os.environ, "PATH": path, "NODE_USE_SYSTEM_CA": "1"}
    try:
        done = subprocess.run(
            command, cwd=cache, env=env, capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"axe-core cannot be had here: {error}")
    return cache / json.loads(done.stdout)[0]["filename"]


STILL = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame(); await frame();
    const ends = document.getAnimations().filter(a => a.effect.getComputedTiming().iterations !== Infinity);
    await Promise.allSettled(ends.map(a => a.finished)); }"""


async def assert_none(page: Page, script: str) -> None:
    """Nothing that axe finds on the page as it stands, in either theme of a person who follows the system's."""
    await page.evaluate(f"() => {{ {script}\n }}")
    found = []
    for theme in ("dark", "light"):
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        await expect(page.locator(".radix-themes").first).to_have_class(re.compile(theme))
        found += [f"{theme}: {violation}" for violation in await violations(page)]
    assert found == [], "\n".join(found)


async def violations(page: Page) -> list[str]:
    """What axe finds on the page as it stands: rule, element and why, one line each."""
    await page.evaluate(STILL)
    found: dict[str, Any] = await page.evaluate(
        "axe.run(document, {resultTypes: ['violations'], iframes: false})"
    )
    return [
        f"{rule['id']} ({rule['impact']}): {' '.join(map(str, node['target']))}: "
        + " ".join(node["failureSummary"].split()[:40])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
