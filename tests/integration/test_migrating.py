"""Migrations of all tenants: each to the same revision, whatever fails or dies on the way."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import text

from storage_core.cli import migrate
from storage_core.domain.errors import Conflict, InvalidRequest, NotFound
from storage_core.domain.migration import MigrationOutcome, MigrationReport
from storage_core.domain.tenant import Tenant
from storage_core.services.tenants import SuspendTenant
from tests.integration.homes import somebody
from tests.integration.servers import Server
from tests.integration.storage_homes import Ground, ground_at
from tests.integration.store_models import Base, Line, Order

pytestmark = pytest.mark.servers

FIRST = """
    op.create_table("people", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
    op.execute("insert into people values (1, 'Ada')")
"""
#: Rebuilds the table on SQLite, where rows of another one refer to it.
SECOND = """
    op.create_table("pets", sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("people.id", ondelete="CASCADE")))
    op.execute("insert into pets values (1, 1)")
    with op.batch_alter_table("people") as batch:
        batch.add_column(sa.Column("age", sa.Integer, nullable=False, server_default="36"))
"""
THIRD = """
    op.create_index("people_by_age", "people", ["age"])
    if op.get_bind().execute(sa.text("select count(*) from people where name = 'bad'")).scalar():
        raise LookupError("a bad row")
"""


@pytest.fixture
async def ground(tmp_path: Path, postgresql_server: Server) -> AsyncIterator[Ground]:
    async with ground_at(tmp_path) as opened:
        await opened.serve("postgresql", postgresql_server)
        yield opened


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "100% scripts"
    (folder / "versions").mkdir(parents=True)
    return folder


def written(scripts: Path, *bodies: str) -> None:
    for number, body in enumerate(bodies, 1):
        down = f"'r{number - 1}'" if number > 1 else None
        head = f"import sqlalchemy as sa\nfrom alembic import op\nrevision = 'r{number}'\ndown_revision = {down}\n"
        (scripts / "versions" / f"r{number}.py").write_text(f"{head}\ndef upgrade():{body}")


async def tenants_on(ground: Ground, kinds: Iterable[str]) -> list[Tenant]:
    made = []
    for number, kind in enumerate(kinds):
        tenant = await ground.tenant(f"m{number}")
        if kind == "schema":
            await ground.database(tenant, kind="postgresql", isolation=kind)
        else:
            await ground.database(tenant, kind=kind)
        made.append(tenant)
    return made


async def asked(ground: Ground, tenant: Tenant, query: str) -> list[object]:
    storage = await ground.factory.get_storage(tenant_id=tenant.id)
    async with storage.session() as session:
        return list(await session.scalars(text(query)))


def outcomes(report: MigrationReport) -> dict[str, tuple[str, str | None, str | None]]:
    return {item.tenant: (item.outcome.value, item.before, item.after) for item in report.items}


async def test_every_tenant_ends_at_the_newest_revision(ground: Ground, scripts: Path) -> None:
    tenants = await tenants_on(ground, ["sqlite", "postgresql", "schema", "schema"])
    written(scripts, FIRST)
    report = await ground.factory.migrate(scripts)
    assert (report.target, report.ok) == ("r1", True)
    assert set(outcomes(report).values()) == {("migrated", None, "r1")}
    written(scripts, FIRST, SECOND, THIRD)
    heard: list[str] = []
    report = await ground.factory.migrate(scripts, heard=lambda item: heard.append(item.tenant))
    assert set(outcomes(report).values()) == {("migrated", "r1", "r3")}
    assert [item.tenant for item in report.items] == sorted(heard) == ["m0", "m1", "m2", "m3"]
    for tenant in tenants:
        assert await asked(ground, tenant, "select age from people") == [36]
        assert await asked(ground, tenant, "select person_id from pets") == [1]
    again = await ground.factory.migrate(scripts)
    assert set(outcomes(again).values()) == {("current", "r3", "r3")}


async def test_a_tenant_that_fails_stops_no_other_and_keeps_its_last_whole_revision(
    ground: Ground, scripts: Path
) -> None:
    tenants = await tenants_on(ground, ["sqlite", "postgresql", "sqlite", "postgresql"])
    written(scripts, FIRST)
    await ground.factory.migrate(scripts)
    for tenant in tenants[:2]:
        await asked(ground, tenant, "select 1")
        storage = await ground.factory.get_storage(tenant_id=tenant.id)
        async with storage.session() as session:
            await session.execute(text("insert into people values (2, 'bad')"))
    written(scripts, FIRST, SECOND, THIRD)
    report = await ground.factory.migrate(scripts)
    assert not report.ok
    failed, done = report.items[:2], report.items[2:]
    assert {(i.outcome, i.before, i.after) for i in failed} == {(MigrationOutcome.FAILED, "r1", "r2")}
    assert all("a bad row" in (i.error or "") for i in failed)
    assert {(i.outcome, i.after) for i in done} == {(MigrationOutcome.MIGRATED, "r3")}
    for tenant in tenants[:2]:
        storage = await ground.factory.get_storage(tenant_id=tenant.id)
        async with storage.session() as session:
            await session.execute(text("delete from people where name = 'bad'"))
    report = await ground.factory.migrate(scripts, tenants=[tenants[0].name, tenants[1].id])
    assert set(outcomes(report).values()) == {("migrated", "r2", "r3")}


async def test_many_at_once_never_meet(ground: Ground, scripts: Path) -> None:
    """Alembic knows one migration of a process: each tenant's statements must still go to its own database."""
    tenants = await tenants_on(ground, ["sqlite", "postgresql"] * 3)
    written(
        scripts,
        """
    op.create_table("marks", sa.Column("place", sa.Text))
    for number in range(10):
        place = op.get_bind().info.setdefault("place", str(id(op.get_bind().connection.driver_connection)))
        op.execute(sa.text("insert into marks values (:p)").bindparams(p=place))
""",
    )
    reports = await asyncio.gather(*(ground.factory.migrate(scripts, concurrency=12) for _ in range(2)))
    assert all(report.ok for report in reports)
    for tenant in tenants:
        assert await asked(ground, tenant, "select count(*) from marks") == [10]
        assert await asked(ground, tenant, "select count(distinct place) from marks") == [1]


