"""A probe answers, whatever happens, and in time."""

import asyncio

from storage_core.domain.errors import SignInRejected
from storage_core.domain.health import Health
from storage_core.providers.probe import probed


async def test_an_answer_is_handed_on() -> None:
    async def ask() -> Health:
        return Health(True, 1.5, "18.1")

    assert await probed(ask, 1) == Health(True, 1.5, "18.1")


async def test_an_error_becomes_words() -> None:
    async def ask() -> Health:
        raise SignInRejected("No.", hint="Try the other password.")

    health = await probed(ask, 1)
    assert (health.online, health.problem) == (False, "No. Try the other password.")


async def test_silence_ends() -> None:
    async def ask() -> Health:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits for this")

    health = await probed(ask, 0.05)
    assert not health.online
    assert "within 0.05 s" in (health.problem or "")
    assert 50 <= health.milliseconds < 5000
