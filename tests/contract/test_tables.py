"""The engines hold the tables contract, and what is particular to each."""

import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from storage_core.domain.errors import (
    Conflict,
    InvalidRequest,
    NameTaken,
    NotFound,
    StorageError,
    VersionConflict,
)
from storage_core.domain.provider import Endpoint
from storage_core.domain.query import parse_where
from storage_core.domain.table import RowsFind
from storage_core.domain.value import Mode, operand
from storage_core.ports.engine import Engine
from storage_core.ports.tables import Tables
from storage_core.providers.mongodb.engine import MongoEngine
from storage_core.providers.postgresql.engine import PostgresEngine
from storage_core.providers.sqlite.connect import let_only_rows_change, writing
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

    async def test_what_a_file_brings_along_stays_in_it(self, place: tuple[Tables, str]) -> None:
        """Triggers, views and searches work; code outside of SQLite, other files and the schema are out of reach."""
        tables, name = place
        other = self.root / "other.sqlite3"
        with closing(sqlite3.connect(other)) as db, db:
            db.execute("create table secret (a)")
        with closing(sqlite3.connect(self.root / name)) as db, db:
            db.executescript(
                """
                create table docs (id integer primary key, words text);
                create virtual table search using fts5(words, content=docs, content_rowid=id);
                create trigger docs_in after insert on docs begin
                  insert into search (rowid, words) values (new.id, new.words); end;
                create view found as select rowid as id from search where search match 'red';
                create view places as select file from pragma_database_list;
                create view loading as select load_extension('./evil') as a;
                create table calls (id integer primary key);
                create trigger calling after insert on calls begin select load_extension('./evil'); end;
                create table schemas (id integer primary key);
                create trigger schemed after insert on schemas begin update sqlite_schema set sql = ''; end;
                """
            )
        await tables.insert(name, "docs", {"words": "a red one"})
        assert [row.data for row in await tables.find(name, "found", RowsFind())] == [{"id": 1}]
        for view in ("places", "loading"):
            with pytest.raises(StorageError):
                await tables.find(name, view, RowsFind())
        for table in ("calls", "schemas"):
            with pytest.raises(StorageError):
                await tables.insert(name, table, {"id": 1})
        with writing(self.root / name) as db:
            let_only_rows_change(db)
            for statement in (
                f"attach '{other}' as other",
                "vacuum into 'copy.sqlite3'",
                "pragma writable_schema=on",
                "pragma journal_mode=delete",
                "create table more (a)",
                "drop table docs",
            ):
                with pytest.raises(sqlite3.DatabaseError):
                    db.execute(statement)


