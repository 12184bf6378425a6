"""Collections that others made, a document at a time. Values are MongoDB's Extended JSON, in its relaxed form."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from bson import ObjectId, json_util
from bson.errors import BSONError
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, ExecutionTimeout, OperationFailure, WriteError

from ...domain.errors import Conflict, InvalidRequest, NameTaken, NotFound, Unsupported, VersionConflict
from ...domain.naming import said
from ...domain.query import All, Any_, Compare, Exists, Member, Node, Not, Op, Path, Regex, Scalar
from ...domain.table import CUT, MAX_KEY, RowsFind, Table, TableRow
from ...domain.value import decode
from .link import Link
from .names import checked

SECONDS = 20
KIND = "collection of others"
IS_A_VIEW = 166
RELAXED = json_util.RELAXED_JSON_OPTIONS.with_options(tz_aware=True)
CANONICAL = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)
HEX = frozenset("0123456789abcdefABCDEF")
OPERATORS = {Op.EQ: "$eq", Op.LT: "$lt", Op.LTE: "$lte", Op.GT: "$gt", Op.GTE: "$gte"}


class MongoTables:
    """The tables port. Filters are MongoDB's own: they look into lists, and compare within one type."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def describe(self, database: str, table: str) -> Table:
        async with self._link.speaking() as client:
            listed = await client[checked(database)].list_collections(filter={"name": table})
            found = await listed.to_list()
        if not found or table.startswith(("system.", "sc_")):
            raise NotFound(
                f"There is no collection {said(table)}.", field="name", hint="Look at the database's schema."
            )
        kind = found[0]["type"]
        return Table(
            table,
            KIND if kind == "collection" else kind,
            (),
            "" if kind == "collection" else f"It is a {kind}.",
        )

    async def find(self, database: str, table: str, find: RowsFind) -> list[TableRow]:
        keys = [(name, -1 if down else 1) for name, down in find.sort if name != "_id"]
        keys.append(("_id", next((-1 if down else 1 for name, down in find.sort if name == "_id"), 1)))
        tests = [] if find.where is None else [_condition(find.where)]
        if find.after is not None:
            tests.append(_beyond(keys, find.after))
        async with self._documents(database, table) as documents:
            cursor = documents.find({"$and": tests} if tests else {}, sort=keys, limit=find.limit)
            found = await cursor.max_time_ms(SECONDS * 1000).to_list()
        return [_shown(document, [name for name, _ in keys], find.whole) for document in found]

    async def count(self, database: str, table: str, where: Node | None, most: int) -> int:
        test = dict[str, Any]() if where is None else _condition(where)
        async with self._documents(database, table) as documents:
            return int(await documents.count_documents(test, limit=most, maxTimeMS=SECONDS * 1000))

    async def get(self, database: str, table: str, key: str) -> TableRow:
        async with self._documents(database, table) as documents:
            found = await documents.find_one({"_id": _id(key)}, max_time_ms=SECONDS * 1000)
        if found is None:
            raise _missing(table, key)
        return _shown(found, [], True)

    async def insert(self, database: str, table: str, data: Mapping[str, Any]) -> TableRow:
        document = _written(data, "data")
        async with self._documents(database, table) as documents:
            made = await documents.insert_one(document)
        return _shown({"_id": made.inserted_id, **document}, [], True)

    async def update(
        self, database: str, table: str, key: str, data: Mapping[str, Any], was: Mapping[str, Any]
    ) -> TableRow:
        changes = _written(data, "data")
        if not changes:
            raise InvalidRequest(
                "There is nothing to change.", field="data", hint="Name a field and its value."
            )
        if "_id" in changes:
            raise InvalidRequest("A document keeps its _id.", field="data._id", hint="Leave it out.")
        async with self._documents(database, table) as documents:
            found = await documents.find_one_and_update(
                _still(key, was), {"$set": changes}, return_document=ReturnDocument.AFTER
            )
            if found is None:
                await _refuse(documents, table, key)
        return _shown(found, [], True)

    async def delete(self, database: str, table: str, key: str, was: Mapping[str, Any]) -> None:
        async with self._documents(database, table) as documents:
            if (await documents.delete_one(_still(key, was))).deleted_count == 0:
                await _refuse(documents, table, key)

    @asynccontextmanager
    async def _documents(self, database: str, table: str) -> AsyncIterator[Any]:
        async with self._link.speaking() as client:
            try:
                yield client[checked(database)][table]
            except DuplicateKeyError as error:
                raise NameTaken("MongoDB: another document holds these values.", field="data") from error
            except ExecutionTimeout as error:
                raise Conflict(
                    f"It took longer than {SECONDS} s.", hint="Narrow the filter, or give the field an index."
                ) from error
            except OperationFailure as error:
                if error.code == IS_A_VIEW:
                    raise Conflict(
                        f"{said(table)} is a view: its documents cannot be changed here."
                    ) from error
                if not isinstance(error, WriteError):
                    raise
                raise Conflict(
                    f"MongoDB: {error.details and error.details.get('errmsg')}", field="data"
                ) from error


