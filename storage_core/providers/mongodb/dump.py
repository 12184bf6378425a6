"""A running dump: every collection read in one snapshot, hashed one batch behind the read."""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Self

from bson import Timestamp

from ...domain.backup import Manifest, ManifestObject, build_manifest
from ...domain.errors import Conflict, EngineFailure
from ...ports.backup import OnProgress, Piece
from . import catalogue, hashing, layout
from .batches import RawBatches, snapshot_concern
from .layout import Definition
from .link import Client, Link

#: Bytes of one batch asked of the server, and of one piece handed on.
BATCH = 8 << 20
PIECE = 4 << 20
PIN_ATTEMPTS = 5

STANDALONE_NOTE = (
    "A standalone server cannot be read at one moment; writes during the backup may show in part."
)
CAPPED_NOTE = "MongoDB reads capped collections outside the snapshot, from the oldest document on."


class MongoDump:
    """One pass over a database. `open` first; `close` always, it ends the cursor and the hashing."""

    def __init__(self, link: Link, name: str, on_progress: OnProgress) -> None:
        self._link = link
        self._name = name
        self._on_progress = on_progress
        self._at: Timestamp | None = None
        self._definitions: tuple[Definition, ...] = ()
        self._version = ""
        self._expected = 0
        self._per_batch = 1
        self._done = 0
        self._objects: list[ManifestObject] = []
        self._manifest: Manifest | None = None
        self._running: AsyncGenerator[Piece, None] | None = None

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            raise RuntimeError("the manifest is there once all pieces have been read")
        return self._manifest

    async def open(self) -> None:
        await self._link.present(self._name)
        topology = await self._link.topology()
        self._version = topology.version
        async with self._link.speaking() as client:
            stats = await client[self._name].command("dbStats")
            self._expected = int(stats["dataSize"])
            self._per_batch = max(1, min(200_000, int(BATCH / max(stats.get("avgObjSize") or 0, 64))))
            if topology.snapshots:
                await self._pin(client)
            else:
                self._definitions = await catalogue.definitions(client[self._name])

    async def _pin(self, client: Client) -> None:
        """Fix the snapshot between two equal listings, so that the definitions are those of its moment."""
        database = client[self._name]
        before = await catalogue.definitions(database)
        for _ in range(PIN_ATTEMPTS):
            readable = next((d.data for d in before if d.kind in ("collection", "timeseries")), None)
            if readable is not None:
                probe = {"find": readable, "projection": {"_id": 1}, "limit": 1, "singleBatch": True}
                answer = await database.command(probe | {"readConcern": snapshot_concern(None)})
                self._at = answer["cursor"]["atClusterTime"]
            after = await catalogue.definitions(database)
            if before == after:
                self._definitions = after
                return
            before = after
        raise Conflict(
            "Collections keep being created or changed.", hint="Run the backup again in a quieter moment."
        )

    def pieces(self) -> AsyncIterator[Piece]:
        self._running = self._pieces()
        return self._running

    async def _pieces(self) -> AsyncGenerator[Piece, None]:
        yield Piece(layout.PRELUDE, layout.prelude(self._version))
        async with self._link.speaking() as client:
            for definition in self._definitions:
                yield Piece(layout.metadata_member(definition.name), layout.metadata(definition))
                self._objects.extend(_described(definition))
                if definition.kind == "view":
                    continue
                async with aclosing(self._collection(client, definition)) as pieces:
                    async for piece in pieces:
                        yield piece
            await catalogue.confirm_same(client[self._name], self._definitions)
        version, objects = self._version, tuple(self._objects)
        self._manifest = build_manifest("mongodb", version, hashing.METHOD, objects)
        self._on_progress(self._done, max(self._done, self._expected))

    async def _collection(self, client: Client, definition: Definition) -> AsyncGenerator[Piece, None]:
        """The documents of one collection; the server counts them in the same snapshot meanwhile."""
        member, content = (
            layout.data_member(definition),
            hashing.ContentHash(ordered=definition.kind == "capped"),
        )
        consistent = self._at is not None and definition.kind != "capped"
        counting = asyncio.create_task(self._counted(client, definition)) if consistent else None
        try:
            yield Piece(member, b"")  # an empty collection is an empty file, as mongodump writes it
            async with _Behind(content) as behind, aclosing(self._batches(client, definition)) as batches:
                async for batch in batches:
                    await behind.digest(batch)
                    for at in range(0, len(batch), PIECE):
                        yield Piece(member, batch[at : at + PIECE])
                    self._done += len(batch)
                    self._on_progress(self._done, max(self._done, self._expected))
            rows = content.rows if counting is None else await counting
        finally:
            if counting is not None:
                await _stopped(counting)
        if rows != content.rows:
            raise EngineFailure(
                f"{definition.name!r} holds {rows} documents, but {content.rows} were read.",
                hint="Run the backup again.",
            )
        note = "" if consistent else CAPPED_NOTE if definition.kind == "capped" else STANDALONE_NOTE
        if definition.kind == "timeseries":
            note = f"Rows are buckets of measurements. {note}".rstrip()
        self._objects.append(
            ManifestObject(definition.name, definition.kind, rows, content.hex(), consistent, note=note)
        )

    async def _counted(self, client: Client, definition: Definition) -> int:
        """The server's own count in the snapshot, over the index where there is one rather than the documents."""
        command: dict[str, Any] = {
            "aggregate": definition.data,
            "pipeline": [{"$match": {}}, {"$count": "n"}],
            "cursor": {},
            "readConcern": snapshot_concern(self._at),
        }
        if any(spec["name"] == "_id_" for spec in definition.indexes):
            command["hint"] = "_id_"
        found = (await client[self._name].command(command))["cursor"]["firstBatch"]
        return int(found[0]["n"]) if found else 0

    async def _batches(self, client: Client, definition: Definition) -> AsyncGenerator[bytes, None]:
        capped = definition.kind == "capped"
        limit = _Limit(definition) if capped else None
        async with client.start_session(causal_consistency=False) as session:
            cursor = RawBatches(
                client[self._name],
                definition.data,
                self._per_batch,
                session,
                None if capped else self._at,
                natural=capped,
            )
            async with aclosing(_ahead(cursor)) as batches:
                async for batch in batches:
                    kept = batch if limit is None else limit.cut(batch)
                    if kept:
                        yield kept
                    if len(kept) < len(batch):
                        return

    async def close(self) -> None:
        if self._running is not None:
            await self._running.aclose()


