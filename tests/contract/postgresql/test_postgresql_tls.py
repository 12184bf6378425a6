"""PostgreSQL: TLS both ways, and a server of another major version."""

from collections.abc import Iterator
from dataclasses import replace

import asyncpg
import pytest

from storage_core.domain.backup import compare
from storage_core.domain.errors import SignInRejected, StorageError, TlsMismatch
from storage_core.domain.provider import Endpoint, StepStatus, TlsMode
from storage_core.providers.postgresql.engine import PostgresEngine
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.postgresql import rich_schema
from tests.contract.postgresql.debian import BINARIES, DebianServer, running
from tests.contract.postgresql.support import Admin, backup_of, fill_rich, round_trip, temporary

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        not BINARIES, reason="Debian's PostgreSQL is not installed: apt-get install postgresql"
    ),
]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianServer]:
    with running(tmp_path_factory.mktemp("debian")) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
async def roles(debian: DebianServer) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=debian.endpoint.port, user="postgres", password=debian.password, ssl=False
    )
    for name in ("tls_only", "plain_only"):
        await connection.execute(f"create role {name} login createdb password '{debian.password}'")
    await connection.close()


def engine(debian: DebianServer, **changes: object) -> PostgresEngine:
    return PostgresEngine(replace(debian.endpoint, **changes), debian.password)  # type: ignore[arg-type]


async def refused(debian: DebianServer, **changes: object) -> tuple[StorageError, dict[str, str | None]]:
    """What a plain call raises, and the codes of the check's failed steps."""
    found = engine(debian, **changes)
    try:
        with pytest.raises(StorageError) as caught:
            await found.databases.existing()
        steps = await found.check()
        assert debian.password not in f"{caught.value.detail}{caught.value.hint}{steps}"
        return caught.value, {step.name: step.code for step in steps if step.status is StepStatus.FAILED}
    finally:
        await found.close()


@pytest.mark.parametrize("mode", [TlsMode.REQUIRE, TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL])
async def test_every_mode_signs_in_and_backs_up(debian: DebianServer, mode: TlsMode) -> None:
    ours = engine(debian, tls=mode, tls_ca=debian.authority if mode is not TlsMode.REQUIRE else None)
    steps = await ours.check()
    assert [step.status for step in steps] == [StepStatus.PASSED] * 5
    assert "TLSv1.3" in steps[2].detail
    async with temporary(ours) as source, temporary(ours, made=False) as copy:
        await round_trip(ours, source, copy)
    await ours.close()


async def test_a_server_that_demands_tls(debian: DebianServer) -> None:
    error, failed = await refused(debian, user="tls_only")
    assert isinstance(error, TlsMismatch)
    assert "require" in error.hint
    assert failed == {"sign_in": "tls_mismatch"}


async def test_a_server_that_refuses_tls_for_a_user(debian: DebianServer) -> None:
    error, failed = await refused(debian, user="plain_only", tls=TlsMode.REQUIRE)
    assert isinstance(error, SignInRejected)
    assert "pg_hba.conf" in error.hint
    assert failed == {"sign_in": "engine_sign_in_rejected"}


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL])
async def test_a_wrong_authority(debian: DebianServer, mode: TlsMode) -> None:
    error, failed = await refused(debian, tls=mode, tls_ca=debian.other_authority)
    assert isinstance(error, TlsMismatch)
    assert "tls_ca" in error.hint
    assert failed == {"tls": "tls_mismatch"}


async def test_an_unknown_authority(debian: DebianServer) -> None:
    error, _ = await refused(debian, tls=TlsMode.VERIFY_FULL)
    assert isinstance(error, TlsMismatch)


async def test_a_certificate_for_another_name(debian: DebianServer) -> None:
    error, failed = await refused(debian, host="127.0.0.1", tls=TlsMode.VERIFY_FULL, tls_ca=debian.authority)
    assert isinstance(error, TlsMismatch)
    assert "another name" in error.detail
    assert failed == {"tls": "tls_mismatch"}
    fine = engine(debian, host="127.0.0.1", tls=TlsMode.VERIFY_CA, tls_ca=debian.authority)
    assert (await fine.health()).online
    await fine.close()


async def test_an_authority_that_is_no_certificate(debian: DebianServer) -> None:
    error, _ = await refused(debian, tls=TlsMode.VERIFY_CA, tls_ca="not a certificate")
    assert error.field == "connection.tls_ca"


# -- another major version ------------------------------------------------------------------------------------


@pytest.mark.parametrize("upwards", [True, False], ids=["older to newer", "newer to older"])
async def test_a_backup_is_proven_on_another_major_version(
    postgresql_server: tuple[Endpoint, str], debian: DebianServer, upwards: bool
) -> None:
    servers = [(debian.endpoint, debian.password), postgresql_server]
    left, right = servers if upwards else servers[::-1]
    here, there = PostgresEngine(*left), PostgresEngine(*right)
    async with temporary(here) as source, temporary(there, made=False) as copy:
        await Admin(left).run(source, rich_schema.TYPES, rich_schema.OBJECTS)
        pieces, manifest = await dumped(backup_of(here), source)
        report = await backup_of(there).restore(replay(pieces), copy, manifest, no_progress)
        assert any("by name only" in line for line in report.skipped)
        assert compare(manifest, await backup_of(there).measure(copy, manifest)) == ()
        await Admin(right).run(copy, "update customers set score = 5 where id = 3")
        assert len(compare(manifest, await backup_of(there).measure(copy, manifest))) == 1
    await here.close()
    await there.close()


async def test_everything_comes_back_on_debians_version(debian: DebianServer) -> None:
    ours = engine(debian)
    async with temporary(ours) as source, temporary(ours, made=False) as copy:
        await fill_rich(Admin((debian.endpoint, debian.password)), source)
        _, skipped = await round_trip(ours, source, copy)
        assert skipped == ()
    await ours.close()


async def test_newer_programs_serve_an_older_server(debian: DebianServer) -> None:
    """Where only the extra's programs are installed: the parameter they set is unknown to the older server."""
    from storage_core.providers.postgresql.tools import search

    newer = [tools for tools in search(None) if tools.major >= 17]
    if not newer or int(BINARIES[-1].parent.name) >= 17:
        pytest.skip("needs programs of 17 or newer and a server before 17")
    ours = PostgresEngine(debian.endpoint, debian.password, bin_dir=newer[0].folder)
    async with temporary(ours) as source, temporary(ours, made=False) as copy:
        await fill_rich(Admin((debian.endpoint, debian.password)), source)
        await round_trip(ours, source, copy)
    async with temporary(ours) as source, temporary(ours, made=False) as copy:
        await Admin((debian.endpoint, debian.password)).run(source, "create table t (a int)", BROKEN)
        pieces, manifest = await dumped(backup_of(ours), source)
        with pytest.raises(StorageError):
            await backup_of(ours).restore(replay(pieces), copy, manifest, no_progress)
        assert copy not in {found.physical_name for found in await ours.databases.existing()}
    await ours.close()


#: A function that works now and refuses inside a restore, where it is called to build an index.
BROKEN = """
create function picky(a int) returns int language plpgsql immutable as
  $$begin if current_setting('application_name') like 'storage%' then raise 'no'; end if; return a; end$$;
insert into t values (1); create index on t (picky(a));
"""
