"""Tenants' storage under load: no tenant sees another's, no update is lost, whatever is cancelled leaves nothing."""

import asyncio
import os
import random
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_core import tenant_scope
from storage_core.domain.errors import QuotaExceeded
from storage_core.services.tenants import TenantPolicies
from tests.integration.campaign import Campaign, Place
from tests.integration.homes import somebody, until
from tests.integration.servers import Server
from tests.integration.storage_homes import Ground, ground_at

SEED, SIZE = int(os.environ.get("SEED", "1")), float(os.environ.get("SIZE", "1"))
FILES, SERVERS = ("sqlite", "tinydb", "localfile"), ("postgresql", "mongodb")
FIRST = "postgresql"
DOCS = Path("docs/sdk.md").read_text("utf-8")


@pytest.fixture(scope="module")
async def ground(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: Server, mongodb_server: Server
) -> AsyncIterator[Ground]:
    async with ground_at(tmp_path_factory.mktemp("plane")) as opened:
        await opened.serve("postgresql", postgresql_server)
        await opened.serve("mongodb", mongodb_server)
        yield opened


async def places_of(ground: Ground, tenants: int) -> list[Place]:
    """So many tenants with a database on every engine that keeps collections, and a schema in a shared one."""
    out: list[Place] = []
    for _ in range(tenants):
        tenant = await ground.tenant()
        for kind in (*FILES, *SERVERS):
            await ground.database(tenant, kind, kind)
            out.append(Place(tenant, kind))
        await ground.database(tenant, "schema", "postgresql", isolation="schema")
        out.append(Place(tenant, "schema"))
    return out


async def at_rest(ground: Ground) -> None:
    """Nothing is under way on any engine, and each answers more calls at once than it has connections."""
    directory = ground.core.kernel.engines
    entries = directory._entries.values()  # type: ignore[attr-defined]

    async def quiet() -> bool:
        return not any(entry.breaker.active for entry in entries)

    await until(ground.core, quiet)


async def test_tenants_work_side_by_side_and_see_nothing_of_each_other(ground: Ground) -> None:
    campaign = Campaign(ground.factory, await places_of(ground, 4), random.Random(SEED))
    await campaign.prepare()
    await campaign.run(1500, 100)
    await campaign.check()
    await at_rest(ground)
    assert min(campaign.done.values()) > 20


async def test_cancelled_calls_leave_nothing_behind(ground: Ground) -> None:
    campaign = Campaign(ground.factory, await places_of(ground, 1), random.Random(SEED))
    await campaign.prepare()
    while campaign.done["cancelled"] < 100:
        await campaign.run_cancelled(200, 20)
    await at_rest(ground)
    await campaign.check()
    await campaign.run(200, 50)
    await campaign.check()


@pytest.mark.torture
async def test_two_hundred_tenants_on_every_engine(ground: Ground) -> None:
    campaign = Campaign(ground.factory, await places_of(ground, int(200 * SIZE)), random.Random(SEED))
    await campaign.prepare()
    await campaign.run(int(100_000 * SIZE), 100)
    await campaign.check()
    await at_rest(ground)


@pytest.mark.torture
async def test_ten_thousand_cancellations(ground: Ground) -> None:
    campaign = Campaign(ground.factory, await places_of(ground, 5), random.Random(SEED))
    await campaign.prepare()
    while campaign.done["cancelled"] < 10_000 * SIZE:
        await campaign.run_cancelled(2000, 50)
    await at_rest(ground)
    await campaign.run(500, 100)
    await campaign.check()


@pytest.mark.torture
async def test_a_thousand_writers_on_the_last_unit_of_a_quota(ground: Ground) -> None:
    for place in await places_of(ground, 1):
        policy = TenantPolicies(id=place.tenant.id, documents=3)
        await ground.core.tenants.policies(somebody(), policy)
        with tenant_scope(place.tenant.name):
            collection = (await ground.factory.get_storage(place.name)).collection("ledger")
            await collection.insert_many([{}, {}])
            writers = [collection.insert({"n": n}) for n in range(int(1000 * SIZE))]
            answers = await asyncio.gather(*writers, return_exceptions=True)
        refused = sum(isinstance(answer, QuotaExceeded) for answer in answers)
        assert refused == len(answers) - 1, (place.name, refused)
        assert await collection.count() == 3


async def test_the_example_of_the_documentation_runs_as_it_is_written(ground: Ground, tmp_path: Path) -> None:
    await ground.database(await ground.tenant("acme"), kind=FIRST)
    [example] = re.findall(
        r"```python\n(import asyncio\n\nfrom storage_core import StorageFactory.*?)```", DOCS, re.DOTALL
    )
    environment = {
        **os.environ,
        "STORAGE_HOME": str(ground.core.settings.home),
        "PYTHONPATH": str(Path.cwd()),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, stdout=PIPE, stderr=PIPE, env=environment, cwd=tmp_path
    )
    out, errors = await process.communicate()
    assert not process.returncode, errors.decode()
    assert out.decode().split() == ["2", "A1", "4"]