@pytest.mark.servers
async def test_documents_of_others_in_mongodb(mongodb_server: Server) -> None:
    engine = MongoEngine(*mongodb_server)
    name = f"sc_tables_{secrets.token_hex(4)}"
    await engine.databases.create(name, {})
    tables, moment = engine.tables, datetime(2026, 1, 2, tzinfo=UTC)
    async with engine._link.speaking() as client:
        theirs = client[name]["theirs"]
        await theirs.insert_many(
            [{"n": i % 3, "at": moment, "deep": {"x": i}, "tags": ["a"]} for i in range(7)]
        )
        await theirs.insert_one({"_id": "own", "long": "x" * 5000})
        await client[name].create_collection("shown", viewOn="theirs")

    async def keys(where: dict[str, Any] | None, *sort: tuple[str, bool]) -> list[str | None]:
        node = parse_where(where, operand(Mode.TAGGED), ())
        seen: list[str | None] = []
        after = None
        while rows := await tables.find(name, "theirs", RowsFind(node, sort, 2, after)):
            seen += [row.key for row in rows]
            after = rows[-1].place
        assert await tables.count(name, "theirs", node, 100) == len(seen) == len(set(seen))
        return seen

    assert len(await keys(None, ("n", True))) == 8
    assert len(await keys({"n": {"$gte": 1}, "at": moment}, ("deep.x", False))) == 4
    [row] = await tables.find(name, "theirs", RowsFind(parse_where({"_id": "own"}, operand(Mode.STRICT), ())))
    assert row.cut == ("long",)
    [first] = await tables.find(name, "theirs", RowsFind(sort=(("_id", True),), limit=1))
    oid = first.data["_id"]["$oid"]
    assert await keys({"_id": oid}) == [first.key]
    assert first.key is not None
    changed = await tables.update(
        name, "theirs", first.key, {"n": 9}, {"n": first.data["n"], "at": first.data["at"]}
    )
    assert changed.data == {**first.data, "n": 9}
    with pytest.raises(VersionConflict):
        await tables.update(name, "theirs", first.key, {"n": 8}, {"n": first.data["n"]})
    made = await tables.insert(
        name, "theirs", {"at": {"$date": "2026-02-03T04:05:06.789Z"}, "k": {"$oid": oid}}
    )
    assert made.key is not None and made.data["k"] == {"$oid": oid}
    with pytest.raises(NameTaken):
        await tables.insert(name, "theirs", {"_id": "own"})
    await tables.delete(name, "theirs", made.key, {})
    for call in (tables.delete(name, "theirs", made.key, {}), tables.get(name, "theirs", "nonsense")):
        with pytest.raises(NotFound):
            await call
    for bad in ({"a.b": 1}, {"$set": 1}, {"_id": 1}, {}):
        with pytest.raises(InvalidRequest):
            await tables.update(name, "theirs", first.key, bad, {})
    assert (await tables.describe(name, "shown")).fixed
    with pytest.raises(NotFound):
        await tables.describe(name, "system.views")
    await engine.databases.drop(name)
    await engine.close()


@pytest.mark.servers
async def test_views_in_mongodb_see_their_own_database_and_cannot_be_written(mongodb_server: Server) -> None:
    """MongoDB keeps a view's pipeline to the view's database, and knows no database in its JavaScript."""
    endpoint = mongodb_server[0]
    engine, name = MongoEngine(*mongodb_server), f"sc_tables_{secrets.token_hex(4)}"
    await engine.databases.create(name, {})
    stages: dict[str, dict[str, Any]] = {
        "other": {"$lookup": {"from": {"db": "admin", "coll": "system.users"}, "as": "x", "pipeline": []}},
        "log": {"$lookup": {"from": {"db": "local", "coll": "oplog.rs"}, "as": "x", "pipeline": []}},
        "into": {"$merge": {"into": {"db": "admin", "coll": "x"}}},
        "out": {"$out": {"db": "admin", "coll": "x"}},
        "sessions": {"$currentOp": {"allUsers": True}},
        "where": {"$match": {"$where": "true"}},
    }
    body = "function() { return [typeof db, typeof connect, typeof load, typeof run].join() }"
    code = {"$addFields": {"sees": {"$function": {"body": body, "args": [], "lang": "js"}}}}
    async with engine._link.speaking() as client:
        await client[name].theirs.insert_one({"_id": 1})
        await client.admin.command("createUser", name, pwd="theirs", roles=[{"role": "dbOwner", "db": name}])
        async with AsyncMongoClient(
            endpoint.host, endpoint.port, username=name, password="theirs", directConnection=True
        ) as theirs:
            for view, stage in stages.items():
                with pytest.raises(OperationFailure):
                    await theirs[name].create_collection(view, viewOn="theirs", pipeline=[stage])
                with pytest.raises(OperationFailure):
                    made = {"_id": f"{name}.{view}", "viewOn": "theirs", "pipeline": [stage]}
                    await theirs[name]["system.views"].insert_one(made)
            await theirs[name].create_collection("shown", viewOn="theirs", pipeline=[code])
        await client.admin.command("dropUser", name)
    [row] = await engine.tables.find(name, "shown", RowsFind())
    assert row.key is not None and row.data["sees"] == ",".join(["undefined"] * 4)
    for call in (
        engine.tables.insert(name, "shown", {"a": 1}),
        engine.tables.update(name, "shown", row.key, {"a": 1}, {}),
        engine.tables.delete(name, "shown", row.key, {}),
    ):
        with pytest.raises(Conflict, match="view"):
            await call
    await engine.databases.drop(name)
    await engine.close()
