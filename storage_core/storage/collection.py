"""A collection as applications use it: documents in, documents out, values checked, one tenant's alone."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..bootstrap import new_ordered_id
from ..domain.errors import InvalidRequest
from ..domain.order import decode_cursor, parse_sort
from ..domain.plain import plain_json
from ..domain.query import OWN, Path, parse_path, parse_where
from ..domain.record import MAX_LIMIT, Find, Index, Outcome, Row, Write, checked_id
from ..domain.value import Loss, Mode, decode, encode, encode_value, operand
from ..ports.collection import Collection as Port
from ..tenancy import TenantScope, optional_tenant
from .asking import Query
from .bulk import many
from .document import Change, Document
from .link import Tie


class Shape:
    """What changes the shape of a collection, and is audited: made by the storage it belongs to."""

    def __init__(self, create: Callable[..., Any], drop: Callable[..., Any]) -> None:
        self.create, self.drop = create, drop


class Collection:
    """One collection of a tenant's storage. Cheap to make, yours to keep, for any number of tasks.

    Every call may raise the errors of `storage_core.domain.errors`: InvalidRequest names the field at fault,
    TenantSuspended, NotFound or Conflict say what has become of the tenant or the database meanwhile, Unavailable that the
    engine does not answer. Reads are repeated when the engine fails for a moment; of writes only those that cannot
    happen twice.
    """

    __slots__ = ("_at", "_mode", "_now", "_operand", "_port", "_scope", "_shape", "_tie", "name")

    def __init__(
        self, name: str, mode: Mode, tie: Tie, now: Callable[[], datetime], shape: Shape | None = None
    ) -> None:
        self.name, self._mode, self._tie, self._now, self._shape = name, mode, tie, now, shape
        self._operand = operand(mode)
        self._at: object | None = None
        self._port: Port | None = None
        self._scope: TenantScope | None = None

    async def insert(self, data: Mapping[str, Any], id: str | None = None) -> Document:
        """Store a new document. NameTaken where the id, or a value that must be unique, is there already.

        :param id: your own key, 1 to 128 printable characters; a time-ordered UUID if left out.
        """
        port = self._ready() or await self._bind()
        encoded = encode(data, self._mode)
        id = new_ordered_id() if id is None else checked_id(id)
        at = self._now()
        await port.insert(id, encoded.body, at, tagged=encoded.tagged)
        kept = data if encoded.tagged else encoded.body
        return Document(id, 1, at, at, dict(kept), encoded.losses)

    async def get(self, id: str) -> Document | None:
        """The document, none where there is none."""
        row = await (self._ready() or await self._bind()).get(id)
        return None if row is None else self.document(row)

    async def update(
        self,
        id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        unset: Sequence[str] = (),
    ) -> Document:
        """Change some fields, by dotted paths, and remove those of `unset`; answers the document as it is now.

        NotFound where it is not there, VersionConflict where `version` is not the stored one.
        """
        port = self._ready() or await self._bind()
        values, tagged, losses = self._changes(changes or {}, "changes")
        removed = tuple(_body_path(path, "unset") for path in unset)
        if not values and not removed:
            raise InvalidRequest(
                "changes names nothing to change.",
                field="changes",
                hint='Write {"qty": 4}, or unset=["note"].',
            )
        row = await port.patch(
            checked_id(id), values, self._now(), unset=removed, version=version, tagged=tagged
        )
        return self.document(row, losses)

    async def replace(self, id: str, data: Mapping[str, Any], *, version: int | None = None) -> Document:
        """Write another body in the place of the one there; answers the document as it is now."""
        port = self._ready() or await self._bind()
        encoded = encode(data, self._mode)
        row = await port.replace(
            checked_id(id), encoded.body, self._now(), version=version, tagged=encoded.tagged
        )
        return self.document(row, encoded.losses)

    async def delete(self, id: str, *, version: int | None = None) -> None:
        """Remove a document. NotFound where it is not there, VersionConflict where it has another version."""
        await (self._ready() or await self._bind()).delete(checked_id(id), version=version)

    async def insert_many(
        self, items: Iterable[Mapping[str, Any]], *, ids: Iterable[str] | None = None
    ) -> list[Outcome]:
        """Store many documents, in order; an item that cannot be stored says why in its outcome and stops no other.

        :param ids: your own keys, one for each item.
        """
        datas = list(items)
        keys = [new_ordered_id() for _ in datas] if ids is None else list(ids)
        if len(keys) != len(datas):
            raise InvalidRequest(
                f"ids has {len(keys)} keys for {len(datas)} documents.",
                field="ids",
                hint="Give one for each.",
            )

        def write(at: int) -> Write:
            data = datas[at]
            if type(data) is dict and (text := plain_json(data)) is not None:
                made = Write(checked_id(keys[at]), data)
                made.text = text
                return made
            encoded = encode(data, self._mode, f"items.{at}")
            return Write(checked_id(keys[at]), encoded.body, tagged=encoded.tagged)

        return await self._many("insert_many", keys, write)

    async def update_many(self, items: Iterable[Change]) -> list[Outcome]:
        """Change many documents, each in its own way, in order; outcomes as of `insert_many`."""
        wanted = list(items)

        def write(at: int) -> Write:
            item = wanted[at]
            values, tagged, _ = self._changes(item.changes, f"items.{at}.changes")
            removed = tuple(_body_path(path, f"items.{at}.unset") for path in item.unset)
            return Write(
                checked_id(item.id), changes=values, unset=removed, version=item.version, tagged=tagged
            )

        return await self._many("change_many", [item.id for item in wanted], write)

    async def delete_many(self, ids: Iterable[str]) -> list[Outcome]:
        """Remove many documents, in order; outcomes as of `insert_many`."""
        wanted = list(ids)
        return await self._many("change_many", wanted, lambda at: Write(checked_id(wanted[at])))

    def query(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        sort: str | Sequence[str] | None = None,
        limit: int | None = None,
        after: str | None = None,
        fields: Sequence[str] | None = None,
    ) -> Query:
        """Ask for documents; nothing is read before the answer is iterated, or its page asked for.

        :param where: the filter: ``{"qty": {"$gte": 2}, "address.city": "Bern"}``.
        :param sort: a field, or up to four; ``-`` before it turns the order round. By id, if left out.
        :param limit: how many at most.
        :param after: the cursor of a page before: goes on behind it.
        :param fields: the fields to read; everything, if left out.
        """
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise InvalidRequest("limit is not a number of documents.", field="limit", hint="Use 0 or more.")
        if fields is not None and (isinstance(fields, str) or not fields):
            raise InvalidRequest(
                "fields is not a list of fields.", field="fields", hint='Write ["sku", "qty"].'
            )
        paths = None if fields is None else tuple(_body_path(name, "fields") for name in fields)
        find = Find(parse_where(where, self._operand), parse_sort(sort), MAX_LIMIT, None, paths)
        if after is not None:
            find = Find(find.where, find.sort, find.limit, decode_cursor(find, after), find.fields)
        return Query(self, find, limit)

    def __aiter__(self) -> AsyncIterator[Document]:
        return self.query().__aiter__()

    async def count(self, where: Mapping[str, Any] | None = None) -> int:
        """How many documents match."""
        node = parse_where(where, self._operand)
        return await (self._ready() or await self._bind()).count(node)

    async def create_index(
        self, paths: str | Sequence[str], *, unique: bool = False, name: str | None = None
    ) -> Index:
        """Make an index over one or several fields, in order; one that is there already changes nothing.

        `unique`: no two documents may hold the same values there; those that lack any of the fields are not compared.
        """
        self._ready() or await self._bind()
        texts = [paths] if isinstance(paths, str) else list(paths)
        index = Index(_index_name(name, texts), tuple(_body_path(p, "paths") for p in texts), unique)
        if not texts:
            raise InvalidRequest(
                "paths names no field.", field="paths", hint='Write "sku", or ["sku", "qty"].'
            )
        await self._shaped().create(self.name, index)
        return index

    async def indexes(self) -> tuple[Index, ...]:
        return await (self._ready() or await self._bind()).indexes()

    async def drop_index(self, name: str) -> None:
        """Remove an index; NotFound where there is none of that name."""
        self._ready() or await self._bind()
        await self._shaped().drop(self.name, name)

    async def rows(self, find: Find) -> list[Row]:
        """What the engine answers to a question, for `Query`."""
        return await (self._ready() or await self._bind()).find(find)

    def documents(self, rows: list[Row]) -> list[Document]:
        """Rows as documents."""
        return [
            Document(r.id, r.version, r.created_at, r.updated_at, decode(r.body) if r.tagged else r.body)
            for r in rows
        ]

    def document(self, row: Row, losses: tuple[Loss, ...] = ()) -> Document:
        """A row as a document."""
        body = decode(row.body) if row.tagged else row.body
        return Document(row.id, row.version, row.created_at, row.updated_at, body, losses)

    def _ready(self) -> Port | None:
        """The port to go through now; none where it must be bound (again), because of news since the last call."""
        scope = optional_tenant()
        if scope is not None and scope is not self._scope:
            self._tie.check(scope)
            self._scope = scope
        return self._port if self._at is self._tie.stamp else None

    async def _bind(self) -> Port:
        self._port, self._at = await self._tie.bind(self.name)
        return self._port

    def _changes(
        self, changes: Mapping[str, Any], field: str
    ) -> tuple[dict[Path, Any], bool, tuple[Loss, ...]]:
        if not isinstance(changes, Mapping):
            raise InvalidRequest(f"{field} is not a dictionary.", field=field, hint='Write {"qty": 4}.')
        values: dict[Path, Any] = {}
        tagged, losses = False, ()
        for name, value in changes.items():
            path = _body_path(name, field)
            values[path], is_tagged, lost = encode_value(value, self._mode, f"{field}.{name}")
            tagged, losses = tagged or is_tagged, (*losses, *lost) if lost else losses
        return values, tagged, losses

    async def _many(self, call: str, ids: list[str], write: Callable[[int], Write]) -> list[Outcome]:
        return await many(getattr(self._ready() or await self._bind(), call), ids, write, self._now)

    def _shaped(self) -> Shape:
        if self._shape is None:
            raise InvalidRequest(
                "A transaction cannot change indexes.", field="transaction", hint="Change them outside of it."
            )
        return self._shape


@lru_cache(4096)
def _parsed(name: str, field: str) -> Path:
    if name in OWN:
        raise InvalidRequest(
            f"{name} is the document's own.", field=field, hint=f"A field of the body is written $.{name}."
        )
    return parse_path(name, field)


def _body_path(name: Any, field: str) -> Path:
    if not isinstance(name, str):
        raise InvalidRequest(
            f"{field} names a field that is no text.", field=field, hint="Join names with dots."
        )
    return _parsed(name, field)


def _index_name(name: str | None, paths: list[str]) -> str:
    """A name that says what the index is over, unless one was given."""
    made = name or "_".join(path.removeprefix("$.").replace(".", "_") for path in paths).lower()
    made = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in made)[:48]
    if not made or (name is not None and made != name):
        raise InvalidRequest(
            "name is not an index's name.", field="name", hint="Use 1 to 48 of a-z, A-Z, 0-9 and _."
        )
    return made
