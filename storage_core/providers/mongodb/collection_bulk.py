"""Many writes at once, with what became of each.

The server says of unordered updates only how many matched. So each update may insert, and an insertion sets the id to
what it cannot be: where nothing matched the server reports an error with the item's number, and nothing is written.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import bson
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from ...domain.errors import NotFound, StorageError
from ...domain.record import Outcome, Write
from .collection_form import CODEC, Document, new_document, stamp
from .collection_update import PATH_IN_THE_WAY, patching, refusal, replacing, taken, unfound
from .errors import is_too_large, translate
from .link import DRIVER_ERRORS

if TYPE_CHECKING:
    from .collection import MongoCollection

UNMATCHED = 66
NOWHERE: Document = {"$setOnInsert": {"_id": ""}}
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
    too_large = [len(bson.encode(document, codec_options=CODEC)) > LARGEST for document in documents]
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
    outcomes: list[Outcome | None] = [None] * len(writes)
    for run in _runs(writes):
        if _is_single(writes[run[0]]):
            outcomes[run[0]] = await _one(to, writes[run[0]], at)
            continue
        done = await _change(to, [writes[i] for i in run], at)
        for i, outcome in zip(run, done, strict=True):
            outcomes[i] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def _runs(writes: Sequence[Write]) -> list[list[int]]:
    """Neighbours that may be sent at once: of one kind, each document once; order is kept between runs."""
    runs: list[list[int]] = []
    ids: set[str] = set()
    kind: tuple[bool, bool] | None = None
    for i, write in enumerate(writes):
        alone = _is_single(write)
        mine = (alone, _is_deletion(write))
        if alone or mine != kind or write.id in ids:
            runs.append([])
            ids, kind = set(), None if alone else mine
        runs[-1].append(i)
        ids.add(write.id)
    return runs


def _is_deletion(write: Write) -> bool:
    return write.body is None and not write.changes and not write.unset


def _is_single(write: Write) -> bool:
    """Whether the server's operators cannot say the change."""
    if write.body is not None or _is_deletion(write):
        return False
    return bool(write.unset) or patching(write.changes or {}, (), "", False) is None


async def _change(to: "MongoCollection", writes: Sequence[Write], at: datetime) -> list[Outcome]:
    versions = await _versions(to, [w.id for w in writes if w.version is None])
    wanted = [versions.get(w.id) if w.version is None else w.version for w in writes]
    sent = [i for i, version in enumerate(wanted) if version is not None]
    deleting = _is_deletion(writes[0])
    requests = [_request(writes[i], wanted[i] or 0, stamp(at)) for i in sent]
    failed: dict[int, StorageError | None] = {}
    if requests:
        handle = await to.documents()
        try:
            result = await handle.bulk_write(requests, ordered=False, session=to.session)
            if deleting and result.deleted_count < len(sent):
                left = await _versions(to, [writes[i].id for i in sent])
                failed = {at: None for at, i in enumerate(sent) if writes[i].id in left}
        except BulkWriteError as error:
            failed = _failures(to, [writes[i] for i in sent], error)
        except DRIVER_ERRORS as error:
            raise await to.link.failed(error) from error
    outcomes: list[Outcome] = []
    numbers = {i: number for number, i in enumerate(sent)}
    for i, write in enumerate(writes):
        number = numbers.get(i)
        if number is None:
            outcomes.append(Outcome(write.id, error=unfound(write.id, None, None)))
        elif number not in failed:
            outcomes.append(Outcome(write.id, None if deleting else (wanted[i] or 0) + 1))
        elif (error := failed[number]) is not None:
            outcomes.append(Outcome(write.id, error=error))
        else:  # somebody was faster, or the change cannot be sent as it is: the single call does it or says why
            outcomes.append(await _one(to, write, at))
    return outcomes


def _request(write: Write, version: int, at: str) -> Any:
    wanted = {"_id": write.id, "version": version}
    if _is_deletion(write):
        return DeleteOne(wanted)
    if write.body is not None:
        update: Mapping[str, Any] = replacing(write.body, at, write.tagged)
    else:
        update = patching(write.changes or {}, (), at, write.tagged) or {}
    return UpdateOne(wanted, {**update, **NOWHERE}, upsert=True)


async def _versions(to: "MongoCollection", ids: list[str]) -> dict[str, int]:
    if not ids:
        return {}
    handle = await to.documents()
    try:
        cursor = handle.find(
            {"_id": {"$in": ids}}, {"version": 1}, batch_size=len(ids) + 1, session=to.session
        )
        return {found["_id"]: found["version"] for found in await cursor.to_list()}
    except DRIVER_ERRORS as error:
        raise await to.link.failed(error) from error


async def _one(to: "MongoCollection", write: Write, at: datetime) -> Outcome:
    """One item by its own call."""
    try:
        if _is_deletion(write):
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