async def test_what_cannot_be_migrated_is_named(ground: Ground, scripts: Path) -> None:
    written(scripts, FIRST)
    await ground.tenant("empty")
    several = await ground.tenant("several")
    for name in ("one", "two"):
        await ground.database(several, name)
    parts = await ground.tenant("parts")
    for part in ("eu", "us"):
        await ground.database(parts, "one", namespace=part)
    late = await ground.tenant("suspended")
    await ground.database(late, "one")
    await ground.core.tenants.suspend(somebody(), SuspendTenant(id=late.id, confirm=late.name))
    report = await ground.factory.migrate(scripts)
    said = [(i.tenant, i.namespace, i.outcome.value) for i in report.items]
    assert said == [
        ("empty", None, "skipped"),
        ("parts", "eu", "migrated"),
        ("parts", "us", "migrated"),
        ("several", None, "failed"),
        ("suspended", None, "migrated"),
    ]
    report = await ground.factory.migrate(scripts, name="one")
    assert outcomes(report)["several"] == ("migrated", None, "r1")
    with pytest.raises(NotFound):
        await ground.factory.migrate(scripts, tenants=["nobody"])


async def test_scripts_that_are_none_are_refused_before_any_tenant(ground: Ground, scripts: Path) -> None:
    await tenants_on(ground, ["sqlite"])
    for make in ("nothing", "empty", "broken", "unknown"):
        if make == "broken":
            (scripts / "versions" / "x.py").write_text("import nowhere_at_all")
        elif make == "unknown":
            (scripts / "versions" / "x.py").unlink()
            written(scripts, FIRST)
        where = scripts / "nowhere" if make == "nothing" else scripts
        with pytest.raises(InvalidRequest) as refused:
            await ground.factory.migrate(where, revision="r9" if make == "unknown" else "head")
        assert refused.value.field == "scripts"
    with pytest.raises(InvalidRequest):
        await ground.factory.migrate(scripts, concurrency=0)


async def test_rows_that_would_refer_to_nothing_stop_the_revision(ground: Ground, scripts: Path) -> None:
    (tenant,) = await tenants_on(ground, ["sqlite"])
    written(scripts, FIRST, SECOND, "\n    op.execute('delete from people')\n")
    report = await ground.factory.migrate(scripts)
    assert outcomes(report)["m0"] == ("failed", None, "r2")
    assert "'pets'" in (report.items[0].error or "")
    assert await asked(ground, tenant, "select count(*) from people") == [1]


