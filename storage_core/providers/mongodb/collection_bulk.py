"""Many writes at once, with what became of each.

The server says of unordered updates only how many matched. So each update may insert, and an insertion sets the id to
what it cannot be: where nothing matched the server reports an error with the item's number, and nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import bson
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from ...domain.errors import NotFound, StorageError
from ...domain.record import Outcome, Write
from .collection_commands import read
from .collection_form import Document, new_document, stamp
from .collection_update import PATH_IN_THE_WAY, patching, refusal, replacing, taken, unfound, wanted
from .errors import is_too_large, translate
from .link import DRIVER_ERRORS

if TYPE_CHECKING:
    from .collection import MongoCollection

UNMATCHED = 66
NOWHERE: Document = {"_id": ""}
#: The largest document a server takes.
LARGEST = 16 * 1024 * 1024


async def insert_many(to: "MongoCollection", writes: Sequence[Write], at: datetime) -> list[Outcome]:
    if not writes:
        return []
    if to.session is not None:
        return await _inserted_within(to, writes, at)
    return await _inserted(to, writes, at)


async def _inserted_within(to: "MongoCollection", writes: Sequence[Write], at: datetime) -> list[Outcome]:
    """In a transaction, which a taken id would end: those are looked for first."""
    ids = set(await _versions(to, [w.id for w in writes]))
    outcomes: list[Outcome | None] = []
    left: list[Write] = []
    for write in writes:
        if write.id in ids:
            outcomes.append(Outcome(write.id, error=taken(write.id)))
        else:
            outcomes.append(None)
            left.append(write)
            ids.add(write.id)
    done = iter(await _inserted(to, left, at) if left else [])
    return [outcome or next(done) for outcome in outcomes]


async def _inserted(to: "MongoCollection", writes: Sequence[Write], at: datetime) -> list[Outcome]:
    when = stamp(at)
    documents = [new_document(w.id, w.body or {}, when, w.tagged) for w in writes]
    handle = await to.documents()
    try:
        async with to.turn:
            await handle.insert_many(documents, ordered=False, session=to.session)
    except BulkWriteError as error:
        return _outcomes(to, writes, _failures(to, writes, error))
    except DRIVER_ERRORS as error:
        if isinstance(error, PyMongoError) and is_too_large(error):
            return await _without_the_largest(to, writes, documents, at, error)
        raise await to.link.failed(error) from error
    return [Outcome(w.id, 1) for w in writes]


async def _without_the_largest(
    to: "MongoCollection",
    writes: Sequence[Write],
    documents: list[Document],
    at: datetime,
    error: PyMongoError,
) -> list[Outcome]:
    """One document was refused and some before it may be stored: what is there as it was to be is done."""
    too_large = [len(bson.encode(document)) > LARGEST for document in documents]
    handle = await to.documents()
    found = handle.find({"_id": {"$in": [w.id for w in writes]}}, session=to.session)
    stored = {document["_id"]: document async for document in found}
    left = [
        write
        for write, document, large in zip(writes, documents, too_large, strict=True)
        if not large and stored.get(write.id) != document
    ]
    done = iter(await insert_many(to, left, at))
    refused = await to.link.failed(error)
    return [
        Outcome(w.id, error=refused) if large else Outcome(w.id, 1) if w not in left else next(done)
        for w, large in zip(writes, too_large, strict=True)
    ]


async def change_many(to: "MongoCollection", writes: Sequence[Write], at: datetime) -> list[Outcome]:
    if to.session is not None:  # the server's errors would end the transaction; single calls look first
        return [await _one(to, write, at) for write in writes]
    outcomes: list[Outcome] = []
    for run in _runs(writes, stamp(at)):
        if run.deleting:
            outcomes += await _delete(to, run.writes, at)
        elif run.updates:
            outcomes += await _update(to, run.writes, run.updates, at)
        else:
            outcomes.append(await _one(to, run.writes[0], at))
    return outcomes


@dataclass(slots=True)
class _Run:
    """Neighbours that are sent at once: of one kind, each document once; order is kept between runs.

    A run that neither deletes nor has `updates` is one change that the server's operators cannot say.
    """

    deleting: bool
    writes: list[Write]
    updates: list[Document]
    ids: set[str]


def _runs(writes: Sequence[Write], at: str) -> list[_Run]:
    runs: list[_Run] = []
    for write in writes:
        deleting, update = False, None
        if write.body is not None:
            update = replacing(write.body, at, write.tagged)
        elif write.changes and not write.unset:
            update = patching(write.changes, (), at, write.tagged)
        elif not write.unset:
            deleting = True
        alone = update is None and not deleting
        last = runs[-1] if runs else None
        if last is None or alone or last.deleting != deleting or not last.ids or write.id in last.ids:
            last = _Run(deleting, [], [], set())
            runs.append(last)
        last.writes.append(write)
        if update is not None:
            last.updates.append(update)
        if not alone:
            last.ids.add(write.id)
    return runs


async def _delete(to: "MongoCollection", writes: Sequence[Write], at: datetime) -> list[Outcome]:
    stored = await _versions(to, [w.id for w in writes])
    refused = {
        w.id: unfound(w.id, w.version, stored.get(w.id))
        for w in writes
        if w.id not in stored or w.version not in (None, stored[w.id])
    }
    requests = [DeleteOne(wanted(w.id, w.version)) for w in writes if w.id not in refused]
    left: dict[str, int] = {}
    if requests:
        handle = await to.documents()
        try:
            async with to.turn:
                done = await handle.bulk_write(requests, ordered=False)
        except DRIVER_ERRORS as error:
            raise await to.link.failed(error) from error
        if done.deleted_count < len(requests):
            left = await _versions(to, [w.id for w in writes if w.id not in refused])
    outcomes = [Outcome(w.id, error=refused.get(w.id)) for w in writes]
    for number, write in enumerate(writes):
        if write.id in left and write.id not in refused:  # somebody changed it meanwhile
            outcomes[number] = await _one(to, write, at)
    return outcomes


async def _update(
    to: "MongoCollection", writes: Sequence[Write], updates: Sequence[Document], at: datetime
) -> list[Outcome]:
    # An update by id alone is much the cheaper one. Where others change the document between this reading and the
    # update, the version told is an earlier one than the update's: who asks for it is refused, and reads again.
    stored = await _versions(to, [w.id for w in writes if w.version is None])
    requests: list[UpdateOne] = []
    for write, update in zip(writes, updates, strict=True):
        update["$setOnInsert"] = NOWHERE
        requests.append(UpdateOne(wanted(write.id, write.version), update, upsert=True))
    failed: dict[int, StorageError | None] = {}
    handle = await to.documents()
    try:
        async with to.turn:
            await handle.bulk_write(requests, ordered=False)
    except BulkWriteError as error:
        failed = _failures(to, writes, error)
    except DRIVER_ERRORS as error:
        raise await to.link.failed(error) from error
    outcomes = [Outcome(w.id, (stored.get(w.id, 0) if w.version is None else w.version) + 1) for w in writes]
    for number, refused in failed.items():
        # none: it was not found so, or cannot be sent as it is; the single call does it or says why
        write = writes[number]
        outcomes[number] = Outcome(write.id, error=refused) if refused else await _one(to, write, at)
    return outcomes


async def _versions(to: "MongoCollection", ids: list[str]) -> dict[str, int]:
    if not ids:
        return {}
    handle = await to.documents()
    try:
        found = await read(handle, {"_id": {"$in": ids}}, len(ids), to.session, project={"version": 1})
        return {document["_id"]: document["version"] for document in found}
    except DRIVER_ERRORS as error:
        raise await to.link.failed(error) from error


async def _one(to: "MongoCollection", write: Write, at: datetime) -> Outcome:
    """One item by its own call."""
    try:
        if write.body is None and not write.changes and not write.unset:
            await to.delete(write.id, version=write.version)
            return Outcome(write.id)
        if write.body is not None:
            row = await to.replace(write.id, write.body, at, version=write.version, tagged=write.tagged)
        else:
            row = await to.patch(
                write.id,
                write.changes or {},
                at,
                unset=write.unset,
                version=write.version,
                tagged=write.tagged,
            )
    except StorageError as error:
        if error.transient:
            raise  # about the server, not about the document
        return Outcome(write.id, error=error)
    return Outcome(row.id, row.version)


def _failures(
    to: "MongoCollection", writes: Sequence[Write], error: BulkWriteError
) -> dict[int, StorageError | None]:
    """Errors by the item's number; none for what is to be tried by itself. Raises what is about no item."""
    details = error.details or {}
    errors: list[dict[str, Any]] = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or not errors:
        raise translate(error, to.link.place) from error
    if to.session is not None:  # the server has ended the transaction at the first of them
        first = errors[0]
        known = refusal(first.get("code"), first, writes[first["index"]].id)
        raise known or translate(_operation(first), to.link.place) from error
    found: dict[int, StorageError | None] = {}
    for one in errors:
        id, code = writes[one["index"]].id, one.get("code")
        if code in (UNMATCHED, PATH_IN_THE_WAY):
            found[one["index"]] = None
        else:
            known = refusal(code, one, id)
            found[one["index"]] = known or translate(_operation(one), to.link.place)
    return found


def _operation(error: Mapping[str, Any]) -> OperationFailure:
    return OperationFailure(str(error.get("errmsg", "")), error.get("code"), error)


def _outcomes(
    to: "MongoCollection", writes: Sequence[Write], failures: Mapping[int, StorageError | None]
) -> list[Outcome]:
    return [
        Outcome(w.id, error=failures[i] or NotFound(f"There is no document {w.id}."))
        if i in failures
        else Outcome(w.id, 1)
        for i, w in enumerate(writes)
    ]
