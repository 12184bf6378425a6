"""What a database's collections look like: kind, options, indexes, and field types from a sample."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import bson
from bson import json_util

from ...domain.database import ColumnInfo, DatabaseSchema, IndexInfo, ObjectInfo
from . import catalogue
from .layout import EXACT, Definition

#: A sample is only looked at: text that is no UTF-8 must not hide the rest.
LENIENT = EXACT.with_options(unicode_decode_error_handler="replace")
SAMPLE = 100
FIELDS = 200

TYPES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "int",
    bson.Int64: "long",
    float: "double",
    dict: "object",
    list: "array",
    bytes: "binData",
    bson.Binary: "binData",
    UUID: "binData",
    bson.ObjectId: "objectId",
    datetime: "date",
    bson.DatetimeMS: "date",
    bson.Decimal128: "decimal",
    bson.Timestamp: "timestamp",
    bson.Regex: "regex",
    bson.Code: "javascript",
    bson.MinKey: "minKey",
    bson.MaxKey: "maxKey",
    bson.DBRef: "object",
    type(None): "null",
}


def columns(sample: list[dict[str, Any]]) -> tuple[ColumnInfo, ...]:
    """Top-level fields of sampled documents, with every type seen; nullable where absent or null once."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for document in sample:
        for key, value in document.items():
            seen[key][TYPES.get(type(value), type(value).__name__)] += 1
    return tuple(
        ColumnInfo(
            key,
            " | ".join(sorted(set(kinds) - {"null"})) or "null",
            nullable="null" in kinds or kinds.total() < len(sample),
        )
        for key, kinds in list(seen.items())[:FIELDS]
    )


def _text(value: Mapping[str, Any]) -> str:
    return json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS)


def _index(spec: Mapping[str, Any]) -> IndexInfo:
    shown = {key: value for key, value in spec.items() if key not in ("v", "name", "ns")}
    unique = bool(spec.get("unique") or spec.get("clustered") or spec["name"] == "_id_")
    return IndexInfo(str(spec["name"]), _text(shown), unique)


async def _describe(database: catalogue.Database, definition: Definition) -> ObjectInfo:
    collection = database.get_collection(definition.name, codec_options=LENIENT)
    sample = [dict(document) async for document in collection.find({}, limit=SAMPLE)]
    options = _text(definition.options) if definition.options else None
    rows = size = None
    if definition.kind != "view":
        figures = await (await collection.aggregate([{"$collStats": {"storageStats": {}}}])).to_list()
        storage: dict[str, Any] = figures[0]["storageStats"] if figures else {}
        rows = storage.get("count")
        size = int(storage.get("storageSize", 0)) + int(storage.get("totalIndexSize", 0))
    return ObjectInfo(
        definition.name,
        definition.kind,
        int(rows) if rows is not None else None,
        size,
        columns(sample),
        tuple(_index(spec) for spec in definition.indexes),
        options,
    )


async def describe(database: catalogue.Database) -> DatabaseSchema:
    return DatabaseSchema(
        tuple([await _describe(database, d) for d in await catalogue.definitions(database)])
    )
