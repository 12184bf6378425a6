"""The hashed locks stay portable, complete and in step with pyproject.toml and with each other."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def locked(name: str) -> dict[str, Version]:
    """Reads a lock: what it installs on this machine, and at which version."""
    found: dict[str, Version] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate(dict(default_environment())):
                (pin,) = requirement.specifier
                found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def group(name: str) -> list[str]:
    """Returns a dependency group with the groups it includes."""
    entries = PROJECT["dependency-groups"][name]
    return [
        one
        for entry in entries
        for one in (group(entry["include-group"]) if isinstance(entry, dict) else [entry])
    ]


def wanted(extras: list[str], groups: list[str]) -> list[str]:
    """Returns what pyproject.toml asks for."""
    project = PROJECT["project"]
    optional = [one for extra in extras for one in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *optional, *(one for name in groups for one in group(name))]


@pytest.mark.parametrize(
    ("lock", "extras", "groups"), [("run", ["engines"], ["build"]), ("test", ["engines", "otel"], ["dev"])]
)
def test_lock_satisfies_the_project(lock: str, extras: list[str], groups: list[str]) -> None:
    pins = locked(lock)
    for text in wanted(extras, groups):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(dict(default_environment())):
            assert requirement.specifier.contains(
                pins[canonicalize_name(requirement.name)], prereleases=True
            ), text


def test_test_lock_contains_the_run_lock() -> None:
    everything = locked("test")
    assert {name: everything.get(name) for name in locked("run")} == locked("run")


@pytest.mark.parametrize("path", ["requirements/run.txt", "requirements/test.txt"])
def test_lock_carries_hashes_and_no_address(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert not re.search(r"https?:|file:|--index|--find-links|--trusted", text)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)


def test_npm_lock_carries_no_download_address() -> None:
    assert '"resolved"' not in (ROOT / "reflex.lock" / "package-lock.json").read_text("utf-8")
