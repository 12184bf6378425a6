"""Records: the documents and rows of one database, page by page, for people to look at and mend."""

import base64
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import Field

from ..domain.context import Context
from ..domain.database import Database
from ..domain.errors import Conflict, InvalidRequest, NotFound, PolicyRefused
from ..domain.naming import said
from ..domain.order import after_row, decode_cursor, encode_cursor, parse_sort
from ..domain.page import MAX_LIMIT
from ..domain.permission import Permission
from ..domain.query import Node, Path, parse_path, parse_where, projected
from ..domain.record import COLLECTION, Find, Row, checked_id
from ..domain.table import MAX_KEY, Column, RowsFind, Table, TableRow
from ..domain.value import Encoded, Mode, decode, encode, encode_value, operand
from ..ports.collection import Collection
from ..ports.engine import Engine
from ..ports.tables import Tables
from .collections import collection_of, policy_of
from .databases import Databases
from .kernel import Kernel, Service
from .operation import Effect, operation
from .request import DATA, LINES, PEOPLE, Request
from .targets import database

#: Counting what matches ends here: nobody pages further, and the next page never waits for a count.
MOST = 100_000
COLLECTION_KIND = "collection"
#: How tables of the product begin that hold no collection: counts of quotas, indexes.
OWN_TABLES = "sc_"
#: Objects of a schema that have rows, whether or not their columns can be told.
TABLE_KINDS = frozenset({"table", "view", "partitioned table", "collection"})


@dataclass(frozen=True, slots=True)
class Record:
    """A document or row. `id` names it: a document's id, or a row's key; none where rows cannot be told apart.

    `data` are its values as JSON, tagged where JSON holds them not. `cut` names fields whose value is not whole here.
    Documents of collections have a version and times.
    """

    id: str | None
    data: dict[str, Any]
    version: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    cut: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordPage:
    """`kind` is collection, table, view and so on; `fixed` says why its records cannot be changed, if so.

    `total` counts what matches, at most `counted_to`. Collections have no `columns`.
    """

    items: tuple[Record, ...]
    next: str | None
    total: int
    kind: str
    columns: tuple[Column, ...] = ()
    fixed: str = ""
    counted_to: int = MOST


@dataclass(frozen=True, slots=True)
class RecordsPlace:
    """A collection or table with what is known of its size; `rows` is an estimate where counting is slow."""

    name: str
    kind: str
    rows: int | None = None


