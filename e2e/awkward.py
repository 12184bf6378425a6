"""Rows that a copy easily gets wrong, written and read by each engine's own driver."""

import asyncio
import math
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, AsyncMongoClient

TEXTS = (
    None,
    "",
    " ",
    "\\N",
    "\\.",
    "a\tb\nc\rd\\e'f\"g",
    "ÄÖÜ ß ﬁ",
    "e\u0301 \u00e9",
    "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 🦀",
    "\u202eright to left\u202c \u200b\ufeff \U0001d4b3",
    "漢字 עברית नमस्ते",
    "x" * 20_000,
)
BIG = 2**53 + 1
PRECISE = "123456789012345678901234567890.123456789012345678901234567890"


def spelled(value: Any) -> Any:
    """A value with its exact type all the way down; NaN equals NaN, 1.0 does not equal 1 or 1.00."""
    if isinstance(value, dict):
        return ("dict", [(spelled(k), spelled(v)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [spelled(v) for v in value])
    return (type(value).__name__, repr(value))


class Postgres:
    """A PostgreSQL database; `dsn` is the server's, `name` the physical database."""

    rows = len(TEXTS) + 8

    def __init__(self, dsn: str, name: str) -> None:
        self.dsn, self.name = dsn.rpartition("/")[0], name

    async def fill(self) -> None:
        connection = await asyncpg.connect(f"{self.dsn}/{self.name}")
        try:
            await connection.execute(POSTGRES)
            await connection.executemany(
                'insert into "Odd Näme".texts (id, body) values ($1, $2)', list(enumerate(TEXTS))
            )
            for number, row in enumerate(POSTGRES_ROWS):
                names = ", ".join(row)
                marks = ", ".join(f"${n + 2}" for n in range(len(row)))
                await connection.execute(
                    f"insert into kinds (id, {names}) values ($1, {marks})", number, *row.values()
                )
            await connection.execute(POSTGRES_BY_TEXT)
        finally:
            await connection.close()

    async def read(self) -> dict[str, Any]:
        """Rows as the driver types them, and as the server spells them; what else belongs to the database."""
        connection = await asyncpg.connect(f"{self.dsn}/{self.name}")
        try:
            typed = await connection.fetch("select * from kinds where id < 100 order by id")
            columns = [r["column_name"] for r in await connection.fetch(POSTGRES_COLUMNS)]
            listed = ", ".join(f'"{c}"::text, pg_typeof("{c}")::text as "{c} type"' for c in columns)
            return {
                "typed": [spelled(dict(r)) for r in typed],
                "spelled": [
                    tuple(r) for r in await connection.fetch(f"select {listed} from kinds order by id")
                ],
                "texts": [
                    spelled(tuple(r))
                    for r in await connection.fetch('select * from "Odd Näme".texts order by id')
                ],
                "view": [tuple(r) for r in await connection.fetch("select * from lively")],
                "definitions": [tuple(r) for r in await connection.fetch(POSTGRES_DEFINITIONS)],
                "sequence": await connection.fetchval("select last_value from ticket"),
            }
        finally:
            await connection.close()

    async def exists(self) -> bool:
        connection = await asyncpg.connect(f"{self.dsn}/postgres")
        try:
            return bool(
                await connection.fetchval("select count(*) from pg_database where datname = $1", self.name)
            )
        finally:
            await connection.close()


POSTGRES = """
create schema "Odd Näme";
create type mood as enum ('sad', 'okay', 'happy ☀');
create domain positive as int check (value > 0);
create sequence ticket start 7000 increment 7;
create table "Odd Näme".texts (id int primary key, body text, folded text generated always as (lower(body)) stored);
create table kinds (
    id bigint primary key, small smallint, big bigint, exact numeric, scaled numeric(60, 30), double float8, single real,
    flag boolean, fixed char(6), at timestamptz, local timestamp, day date, clock time, zoned timetz, span interval,
    bytes bytea, key uuid, document jsonb, verbatim json, numbers int[], grid text[][], feeling mood, more positive,
    network inet, pattern varbit, numbered int8range, place point, number bigint default nextval('ticket')
);
create index on kinds using gin (document);
create unique index on kinds (big) where flag;
create view lively as select id, feeling from kinds where feeling > 'sad' order by id;
"""
POSTGRES_ROWS: list[dict[str, Any]] = [
    {"small": None},
    {
        "small": -(2**15),
        "big": 2**63 - 1,
        "exact": Decimal(PRECISE),
        "scaled": Decimal(PRECISE),
        "flag": True,
    },
    {
        "big": BIG,
        "exact": Decimal("-0.10"),
        "double": math.nan,
        "single": math.inf,
        "flag": False,
        "fixed": "ab",
    },
    {"big": -(2**63), "exact": Decimal("NaN"), "double": -0.0, "single": 0.1, "fixed": ""},
    {
        "at": datetime(2024, 2, 29, 23, 59, 59, 999_999, timezone(timedelta(hours=5, minutes=45))),
        "local": datetime(1, 1, 1, 0, 0, 0, 1),
        "day": date(9999, 12, 31),
        "clock": time(23, 59, 59, 999_999),
        "zoned": time(1, 2, 3, 4, timezone(timedelta(hours=-9, minutes=-30))),
        "span": timedelta(days=-400, microseconds=1),
        "bytes": bytes(range(256)),
        "key": uuid.UUID(int=2**128 - 1),
    },
    {
        "document": '{"b": [1, {"a": null}], "a": 9007199254740993, "é👍": "\\u0001", "n": 1.0000000000000000000001}',
        "verbatim": '{"twice": 1,  "twice": 2}',
        "numbers": [1, None, -(2**31)],
        "grid": [["a", None], ['{"', "\\"]],
        "feeling": "happy ☀",
        "more": 1,
        "bytes": b"",
    },
]
# what Python's types cannot hold: years before Christ, infinite times, infinite numerics
POSTGRES_BY_TEXT = """
insert into kinds (id, at, local, day, exact, double, span, network, pattern, numbered, place, numbers) values
    (100, '0044-03-15 12:00:00.000001+01 BC', '4713-01-01 00:00:00 BC', '0001-12-31 BC', 'Infinity', '-Infinity',
     '178000000 years -5 months 3 days 04:05:06.789', 'fe80::1/64', B'10110', '[9007199254740993,)', '(0.1,-0)', '{}'),
    (101, 'infinity', '-infinity', 'infinity', '-Infinity', 'NaN', '00:00:00', '10.0.0.0/8', B'', 'empty', '(1e300,0)',
     '[-1:1]={7,NULL,9}');
"""
POSTGRES_COLUMNS = (
    "select column_name from information_schema.columns where table_name = 'kinds' order by ordinal_position"
)
POSTGRES_DEFINITIONS = """
select indexdef from pg_indexes where schemaname in ('public', 'Odd Näme')
union all select table_schema || table_name || column_name || data_type || coalesce(column_default, '') || is_nullable
    || is_generated || coalesce(numeric_precision::text, '') || coalesce(character_maximum_length::text, '')
    from information_schema.columns where table_schema in ('public', 'Odd Näme')
union all select enumlabel from pg_enum
order by 1
"""


class Mongo:
    """A MongoDB database."""

    def __init__(self, dsn: str, name: str) -> None:
        self.dsn, self.name = dsn, name

    @property
    def rows(self) -> int:
        return len(MONGO) + len(TEXTS)

    async def fill(self) -> None:
        async with AsyncMongoClient[dict[str, Any]](self.dsn) as client:
            database = client[self.name]
            await database["kinds"].insert_many([{"_id": n, **d} for n, d in enumerate(MONGO)])
            await database["täxts 🦀"].insert_many(
                [{"_id": str(n), "body": text} for n, text in enumerate(TEXTS)]
            )
            await database["kinds"].create_index(
                [("int64", ASCENDING), ("nested.list.deep", -1)], name="odd", sparse=True
            )

    async def read(self) -> dict[str, Any]:
        """Every document as its bytes, which hold each value's type, and as the driver decodes it."""
        raw = CodecOptions(document_class=RawBSONDocument)
        async with AsyncMongoClient[dict[str, Any]](self.dsn) as client:
            database = client[self.name]
            names = sorted(
                set(await database.list_collection_names()) - {"_storage_console"}
            )  # its own marker
            found: dict[str, Any] = {"collections": names}
            for name in names:
                whole = database[name].with_options(codec_options=raw)  # type: ignore[arg-type]
                found[name] = [d.raw async for d in whole.find(sort=[("_id", ASCENDING)])]
                found[f"{name} indexes"] = spelled(await database[name].index_information())
            precise: CodecOptions[dict[str, Any]] = CodecOptions(
                tz_aware=True, datetime_conversion=bson.DatetimeConversion.DATETIME_AUTO
            )
            kinds = database["kinds"].with_options(codec_options=precise)
            found["decoded"] = [spelled(d) async for d in kinds.find(sort=[("_id", ASCENDING)])]
            return found

    async def exists(self) -> bool:
        async with AsyncMongoClient[dict[str, Any]](self.dsn) as client:
            return self.name in await client.list_database_names()


def _nested(depth: int) -> Any:
    return {"leaf": [1, 2.0, bson.Int64(3)]} if depth == 0 else {"down": [_nested(depth - 1)]}


MONGO: list[dict[str, Any]] = [
    {"int32": 1, "int64": bson.Int64(1), "double": 1.0, "decimal": bson.Decimal128("1.00"), "true": True},
    {"int64": bson.Int64(BIG), "lowest": bson.Int64(-(2**63)), "highest": bson.Int64(2**63 - 1)},
    {"decimal": bson.Decimal128("12345678901234567890123456789012.34"), "tiny": bson.Decimal128("1E-6176")},
    {
        "decimal": bson.Decimal128("NaN"),
        "infinite": bson.Decimal128("-Infinity"),
        "zero": bson.Decimal128("-0"),
    },
    {"double": math.nan, "infinite": math.inf, "below": -math.inf, "negative zero": -0.0, "smallest": 5e-324},
    {"at": datetime(2024, 2, 29, 23, 59, 59, 999_000, UTC), "long ago": bson.DatetimeMS(-62_198_755_200_000)},
    {"never": bson.DatetimeMS(2**62), "stamp": bson.Timestamp(4_294_967_295, 1)},
    {
        "bytes": bytes(range(256)),
        "empty": b"",
        "own": bson.Binary(b"\x00\xff", 128),
        "uuid": bson.Binary(b"x" * 16, 4),
    },
    {"null": None, "empty": "", "nothing": [], "none": {}},
    {"nested": {"list": [[], [None, {"deep": [{}]}]], "": "empty key", "a.b": 1, "$c": 2, "é👍": 3}},
    {"z": 1, "a": 2, "m": {"z": 1, "a": 2}},
    {"deep": _nested(30)},
    {
        "pattern": bson.Regex("^ä.*$", "imx"),
        "code": bson.Code("f()", {"x": bson.Int64(1)}),
        "id": bson.ObjectId("f" * 24),
    },
    {"least": bson.MinKey(), "most": bson.MaxKey(), "elsewhere": bson.DBRef("kinds", 1, "other")},
    {"large": "🦀" * 100_000},
]


class Sqlite:
    """A SQLite database's file."""

    rows = len(TEXTS) + 8 + 2 + 1  # the counter of the automatic keys is a row too

    def __init__(self, location: str) -> None:
        self.path = Path(location)

    async def fill(self) -> None:
        await asyncio.to_thread(self._fill)

    async def read(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._read)

    async def exists(self) -> bool:
        return await asyncio.to_thread(self.path.exists)

    def _fill(self) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executescript(SQLITE)
            db.executemany('insert into "Odd Näme" (id, body) values (?, ?)', enumerate(TEXTS))
            db.executemany("insert into kinds (anything, whole, approximate) values (?, ?, ?)", SQLITE_ROWS)
            db.executemany("insert into pairs values (?, ?)", [("a", b"\x00"), ("ä", b"")])

    def _read(self) -> dict[str, Any]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
            found: dict[str, Any] = {"schema": db.execute(SQLITE_SCHEMA).fetchall()}
            for table in ("Odd Näme", "kinds", "pairs", "lively"):
                columns = [c[1] for c in db.execute(f'pragma table_xinfo("{table}")')]
                listed = ", ".join(f'"{c}", typeof("{c}")' for c in columns)
                rows = db.execute(f'select {listed} from "{table}" order by 1').fetchall()
                found[table] = [spelled(row) for row in rows]
            return found


SQLITE = """
create table "Odd Näme" (id integer primary key, body text, folded text generated always as (lower(body)) virtual);
create table kinds (id integer primary key autoincrement, anything, whole integer, approximate real);
create table pairs (name text primary key, value blob not null) strict, without rowid;
create index sparse on kinds (whole desc) where whole is not null;
create view lively as select id, anything from kinds where anything is not null;
create trigger guard before delete on pairs begin select raise(abort, 'pairs stay'); end;
"""
SQLITE_SCHEMA = (
    "select type, name, tbl_name, sql from sqlite_schema where sql is not null order by type, name"
)
SQLITE_ROWS: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    ("", 0, 0.0),
    (2**63 - 1, -(2**63), math.inf),
    (BIG, BIG, -math.inf),
    (PRECISE, "not a number", -0.0),
    (b"", bytes(range(256)), 5e-324),
    ("a\x00b", "1", 0.1),
    ("2024-02-29T23:59:59.999999+05:45", 1, 1e308),
]
