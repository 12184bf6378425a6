"""The records tab: one collection or table at a time, a page of it, one record to look at and mend."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.session import NO_PROBLEM, Permission, Problem, asking, attempt, requires, toast
from storage_core.domain.errors import InvalidRequest
from storage_core.services.records import (
    DeleteRecord,
    GetRecord,
    InsertRecord,
    ListPlaces,
    QueryRecords,
    Record,
    RecordPage,
    UpdateRecord,
)

SIZE = 50
#: Columns of a page of documents, characters of a cell, and of what an editor takes.
COLUMNS, CELL, TEXT = 12, 90, 1_000_000
COLLECTION = "collection"


@dataclass(frozen=True, slots=True)
class Place:
    """A collection or table to choose."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Head:
    """A column: how it is sorted by now, up or down, and its type where it has one."""

    name: str
    label: str
    type: str
    order: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as a cell shows it."""

    head: str
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Line:
    """A record in the page; without an id it cannot be opened."""

    id: str
    cells: list[Cell]


class RecordsTab(ConfirmState, rx.State):
    """See the module's description."""

    database: str = ""
    phase: str = ""  # empty until looked at, then loading, ready, error
    problem: Problem = NO_PROBLEM
    places: list[Place] = []
    place: str = ""
    kind: str = ""
    fixed: str = ""
    where: str = ""
    where_problem: str = ""
    sort: str = ""
    heads: list[Head] = []
    rows: list[Line] = []
    summary: str = ""
    first: int = 0
    last: int = 0
    has_next: bool = False
    has_before: bool = False
    busy: bool = False
    address: str = ""
    opened: bool = False
    mode: str = "read"  # read, edit, new
    record: str = ""
    about: str = ""
    text: str = ""
    saving: bool = False
    saving_problem: Problem = NO_PROBLEM
    _cursors: list[str] = [""]
    _next: str | None = None
    _data: dict[str, Any] = {}
    _version: int | None = None

    def _closed(self) -> None:
        self.opened, self.saving = False, False
        super()._closed()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def begin(self):
        """Takes place, filter and order from the address; what another database's page showed is forgotten."""
        self._closed()
        asked = dict(self.router.url.query_parameters)
        self.database, self.phase, self.problem = str(self.database_id), "", NO_PROBLEM  # pyrefly: ignore
        self.place, self.where, self.sort = asked.get("in", ""), asked.get("where", ""), asked.get("sort", "")
        self._emptied()
        self.places.clear()
        if asked.get("tab") == "records":
            return RecordsTab.look

    @rx.event(background=True)
    @requires(Permission.RECORDS_READ)
    async def look(self):
        """Reads which collections and tables there are, then the first page of the chosen one."""
        async with self:
            if self.phase == "ready":
                return
            ctx, id, self.phase = await asking(self), self.database, "loading"
        found, failed = await attempt(core().records.list(ctx, ListPlaces(database_id=id)))
        async with self:
            if id != self.database:
                return
            self.problem, self.phase = failed, "error" if found is None else "ready"
            self.places = [Place(p.name, _label(p.name, p.kind, p.rows)) for p in found or ()]
            names = [p.name for p in self.places]
            if self.place not in names:
                self.place, self.where, self.sort = names[0] if names else "", "", ""
            self._cursors = [""]
        if found:
            yield RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_READ)
    def again(self):
        """Reads everything again."""
        self.phase = ""
        return RecordsTab.look

    @rx.event(background=True)
    @requires(Permission.RECORDS_READ)
    async def read(self):
        """Reads the page that place, filter, order and cursor name."""
        async with self:
            ctx, asked = (
                await asking(self),
                (self.database, self.place, self.where, self.sort, self._cursors[-1]),
            )
            self.busy, self.where_problem = True, ""
        database, name, where, sort, cursor = asked
        work = _page(ctx, database, name, where, sort, cursor)
        page, failed = await attempt(work)
        async with self:
            if asked != (self.database, self.place, self.where, self.sort, self._cursors[-1]):
                return  # another page was asked for meanwhile
            self.busy = False
            self._note_address()
            if page is not None:
                self.problem = NO_PROBLEM
                self._show(page)
            elif failed.field.partition(".")[0] in ("where", "sort", "cursor"):
                self.where_problem = f"{failed.detail} {failed.hint}".strip()
            else:
                self.problem = failed

    @rx.event
    @requires(Permission.RECORDS_READ)
    def choose(self, name: str):
        """Shows another collection or table."""
        if name in [p.name for p in self.places]:
            self.place, self.where, self.sort, self._cursors = name, "", "", [""]
            self._emptied()
            return RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_READ)
    def filter(self, data: dict[str, Any]):
        """Filters by what was written; empty shows everything."""
        self.where, self._cursors = str(data.get("where", ""))[:20_000].strip(), [""]
        return RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_READ)
    def unfilter(self):
        """Shows everything again."""
        self.where, self._cursors = "", [""]
        return RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_READ)
    def order(self, name: str):
        """Sorts by a column: up, then down, then not."""
        if name in [h.name for h in self.heads]:
            named = f"$.{name}" if self.kind == COLLECTION and name in OWN_NAMES else name.removeprefix("@")
            self.sort = {named: f"-{named}", f"-{named}": ""}.get(self.sort, named)
            self._cursors = [""]
            return RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_READ)
    def turn(self, forward: bool):
        """Goes to the next page or the one before."""
        if forward is True and self._next is not None:
            self._cursors = [*self._cursors, self._next]
        elif forward is not True and len(self._cursors) > 1:
            self._cursors = self._cursors[:-1]
        else:
            return
        return RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_READ)
    async def open(self, id: str):
        """Opens one record, whole."""
        request = GetRecord(database_id=self.database, name=self.place, id=str(id)[:4000])
        found = await core().records.get(await asking(self), request)
        self._hold(found, "read")

    @rx.event
    @requires(Permission.RECORDS_WRITE)
    def edit(self):
        """Lets the open record be changed."""
        self.mode, self.saving_problem = "edit", NO_PROBLEM

    @rx.event
    @requires(Permission.RECORDS_WRITE)
    def new(self):
        """Opens an empty record."""
        columns = () if self.kind == COLLECTION else tuple(h.name for h in self.heads)
        self.mode, self.record, self.about, self._version = "new", "", "", None
        self.text = json.dumps(dict.fromkeys(columns), indent=2, ensure_ascii=False)
        self.saving_problem, self.opened = NO_PROBLEM, True

    @rx.event
    @requires(Permission.SIGNED_IN)
    def toggle(self, shown: bool):
        """Closes the record; it opens only by asking."""
        if shown is not True:
            self.opened = False

    @rx.event
    @requires(Permission.RECORDS_WRITE)
    async def save(self, data: dict[str, Any]):
        """Writes what was edited, unless somebody else was faster."""
        if self.saving:
            return
        self.saving, self.saving_problem, self.text = True, NO_PROBLEM, str(data.get("text", ""))[:TEXT]
        yield
        saved, self.saving_problem = await attempt(self._save(str(data.get("id", "")).strip()))
        self.saving = False
        if saved is not None:
            self._hold(saved, "read")
            self.opened = False
            yield toast("success", "Saved")
            yield RecordsTab.read

    @rx.event
    @requires(Permission.RECORDS_WRITE)
    def ask_delete(self):
        """Asks before the open record is deleted."""
        what = "document" if self.kind == COLLECTION else "row"
        effects = [f"The {what} {self.record} of {self.place} is removed.", "Only a backup brings it back."]
        self.opened = False
        self._ask("delete", f"Delete this {what}?", effects, label=f"Delete {what}", ids=[self.record])

    def _emptied(self) -> None:
        self.rows.clear()
        self.heads.clear()

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        request = DeleteRecord(database_id=self.database, name=self.place, id=ids[0], version=self._version)
        await core().records.delete(await asking(self), request)
        return [toast("success", "Deleted"), RecordsTab.read]

    async def _save(self, id: str) -> Record:
        ctx, given = await asking(self), _parsed(self.text)
        at = {"database_id": self.database, "name": self.place}
        if self.mode == "new":
            kept = given if self.kind == COLLECTION else {k: v for k, v in given.items() if v is not None}
            named = {"id": id} if id else {}
            return await core().records.insert(ctx, InsertRecord(**at, data=kept, **named))
        if self.kind == COLLECTION:
            request = UpdateRecord(**at, id=self.record, data=given, replace=True, version=self._version)
            return await core().records.update(ctx, request)
        changed = {k: v for k, v in given.items() if k not in self._data or v != self._data[k]}
        was = {k: self._data[k] for k in changed if k in self._data}
        return await core().records.update(ctx, UpdateRecord(**at, id=self.record, data=changed, was=was))

    def _hold(self, found: Record, mode: str) -> None:
        self.mode, self.record, self._data, self._version = mode, found.id or "", found.data, found.version
        self.text = json.dumps(found.data, indent=2, ensure_ascii=False)
        self.about = "" if found.version is None else f"Version {found.version}"
        self.saving_problem, self.opened = NO_PROBLEM, True

    def _show(self, page: RecordPage) -> None:
        names = [c.name for c in page.columns] or _names(page.items)
        types = {c.name: c.type for c in page.columns}
        self.kind, self.fixed, self._next = page.kind, page.fixed, page.next
        self.heads = [
            Head(name, OWN.get(name, name), types.get(name, ""), _order(self.sort, name)) for name in names
        ]
        self.rows = [
            Line(r.id or "", [_cell(OWN.get(name, name), _value(r, name), r) for name in names])
            for r in page.items
        ]
        before = SIZE * (len(self._cursors) - 1)
        self.first, self.last = before + (1 if self.rows else 0), before + len(self.rows)
        more = page.total >= page.counted_to
        self.summary = f"{words.number(page.total)}{' or more' if more else ''}"
        self.has_next, self.has_before = page.next is not None, len(self._cursors) > 1

    def _note_address(self) -> None:
        asked = {"tab": "records", "in": self.place, "where": self.where, "sort": self.sort}
        self.address = f"/databases/{self.database}?{urlencode({k: v for k, v in asked.items() if v})}"


