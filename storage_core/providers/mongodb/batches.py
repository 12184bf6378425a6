"""Raw batches of a collection: what `find_raw_batches` answers, at a quarter of its cost.

PyMongo's raw cursors still make an object of every document of a batch before they join them again: 1.2 s of
processor time for 200 MB, more than the server takes to read them. A command's reply stays bytes until it is looked
into, so the `find` and `getMore` commands are sent as such and the batch is cut out of the reply. It also lets every
read of a dump name the snapshot's time itself (`readConcern.atClusterTime`), so that several can run at once.
"""

import struct
from contextlib import suppress
from typing import Any

from bson import (
    Int64,
    Timestamp,
    _array_of_documents_to_buffer,  # strips the array's keys; the joint between PyMongo's versions and us
)
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

Database = AsyncDatabase[dict[str, Any]]

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

ARRAY, STRING, LONG, TIMESTAMP, BOOLEAN = 0x04, 0x02, 0x12, 0x11, 0x08


class RawBatches:
    """A cursor over one collection's raw documents. The server ends a cursor with its session.

    `at` is the snapshot's time, none for an ordinary read; `natural` reads in the order on disk.
    """

    def __init__(
        self,
        database: Database,
        collection: str,
        size: int,
        session: AsyncClientSession,
        at: Timestamp | None,
        *,
        natural: bool,
    ) -> None:
        self._database = database
        self._collection = collection
        self._size = size
        self._session = session
        self._begin: dict[str, Any] = {"find": collection, "batchSize": size}
        if natural:
            self._begin["sort"] = {"$natural": 1}
        if at is not None:
            self._begin["readConcern"] = snapshot_concern(at)
        self._cursor: int | None = None

    async def next(self) -> bytes | None:
        """The next documents, concatenated; none at the end."""
        while self._cursor != 0:
            command = self._begin
            if self._cursor is not None:
                command = {
                    "getMore": Int64(self._cursor),
                    "collection": self._collection,
                    "batchSize": self._size,
                }
            reply = await self._database.command(command, codec_options=RAW, session=self._session)
            documents, self._cursor = _taken(reply["cursor"].raw)
            if documents:
                return documents
        return None

    async def close(self) -> None:
        """End the cursor on the server; idempotent."""
        cursor, self._cursor = self._cursor, 0
        if cursor:
            with suppress(PyMongoError):
                kill = {"killCursors": self._collection, "cursors": [Int64(cursor)]}
                await self._database.command(kill, session=self._session)


def snapshot_concern(at: Timestamp | None) -> dict[str, Any]:
    """The read concern of a snapshot: a new one (the reply names its time), or the one at a time."""
    return {"level": "snapshot"} | ({"atClusterTime": at} if at is not None else {})


def _taken(cursor: bytes | memoryview) -> tuple[bytes, int]:
    """The documents and the cursor's id out of a reply's `cursor`, looking only at its top level."""
    view, documents, number = memoryview(cursor), b"", 0
    at = 4
    while kind := view[at]:
        key_end = at + 1
        while view[key_end]:
            key_end += 1
        key, at = bytes(view[at + 1 : key_end]), key_end + 1
        if kind == ARRAY:
            size: int = struct.unpack_from("<i", view, at)[0]
            if key in (b"firstBatch", b"nextBatch"):
                documents = _array_of_documents_to_buffer(view[at : at + size])
        elif kind == STRING:
            size = 4 + struct.unpack_from("<i", view, at)[0]
        elif kind in (LONG, TIMESTAMP):
            size = 8
            if key == b"id":
                number = struct.unpack_from("<q", view, at)[0]
        elif kind == BOOLEAN:
            size = 1
        else:
            raise PyMongoError(f"a cursor's reply has a field of type {kind}")
        at += size
    return documents, number
