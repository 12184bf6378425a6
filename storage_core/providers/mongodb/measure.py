"""Measuring a database by queries of its own: an ordinary cursor, document by document, and the server's count."""

import asyncio
from collections.abc import Mapping
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase

from ...domain.backup import ManifestObject
from . import hashing
from .layout import EXACT
from .link import Link
from .names import NOTE_EXPIRY, is_internal, marker_of

#: Documents hashed per trip to a thread, and their bytes at most.
CHUNK, CHUNK_BYTES = 2_000, 8 << 20

#: Expiry rules a restore holds back until `finish`: (collection, index or none) to seconds.
HeldBack = Mapping[tuple[str, str | None], int]


async def measure(link: Link, name: str) -> tuple[ManifestObject, ...]:
    """Count and hash every collection; list every index, every collection's options and every view.

    An expiry rule held back by a restore counts as set: it is in the product's note beside the data, and
    applying it would delete what is being counted.
    """
    await link.present(name)
    async with link.speaking() as client:
        database = client.get_database(name, codec_options=EXACT)
        listed = (await database.command({"listCollections": 1, "cursor": {"batchSize": 1_000_000}}))[
            "cursor"
        ]
        held = await _held_back(database, listed["firstBatch"])
        out: list[ManifestObject] = []
        for entry in listed["firstBatch"]:
            if not is_internal(entry):
                out.extend(await _measured(database, entry, held))
    return tuple(out)


async def _held_back(database: AsyncDatabase[dict[str, Any]], listed: list[dict[str, Any]]) -> HeldBack:
    marker = marker_of(listed)
    if marker is None:
        return {}
    note = await database[marker].find_one({"_id": NOTE_EXPIRY})
    return {(rule["collection"], rule["index"]): rule["seconds"] for rule in (note or {}).get("rules", ())}


async def _measured(
    database: AsyncDatabase[dict[str, Any]], entry: Mapping[str, Any], held: HeldBack
) -> list[ManifestObject]:
    name, options = str(entry["name"]), dict(entry.get("options") or {})
    if entry["type"] == "view":
        return [hashing.view_object(name, options)]
    if (name, None) in held:
        options.setdefault("expireAfterSeconds", held[name, None])
    out = [await _content(database, name, entry["type"] == "timeseries", bool(options.get("capped")))]
    out.append(hashing.options_object(name, options))
    async for spec in await database[name].list_indexes():
        if hashing.counts_as_index(spec):
            rule = held.get((name, spec["name"]))
            out.append(
                hashing.index_object(name, spec if rule is None else {"expireAfterSeconds": rule, **spec})
            )
    return out


async def _content(
    database: AsyncDatabase[dict[str, Any]], name: str, series: bool, capped: bool
) -> ManifestObject:
    stored = f"system.buckets.{name}" if series else name
    raw: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    collection: Any = database.get_collection(stored, codec_options=raw)  # typed as the database's documents
    content = hashing.ContentHash(ordered=capped)
    chunk: list[bytes] = []
    size = 0
    async for document in collection.find({}, sort=[("$natural", 1)]):
        chunk.append(document.raw)
        size += len(document.raw)
        if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
            content.add(await asyncio.to_thread(_digests, chunk))
            chunk, size = list[bytes](), 0
    content.add(_digests(chunk))
    counted = await (await database[stored].aggregate([{"$count": "n"}])).to_list()
    rows = counted[0]["n"] if counted else 0
    kind = "capped" if capped else "timeseries" if series else "collection"
    return ManifestObject(name, kind, rows, content.hex())


def _digests(documents: list[bytes]) -> bytes:
    return b"".join(map(hashing.document_digest, documents))