class _Behind:
    """Hashes one batch in a thread while the next is read and the last is handed on."""

    def __init__(self, content: hashing.ContentHash) -> None:
        self._content = content
        self._task: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def digest(self, batch: bytes) -> None:
        await self._settle()
        self._task = asyncio.create_task(asyncio.to_thread(hashing.digests, batch))

    async def _settle(self) -> None:
        if self._task is not None:
            self._content.add(await self._task)
            self._task = None

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            await self._settle()
        elif self._task is not None:
            self._task.cancel()


async def _ahead(cursor: RawBatches) -> AsyncGenerator[bytes, None]:
    """The batches of a cursor, one fetched ahead."""
    task = asyncio.create_task(cursor.next())
    try:
        while (batch := await task) is not None:
            task = asyncio.create_task(cursor.next())
            yield batch
    finally:
        await _stopped(task)
        await cursor.close()


async def _stopped(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end; what it ran into no longer matters."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Limit:
    """Ends a capped read at the collection's size.

    Documents inserted during the read would make the copy larger than the collection may be, and a restore
    would then push the oldest out again.
    """

    def __init__(self, definition: Definition) -> None:
        self._bytes = int(definition.options.get("size") or 0) or None
        self._documents = int(definition.options.get("max") or 0) or None

    def cut(self, batch: bytes) -> bytes:
        at = 0
        while at < len(batch):
            size: int = struct.unpack_from("<i", batch, at)[0]
            if self._bytes is not None:
                self._bytes -= size
            if self._documents is not None:
                self._documents -= 1
            if (self._bytes or 0) < 0 or (self._documents or 0) < 0:
                return batch[:at]
            at += size
        return batch


def _described(definition: Definition) -> list[ManifestObject]:
    if definition.kind == "view":
        return [hashing.view_object(definition.name, definition.options)]
    described = [hashing.options_object(definition.name, definition.options)]
    described += [
        hashing.index_object(definition.name, spec)
        for spec in definition.indexes
        if hashing.counts_as_index(spec)
    ]
    return described
