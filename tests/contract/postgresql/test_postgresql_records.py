"""PostgreSQL: code that a database's people wrote runs with rights in that database alone, whoever looks at it."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest

from storage_core.domain.backup import compare
from storage_core.domain.errors import Conflict, MissingPrivilege
from storage_core.domain.record import Index, Quota
from storage_core.domain.table import RowsFind
from storage_core.providers.postgresql.collection_table import MARK
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.postgresql.roles import RECORDS
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.postgresql.support import Admin, backup_of, engine_of, role, temporary

pytestmark = pytest.mark.servers

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)

OURS = "select rolname::text from pg_roles where starts_with(rolname, $1) order by 1"
#: Says whose session it is, and makes a superuser where it can; `calm` may stand where only constants may.
ATTACK = """
create function public.attack() returns text language plpgsql as $$ begin
  begin reset role; create role {evil} superuser; exception when others then null; end;
  return session_user; end $$;
create function public.calm(n int) returns int language plpgsql immutable as
  $$ begin perform public.attack(); return n; end $$;
create function public.on_write() returns trigger language plpgsql as $$ begin
  insert into public.log values (public.attack()); return new; end $$;
create function public.as_text(public.mood) returns text language plpgsql as $$ begin
  return public.attack(); end $$;
"""
TABLES = """
create table public.plain (id int primary key, note text);
insert into public.plain values (1, 'one'), (2, 'two');
create table public.log (who text);
create type public.mood as enum ('good', 'bad');
{attack}
create view public.seen as select id, public.attack() as who from public.plain;
create table public.indexed (id int primary key, n int, twice int generated always as (n * 2) stored);
insert into public.indexed values (1, 1);
create index on public.indexed ((n + public.calm(1)));
create cast (public.mood as text) with function public.as_text(public.mood);
create table public.moods (id int primary key, mood public.mood);
insert into public.moods values (1, 'good');
create table public.guarded (id int primary key, who text default public.attack(), n int check (public.calm(n) > 0));
create trigger on_write before insert or update or delete on public.guarded
  for each row execute function public.on_write();
"""


@dataclass(frozen=True, slots=True)
class Theirs:
    """A database of somebody who made code in it; where `evil` is a role, that code had a superuser's rights."""

    name: str
    owner: str
    evil: str
    admin: Admin

    async def harmless(self) -> bool:
        async with self.admin.at() as connection:
            return not await connection.fetchval(
                "select exists (select from pg_roles where rolname = $1)", self.evil
            )

    async def logins(self) -> list[str]:
        async with self.admin.at() as connection:
            return [row[0] for row in await connection.fetch(OURS, RECORDS)]


@pytest.fixture
async def theirs(admin: Admin, pg: PostgresEngine, source: str) -> AsyncIterator[Theirs]:
    evil = f"evil_{secrets.token_hex(4)}"
    async with role(admin) as (owner, _):
        await admin.run("postgres", f"alter database {source} owner to {owner}")
        code = TABLES.format(attack=ATTACK.format(evil=evil))
        await admin.run(source, f"set role {owner}; {code}", f"alter table log owner to {owner}")
        yield Theirs(source, owner, evil, admin)
        await pg.databases.drop(source)
        await admin.run("postgres", f"drop role if exists {evil}")


async def test_code_in_what_is_read_has_no_rights_but_in_its_database(
    pg: PostgresEngine, theirs: Theirs
) -> None:
    rows = await pg.tables.find(theirs.name, "public.seen", RowsFind())
    assert {str(row.data["who"])[: len(RECORDS)] for row in rows} == {RECORDS}
    for table, field, value in (("indexed", "n", 1), ("moods", "mood", None), ("guarded", "n", None)):
        for row in await pg.tables.find(theirs.name, f"public.{table}", RowsFind()):
            assert value is None or row.data[field] == value
        await pg.tables.count(theirs.name, f"public.{table}", None, 10)
    assert await theirs.harmless()


async def test_code_that_a_write_sets_off_has_no_rights_but_in_its_database(
    pg: PostgresEngine, theirs: Theirs
) -> None:
    made = await pg.tables.insert(theirs.name, "public.guarded", {"id": 1, "n": 5})
    assert made.key is not None and str(made.data["who"]).startswith(RECORDS)
    await pg.tables.update(theirs.name, "public.guarded", made.key, {"n": 6}, {"n": 5})
    with pytest.raises(Conflict):
        await pg.tables.delete(theirs.name, "public.guarded", made.key, {"n": 5})
    logged = await pg.tables.find(theirs.name, "public.log", RowsFind())
    assert len(logged) >= 2 and all(str(row.data["who"]).startswith(RECORDS) for row in logged)
    assert await theirs.harmless()