async def test_a_killed_run_is_gone_on_with(ground: Ground, scripts: Path, tmp_path: Path) -> None:
    tenants = await tenants_on(ground, ["sqlite", "postgresql", "sqlite", "postgresql"])
    slow = """
    import os, time
    op.create_table("slow", sa.Column("id", sa.Integer))
    if os.environ.get("TEST_HALT"):
        print("halted", flush=True)
        time.sleep(60)
"""
    written(scripts, FIRST, slow)
    program = """
        import asyncio, sys
        from storage_core import StorageFactory
        from storage_core.settings import Settings
        async def main():
            async with StorageFactory.open(Settings(home=sys.argv[1])) as factory:
                await factory.migrate(sys.argv[2], concurrency=1)
        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", dedent(program), str(tmp_path / "home"), str(scripts),
        env={**os.environ, "TEST_HALT": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"halted\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    report = await ground.factory.migrate(scripts)
    assert report.ok
    assert {after for _, _, after in outcomes(report).values()} == {"r2"}
    assert sorted(before or "" for _, before, _ in outcomes(report).values()) == ["", "", "", "r1"]
    for tenant in tenants:
        assert await asked(ground, tenant, "select count(*) from people") == [1]
        assert await asked(ground, tenant, "select count(*) from slow") == [0]


async def test_the_command_tells_of_each_tenant_and_fails_if_one_did(
    ground: Ground, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenants_on(ground, ["sqlite", "sqlite"])
    written(scripts, FIRST)

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "storage_console.cli", "migrate", "--scripts", str(scripts), *arguments,
            env={**os.environ, "STORAGE_HOME": str(tmp_path / "home")},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), errors.decode()

    status, out, told = await run()
    assert status == 0
    assert "m0/main migrated nothing to r1" in told
    assert "migrated" in out and "m1" in out
    written(scripts, FIRST, "\n    raise LookupError('no good')\n")
    status, out, told = await run("--json", "--tenant", "m1")
    assert status == 1
    (item,) = json.loads(out)["items"]
    assert (item["tenant"], item["outcome"], item["after"]) == ("m1", "failed", "r1")
    assert "no good" in told
    monkeypatch.setenv("STORAGE_URL", "http://127.0.0.1:1")
    with pytest.raises(Conflict, match="on the server"):
        await migrate.run(scripts)


ENV = """
from alembic import context
from sqlalchemy import create_engine

from storage_core.storage import alembic_options
from tests.integration.store_models import Base

with create_engine("sqlite:///scratch.sqlite3").connect() as connection:
    context.configure(connection=connection, **alembic_options(Base.metadata))
    with context.begin_transaction():
        context.run_migrations()
"""


async def test_generated_revisions_fit_every_tenant_and_can_be_noted_where_tables_are_there(
    ground: Ground, tmp_path: Path
) -> None:
    async def alembic(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "alembic", *arguments, cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        _, errors = await process.communicate()
        assert not process.returncode, errors.decode()

    await alembic("init", "scripts")
    (tmp_path / "scripts" / "env.py").write_text(ENV)
    await alembic("revision", "--autogenerate", "-m", "first", "--rev-id", "r1")
    ground.factory.register(Base.metadata)
    before = await tenants_on(ground, ["sqlite", "postgresql"])
    for tenant in before:
        await (await ground.factory.get_storage(tenant_id=tenant.id)).create_tables()
    report = await ground.factory.migrate(tmp_path / "scripts", tenants=["m0"])
    assert outcomes(report)["m0"][0] == "failed", "its tables are there already"
    report = await ground.factory.stamp(tmp_path / "scripts")
    assert set(outcomes(report).values()) == {("stamped", None, "r1")}
    for number, kind in enumerate(("sqlite", "postgresql"), 2):
        await ground.database(await ground.tenant(f"m{number}"), kind=kind)
    report = await ground.factory.migrate(tmp_path / "scripts")
    assert [item.outcome.value for item in report.items] == ["current", "current", "migrated", "migrated"]
    for item in report.items:
        storage = await ground.factory.get_storage(tenant_id=item.tenant_id)
        async with storage.session() as session:
            session.add(Order(number="A", lines=[Line(text="x")]))
