"""The engines hold the tables contract, and what is particular to each."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from storage_core.domain.errors import Conflict, InvalidRequest
from storage_core.domain.provider import Endpoint
from storage_core.domain.query import parse_where
from storage_core.domain.table import RowsFind
from storage_core.domain.value import Mode, operand
from storage_core.ports.engine import Engine
from storage_core.ports.tables import Tables
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.sqlite.engine import SqliteEngine
from tests.contract.tables_contract import ROWS, TablesContract

Server = tuple[Endpoint, str]


@pytest.mark.servers
class TestPostgresql(TablesContract):
    things, keyless = "public.things", "public.keyless"

    @pytest.fixture
    async def engine(self, postgresql_server: Server) -> AsyncIterator[Engine]:
        self.server = postgresql_server
        engine = PostgresEngine(*postgresql_server)
        yield engine
        await engine.close()

    async def run(self, name: str, *statements: str) -> None:
        endpoint, password = self.server
        connection = await asyncpg.connect(
            host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database=name
        )
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def made(self, engine: Engine, name: str) -> None:
        await self.run(
            name,
            "create table things (id serial primary key, number int, label varchar(9) not null, amount float8, note text)",
            "create table keyless (a int)",
            "insert into keyless values (1), (1)",
        )
        endpoint, password = self.server
        connection = await asyncpg.connect(
            host=endpoint.host, port=endpoint.port, user=endpoint.user, password=password, database=name
        )
        await connection.executemany(
            "insert into things (number, label, amount, note) values ($1, $2, $3, $4)", ROWS
        )
        await connection.close()

    async def test_every_type_goes_in_and_out_as_its_own_text(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        await self.run(
            name,
            'create table "Odd ""Names""" ("Key part" text, n bigint, big numeric(40, 3), at timestamptz, raw bytea,'
            " list text[], j jsonb, span interval, fixed char(3), flag bool, made int generated always as (7) stored,"
            ' primary key ("Key part", n))',
        )
        table = '"public"."Odd ""Names"""'
        given = {
            "Key part": "a b", "n": 2**63 - 1, "big": "12345678901234567890123456789012345.125",
            "at": "2026-02-03 04:05:06.123456+05", "raw": "\\x00ff", "list": '{a,"b c",NULL}',
            "j": {"a": 1.10}, "span": "P1M2DT3.5S", "fixed": "abc", "flag": True,
        }  # fmt: skip
        row = await tables.insert(name, table, given)
        assert row.data == {
            **given, "at": "2026-02-02 23:05:06.123456+00", "j": '{"a": 1.1}', "made": 7
        }  # fmt: skip
        assert row.key == '["a b","9223372036854775807"]'
        again = await tables.update(name, table, row.key, {"j": row.data["j"]}, row.data)
        assert again.data == row.data
        for bad in ({"fixed": "abcd"}, {"n": "x"}, {"at": "yesterday-ish"}, {"made": 1}, {"j": "{"}):
            with pytest.raises((InvalidRequest, Conflict)):
                await tables.update(name, table, row.key, bad, {})
        found = await tables.find(
            name,
            table,
            RowsFind(parse_where({"j.a": {"$gt": 1}, "big": {"$gt": 5}}, operand(Mode.STRICT), ())),
        )
        assert [r.key for r in found] == [row.key]
        with pytest.raises(InvalidRequest) as refused:
            await tables.count(name, table, parse_where({"span.x": 1}, operand(Mode.STRICT), ()), 9)
        assert refused.value.field == "where.span.x"

    async def test_views_and_the_server_s_own_tables(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        await self.run(name, "create view shown as select * from things")
        view = await tables.describe(name, "public.shown")
        assert view.kind == "view" and view.fixed
        assert len(await tables.find(name, "public.shown", RowsFind(sort=(("id", False),), limit=3))) == 3
        for hidden in ("pg_catalog.pg_authid", "pg_authid", "information_schema.tables"):
            with pytest.raises(Exception, match="no table"):
                await tables.describe(name, hidden)


class TestSqlite(TablesContract):
    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[Engine]:
        self.root = tmp_path / "root"
        self.root.mkdir()
        yield SqliteEngine(Endpoint(path=str(self.root)), None)

    def name(self) -> str:
        return "t.sqlite3"

    async def made(self, engine: Engine, name: str) -> None:
        with closing(sqlite3.connect(self.root / name)) as db, db:
            db.execute(
                "create table things (id integer primary key, number int, label text not null, amount real, note text)"
            )
            db.executemany("insert into things (number, label, amount, note) values (?, ?, ?, ?)", ROWS)
            db.execute("create view keyless as select 1 as a union all select 1")

    async def test_any_column_holds_any_type(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        with closing(sqlite3.connect(self.root / name)) as db, db:
            db.execute('create table "odd ""one" (a, b, primary key (a, b))')
            db.execute("create table plain (rowid text, v)")
        given = {"a": {"$binary": "AP8="}, "b": None}
        row = await tables.insert(name, 'odd "one', given)
        assert row.data == given and row.key is not None
        assert (await tables.update(name, 'odd "one', row.key, {"b": 1.5}, given)).data == {**given, "b": 1.5}
        for bad in ({"b": [1]}, {"b": 2**64}, {"b": {"$nonsense": 1}}):
            with pytest.raises(InvalidRequest):
                await tables.insert(name, 'odd "one', bad)
        plain = await tables.insert(name, "plain", {"rowid": "x", "v": "y"})
        assert plain.key == "[1]"
        await tables.insert(name, 'odd "one', {"a": 1, "b": None})
        twins = await tables.insert(name, 'odd "one', {"a": 1, "b": None})
        assert twins.key is not None
        with pytest.raises(Conflict):
            await tables.delete(name, 'odd "one', twins.key, {})
        assert await tables.count(name, 'odd "one', None, 9) == 3