def _condition(node: Node) -> dict[str, Any]:
    match node:
        case All(nodes):
            return {"$and": [_condition(n) for n in nodes]}
        case Any_(nodes):
            return {"$or": [_condition(n) for n in nodes]} if nodes else {"_id": {"$in": []}}
        case Not(inner):
            return {"$nor": [_condition(inner)]}
        case Compare(path, op, value):
            name, given = _operand(path, value)
            if name == "_id" and op is Op.EQ:
                return {"_id": {"$in": _ids(given)}}
            return {name: {OPERATORS[op]: given}}
        case Member(path, values):
            pairs = [_operand(path, value) for value in values]
            return {pairs[0][0]: {"$in": [given for _, given in pairs]}} if pairs else {"_id": {"$in": []}}
        case Exists(path):
            return {".".join(path): {"$exists": True}}
        case Regex(path, pattern):
            return {".".join(path): {"$regex": pattern}}
        case _:
            raise Unsupported("Ask by fields here.", field="where")


def _operand(path: Path, value: Scalar) -> tuple[str, Any]:
    """A filter's operand as BSON; a tagged one is what it stands for."""
    if path[-1].startswith("$"):
        return ".".join(path[:-1]), decode({path[-1]: value})
    return ".".join(path), value


def _ids(value: Any) -> list[Any]:
    """An id as it is written, and as the ObjectId that people mean by 24 hexadecimal digits."""
    looks = isinstance(value, str) and len(value) == 24 and set(value) <= HEX
    return [value, ObjectId(value)] if looks else [value]


def _beyond(keys: list[tuple[str, int]], after: tuple[Any, ...]) -> dict[str, Any]:
    """Documents behind a place, in MongoDB's order of all types."""
    if len(after) != len(keys):
        raise InvalidRequest(
            "The cursor belongs to another order.", field="cursor", hint="Begin from the start."
        )
    ways: list[Any] = []
    same: list[Any] = []
    for (name, way), text in zip(keys, after, strict=True):
        value = {"$literal": json_util.loads(text, json_options=CANONICAL)}
        here = {"$ifNull": [f"${name}", None]}
        ways.append({"$and": [*same, {"$gt" if way == 1 else "$lt": [here, value]}]})
        same.append({"$eq": [here, value]})
    return {"$expr": {"$or": ways}}


def _shown(document: dict[str, Any], keys: list[str], whole: bool) -> TableRow:
    data: dict[str, Any] = json.loads(json_util.dumps(document, json_options=RELAXED))
    cut = [n for n, v in data.items() if not whole and isinstance(v, str) and len(v) > CUT]
    for name in cut:
        data[name] = data[name][:CUT]
    place = tuple(json_util.dumps(_at(document, name), json_options=CANONICAL) for name in keys)
    return TableRow(json_util.dumps(document["_id"], json_options=CANONICAL), data, tuple(cut), place)


def _at(document: Any, name: str) -> Any:
    for part in name.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _id(key: str) -> Any:
    try:
        return json_util.loads(key, json_options=CANONICAL) if len(key) <= MAX_KEY else None
    except (ValueError, TypeError, BSONError):
        raise NotFound(
            f"{key[:80]!r} is not a document's key here.",
            field="id",
            hint="Use the id that records.query gave.",
        ) from None


def _written(data: Mapping[str, Any], field: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json_util.loads(json.dumps(dict(data)), json_options=CANONICAL)
    except (ValueError, TypeError, BSONError) as error:
        raise InvalidRequest(
            f"{field} is not Extended JSON: {error}.", field=field, hint="See MongoDB's Extended JSON v2."
        ) from error
    for name in document:
        if not name or name.startswith("$") or "." in name:
            raise InvalidRequest(
                f"{name!r} is not a field to set here.", field=f"{field}.{name}", hint="Set whole fields."
            )
    return document


def _still(key: str, was: Mapping[str, Any]) -> dict[str, Any]:
    held = _written(was, "was")
    tests = [{"$eq": [{"$ifNull": [f"${name}", None]}, {"$literal": value}]} for name, value in held.items()]
    return {"_id": _id(key), **({"$expr": {"$and": tests}} if tests else {})}


async def _refuse(documents: Any, table: str, key: str) -> None:
    if await documents.find_one({"_id": _id(key)}, {"_id": 1}) is None:
        raise _missing(table, key)
    raise VersionConflict("Somebody else changed this document.", hint="Read it again and repeat the change.")


def _missing(table: str, key: str) -> NotFound:
    return NotFound(f"{said(table)} has no document {said(key)}.", field="id")
