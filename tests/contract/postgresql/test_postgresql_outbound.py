"""PostgreSQL connects where the outbound port said, the programs included; TLS goes on verifying the name."""

from dataclasses import replace

import pytest

from storage_core.domain.errors import AddressRefused
from storage_core.domain.provider import StepStatus
from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.outbound import HOST, Hosts, localhost_as
from tests.contract.postgresql.support import Server, round_trip, temporary

pytestmark = pytest.mark.servers


async def test_everything_goes_to_the_address_that_was_given(postgresql_server: Server) -> None:
    # nobody else knows the name: neither driver nor pg_dump nor pg_restore looks it up once more
    endpoint, password = postgresql_server
    hosts = localhost_as()
    engine = PostgresEngine(replace(endpoint, host=HOST), password, outbound=hosts)
    assert all(s.status is not StepStatus.FAILED for s in await engine.check())
    assert (await engine.health()).online
    async with temporary(engine) as source, temporary(engine, made=False) as copy:
        await round_trip(engine, source, copy)
    assert {*hosts.asked} == {HOST}
    await engine.close()


async def test_a_refused_address_fails_the_first_step(postgresql_server: Server) -> None:
    engine = PostgresEngine(*postgresql_server, outbound=Hosts({}))
    first, *rest = await engine.check()
    assert (first.name, first.status, first.code) == ("name", StepStatus.FAILED, "address_refused")
    assert {s.status for s in rest} == {StepStatus.SKIPPED}
    with pytest.raises(AddressRefused):
        await engine.databases.existing()
    await engine.close()
