"""PostgreSQL: everything comes back, and whatever does not is found or told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_core.domain.backup import DifferenceKind, Manifest, compare
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.postgresql.wording import worded
from tests.contract.engine_contract import dumped, no_progress, replay
from tests.contract.postgresql import rich_schema
from tests.contract.postgresql.random_schema import schema as random_schema
from tests.contract.postgresql.support import (
    Admin,
    Server,
    backup_of,
    fill_rich,
    role,
    round_trip,
    temporary,
)

pytestmark = pytest.mark.servers

#: More than every engine can have: name, and the statement that plants it.
MORE_PLANTS = {
    "changed column type": "alter table customers alter column score type bigint using score",
    "changed default": "alter table customers alter column score set default -2",
    "lost not null": "alter table customers alter column email drop not null",
    "lost constraint": "alter table customers drop constraint known_status",
    "lost foreign key": "alter table orders drop constraint orders_customer_fkey",
    "constraint no longer checked": "alter table orders drop constraint orders_amount_check,"
    " add constraint orders_amount_check check (amount >= 0) not valid",
    "lost view": "drop view active",
    "changed view": "create or replace view active as select id, email, 'o' as s from customers",
    "lost materialized view": "drop materialized view empty_view",
    "lost trigger": "drop trigger touch on events",
    "enabled trigger": "alter table customers enable trigger guard",
    "changed function": "create or replace function add(a int, b int default 1, variadic rest int[] default '{}')"
    " returns int language sql immutable as 'select a - b'",
    "lost procedure": "drop procedure tidy",
    "lost aggregate": "drop aggregate total_of (int)",
    "another label": "alter type mood add value 'new'",
    "lost domain check": "alter domain code drop constraint code_form",
    "lost policy": "drop policy mine on customers",
    "row security off": "alter table customers disable row level security",
    "lost comment": "comment on column customers.email is null",
    "changed comment": "comment on table customers is 'other'",
    "lost rule": "drop rule no_delete on scratchpad",
    "lost statistics": "drop statistics cust_stats",
    "sequence behind": "select setval('plain_seq', 3)",
    "sequence ahead": "select setval('plain_seq', 1000000)",
    "another owner": "alter table customers owner to pg_monitor",
    "another owner of a view": "alter view active owner to pg_monitor",
    "another owner of a function": "alter procedure tidy owner to pg_monitor",
    "another owner of a type": "alter type mood owner to pg_monitor",
    "another owner of a schema": 'alter schema "Odd Schema" owner to pg_monitor',
    "another owner of a large object": "alter large object 4000001 owner to pg_monitor",
    "another owner of the database": "do $$begin execute format('alter database %I owner to pg_monitor',"
    " current_database()); end$$",
    "more rights": "grant select on customers to public",
    "more rights to a column": "grant update (email) on customers to pg_monitor",
    "more rights to the schema": "grant create on schema public to public",
    "more rights to the database": "do $$begin execute format('grant create on database %I to public',"
    " current_database()); end$$",
    "more rights to a sequence": "grant usage on sequence plain_seq to public",
    "more rights to a large object": "grant select on large object 4000001 to public",
    "fewer rights": "revoke execute on procedure tidy from public",
    "other default privileges": "alter default privileges in schema public grant select on tables to public",
    "changed policy": "alter policy mine on customers to pg_monitor",
    "changed sequence": "alter sequence plain_seq increment 2",
    "changed large object": "select lo_put(4000001, 1048580, '\\x01')",
    "lost large object": "select lo_unlink(4000002)",
    "lost setting": "do $$begin execute format('alter database %I reset all', current_database()); end$$",
    "lost schema": 'drop schema "Odd Schema" cascade',
    "logged table": "alter table scratchpad set logged",
    "detached partition": "alter table events detach partition events_1",
    "lost event trigger": "drop event trigger noticed",
    "minus zero": "update kinds set a_double = 0 where a_double = 0",
    "array bounds": "update kinds set a_ints = '{1,NULL}' where a_ints is not null",
    "json spelling": 'update kinds set a_json = \'{"b": 1, "a": 1.0}\' where a_json is not null',
    "interval spelling": "update kinds set a_interval = '60 days -00:00:01' where a_interval is not null",
    "values exchanged between two rows": "update orders set amount = (select amount from orders o"
    " where o.id = 3 - orders.id) where id in (1, 2)",
    "one row doubled, another gone": 'truncate "Odd Schema"."order"; insert into "Odd Schema"."order" values (1), (1)',
    "one more row without columns": "insert into nothing default values",
    "lost unlogged rows": "truncate scratchpad",
    "values exchanged in a child": "truncate only fish; insert into fish values (0, 3, 'eel')",
    "changed row of a partition": "update events_1 set at = at + interval '1 second'",
    "number spelling in a document": """update kinds set a_jsonb = '{"n": 1.0, "u": "\u20ac"}' where a_jsonb is not null""",
    "scale in an array": "update kinds set a_numerics = '{1.0,1.0}' where a_numerics is not null",
    "escape for a line break": r"update kinds set a_text = 'line\n' || E'\ttab \\ ü 💡' where a_text like 'line%'",
    "null's spelling for null": r"update kinds set a_code = 'x', a_text = '\N' where a_text is null and a_code = 'x'",
    "null for empty": "update kinds set a_text = null where a_text = ''",
}


async def test_every_kind_of_object_comes_back(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    await fill_rich(admin, source)
    await admin.run(source, f"comment on database {source} is 'it''s ours'")
    await admin.run(source, f"""alter database {source} set search_path to "$user", 'a,b "x', public""")
    manifest, skipped = await round_trip(pg, source, copy)
    assert skipped == ()
    kinds = {found.kind for found in manifest.objects}
    assert {
        "table",
        "sequence",
        "large objects",
        "structure",
        "index",
        "constraint",
        "view",
        "policy",
    } <= kinds
    assert {"materialized view", "routine", "trigger", "rule", "type", "comment", "event trigger"} <= kinds
    async with admin.at(copy) as connection:
        assert (
            await connection.fetchval(
                "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
            )
            == "it's ours"
        )
        assert await connection.fetchval("show search_path") == '"$user", "a,b ""x", public'
        assert not await connection.fetchval(
            "select has_database_privilege('public', current_database(), 'connect')"
        )


async def test_what_is_not_read_is_marked(pg: PostgresEngine, admin: Admin, source: str) -> None:
    await fill_rich(admin, source)
    _, manifest = await dumped(backup_of(pg), source)
    marked = [found for found in manifest.objects if not found.consistent]
    assert [(found.kind, found.name) for found in marked] == [("foreign table", "public.remote")]
    assert all(found.note for found in marked)


@pytest.mark.parametrize("fault", MORE_PLANTS)
async def test_more_planted_faults_are_found(
    pg: PostgresEngine, admin: Admin, rich_pair: tuple[str, Manifest], fault: str
) -> None:
    filled, manifest = rich_pair
    async with temporary(pg, made=False) as name:
        await admin.run("postgres", f"create database {name} template {filled}")
        await admin.run(
            "postgres",
            f"alter database {name} set work_mem = '7MB'",
            f"revoke all on database {name} from public",
        )
        assert compare(manifest, await backup_of(pg).measure(name, manifest)) == ()
        await admin.run(name, MORE_PLANTS[fault])
        assert compare(manifest, await backup_of(pg).measure(name, manifest)) != ()


@pytest.fixture(scope="module")
async def rich_pair(postgresql_server: Server) -> AsyncIterator[tuple[str, Manifest]]:
    """One filled database as a template, and its manifest."""
    admin, engine = Admin(postgresql_server), PostgresEngine(*postgresql_server)
    async with temporary(engine) as name:
        await engine.databases.configure(name, {"work_mem": "7MB"})
        await fill_rich(admin, name)
        _, manifest = await dumped(backup_of(engine), name)
        yield name, manifest
    await engine.close()


@pytest.mark.parametrize("seed", range(10))
async def test_generated_schemas_come_back(
    pg: PostgresEngine, admin: Admin, source: str, copy: str, seed: int
) -> None:
    await admin.run(source, random_schema(seed))
    await round_trip(pg, source, copy)


async def test_a_database_without_public_schema_comes_back(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    await admin.run(source, "drop schema public", "create schema mine", "create table mine.t (a int)")
    await round_trip(pg, source, copy)


async def test_encoding_and_locale_come_back(pg: PostgresEngine, admin: Admin, copy: str) -> None:
    async with temporary(pg, made=False) as name:
        await admin.run(
            "postgres",
            f"create database {name} template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'",
        )
        await admin.run(name, "create table t (a text)", "insert into t values ('größe')")
        await round_trip(pg, name, copy)
    async with admin.at(copy) as connection:
        assert await connection.fetchval("show server_encoding") == "LATIN1"


async def test_owners_and_grants_come_back(pg: PostgresEngine, admin: Admin, source: str, copy: str) -> None:
    async with role(admin) as (owner, _):
        await admin.run(
            source,
            f"create table t (a int); alter table t owner to {owner}; grant select on t to public",
            f"grant connect on database {source} to {owner}",
        )
        _, skipped = await round_trip(pg, source, copy)
        assert skipped == ()
        async with admin.at(copy) as connection:
            assert (
                await connection.fetchval("select tableowner from pg_tables where tablename = 't'") == owner
            )
            assert await connection.fetchval("select has_table_privilege('public', 't', 'select')")
            assert await connection.fetchval(f"select has_database_privilege('{owner}', '{copy}', 'connect')")
        await admin.run(source, f"reassign owned by {owner} to postgres")


async def test_missing_roles_are_told_and_the_rest_comes_back(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    async with role(admin) as (owner, _):
        await admin.run(
            source,
            "create table t (a int)",
            "insert into t values (1), (2)",
            f"alter table t owner to {owner}",
            f"create policy theirs on t to {owner} using (a > 1)",
            "comment on policy theirs on t is 'p'",
            "alter table t enable row level security",
        )
        pieces, manifest = await dumped(backup_of(pg), source)
        await pg.databases.drop(source)
    report = await backup_of(pg).restore(replay(pieces), copy, manifest, no_progress)
    assert any(owner in line for line in report.skipped), report
    assert compare(manifest, await backup_of(pg).measure(copy, manifest)) == ()


async def test_sequences_may_move_while_they_are_dumped(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    await admin.run(source, "create sequence s", "select nextval('s')")
    pieces = []
    async with backup_of(pg).dump(source, no_progress) as dump:
        async for piece in dump.pieces():
            pieces.append(piece)
            await admin.run(source, "select nextval('s') from generate_series(1, 40)")
        manifest = dump.manifest
    (found,) = [o for o in manifest.objects if o.kind == "sequence"]
    assert found.rows < (found.most or 0)
    await backup_of(pg).restore(replay(pieces), copy, manifest, no_progress)
    assert compare(manifest, await backup_of(pg).measure(copy, manifest)) == ()


async def test_owners_are_told_apart_where_they_cannot_come_back(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    """Everything must be our user's then, and nobody may have been given anything."""
    async with role(admin) as (owner, _):
        await admin.run(
            source, f"create table t (a int); alter table t owner to {owner}; grant select on t to public"
        )
        pieces, manifest = await dumped(backup_of(pg), source)
        await pg.databases.drop(source)
    report = await backup_of(pg).restore(replay(pieces), copy, manifest, no_progress)
    assert any("owners and grants" in line for line in report.skipped)
    assert compare(manifest, await backup_of(pg).measure(copy, manifest)) == ()
    await admin.run(copy, "alter table t owner to pg_monitor")
    assert [d.kind for d in compare(manifest, await backup_of(pg).measure(copy, manifest))] == ["owner"]
    await admin.run(copy, "alter table t owner to postgres", "create table u (a int)")
    await admin.run(copy, "grant select on u to public")
    differences = compare(manifest, await backup_of(pg).measure(copy, manifest))
    assert "grants" in {d.kind for d in differences}


