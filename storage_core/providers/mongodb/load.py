"""Putting raw documents into one collection: several batches on their way at once, each document byte for byte."""

import asyncio
import re
import struct
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.asynchronous.collection import AsyncCollection

from ...domain.errors import DamagedArtifact

Collection = AsyncCollection[dict[str, Any]]

WRITERS = 3
BATCH_BYTES = 4 << 20
BATCH_DOCUMENTS = 10_000
#: MongoDB stores documents of 16 MiB, and its own a little larger.
MAX_DOCUMENT = (16 << 20) + (16 << 10)
#: Somewhere in here is a timestamp of zero, at whatever depth.
ZERO_TIMESTAMP = re.compile(rb"\x11[^\x00]*\x00\x00{8}")
ZERO = Timestamp(0, 0)


class Loader:
    """Takes bytes in any cut, inserts whole documents; `ordered` keeps them in the order they come."""

    def __init__(self, collection: Collection, *, ordered: bool) -> None:
        self._collection = collection
        self._writers = 1 if ordered else WRITERS
        self._rest = bytearray()
        self._batch: list[bytes] = []
        self._size = 0
        self._running: set[asyncio.Task[None]] = set()

    async def feed(self, data: bytes) -> None:
        self._rest += data
        buffer, at = bytes(self._rest), 0
        while len(buffer) - at >= 4:
            size: int = struct.unpack_from("<i", buffer, at)[0]
            if not 5 <= size <= MAX_DOCUMENT:
                raise DamagedArtifact(f"The documents of {self._collection.name} cannot be told apart.")
            if at + size > len(buffer):
                break
            self._batch.append(buffer[at : at + size])
            self._size += size
            at += size
            if self._size >= BATCH_BYTES or len(self._batch) >= BATCH_DOCUMENTS:
                await self._send()
        self._rest = bytearray(buffer[at:])

    async def _send(self) -> None:
        batch = self._batch
        self._batch, self._size = list[bytes](), 0
        if len(self._running) >= self._writers:
            await self._settle(asyncio.FIRST_COMPLETED)
        self._running.add(asyncio.create_task(_insert(self._collection, batch)))

    async def _settle(self, until: str) -> None:
        done, self._running = await asyncio.wait(self._running, return_when=until)
        for task in done:
            task.result()

    async def finish(self) -> None:
        """Insert what is left and wait; DamagedArtifact when the last document is cut."""
        if self._rest:
            raise DamagedArtifact(f"The last document of {self._collection.name} is cut off.")
        if self._batch:
            await self._send()
        if self._running:
            await self._settle(asyncio.ALL_COMPLETED)

    async def abandon(self) -> None:
        """Stop at once; what is under way is cancelled and waited for."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()


async def _insert(collection: Collection, batch: list[bytes]) -> None:
    try:
        documents = [RawBSONDocument(raw) for raw in batch]
    except bson.errors.InvalidBSON as error:
        raise DamagedArtifact(f"A document of {collection.name} is not BSON.") from error
    # nothing validates stored functions, and passing by a validator of theirs takes a privilege few have
    bypass = collection.name != "system.js"
    await collection.insert_many(documents, ordered=True, bypass_document_validation=bypass)
    for raw in batch:
        if ZERO_TIMESTAMP.search(raw) is not None:
            await _repair(collection, RawBSONDocument(raw))


async def _repair(collection: Collection, document: RawBSONDocument) -> None:
    """Write a document again whose timestamp of zero the server has replaced by the current time on insert."""
    if any(value == ZERO for key, value in document.items() if key != "_id"):
        await collection.update_one(
            {"_id": document["_id"]},
            [{"$replaceWith": {"$literal": document}}],
            bypass_document_validation=collection.name != "system.js",
        )
