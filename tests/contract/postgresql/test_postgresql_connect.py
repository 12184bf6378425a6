"""PostgreSQL: signing in, and what every refusal says."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from storage_core.domain.errors import (
    NameUnresolved,
    NotFound,
    SignInRejected,
    StorageError,
    TlsMismatch,
    ToolMissing,
    Unreachable,
)
from storage_core.domain.provider import Endpoint, StepStatus, TlsMode
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.postgresql.tools import search
from tests.contract.engine_contract import dumped, no_progress
from tests.contract.postgresql.support import (
    Admin,
    Server,
    backup_of,
    programs,
)

pytestmark = pytest.mark.servers


async def steps_of(endpoint: Endpoint, password: str | None) -> dict[str, tuple[StepStatus, str | None, str]]:
    engine = PostgresEngine(endpoint, password)
    try:
        return {step.name: (step.status, step.code, step.fix) for step in await engine.check()}
    finally:
        await engine.close()


async def refusal(endpoint: Endpoint, password: str | None) -> StorageError:
    """What a plain call raises; its text never contains the password."""
    engine = PostgresEngine(endpoint, password)
    try:
        with pytest.raises(StorageError) as caught:
            await engine.databases.existing()
        assert not password or password not in f"{caught.value.detail} {caught.value.hint}"
        return caught.value
    finally:
        await engine.close()


async def test_a_wrong_password_is_a_rejected_sign_in(postgresql_server: Server) -> None:
    endpoint, _ = postgresql_server
    assert isinstance(await refusal(endpoint, "wrong-password"), SignInRejected)
    status, code, fix = (await steps_of(endpoint, "wrong-password"))["sign_in"]
    assert (status, code) == (StepStatus.FAILED, "engine_sign_in_rejected")
    assert fix


async def test_no_password_never_reads_the_environment(
    postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, password = postgresql_server
    monkeypatch.setenv("PGPASSWORD", password)
    assert isinstance(await refusal(endpoint, None), SignInRejected)


async def test_a_missing_maintenance_database_has_its_own_hint(postgresql_server: Server) -> None:
    endpoint, password = postgresql_server
    found = await refusal(replace(endpoint, database="no such"), password)
    assert isinstance(found, NotFound)
    assert "maintenance" in found.detail


async def test_nobody_listening_is_unreachable(postgresql_server: Server) -> None:
    endpoint, password = postgresql_server
    assert isinstance(await refusal(replace(endpoint, port=1), password), Unreachable)
    steps = await steps_of(replace(endpoint, port=1), password)
    assert steps["tcp"][:2] == (StepStatus.FAILED, "engine_unreachable")
    assert steps["sign_in"][0] is StepStatus.SKIPPED


async def test_an_unknown_host_name_is_unresolved(postgresql_server: Server) -> None:
    endpoint, password = postgresql_server
    assert isinstance(await refusal(replace(endpoint, host="nowhere.invalid"), password), NameUnresolved)
    steps = await steps_of(replace(endpoint, host="nowhere.invalid"), password)
    assert steps["name"][:2] == (StepStatus.FAILED, "name_unresolved")


async def test_demanding_tls_of_a_server_without_it(postgresql_server: Server) -> None:
    endpoint, password = postgresql_server
    assert isinstance(await refusal(replace(endpoint, tls=TlsMode.REQUIRE), password), TlsMismatch)
    steps = await steps_of(replace(endpoint, tls=TlsMode.REQUIRE), password)
    assert steps["tls"][:2] == (StepStatus.FAILED, "tls_mismatch")


async def test_the_password_is_in_no_argument_and_no_environment(
    pg: PostgresEngine, admin: Admin, source: str
) -> None:
    await admin.run(
        source, "create table t as select g, repeat(md5(g::text), 50) as t from generate_series(1, 20000) g"
    )
    async with backup_of(pg).dump(source, no_progress) as dump:
        async for piece in dump.pieces():
            if piece.member == "database.dump":
                for process in programs():
                    assert admin.password not in "\0".join(process.cmdline())
                    assert admin.password not in str(process.environ())
                break


async def test_programs_that_are_not_there_are_told(
    postgresql_server: Server, tmp_path: Path, source: str
) -> None:
    engine = PostgresEngine(*postgresql_server, bin_dir=tmp_path)
    with pytest.raises(ToolMissing) as caught:
        await dumped(backup_of(engine), source)
    assert "STORAGE_PG_BIN" in caught.value.hint
    assert not next(c for c in (await engine.info()).capabilities if c.name == "backup").present
    await engine.close()


def test_the_search_finds_what_is_installed() -> None:
    found = search(None)
    assert found
    assert all(os.access(tools.path("pg_dump"), os.X_OK) for tools in found)
