"""Backups of databases that are files of documents: a plain tree of JSON files, as of one moment.

`about.json` comes first: the collections with their indexes and counts, and where each of them lies. A collection is a
file of lines, a document in each; what others put into the database, a file of its own.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from ...domain.backup import Manifest, ManifestObject, build_manifest
from ...domain.errors import Internal
from ...ports.backup import OnProgress, Piece, RestoreReport
from .form import Kept, index_as_json
from .loading import kept_of
from .restore import Arrival
from .shelves import Shelves, whole
from .stored import Stored

#: The rules by which contents are hashed, and their version: see `digest`.
METHOD = "files-1"
ABOUT = "about.json"
PIECE = 1 << 20
_RUN = 200
_READABLE = re.compile(r"[A-Za-z0-9_-]{1,80}")

#: Counts and hashes a database by its files alone.
Measure = Callable[[Path], tuple[ManifestObject, ...]]


def digest(stored: Stored) -> int:
    """A document's hash: BLAKE3 over its canonical JSON; a collection's is their sum, so order does not matter."""
    row = [
        stored.id,
        stored.version,
        stored.created_at,
        stored.updated_at,
        stored.tagged,
        orjson.loads(stored.raw),
    ]
    canonical = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    return int.from_bytes(blake3(canonical).digest(length=16), "little")


class FileDump:
    """A running dump of a moment that is kept in memory; writers go on."""

    def __init__(self, kept: Kept, kind: str, version: str, on_progress: OnProgress) -> None:
        self._kept, self._kind, self._version, self._told = kept, kind, version, on_progress
        self._objects: list[ManifestObject] = []
        self._complete = False

    @property
    def manifest(self) -> Manifest:
        if not self._complete:
            raise Internal("The manifest was read before the pieces came to their end.")
        return build_manifest(self._kind, self._version, METHOD, tuple(self._objects))

    async def pieces(self) -> AsyncIterator[Piece]:
        """What a thread makes of the moment, a piece at a time."""
        made = self._made()
        done = 0
        while (piece := await asyncio.to_thread(next, made, None)) is not None:
            done += len(piece.data)
            self._told(done, None)
            yield piece
        self._complete = True

    def _made(self) -> Iterator[Piece]:
        kept = self._kept
        members = {
            name: _member("collections", n, name, "jsonl") for n, name in enumerate(sorted(kept.tables))
        }
        tables = {name: found for name, found in sorted(kept.foreign.items()) if found is not None}
        foreign = {name: _member("tables", n, name, "json") for n, name in enumerate(tables)}
        yield Piece(ABOUT, orjson.dumps(self._about(members, foreign), option=orjson.OPT_INDENT_2))
        for name, member in members.items():
            yield from self._collection(name, member)
        for name, member in foreign.items():
            text = json.dumps(tables[name]).encode()
            self._objects.append(foreign_object(name, tables[name]))
            for start in range(0, len(text), PIECE):
                yield Piece(member, text[start : start + PIECE])

    def _about(self, members: dict[str, str], foreign: dict[str, str]) -> dict[str, Any]:
        kept = self._kept
        return {
            "format": 1,
            "collections": [
                {
                    "name": name,
                    "member": member,
                    "rows": len(kept.tables[name]),
                    "indexes": list(map(index_as_json, kept.indexes.get(name, ()))),
                }
                for name, member in members.items()
            ],
            "tables": [{"name": name, "member": member} for name, member in foreign.items()],
            "left_out": sorted(name for name, found in kept.foreign.items() if found is None),
        }

    def _collection(self, name: str, member: str) -> Iterator[Piece]:
        rows, total, waiting = self._kept.tables[name], 0, bytearray()
        for start in range(0, len(rows), _RUN):
            run = rows[start : start + _RUN]
            total += sum(map(digest, run))
            for stored in run:
                waiting += stored.line()
                while len(waiting) >= PIECE:
                    yield Piece(member, bytes(waiting[:PIECE]))
                    del waiting[:PIECE]
        if waiting:
            yield Piece(member, bytes(waiting))
        self._objects.append(ManifestObject(name, "collection", len(rows), summed(total)))
        for index in self._kept.indexes.get(name, ()):
            self._objects.append(index_object(name, index_as_json(index)))


def summed(total: int) -> str:
    return format(total & ((1 << 128) - 1), "032x")


def index_object(collection: str, index: dict[str, Any]) -> ManifestObject:
    canonical = json.dumps([index["paths"], bool(index["unique"])]).encode()
    return ManifestObject(f"{collection}.{index['name']}", "index", 0, blake3(canonical).hexdigest())


def foreign_object(name: str, table: Any) -> ManifestObject:
    canonical = json.dumps(table, sort_keys=True).encode()
    return ManifestObject(name, "table", len(table), blake3(canonical).hexdigest())


def _member(folder: str, number: int, name: str, ending: str) -> str:
    return f"{folder}/{name if _READABLE.fullmatch(name) else f'{number}~'}.{ending}"


class FileBackup:
    """Backup of the databases of one directory. `measure` is the engine's own look at its files."""

    def __init__(self, shelves: Shelves, measure: Measure) -> None:
        self._shelves, self._measure = shelves, measure

    def dump(self, name: str, on_progress: OnProgress) -> AbstractAsyncContextManager[FileDump]:
        return self._dump(name, on_progress)

    @asynccontextmanager
    async def _dump(self, name: str, on_progress: OnProgress) -> AsyncGenerator[FileDump]:
        state = (await self._shelves.shelf(name)).state
        form = self._shelves.form
        yield FileDump(kept_of(state, state.base), str(form.kind), form.version, on_progress)

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        """Gather all, write it under a private name, publish; a database is all or nothing."""
        arrival = Arrival(self._shelves.form, self._shelves.place, name)
        try:
            await whole(self._shelves.offline(arrival.open))
            async for piece in pieces:
                on_progress(await self._shelves.offline(lambda piece=piece: arrival.take(piece)), None)
            skipped = await whole(self._shelves.offline(arrival.publish))
        except BaseException:
            await whole(self._shelves.offline(arrival.withdraw))
            raise
        return RestoreReport(skipped)

    async def finish(self, name: str) -> tuple[str, ...]:
        """Nothing waits: indexes are made when the database is opened."""
        await self._shelves.offline(lambda: self._shelves.place.file(name))
        return ()

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        path = await self._shelves.offline(lambda: self._shelves.place.file(name))
        return await self._shelves.offline(lambda: self._measure(path))