async def test_the_login_may_write_rows_and_nothing_else(
    pg: PostgresEngine, theirs: Theirs, copy: str, admin: Admin
) -> None:
    await pg.databases.create(copy, {})
    await pg.tables.describe(theirs.name, "public.plain")
    [user] = await theirs.logins()
    async with admin.at(theirs.name) as connection:
        said = await connection.fetchrow(
            "select rolsuper or rolcreaterole or rolcreatedb or rolreplication as more, rolvaliduntil < now() +"
            " interval '61 minutes' as soon, exists (select from pg_auth_members where member = r.oid) as member,"
            " has_database_privilege(rolname, $2, 'connect') as elsewhere,"
            " has_database_privilege(rolname, current_database(), 'create') as creates,"
            " has_schema_privilege(rolname, 'public', 'create') as makes,"
            " has_table_privilege(rolname, 'pg_authid', 'select') as passwords,"
            " has_table_privilege(rolname, 'plain', 'select, insert, update, delete') as rows,"
            " has_table_privilege(rolname, 'plain', 'truncate, references, trigger') as beyond"
            " from pg_roles r where rolname = $1",
            user,
            copy,
        )
    assert said is not None
    assert {name for name, holds in said.items() if holds} == {"soon", "rows"}


async def test_what_was_made_since_is_reached_and_hidden_rows_are_shown(
    pg: PostgresEngine, theirs: Theirs, admin: Admin
) -> None:
    await pg.tables.describe(theirs.name, "public.plain")
    await admin.run(
        theirs.name,
        f"set role {theirs.owner}; create schema later; create table later.rows (id int primary key);"
        " insert into later.rows values (1), (2); alter table later.rows enable row level security;"
        " alter table later.rows force row level security",
    )
    assert len(await pg.tables.find(theirs.name, "later.rows", RowsFind())) == 2
    assert (await pg.tables.insert(theirs.name, "later.rows", {"id": 3})).data == {"id": 3}


async def test_the_login_goes_with_its_database_with_the_engine_and_with_its_time(
    admin: Admin, theirs: Theirs
) -> None:
    server = (admin.endpoint, admin.password)
    crashed, other = PostgresEngine(*server), PostgresEngine(*server)
    await crashed.tables.describe(theirs.name, "public.plain")
    [left] = await theirs.logins()
    await admin.run("postgres", f"alter role {left} valid until 'yesterday'")
    await other.tables.describe(theirs.name, "public.plain")
    [present] = await theirs.logins()
    assert present != left
    await crashed.tables.describe(
        theirs.name, "public.plain"
    )  # its connection was ended: it comes back as another
    assert len(await theirs.logins()) == 2
    await other.close()
    assert present not in await theirs.logins()
    await other.databases.drop(theirs.name)
    assert await theirs.logins() == []
    await crashed.close()
    await other.close()


async def test_who_may_make_no_logins_reads_plain_tables_and_runs_no_code(
    admin: Admin, theirs: Theirs
) -> None:
    async with role(admin) as (name, password), engine_of(admin, name, password) as engine:
        for grant in ("all on all tables in schema public", "usage on schema public"):
            await admin.run(theirs.name, f"grant {grant} to {name}")
        await admin.run("postgres", f"grant connect on database {theirs.name} to {name}")
        rows = await engine.tables.find(theirs.name, "public.plain", RowsFind(sort=(("id", True),)))
        assert [row.data["note"] for row in rows] == ["two", "one"]
        assert await engine.tables.count(theirs.name, "public.plain", None, 10) == 2
        for table in ("seen", "indexed", "moods", "guarded"):
            assert (await engine.tables.describe(theirs.name, f"public.{table}")).columns
            with pytest.raises(MissingPrivilege) as refused:
                await engine.tables.find(theirs.name, f"public.{table}", RowsFind())
            assert "CREATEROLE" in refused.value.hint and table in refused.value.detail
        with pytest.raises(MissingPrivilege) as refused:
            await engine.tables.insert(theirs.name, "public.plain", {"id": 3})
        assert "CREATEROLE" in refused.value.hint