class ListPlaces(Request):
    """List the collections and tables of a database that have records to show."""

    database_id: str = Field(min_length=1, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The database."""


class InTable(Request):
    """What every request about records names."""

    database_id: str = Field(min_length=1, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The database."""
    name: str = Field(min_length=1, max_length=300, examples=["orders"])
    """The collection, or the table as databases.schema names it."""


class OneRecord(InTable):
    """What every request about one record names."""

    id: str = Field(min_length=1, max_length=MAX_KEY, examples=["o-1"])
    """A document's id, or the key of a row as records.query gave it."""


class QueryRecords(InTable):
    """Show a page of a collection's documents or a table's rows."""

    where: Annotated[str, LINES, PEOPLE] = Field("", max_length=20_000, examples=['{"qty": {"$gte": 2}}'])
    """A filter as JSON, in the filter language: $eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not."""
    sort: str = Field("", max_length=500, examples=["-created_at"])
    """Fields to sort by, comma between them, a minus before those that go downwards."""
    limit: int = Field(50, ge=1, le=MAX_LIMIT, examples=[50])
    """Records in the page."""
    cursor: str | None = Field(None, max_length=20_000)
    """Where the page begins: `next` of the page before. Stable while records come and go."""
    fields: str = Field("", max_length=2000, examples=["sku,address.city"])
    """Of documents, only these fields; comma between them."""


class GetRecord(OneRecord):
    """Show one document or row, whole."""


class InsertRecord(InTable):
    """Add a document or row."""

    id: str | None = Field(None, min_length=1, max_length=128, examples=["o-1"])
    """A document's own id; made if left out. Rows have their keys among their columns."""
    data: Annotated[dict[str, Any], DATA, PEOPLE] = Field(examples=[{"sku": "A1", "qty": 3}])
    """Its fields; what JSON does not hold as a tag: {"$date": "2026-01-01T00:00:00.000000Z"}."""


class UpdateRecord(OneRecord):
    """Change fields of a document or columns of a row."""

    data: Annotated[dict[str, Any], DATA, PEOPLE] = Field(default_factory=dict, examples=[{"qty": 4}])
    """New values by field; of documents also by dotted path."""
    unset: tuple[str, ...] = Field((), max_length=200, examples=[["note"]])
    """Of a document, fields to remove."""
    replace: bool = False
    """Of a document, make `data` all there is."""
    version: int | None = Field(None, ge=1, examples=[3])
    """The document's version as you know it: refused if somebody was faster."""
    was: Annotated[dict[str, Any], DATA, PEOPLE] = Field(default_factory=dict, examples=[{"qty": 3}])
    """Columns of the row as you know them: refused if somebody was faster."""


class DeleteRecord(OneRecord):
    """Delete a document or row."""

    version: int | None = Field(None, ge=1, examples=[3])
    """The document's version as you know it: refused if somebody was faster."""


class Records(Service):
    """The records' operations."""

    def __init__(self, kernel: Kernel, databases: Databases) -> None:
        super().__init__(kernel)
        self._databases = databases

    @operation("records.list", needs=Permission.RECORDS_READ, on=database("database_id"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListPlaces) -> tuple[RecordsPlace, ...]:
        row, engine = await self._databases.opened(request.database_id)
        objects = (await engine.databases.schema(row.physical_name)).objects
        rows = {known.name: known.rows for known in objects}
        places: list[RecordsPlace] = []
        prefix = ""
        if engine.collections is not None:
            prefix = engine.collections.prefix(row.physical_name)
            names = await engine.collections.names(row.physical_name)
            places = [RecordsPlace(name, COLLECTION_KIND, rows.get(prefix + name)) for name in names]
        if engine.tables is not None:
            places += [
                RecordsPlace(o.name, o.kind, o.rows)
                for o in objects
                if (o.columns or o.kind in TABLE_KINDS) and not (prefix and o.name.startswith(prefix))
            ]
        return tuple(places)

    @operation(
        "records.query",
        needs=Permission.RECORDS_READ,
        on=database("database_id"),
        effect=Effect.READ,
        sensitive=True,
    )
    async def query(self, ctx: Context, request: QueryRecords) -> RecordPage:
        place = await self._place(request)
        where, values = _parsed(request.where), operand(Mode.TAGGED)
        if isinstance(place, _Rows):
            return await place.page(request, parse_where(where, values, own=()))
        return await _page(place, request, parse_where(where, values))

    @operation(
        "records.get",
        needs=Permission.RECORDS_READ,
        on=database("database_id"),
        effect=Effect.READ,
        sensitive=True,
    )
    async def get(self, ctx: Context, request: GetRecord) -> Record:
        place = await self._place(request)
        if isinstance(place, _Rows):
            return _of_row(await place.tables.get(place.database, place.table.name, request.id))
        row = await place.get(request.id)
        if row is None:
            raise NotFound(f"{said(request.name)} has no document {said(request.id)}.", field="id")
        return _of_document(row)

    @operation("records.insert", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def insert(self, ctx: Context, request: InsertRecord) -> Record:
        place = await self._place(request, new=True)
        if isinstance(place, _Rows):
            if request.id is not None:
                raise InvalidRequest("A row has its key among its columns.", field="id", hint="Leave it out.")
            return _of_row(await place.tables.insert(place.database, place.table.name, request.data))
        encoded = _encoded(request.data)
        id = checked_id(request.id) if request.id is not None else self.kernel.new_id()
        await place.insert(id, encoded.body, self.kernel.now(), tagged=encoded.tagged)
        row = await place.get(id)
        if row is None:
            raise NotFound(f"The document {said(id)} is gone already.", field="id")
        return _of_document(row)

    @operation("records.update", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def update(self, ctx: Context, request: UpdateRecord) -> Record:
        place = await self._place(request)
        if isinstance(place, _Rows):
            _refuse_document_fields(request)
            return _of_row(
                await place.tables.update(
                    place.database, place.table.name, request.id, request.data, request.was
                )
            )
        if request.was:
            raise InvalidRequest("Documents have versions.", field="was", hint="Give `version` instead.")
        return _of_document(await self._changed(place, request))

    async def _changed(self, place: Collection, request: UpdateRecord) -> Row:
        now = self.kernel.now()
        if request.replace:
            if request.unset:
                raise InvalidRequest("A document that is replaced has nothing to unset.", field="unset")
            encoded = _encoded(request.data)
            return await place.replace(
                request.id, encoded.body, now, version=request.version, tagged=encoded.tagged
            )
        changes: dict[Path, Any] = {}
        tagged = False
        for name, value in request.data.items():
            field = f"data.{name}"
            changes[parse_path(name, field)], is_tagged, _ = encode_value(
                _untagged(value, field), Mode.TAGGED, field
            )
            tagged |= is_tagged
        unset = tuple(parse_path(name, "unset") for name in request.unset)
        if not changes and not unset:
            raise InvalidRequest(
                "There is nothing to change.", field="data", hint="Name a field and its value."
            )
        return await place.patch(
            request.id, changes, now, unset=unset, version=request.version, tagged=tagged
        )

    @operation("records.delete", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def delete(self, ctx: Context, request: DeleteRecord) -> None:
        place = await self._place(request)
        if isinstance(place, _Rows):
            await place.tables.delete(place.database, place.table.name, request.id, {})
        else:
            await place.delete(request.id, version=request.version)

    async def _place(self, request: InTable, *, new: bool = False) -> "Collection | _Rows":
        """The collection of that name, or else the table; `new`: a collection that is not there may be begun."""
        row, engine = await self._databases.opened(request.database_id)
        name = request.name
        collections = engine.collections if COLLECTION.fullmatch(name) else None
        if collections is not None and name in await collections.names(row.physical_name):
            return await collection_of(self.kernel, row, engine, name)
        try:
            return await self._table(row, engine, name)
        except NotFound:
            if not new or collections is None:
                raise
        return await collection_of(self.kernel, row, engine, name)

    async def _table(self, row: Database, engine: Engine, name: str) -> "_Rows":
        if engine.tables is None:
            raise NotFound(
                f"{said(row.name)} has no collection {said(name)}.",
                field="name",
                hint="Look at databases.schema.",
            )
        described = await engine.tables.describe(row.physical_name, name)
        if await _is_own(engine, row.physical_name, described.name):
            raise Conflict(
                f"{said(described.name)} is what holds collections: it is no table of people's.",
                field="name",
                hint="Name the collection itself.",
            )
        if (await policy_of(self.kernel, row)).encryption:
            raise PolicyRefused(
                "The tenant's policy keeps data in encrypted collections alone.",
                field="name",
                hint="Change the tenant's policy first.",
            )
        return _Rows(engine.tables, row.physical_name, described)


async def _is_own(engine: Engine, database: str, table: str) -> bool:
    """Whether a table is the product's: a collection's, with its versions and sealed values, or a count of quotas."""
    if table.rpartition(".")[2].startswith(OWN_TABLES):
        return True
    if engine.collections is None:
        return False
    prefix = engine.collections.prefix(database)
    if not table.startswith(prefix):
        return False
    rest = table.removeprefix(prefix)
    return rest.startswith("_") or rest in await engine.collections.names(database)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A table, as opposed to a collection."""

    tables: Tables
    database: str
    table: Table

    async def page(self, request: QueryRecords, where: Node | None) -> RecordPage:
        if request.fields:
            raise InvalidRequest("Tables show all their columns.", field="fields", hint="Leave it out.")
        sort = tuple((name.removeprefix("-"), name.startswith("-")) for name in _listed(request.sort))
        after = None if request.cursor is None else tuple(_decoded(request.cursor, request.sort))
        find = RowsFind(where, sort, request.limit + 1, after)
        rows = await self.tables.find(self.database, self.table.name, find)
        total = await self.tables.count(self.database, self.table.name, where, MOST)
        more = len(rows) > request.limit and rows[0].key is not None
        rows = rows[: request.limit]
        return RecordPage(
            tuple(_of_row(row) for row in rows),
            _encoded_place(request.sort, rows[-1].place) if more else None,
            total,
            self.table.kind,
            self.table.columns,
            self.table.fixed,
        )


async def _page(place: Collection, request: QueryRecords, where: Node | None) -> RecordPage:
    fields = tuple(parse_path(name, "fields") for name in _listed(request.fields)) or None
    find = Find(where, parse_sort(_listed(request.sort)), request.limit + 1, None, None)
    if request.cursor is not None:
        find = replace(find, after=decode_cursor(find, request.cursor, "cursor"))
    rows = await place.find(find)
    total = await place.count(where)
    more, rows = len(rows) > request.limit, rows[: request.limit]
    next = encode_cursor(find, after_row(find, rows[-1])) if more else None
    return RecordPage(tuple(_of_document(row, fields) for row in rows), next, total, COLLECTION_KIND)


def _of_document(row: Row, fields: tuple[Path, ...] | None = None) -> Record:
    data = row.body if fields is None else projected(row.body, fields)
    return Record(row.id, data, row.version, row.created_at, row.updated_at)


def _of_row(row: TableRow) -> Record:
    return Record(row.key, row.data, cut=row.cut)


def _encoded(data: dict[str, Any]) -> Encoded:
    """A document's body from JSON in which tags stand for what JSON does not hold."""
    return encode(_untagged(data, "data"), Mode.TAGGED)


def _untagged(value: Any, field: str) -> Any:
    try:
        return decode(value)
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise InvalidRequest(
            f"{field} holds a tag that cannot be read.",
            field=field,
            hint='Names that begin with $ are tags: {"$date": "2026-01-01T00:00:00.000000Z"}.',
        ) from error


def _parsed(where: str) -> Any:
    if not where.strip():
        return None
    try:
        return orjson.loads(where)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"where is not JSON: {error}.", field="where", hint='Write {"qty": {"$gte": 2}}.'
        ) from error


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _encoded_place(sort: str, place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort, *place])).decode().rstrip("=")


def _decoded(cursor: str, sort: str) -> list[Any]:
    try:
        order, *place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        order, place = None, list[Any]()
    if order != sort:
        raise InvalidRequest(
            "The cursor belongs to another order.", field="cursor", hint="Hand back `next` as it is."
        )
    return place


def _refuse_document_fields(request: UpdateRecord) -> None:
    for field, given in (
        ("unset", request.unset),
        ("replace", request.replace),
        ("version", request.version),
    ):
        if given:
            raise InvalidRequest(
                f"{field} is for documents.", field=field, hint="Of a row give `data`, and `was` to be sure."
            )
