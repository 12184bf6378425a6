"""Restoring a dump into a new database.

Per collection: create it without validator and expiry, insert the raw documents, build its indexes, then the
validator; views last. Nothing waits for the majority but the last write, which is journalled and acknowledged by it,
and everything before it with it.

Expiry: a restored database would at once begin to delete what has expired since the backup, and no copy could be
compared. So expiry rules (TTL indexes, time series, clustered collections) are not set at all but noted in the
marker collection, where `measure` finds them; `finish` sets them once the copy has been measured.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from pymongo import WriteConcern

from ...domain.errors import DamagedArtifact, MissingPrivilege, StorageError
from ...ports.backup import OnProgress, Piece, RestoreReport
from . import layout
from .catalogue import Database
from .errors import RESTORE_HINT
from .hashing import counts_as_index, expiry_seconds
from .layout import Definition
from .link import Link
from .load import Loader
from .names import MARKER, MARKER_VALIDATOR, NOTE_EXPIRY, NOTE_RESTORED, checked, refuse_taken

MAX_METADATA = 64 << 20
DURABLE = WriteConcern(w="majority", j=True, wtimeout=120_000)


@dataclass(frozen=True, slots=True)
class Expiry:
    """An expiry rule to note; `index` is none for a rule of the collection itself."""

    collection: str
    index: str | None
    seconds: int


@dataclass(slots=True)
class _Work:
    """What has been read and what is left for the end."""

    definitions: dict[str, Definition] = field(default_factory=dict)
    expiries: list[Expiry] = field(default_factory=list)
    views: list[Definition] = field(default_factory=list)


async def claim(link: Link, name: str) -> None:
    """Make the database, empty; NameTaken when it is there or somebody is faster."""
    refuse_taken(checked(name), await link.existing())
    async with link.speaking() as client:
        await client[name].command({"create": MARKER, "validator": MARKER_VALIDATOR})


async def restore(
    link: Link, pieces: AsyncIterator[Piece], name: str, on_progress: OnProgress
) -> RestoreReport:
    await claim(link, name)
    try:
        return await _Restore(link, name, on_progress).run(pieces)
    except BaseException as error:
        await asyncio.shield(_drop(link, name))
        if isinstance(error, MissingPrivilege):
            raise MissingPrivilege(error.detail, hint=RESTORE_HINT) from error
        raise


async def _drop(link: Link, name: str) -> None:
    """Drop the half-made database; where that fails too, the error that led here is the one to tell."""
    with suppress(StorageError):
        async with link.speaking() as client:
            await client.drop_database(name)


class _Restore:
    def __init__(self, link: Link, name: str, on_progress: OnProgress) -> None:
        self._link = link
        self._name = name
        self._on_progress = on_progress
        self._done = 0
        self._work = _Work()
        self._seen: set[str] = set()
        self._marker = MARKER

    async def run(self, pieces: AsyncIterator[Piece]) -> RestoreReport:
        async with self._link.speaking() as client:
            database = client.get_database(
                self._name, codec_options=layout.EXACT, write_concern=WriteConcern(w=1)
            )
            await self._members(database, pieces)
            for definition in self._work.definitions.values():
                await self._finish(database, definition)
            for view in self._work.views:
                await database.command({"create": view.name, **view.options})
            await self._note_expiry(database)
            # waits for every write before it
            marker = database.get_collection(self._marker, write_concern=DURABLE)
            await marker.insert_one({"_id": NOTE_RESTORED})
        return RestoreReport()

    async def _members(self, database: Database, pieces: AsyncIterator[Piece]) -> None:
        """Walk the members: prelude, then each collection's metadata before its data."""
        member, text, loader = "", bytearray(), None
        try:
            async for piece in pieces:
                if piece.member != member:
                    await self._ended(database, member, text, loader)
                    member, text = piece.member, bytearray()
                    loader = self._begun(database, member)
                if loader is not None:
                    await loader.feed(piece.data)
                elif len(text) + len(piece.data) > MAX_METADATA:
                    raise DamagedArtifact(
                        f"The member {member[:100]} is too large to be a collection's metadata."
                    )
                else:
                    text += piece.data
                self._done += len(piece.data)
                self._on_progress(self._done, None)
            await self._ended(database, member, text, loader)
        except BaseException:
            if loader is not None:
                await loader.abandon()
            raise
        if layout.PRELUDE not in self._seen:
            raise DamagedArtifact("This is not a MongoDB backup: it has no prelude.")

    def _begun(self, database: Database, member: str) -> Loader | None:
        first = not self._seen
        if member in self._seen or first != (member == layout.PRELUDE):
            raise DamagedArtifact(f"The member {member[:100]} is out of place.")
        self._seen.add(member)
        if member == layout.PRELUDE or member.endswith(layout.METADATA):
            return None
        definition = self._work.definitions.get(member)
        if definition is None:
            raise DamagedArtifact(f"The member {member[:100]} belongs to no collection.")
        return Loader(database[definition.data], ordered=definition.kind == "capped")

    async def _ended(self, database: Database, member: str, text: bytearray, loader: Loader | None) -> None:
        if loader is not None:
            await loader.finish()
        elif member.endswith(layout.METADATA):
            await self._create(database, layout.read_metadata(member, bytes(text)))

    async def _create(self, database: Database, definition: Definition) -> None:
        if definition.name == self._marker:  # people's own collection takes the name, the marker the next one
            self._marker += "_"
            await database.command({"create": self._marker, "validator": MARKER_VALIDATOR})
            await database.drop_collection(definition.name)
        if definition.kind == "view":
            self._work.views.append(definition)
            return
        self._work.definitions[layout.data_member(definition)] = definition
        later = {"validator", "validationLevel", "validationAction", "expireAfterSeconds"}
        await database.command(
            {"create": definition.name} | {k: v for k, v in definition.options.items() if k not in later}
        )
        if seconds := expiry_seconds(definition.options.get("expireAfterSeconds")):
            self._work.expiries.append(Expiry(definition.name, None, seconds))

    async def _finish(self, database: Database, definition: Definition) -> None:
        """Build the indexes in one pass, then set the validator."""
        specs = [self._held(definition, dict(spec)) for spec in definition.indexes if counts_as_index(spec)]
        if specs:
            await database.command({"createIndexes": definition.name, "indexes": specs})
        rules = {k: v for k, v in definition.options.items() if k.startswith("validat")}
        if rules:
            await database.command({"collMod": definition.name} | rules)

    def _held(self, definition: Definition, spec: dict[str, Any]) -> dict[str, Any]:
        spec.pop("ns", None)
        if "collation" in definition.options and "collation" not in spec:
            spec["collation"] = {"locale": "simple"}  # or it would inherit the collection's
        seconds = expiry_seconds(spec.get("expireAfterSeconds"))
        if seconds is not None:
            del spec["expireAfterSeconds"]
            self._work.expiries.append(Expiry(definition.name, spec["name"], seconds))
        return spec

    async def _note_expiry(self, database: Database) -> None:
        if rules := [asdict(rule) for rule in self._work.expiries]:
            await database[self._marker].insert_one({"_id": NOTE_EXPIRY, "rules": rules})