async def test_without_superuser_the_makers_of_logins_have_them_too(admin: Admin) -> None:
    async with (
        role(admin, "createdb createrole") as (name, password),
        engine_of(admin, name, password) as engine,
        temporary(engine) as source,
    ):
        await admin.run(source, f"set role {name}; create table t (id int primary key)")
        await admin.run(source, "create table of_another (id int primary key)")
        assert (await engine.tables.insert(source, "public.t", {"id": 1})).data == {"id": 1}
        with pytest.raises(MissingPrivilege):
            await engine.tables.find(source, "public.of_another", RowsFind())


async def test_a_backup_runs_no_code_of_the_database(pg: PostgresEngine, theirs: Theirs) -> None:
    alarm = "create or replace function public.calm(n int) returns int language plpgsql immutable as"
    await theirs.admin.run(
        theirs.name,
        f"set role {theirs.owner}; {alarm} $$ begin if current_setting('is_superuser') = 'on' then"
        " raise exception 'it ran with all rights'; end if; return n; end $$",
    )
    _, manifest = await dumped(backup_of(pg), theirs.name)
    assert compare(manifest, await backup_of(pg).measure(theirs.name, manifest)) == ()


async def test_logins_for_a_while_are_in_no_backup(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    async with role(admin) as (reader, _):
        await admin.run(source, "create table t (id int primary key)", f"grant select on t to {reader}")
        await pg.tables.describe(source, "public.t")
        async with admin.at() as connection:
            [[user]] = await connection.fetch(OURS, RECORDS)
        pieces, manifest = await dumped(backup_of(pg), source)
        assert pg.logins is not None
        await pg.logins.end_lease(user)
        report = await backup_of(pg).restore(replay(pieces), copy, manifest, no_progress)
        assert (report.skipped, compare(manifest, await backup_of(pg).measure(copy, manifest))) == ((), ())
        async with admin.at(copy) as connection:
            assert await connection.fetchval("select has_table_privilege($1, 't', 'select')", reader)
        await pg.databases.drop(copy)


FORGED = f"""
create schema collections;
create table collections.orders (id text primary key, version bigint, created_at timestamptz, updated_at timestamptz,
  body jsonb, tagged boolean);
comment on table collections.orders is '{MARK}';
create trigger on_write before insert or update on collections.orders for each row execute function public.on_write();
"""


async def test_documents_are_not_kept_in_what_somebody_else_made(pg: PostgresEngine, theirs: Theirs) -> None:
    """Neither where it was there before, nor where it came after the console had seen nothing there."""
    orders = pg.collections.collection(theirs.name, "orders")
    assert await orders.get("o-1") is None and await pg.collections.names(theirs.name) == ()
    await theirs.admin.run(theirs.name, f"set role {theirs.owner}; {FORGED}")
    assert await pg.collections.names(theirs.name) == ()

    async def in_a_transaction() -> None:
        async with pg.collections.transaction(theirs.name) as session:
            await session.collection("orders").insert("o-1", {}, MOMENT)

    for call in (
        lambda: orders.insert("o-1", {}, MOMENT),
        lambda: orders.get("o-1"),
        lambda: orders.delete("o-1"),
        lambda: pg.collections.collection(theirs.name, "orders", Quota(documents=1)).insert(
            "o-1", {}, MOMENT
        ),
        lambda: pg.collections.collection(theirs.name, "others").insert("o-1", {}, MOMENT),
        lambda: orders.create_index(Index("sku", (("sku",),))),
        in_a_transaction,
    ):
        with pytest.raises(Conflict, match="somebody else"):
            await call()
    assert await theirs.harmless()


async def test_the_schema_of_collections_stays_the_console_s(pg: PostgresEngine, theirs: Theirs) -> None:
    orders = pg.collections.collection(theirs.name, "orders")
    await orders.insert("o-1", {"a": 1}, MOMENT)
    for change in ("create table collections.more (a int)", "drop schema collections cascade"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await theirs.admin.run(theirs.name, f"set role {theirs.owner}; {change}")
    await theirs.admin.run(theirs.name, f"grant trigger on collections.orders to {theirs.owner}")
    other = PostgresEngine(theirs.admin.endpoint, theirs.admin.password)
    with pytest.raises(Conflict, match="somebody else"):
        await other.collections.collection(theirs.name, "orders").get("o-1")
    await other.close()
    await theirs.admin.run(theirs.name, f"revoke trigger on collections.orders from {theirs.owner}")
    row = await orders.get("o-1")
    assert row is not None and row.body == {"a": 1}
