"""The last step of a restore that people keep: the expiry rules that waited for the measuring are switched on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from . import catalogue
from .layout import EXACT
from .link import Link
from .names import NOTE_EXPIRY, marker_of

DURABLE = WriteConcern(w="majority", j=True, wtimeout=120_000)
#: The collection or index was dropped after the restore.
GONE = frozenset({26, 27})


@dataclass(frozen=True, slots=True)
class Rule:
    """An expiry rule where it applies: documents whose `field` is older; `hint` names an index to count by."""

    collection: str
    index: str | None
    seconds: int
    field: str
    only: Mapping[str, Any]
    hint: str | None

    @property
    def place(self) -> str:
        return f"index {self.index} of {self.collection}" if self.index else self.collection

    @property
    def command(self) -> dict[str, Any]:
        change = {"expireAfterSeconds": self.seconds}
        if self.index is None:
            return {"collMod": self.collection, **change}
        return {"collMod": self.collection, "index": {"name": self.index, **change}}


async def finish(link: Link, name: str) -> tuple[str, ...]:
    """Set the noted rules, then forget the note; answers what they will remove.

    The note goes last: an interrupted run is repeated whole, and setting a rule twice changes nothing.
    """
    await link.present(name)
    async with link.speaking() as client:
        database = client.get_database(name, codec_options=EXACT, write_concern=DURABLE)
        listed = await catalogue.entries(database)
        noted = await catalogue.held_rules(database, listed)
        if not noted:
            return ()
        now: datetime = (await client.admin.command("hello"))["localTime"]
        told: list[str] = []
        rules: list[Rule] = []
        for rule, note in [(await _located(database, listed, note), note) for note in noted]:
            if rule is None:
                told.append(f"An expiry rule of {note['collection']} has nothing left to apply to.")
                continue
            rules.append(rule)
            if expired := await _expired(database, rule, now):  # before any rule is live
                told.append(f"{expired} documents have expired already; {rule.place} will remove them.")
        for rule in rules:
            try:
                await database.command(rule.command)
            except OperationFailure as error:
                if error.code not in GONE:
                    raise
        await database[marker_of(listed) or ""].delete_one({"_id": NOTE_EXPIRY})
    return tuple(told)


async def _located(
    database: catalogue.Database, listed: list[dict[str, Any]], note: Mapping[str, Any]
) -> Rule | None:
    """The rule with what the index or the collection says about it; none when that is gone."""
    collection, index, seconds = note["collection"], note["index"], note["seconds"]
    options = next((dict(e.get("options") or {}) for e in listed if e["name"] == collection), None)
    if options is None:
        return None
    series: Mapping[str, Any] | None = options.get("timeseries")
    if index is None:
        field = series["timeField"] if series else "_id"
        return Rule(collection, None, seconds, field, {}, None)
    for spec in await catalogue.indexes(database, collection):
        if spec["name"] == index:
            only = spec.get("partialFilterExpression") or {}
            usable = series is None and not spec.get("hidden")  # by others the server refuses to be led
            return Rule(collection, index, seconds, next(iter(spec["key"])), only, index if usable else None)
    return None


async def _expired(database: catalogue.Database, rule: Rule, now: datetime) -> int:
    try:
        past = now - timedelta(seconds=rule.seconds)
    except OverflowError:
        return 0
    found = {"$and": [{rule.field: {"$lt": past}}, rule.only]}
    options: dict[str, Any] = {"hint": rule.hint} if rule.hint else {}
    return await database[rule.collection].count_documents(found, **options)
