"""Fixtures: an open core with its doors, of a test's own, of a module, or behind a real server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from storage_core.bootstrap import Core
from tests.integration.doors import Doors, Live, doors_at


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    """A core of the test's own."""
    async with doors_at(tmp_path / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    """A core for all tests of a module that do not disturb each other."""
    async with doors_at(tmp_path_factory.mktemp("shared") / "home") as opened:
        yield opened


@pytest.fixture
async def core(doors: Doors) -> Core:
    return doors.core


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("live") / "home") as running:
        yield running
