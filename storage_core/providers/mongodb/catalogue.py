"""What a database holds, as a dump sees it: collections, their options, indexes and identities."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from ...domain.errors import Conflict
from .layout import BUCKETS, EXACT, Definition, kind_of
from .names import NOTE_EXPIRY, is_internal, marker_of

Database = AsyncDatabase[dict[str, Any]]

NAMESPACE_NOT_FOUND = 26


async def entries(database: Database) -> list[dict[str, Any]]:
    """listCollections, types kept exactly."""
    found = await database.with_options(codec_options=EXACT).list_collections()
    return [dict(entry) async for entry in found]


async def indexes(database: Database, name: str) -> tuple[Mapping[str, Any], ...]:
    """listIndexes, types kept exactly; empty when the collection has just gone."""
    collection = database.get_collection(name, codec_options=EXACT)
    try:
        return tuple([dict(spec) async for spec in await collection.list_indexes()])
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:
            return ()
        raise


def identities(found: list[dict[str, Any]]) -> dict[str, bytes]:
    """The UUID of every collection that holds documents, by name."""
    return {e["name"]: bytes(e["info"]["uuid"]) for e in found if "uuid" in e.get("info", {})}


async def held_rules(database: Database, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The expiry rules a restore noted for `finish`: collection, index (none: the collection's own), seconds."""
    marker = marker_of(found)
    note = marker and await database[marker].find_one({"_id": NOTE_EXPIRY})
    return list(note["rules"]) if note else []


async def definitions(database: Database) -> tuple[Definition, ...]:
    """Everything people made in a database, in order of names.

    Expiry rules that wait for `finish` belong to it: a backup of such a copy must not lose them.
    """
    listed = await entries(database)
    uuids = identities(listed)
    held = {(rule["collection"], rule["index"]): rule for rule in await held_rules(database, listed)}
    out: list[Definition] = []
    for entry in sorted((e for e in listed if not is_internal(e)), key=lambda e: str(e["name"])):
        name, options = str(entry["name"]), dict(entry.get("options", {}))
        kind = kind_of(str(entry["type"]), options)
        if kind == "view":
            out.append(Definition(name, kind, options))
            continue
        uuid = uuids.get(BUCKETS + name if kind == "timeseries" else name)
        options = _with_rule(options, held.get((name, None)))
        specs = tuple(_with_rule(s, held.get((name, s["name"]))) for s in await indexes(database, name))
        out.append(Definition(name, kind, options, specs, uuid))
        await asyncio.sleep(0)
    return tuple(out)


def _with_rule(definition: Mapping[str, Any], rule: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(definition) if rule is None else {"expireAfterSeconds": rule["seconds"], **definition}


async def confirm_same(database: Database, dumped: tuple[Definition, ...]) -> None:
    """Raise Conflict when a collection read by a dump is no longer the one listed before.

    A snapshot read of a collection renamed meanwhile answers nothing, without an error.
    """
    now = identities(await entries(database))
    for definition in dumped:
        if definition.uuid is not None and now.get(definition.data) != definition.uuid:
            raise Conflict(
                f"The collection {definition.name!r} was dropped, renamed or replaced while it was backed up.",
                hint="Run the backup again.",
            )
