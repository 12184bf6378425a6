"""Everything a MongoDB database can hold that a copy may get wrong."""

import struct
from datetime import datetime, timedelta
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, IndexModel

Client = AsyncMongoClient[dict[str, Any]]

MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123000)


def raw(*elements: bytes) -> RawBSONDocument:
    """A document from encoded elements, also such as no driver would write."""
    body = b"".join(elements)
    return RawBSONDocument(struct.pack("<i", len(body) + 5) + body + b"\x00")


def element(key: str, value: Any) -> bytes:
    return bson.encode({key: value})[4:-1]


def nested(depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {"leaf": True}
    for level in range(depth):
        out = {"down": out} if level % 2 else {"down": [out]}
    return out


def awkward_documents() -> list[Any]:
    values: list[Any] = [
        *(1, bson.Int64(1), 1.0, -0.0, float("nan"), float("inf"), 2**31, bson.Int64(-(2**63)), True, None),
        *(
            bson.Decimal128("1.0"),
            bson.Decimal128("1.00"),
            bson.Decimal128("NaN"),
            bson.Decimal128("-0E-6176"),
        ),
        *("", "a\x00b", "ä\U0001f980", "x" * 70_000, {}, [], [[], [{}]], {"": {"": 0}}, {"$a": 1, "b.c": 2}),
        *(bson.MinKey(), bson.MaxKey(), bson.Timestamp(0, 0), bson.Timestamp(5, 7), bson.ObjectId("6" * 24)),
        *(bson.Regex("^a", "imx"), bson.Code("f()"), bson.Code("f()", {"x": 1}), bson.DBRef("c", 1, "d")),
        *(bson.Binary(b"ab", s) for s in (0, 1, 2, 3, 4, 5, 6, 7, 128)),
        *(MOMENT, bson.DatetimeMS(-(2**62)), bson.DatetimeMS(2**62), nested(80)),
    ]
    documents: list[Any] = [{"_id": number, "value": value} for number, value in enumerate(values)]
    documents += [
        {"_id": None, "": "empty key"},
        {"_id": {"a": 1, "b": [1]}, "zero": bson.Timestamp(0, 0), "inside": {"zero": bson.Timestamp(0, 0)}},
        {"_id": bson.Timestamp(0, 0), "first": 1},
        {"_id": bson.Binary(b"\x00" * 16, 4), "big": b"z" * 2_000_000},
        raw(
            element("_id", "duplicates"), element("k", 1), element("k", "two"), element("", 3), element("", 4)
        ),
        raw(element("_id", "old types"), b"\x06undefined\x00", b"\x0esymbol\x00\x02\x00\x00\x00s\x00"),
    ]
    return documents


async def make_everything(client: Client, name: str) -> dict[str, int]:
    """Fill a database; answers the rows of every collection as a manifest counts them."""
    database = client[name]
    counts = {"plain": 0, "größe/ & 100% 'x'": 3, "empty": 0}
    documents = awkward_documents()
    for at in range(0, len(documents), 20):
        await database.plain.insert_many(documents[at : at + 20])
    for document in documents:  # an insert replaces these by the current time, an update keeps them
        if (
            isinstance(document, dict)
            and bson.Timestamp(0, 0) in document.values()
            and document["_id"] != bson.Timestamp(0, 0)
        ):
            await database.plain.update_one(
                {"_id": document["_id"]}, [{"$replaceWith": {"$literal": document}}]
            )
    counts["plain"] = len(documents)
    await database["größe/ & 100% 'x'"].insert_many([{"n": n} for n in range(3)])
    await database.create_collection("empty", changeStreamPreAndPostImages={"enabled": True})
    counts |= await _validated(client, name) | await _indexed(client, name) | await _special(client, name)
    return counts


async def add_largest(client: Client, name: str) -> None:
    """A document as large as MongoDB takes."""
    await client[name].plain.insert_one({"_id": "largest", "data": b"q" * ((16 << 20) - 60)})


async def _validated(client: Client, name: str) -> dict[str, int]:
    database = client[name]
    await database.create_collection(
        "checked",
        validator={"$or": [{"code": {"$regex": "^[a-z]+$", "$options": "i"}}, {"n": {"$type": "int"}}]},
        validationLevel="moderate",
        validationAction="error",
    )
    await database.checked.insert_many([{"code": "Abc"}, {"n": 5}])
    await database.checked.insert_one({"code": "123 breaks the rule"}, bypass_document_validation=True)
    await database.create_collection("folded", collation={"locale": "de", "strength": 1})
    await database.folded.insert_many([{"_id": "Ä", "w": "Straße"}, {"_id": "b", "w": "STRASSE"}])
    await database.folded.create_index("w", name="inherits")
    await database.command(
        {
            "createIndexes": "folded",
            "indexes": [{"key": {"w": 1}, "name": "simple", "collation": {"locale": "simple"}}],
        }
    )
    return {"checked": 3, "folded": 2}


async def _indexed(client: Client, name: str) -> dict[str, int]:
    collection = client[name].indexed
    await collection.insert_many(
        [
            {
                "_id": n,
                "email": f"u{n}@x.org",
                "text": "der Hund läuft",
                "at": [n / 10, 1.5],
                "seen": MOMENT + timedelta(days=36_500 + n),
                **({"maybe": n} if n % 2 else {}),
            }
            for n in range(500)
        ]
    )
    await collection.create_indexes(
        [
            IndexModel([("email", 1)], name="unique_email", unique=True),
            IndexModel(
                [("_id", 1), ("email", -1)], name="partial", partialFilterExpression={"_id": {"$gt": 10.5}}
            ),
            IndexModel([("seen", 1)], name="expires", expireAfterSeconds=3600),
            IndexModel([("text", "text")], name="words", default_language="german", weights={"text": 3}),
            IndexModel([("at", "2dsphere")], name="place"),
            IndexModel([("at", "2d")], name="flat", min=-200, max=200),
            IndexModel([("$**", 1)], name="wild", wildcardProjection={"text": 0}),
            IndexModel([("email", "hashed")], name="hashed"),
            IndexModel([("maybe", 1)], name="sparse_hidden", sparse=True, hidden=True),
            IndexModel([("email", 1)], name="folded", collation={"locale": "en", "strength": 2}),
        ]
    )
    return {"indexed": 500}


async def _special(client: Client, name: str) -> dict[str, int]:
    database = client[name]
    await database.create_collection("log", capped=True, size=8192, max=40)
    await database.log.insert_many([{"_id": f"{n * 7919 % 101}", "line": "x" * 50} for n in range(100)])
    await database.create_collection(
        "clustered",
        clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by id"},
        expireAfterSeconds=10**9,
    )
    await database.clustered.insert_many([{"_id": MOMENT + timedelta(days=36_500 + n)} for n in range(5)])
    await database.create_collection(
        "weather",
        timeseries={"timeField": "at", "metaField": "where", "granularity": "minutes"},
        expireAfterSeconds=10**9,
    )
    await database.weather.insert_many(
        [{"at": MOMENT + timedelta(minutes=n), "where": {"city": n % 7}, "t": n / 8} for n in range(2000)]
    )
    await database.weather.create_index([("where.city", 1), ("at", -1)], name="city")
    await database.create_collection("view", viewOn="indexed", pipeline=[{"$match": {"_id": {"$lt": 5}}}])
    await database.create_collection(
        "view of view", viewOn="view", pipeline=[{"$match": {"text": {"$regex": "^d", "$options": "i"}}}]
    )
    await database["system.js"].insert_one({"_id": "twice", "value": bson.Code("function(x){return x*2}")})
    buckets = await database["system.buckets.weather"].count_documents({})
    logged = await database.log.count_documents({})
    return {"log": logged, "clustered": 5, "weather": buckets, "system.js": 1}
