"""What the authorisation check adds to a REST read: the same reads with it and without, interleaved.

The harshest setting for the check: the application is called in this process, with no network and no server in
between, so that everything else about a read is as small as it can be. Times are the process's CPU time, all its
threads included. The check is so small beside a read that the difference drowns in noise: so the time inside the
check itself is measured, too, and that is what the floor is held against.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from storage_core.api import create_app
from storage_core.bootstrap import OPERATIONS, Core, migrate, open_core
from storage_core.domain.context import local_context
from storage_core.domain.permission import Verdict
from storage_core.services import operation
from storage_core.services.tenants import CreateTenant
from storage_core.services.tokens import CreateToken
from storage_core.services.users import CreateUser
from storage_core.settings import Settings

ROUNDS, READS = 15, 40


async def run(size_mb: int) -> dict[str, float | str]:
    """Medians in microseconds of one read, and the check's share of it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        await migrate(settings)
        async with open_core(settings) as core:
            app = create_app(lambda: core, OPERATIONS)
            transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
            headers = {"Authorization": f"Bearer {await _token(core)}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8080", headers=headers
            ) as http:
                tenant = await core.tenants.create(local_context("bench", "-"), CreateTenant(name="acme"))
                return {
                    **await _compared(http, "list", "/api/storage/tenants/list"),
                    **await _compared(http, "get", f"/api/storage/tenants/{tenant.id}"),
                }


async def _token(core: Core) -> str:
    root = local_context("bench", "-")
    user = CreateUser(username="ann", password="correct horse battery", role="Admin")
    await core.users.create(root, user)
    return (await core.tokens.create(root, CreateToken(name="bench", user="ann"))).token


async def _compared(http: httpx.AsyncClient, name: str, path: str) -> dict[str, float | str]:
    async def reads() -> float:
        began = time.process_time()
        for _ in range(READS):
            assert (await http.get(path)).status_code == 200
        return (time.process_time() - began) / READS * 1e6

    await reads()
    given, bare = [], []
    for _ in range(ROUNDS):
        given.append(await reads())
        bare.append(await _with(_allowed, reads))
    inside = Inside(operation.authorise)
    await _with(inside, reads)
    share = inside.seconds / READS * 1e6 / median(given) * 100
    return {
        f"{name}_with_us": median(given),
        f"{name}_without_us": median(bare),
        f"{name}_check_us": inside.seconds / READS * 1e6,
        f"{name}_share_percent": share,
        f"{name}_within_1_percent": str(share <= 1),
    }


class Inside:
    """The check, with the time spent in it."""

    def __init__(self, check: Callable[..., Verdict]) -> None:
        self.check, self.seconds = check, 0.0

    def __call__(self, *given: Any) -> Verdict:
        began = time.perf_counter()
        try:
            return self.check(*given)
        finally:
            self.seconds += time.perf_counter() - began


def _allowed(*_given: Any) -> Verdict:
    return Verdict.ALLOWED


async def _with(check: Callable[..., Verdict], reads: Callable[[], Awaitable[float]]) -> float:
    """The same reads with another check: targets are still found, as the work itself would."""
    kept: Any = operation.authorise
    operation.authorise = check
    try:
        return await reads()
    finally:
        operation.authorise = kept