#: Columns that stand before a document's own fields: names that no field of a body is shown under.
OWN = {"@id": "Id", "@version": "Version", "@updated_at": "Changed"}
OWN_NAMES = ("id", "version", "created_at", "updated_at")


async def _page(ctx: Any, database: str, name: str, where: str, sort: str, cursor: str | None) -> RecordPage:
    request = QueryRecords(
        database_id=database, name=name, where=where, sort=sort, limit=SIZE, cursor=cursor or None
    )
    return await core().records.query(ctx, request)


def _label(name: str, kind: str, rows: int | None) -> str:
    count = "" if rows is None else f", about {words.number(rows)}"
    return f"{name} ({kind}{count})"


def _names(items: tuple[Record, ...]) -> list[str]:
    """The documents' own fields, then those of their bodies in the order they are met."""
    met: dict[str, None] = {}
    for record in items:
        met |= dict.fromkeys(record.data)
    own = OWN if items and items[0].version is not None else ()
    return [*own, *list(met)[: COLUMNS - len(own)]]


def _value(record: Record, name: str) -> Any:
    if record.version is not None and name in OWN:
        own = getattr(record, name.removeprefix("@"))
        return own if isinstance(own, int | str) or own is None else own.isoformat(timespec="seconds")
    return record.data.get(name, _ABSENT)


_ABSENT = object()


def _cell(head: str, value: Any, record: Record) -> Cell:
    if value is _ABSENT:
        return Cell(head, "", "faint")
    if value is None:
        return Cell(head, "null", "faint")
    if isinstance(value, str):
        text, tone = value, ""
    elif isinstance(value, bool | int | float):
        text, tone = json.dumps(value), "num"
    else:
        text, tone = json.dumps(value, ensure_ascii=False), "mono"
    text = " ".join(text[: CELL * 4].split())
    return Cell(head, text[:CELL] + ("…" if len(text) > CELL or head in record.cut else ""), tone)


def _order(sort: str, name: str) -> str:
    named = sort.removeprefix("-").removeprefix("$.")
    if not sort or named != name.removeprefix("@"):
        return "none"
    return "descending" if sort.startswith("-") else "ascending"


def _parsed(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(
            f"This is not JSON: {error}.", field="text", hint='Write {"sku": "A1"}.'
        ) from error
    if not isinstance(given, dict):
        raise InvalidRequest("A record is a JSON object.", field="text", hint='Write {"sku": "A1"}.')
    return given
