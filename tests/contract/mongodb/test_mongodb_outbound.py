"""MongoDB connects where the outbound port said, and nowhere else: not even where the server itself points."""

from dataclasses import replace
from pathlib import Path

import pytest

from storage_core.domain.errors import AddressRefused
from storage_core.domain.provider import StepStatus, TlsMode
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.mongodb.support import IMPATIENT, Server, mongod
from tests.contract.mongodb.test_mongodb_tls import certificates
from tests.contract.outbound import HOST, Hosts, localhost_as

pytestmark = pytest.mark.servers


async def test_a_direct_connection_goes_to_the_address_it_was_given(mongodb_server: Server) -> None:
    # nobody else knows the name: had the driver looked it up once more, there would be no connection
    endpoint, password = mongodb_server
    hosts = localhost_as()
    engine = MongoEngine(replace(endpoint, host=HOST, replica_set=None), password, outbound=hosts)
    assert (await engine.health()).online
    assert {s.status for s in await engine.check()} == {StepStatus.PASSED}
    assert {*hosts.asked} == {HOST}
    await engine.close()


async def test_members_a_replica_set_announces_are_judged_too(mongodb_server: Server) -> None:
    endpoint, password = mongodb_server
    as_set = replace(endpoint, host=HOST)
    assert as_set.replica_set
    lenient = MongoEngine(as_set, password, outbound=localhost_as(HOST, "127.0.0.1"))
    assert (await lenient.health()).online
    await lenient.close()

    strict = MongoEngine(as_set, password, outbound=(hosts := localhost_as(HOST)), patience=IMPATIENT)
    with pytest.raises(AddressRefused) as refused:
        await strict.databases.existing()
    assert "127.0.0.1" in hosts.asked, "the set announced the address, and the port was asked about it"
    assert refused.value.field == "connection.host"
    health = await strict.health()
    assert not health.online
    await strict.close()


async def test_a_refused_address_fails_the_first_step(mongodb_server: Server) -> None:
    engine = MongoEngine(mongodb_server[0], mongodb_server[1], outbound=Hosts({}), patience=IMPATIENT)
    first, *rest = await engine.check()
    assert (first.name, first.status, first.code) == ("name", StepStatus.FAILED, "address_refused")
    assert {s.status for s in rest} == {StepStatus.SKIPPED}
    with pytest.raises(AddressRefused):
        await engine.databases.existing()
    await engine.close()


async def test_tls_verifies_the_name_while_the_address_is_pinned(tmp_path: Path) -> None:
    authority = certificates(tmp_path, HOST)
    options = ("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(authority.server_file))
    with mongod(tmp_path, *options) as endpoint:
        full = replace(endpoint, tls=TlsMode.VERIFY_FULL, tls_ca=authority.pem)
        right = MongoEngine(replace(full, host=HOST), None, outbound=localhost_as())
        assert {s.status for s in await right.check()} == {StepStatus.PASSED}
        await right.close()
        other = "other.example"
        wrong = MongoEngine(replace(full, host=other), None, outbound=localhost_as(other), patience=IMPATIENT)
        failed = next(s for s in await wrong.check() if s.status is StepStatus.FAILED)
        assert (failed.name, failed.code) == ("tls", "tls_mismatch")
        assert not (await wrong.health()).online
        await wrong.close()
