"""PostgreSQL: people who are not superusers."""

import pytest

from storage_core.domain.errors import (
    MissingPrivilege,
)
from storage_core.domain.provider import StepStatus
from tests.contract.engine_contract import dumped
from tests.contract.postgresql import rich_schema
from tests.contract.postgresql.support import (
    Admin,
    backup_of,
    engine_of,
    fill_rich,
    role,
    round_trip,
    temporary,
)

pytestmark = pytest.mark.servers


async def test_without_superuser_own_data_comes_back(admin: Admin) -> None:
    async with role(admin, "createdb") as (name, password), engine_of(admin, name, password) as engine:
        steps = await engine.check()
        assert all(step.status is not StepStatus.FAILED for step in steps)
        assert "not a superuser" in steps[-1].detail
        async with temporary(engine) as source, temporary(engine, made=False) as copy:
            await admin.run(source, f"set role {name}; {rich_schema.TYPES}; {rich_schema.OBJECTS}")
            await admin.run(source, f"set role {name}; create policy p on orders using (id > 0)")
            _, skipped = await round_trip(engine, source, copy)
            assert all("owners" not in line for line in skipped), skipped


async def test_without_superuser_the_rest_is_told(admin: Admin) -> None:
    async with (
        role(admin, "createdb") as (name, password),
        engine_of(admin, name, password) as engine,
        temporary(engine) as source,
        temporary(engine, made=False) as copy,
    ):
        await fill_rich(admin, source)
        await admin.run(source, f"grant select on all tables in schema public to {name}")
        await admin.run(source, f'grant usage on schema "Odd Schema" to {name}')
        await admin.run(source, f'grant select on all tables in schema "Odd Schema" to {name}')
        await admin.run(source, f"grant select on all sequences in schema public to {name}")
        await admin.run(source, f"grant select on large object 4000001, 4000002 to {name}")
        await admin.run(source, "alter table customers disable row level security")
        _, skipped = await round_trip(engine, source, copy)
        told = "\n".join(skipped)
        for word in ("event trigger", "publication", "foreign table", "cast", "owners and grants"):
            assert word in told


async def test_row_security_of_others_refuses_the_backup(admin: Admin) -> None:
    async with (
        role(admin, "createdb") as (name, password),
        engine_of(admin, name, password) as engine,
        temporary(engine) as source,
    ):
        await admin.run(
            source,
            "create table t (a int)",
            "insert into t values (1), (2)",
            "create policy half on t using (a = 1)",
            "alter table t enable row level security",
            f"grant select on t to {name}",
        )
        with pytest.raises(MissingPrivilege) as caught:
            await dumped(backup_of(engine), source)
        assert caught.value.hint


async def test_a_table_that_cannot_be_read_refuses_the_backup(admin: Admin) -> None:
    async with (
        role(admin, "createdb") as (name, password),
        engine_of(admin, name, password) as engine,
        temporary(engine) as source,
    ):
        await admin.run(
            source, "create table t (a int)", "create table u (a int)", f"grant select on t to {name}"
        )
        with pytest.raises(MissingPrivilege) as caught:
            await dumped(backup_of(engine), source)
        assert "u" in caught.value.detail


async def test_without_createdb_the_check_warns_and_says_what_is_missing(admin: Admin) -> None:
    async with role(admin) as (name, password), engine_of(admin, name, password) as engine:
        step = (await engine.check())[-1]
        assert (step.name, step.status, step.code) == ("privileges", StepStatus.WARNING, "missing_privilege")
        assert "CREATEDB" in step.fix
        (able,) = [c for c in (await engine.info()).capabilities if c.name == "databases.create"]
        assert not able.present
        assert "CREATEDB" in able.reason
        with pytest.raises(MissingPrivilege) as caught:
            await engine.databases.create("sc_never", {})
        assert "CREATEDB" in caught.value.hint