async def test_a_generated_value_that_a_restore_computes_otherwise_is_found(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    """Dumps leave generated columns out; what is stored may be older than the function that computes it."""
    await admin.run(
        source,
        "create function rate(a int) returns int language sql immutable as 'select a * 2'",
        "create table t (a int, b int generated always as (rate(a)) stored)",
        "insert into t values (1), (2)",
        "create or replace function rate(a int) returns int language sql immutable as 'select a * 3'",
    )
    pieces, manifest = await dumped(backup_of(pg), source)
    assert manifest.rows == 2
    await backup_of(pg).restore(replay(pieces), copy, manifest, no_progress)
    differences = compare(manifest, await backup_of(pg).measure(copy, manifest))
    assert [(d.object, d.what) for d in differences] == [("public.t", DifferenceKind.CONTENT)]


async def test_settings_of_database_and_role_change_nothing(
    pg: PostgresEngine, admin: Admin, source: str, copy: str
) -> None:
    """Text depends on settings: the dump, the restore and the measuring have the same ones, whatever there is set."""
    await admin.run(source, rich_schema.TYPES)
    for name in ("source", "user"):
        whose = (
            f'database "{source}"'
            if name == "source"
            else f'role "{admin.endpoint.user}" in database "{source}"'
        )
        await admin.run(source, *(f"alter {whose} set {setting}" for setting in ODD_SETTINGS[name]))
    manifest, _ = await round_trip(pg, source, copy)
    for setting in ("datestyle", "extra_float_digits", "quote_all_identifiers"):
        await admin.run(source, f'alter role "{admin.endpoint.user}" in database "{source}" reset {setting}')
    await admin.run(source, f'alter database "{source}" reset all')
    found = {(o.kind, o.name): o for o in await backup_of(pg).measure(source, manifest)}
    assert {found[o.kind, o.name].hash for o in manifest.objects if o.kind == "table"} == {
        o.hash for o in manifest.objects if o.kind == "table"
    }


ODD_SETTINGS = {
    "source": ("bytea_output = escape", "timezone = 'Asia/Kathmandu'", "intervalstyle = sql_standard", "xmlbinary = hex"),
    "user": ("datestyle = 'German, MDY'", "extra_float_digits = -10", "quote_all_identifiers = on"),
}  # fmt: skip


async def test_bytes_of_no_known_encoding_come_back(pg: PostgresEngine, admin: Admin, copy: str) -> None:
    async with temporary(pg, made=False) as name:
        await admin.run(
            "postgres",
            f"create database {name} template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'",
        )
        await admin.run(name, "create table t as select chr(200) || chr(10) || chr(92) as a")
        await round_trip(pg, name, copy)


async def test_rows_that_people_put_into_an_extensions_table_are_proven(
    pg: PostgresEngine, admin: Admin, source: str, copy: str, tmp_path: Path
) -> None:
    place = tmp_path / "extension"
    place.mkdir()
    (place / "shelf.control").write_text("default_version = '1'\nrelocatable = false\nschema = public\n")
    (place / "shelf--1.sql").write_text(
        "create table book (own bool, title text); insert into book values (false, 'given');"
        "select pg_extension_config_dump('book', 'where own');"
    )
    await admin.run("postgres", f"alter system set extension_control_path = '$system:{tmp_path}'", RELOAD)
    try:
        await admin.run(source, "create extension shelf", "insert into book values (true, 'mine')")
        manifest, _ = await round_trip(pg, source, copy)
        assert [(o.name, o.rows) for o in manifest.objects if o.kind == "extension rows"] == [
            ("public.book", 1)
        ]
        await admin.run(copy, "update book set title = 'other' where own")
        differences = compare(manifest, await backup_of(pg).measure(copy, manifest))
        assert [(d.object, d.what) for d in differences] == [("public.book", DifferenceKind.CONTENT)]
    finally:
        await admin.run("postgres", "alter system reset extension_control_path", RELOAD)


RELOAD = "select pg_reload_conf()"


def test_one_wording_for_what_means_the_same() -> None:
    before = (
        "CHECK (((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))"
    )
    after = "CHECK (((status)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))"
    assert worded(before) == worded(after)
    assert worded("(a * (b + c))") != worded("((a * b) + c)")
    assert worded("f('a::text')") != worded("f('a')")
    assert worded("x = ANY (ARRAY['a'])") != worded("x = ALL (ARRAY['a'])")
