"""One collection of documents in MongoDB, on PyMongo alone: one round trip for each call that finds nothing in its way."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure

from ...domain.errors import (
    Conflict,
    InvalidRequest,
    StorageError,
    Unsupported,
)
from ...domain.naming import said
from ...domain.patch import patched
from ...domain.query import Node, Path, Regex, Text, conditions, projected
from ...domain.record import Find, Index, Outcome, Row, Write
from . import collection_bulk, collection_index
from .collection_commands import changed, read
from .collection_filter import condition
from .collection_form import PREFIX, Document, Documents, new_document, row_of, stamp
from .collection_order import Sorted, projection
from .collection_update import on_the_way, patching, refusal, replacing, taken, unfound, wanted
from .link import DRIVER_ERRORS, Client, Link

#: How often a document that others change at the same moment is read again.
RACES = 20
BAD_VALUE, NO_TEXT_INDEX, NO_PLAN = 2, 27, 291
TWO_LISTS = "cannot sort with keys that are parallel arrays"
BAD_PATTERN = frozenset({BAD_VALUE, 51091, 51109, 51111})

#: Inside a transaction nobody waits for a turn: the transaction has one.
_INSIDE: AbstractAsyncContextManager[None] = nullcontext()

Handles = Callable[[Client], Documents]


class MongoCollection:
    """See `ports.collection.Collection`.

    `handle` answers the driver's object for a client; `session` is the transaction that all of its calls are part of.
    """

    __slots__ = ("_client", "_documents", "_handle", "link", "name", "session", "turn")

    def __init__(
        self, link: Link, name: str, handle: Handles, session: AsyncClientSession | None = None
    ) -> None:
        self.link, self.name, self._handle, self.session = link, name, handle, session
        self.turn: AbstractAsyncContextManager[None] = link.writers if session is None else _INSIDE
        self._client: Client | None = None
        self._documents: Documents | None = None

    async def documents(self) -> Documents:
        """The driver's collection, of the client that is open."""
        client = self.link.client
        if client is not None and client is self._client and self._documents is not None:
            return self._documents
        self._client = client or await self.link.open()
        self._documents = self._handle(self._client)
        return self._documents

    def within(self, session: AsyncClientSession) -> "MongoCollection":
        """The same collection as part of a transaction."""
        return MongoCollection(self.link, self.name, self._handle, session)

    async def insert(self, id: str, body: Mapping[str, Any], at: datetime, *, tagged: bool = False) -> None:
        documents = await self.documents()
        if self.session is not None and await self.get(id) is not None:
            raise taken(id)  # an error of the server's would end the transaction
        try:
            async with self.turn:
                await documents.insert_one(new_document(id, body, stamp(at), tagged), session=self.session)
        except DRIVER_ERRORS as error:
            raise await self.failed(error, id) from error

    async def get(self, id: str) -> Row | None:
        documents = await self.documents()
        try:
            found = await read(documents, {"_id": id}, 1, self.session)
        except DRIVER_ERRORS as error:
            raise await self.failed(error, id) from error
        return row_of(found[0]) if found else None

    async def replace(
        self,
        id: str,
        body: Mapping[str, Any],
        at: datetime,
        *,
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        update = replacing(body, stamp(at), tagged)
        row = await self._changed(wanted(id, version), update, id, repeatable=version is not None)
        if row is None:
            raise await self._unfound(id, version)
        return row

    async def patch(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        *,
        unset: Sequence[Path] = (),
        version: int | None = None,
        tagged: bool = False,
    ) -> Row:
        update = patching(changes, unset, stamp(at), tagged)
        if (
            update is not None and self.session is None
        ):  # in a transaction an error of the server's would end it
            try:
                which = {**wanted(id, version), **on_the_way(unset)} if unset else wanted(id, version)
                row = await self._changed(which, update, id, repeatable=version is not None)
            except InvalidRequest:
                row = None
            if row is not None:
                return row
        return await self._patch_slowly(id, changes, at, unset, version, tagged)

    async def _patch_slowly(
        self,
        id: str,
        changes: Mapping[Path, Any],
        at: datetime,
        unset: Sequence[Path],
        version: int | None,
        tagged: bool,
    ) -> Row:
        """Read, change, write back if nobody was faster: for what MongoDB's operators cannot say, and to say why not."""
        for _ in range(RACES):
            row = await self.get(id)
            if row is None or version not in (None, row.version):
                raise unfound(id, version, None if row is None else row.version)
            body = patched(row.body, changes, unset)
            update = replacing(body, stamp(at), tagged or row.tagged)
            written = await self._changed(wanted(id, row.version), update, id)
            if written is not None:
                return written
        raise Conflict(f"The document {said(id)} is changed by others all the time.", hint="Try again.")

    async def delete(self, id: str, *, version: int | None = None) -> None:
        documents = await self.documents()
        try:
            async with self.turn:
                done = await documents.delete_one(wanted(id, version), session=self.session)
        except DRIVER_ERRORS as error:
            raise await self.failed(error, id) from error
        if not done.deleted_count:
            raise await self._unfound(id, version)

    async def insert_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return await collection_bulk.insert_many(self, writes, at)

    async def change_many(self, writes: Sequence[Write], at: datetime) -> list[Outcome]:
        return await collection_bulk.change_many(self, writes, at)

    async def find(self, find: Find) -> list[Row]:
        order = Sorted.of(find)
        documents = await self.documents()
        project = projection(find.fields, order.paths)
        rows: list[Row] | None = None
        try:
            if order.plain and (len(order.paths) < 2 or self.session is None):
                rows = await self._read_plainly(documents, find, order, project)
            if rows is None:
                rows = await self._read_ranked(documents, order.ranked(find, project), find.limit)
        except DRIVER_ERRORS as error:
            raise await self._unanswered(error, find.where) from error
        if find.fields is not None:
            for row in rows:
                row.body = projected(row.body, find.fields)
        return rows

    async def _read_plainly(
        self, documents: Documents, find: Find, order: Sorted, project: Document | None
    ) -> list[Row] | None:
        """The page in MongoDB's own order; none where that is not ours."""
        where = order.behind(condition(find.where))
        try:
            found = await read(documents, where, find.limit, self.session, order.natural(), project)
        except OperationFailure as error:
            if error.code == BAD_VALUE and TWO_LISTS in str(error):
                return None  # which would end a transaction: there it is not tried
            raise
        return order.right([row_of(document) for document in found], find.limit)

    async def _read_ranked(self, documents: Documents, stages: list[Document], limit: int) -> list[Row]:
        cursor = await documents.aggregate(
            stages, session=self.session, allowDiskUse=True, batchSize=limit + 1
        )
        return [row_of(document) for document in await cursor.to_list()]

    async def count(self, where: Node | None) -> int:
        documents = await self.documents()
        try:
            return int(await documents.count_documents(condition(where), session=self.session))
        except DRIVER_ERRORS as error:
            raise await self._unanswered(error, where) from error

    async def create_index(self, index: Index) -> None:
        try:
            await collection_index.create(await self.documents(), index)
        except DRIVER_ERRORS as error:
            raise await self.link.failed(error) from error

    async def indexes(self) -> tuple[Index, ...]:
        try:
            return await collection_index.listed(await self.documents())
        except DRIVER_ERRORS as error:
            raise await self.link.failed(error) from error

    async def drop_index(self, name: str) -> None:
        try:
            await collection_index.drop(await self.documents(), name)
        except DRIVER_ERRORS as error:
            raise await self.link.failed(error) from error

    async def _changed(
        self, which: Document, update: Document, id: str, *, repeatable: bool = False
    ) -> Row | None:
        """The changed document, none where `which` finds none.

        :param repeatable: whoever calls may repeat it when its answer is lost. Otherwise the driver does, for which
            the server has to keep a copy of each document.
        """
        documents = await self.documents()
        try:
            async with self.turn:
                if repeatable and self.session is None:
                    found = await changed(documents, which, update)
                else:
                    found = await documents.find_one_and_update(
                        which, update, return_document=ReturnDocument.AFTER, session=self.session
                    )
        except DRIVER_ERRORS as error:
            raise await self.failed(error, id) from error
        return None if found is None else row_of(found)

    async def _unfound(self, id: str, version: int | None) -> StorageError:
        """Why no document was found to change: NotFound, or VersionConflict where a version was asked for."""
        documents = await self.documents()
        try:
            found = await documents.find_one({"_id": id}, {"version": 1}, session=self.session)
        except DRIVER_ERRORS as error:
            raise await self.failed(error, id) from error
        return unfound(id, version, None if found is None else found["version"])

    async def failed(self, error: Exception, id: str) -> StorageError:
        """The product's error for a write of one document."""
        if isinstance(error, DuplicateKeyError | OperationFailure):
            known = refusal(error.code, error.details or {}, id)
            if known is not None:
                return known
        return await self.link.failed(error)

    async def _unanswered(self, error: Exception, where: Node | None) -> StorageError:
        """The product's error for a question."""
        if where is not None and isinstance(error, OperationFailure):
            asked = {type(node) for node in conditions(where)}
            if Text in asked and error.code in (NO_TEXT_INDEX, BAD_VALUE, NO_PLAN):
                return Unsupported(
                    f"The collection {self.name} has no text index, or $text stands inside $or or $not.",
                    field="where",
                    hint="Ask for $text beside other conditions; an index is made in mongosh: "
                    f'db["{PREFIX}{self.name}"].createIndex({{"body.title": "text"}}).',
                )
            if Regex in asked and error.code in BAD_PATTERN:
                why = (error.details or {}).get("errmsg", "")
                return InvalidRequest(
                    f"where has a pattern that MongoDB does not take: {why}"[:200],
                    field="where",
                    hint="MongoDB's patterns are those of PCRE, of up to 32 kB.",
                )
        return await self.link.failed(error)
