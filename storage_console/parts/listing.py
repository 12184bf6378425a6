"""What every list page's State shares: rows, filters, order, page, selection, keys, live refresh, address.

    @dataclass(frozen=True, slots=True)
    class TenantRow:                       # only what the page shows; `id` is required
        id: str
        name: str
        status: str
        created: float                     # words.epoch(...)

    class Tenants(ListState, rx.State):
        rows: list[TenantRow] = []
        _route: ClassVar[str] = "/tenants"
        _noun: ClassVar[str] = "tenant"
        _sorts: ClassVar[tuple[str, ...]] = ("name", "created_at")
        _filters: ClassVar[tuple[Filter, ...]] = (
            Filter("status", "Status", ("active", "suspended", "deleted"), default="!deleted"),
        )
        _export: ClassVar[tuple[str, ...]] = ("id", "name", "status", "created_at")   # of the domain object, dotted

        @staticmethod
        async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Tenant]:
            return await core().tenants.list(ctx, ListTenants(**ask))

        @staticmethod
        async def _rows(ctx: Context, items: tuple[Tenant, ...]) -> list[TenantRow]:
            return [TenantRow(t.id, t.name, t.status.value, words.epoch(t.created_at)) for t in items]

        def _open(self, id: str):          # Enter on a row; may return events
            return rx.redirect(f"/tenants/{id}")

    @rx.page(route="/tenants", title="Tenants", on_load=[Tenants.load, Tenants.live])
    def tenants() -> rx.Component:
        return page("Tenants", table(Tenants, [Column("name", "Name", lambda r: mono(r.name), sort="name"), ...]))

In handlers of the page: `await self._reload()` after a change, `self._picked()` for the selected ids,
`await self._matching()` for the ids behind "all N matching"; acts on many rows: see parts.bulk. The core authorises every list; these handlers ask
only for a signed-in caller.
"""

import asyncio
import time
from typing import Any, ClassVar
from urllib.parse import urlencode

import reflex as rx

from storage_console.parts import words
from storage_console.parts.bulk import BulkState
from storage_console.parts.closing import Closing
from storage_console.parts.filters import Facet, Filter, cleaned, facet
from storage_console.parts.saved import SavedState
from storage_console.session import (
    NO_PROBLEM,
    WITHDRAWN,
    Context,
    Permission,
    Problem,
    Session,
    asking,
    attempt,
    changed,
    goto,
    is_open,
    requires,
    signed_in,
    toast,
)

__all__ = ["SIZES", "Facet", "Filter", "ListState"]

SIZES = (25, 50, 100)
MAX_PAGE = 100_000
BULK_LIMIT = 10_000


def _number(text: str, low: int, high: int, otherwise: int) -> int:
    return (
        min(max(int(text), low), high) if text.isascii() and text.isdigit() and len(text) < 9 else otherwise
    )


class ListState(SavedState, BulkState, Closing, mixin=True):
    """See the module's description."""

    _noun: ClassVar[str] = "row"
    _plural: ClassVar[str] = ""  # where it is not the noun with an s
    _sorts: ClassVar[tuple[str, ...]] = ("created_at",)
    _sort: ClassVar[str] = "-created_at"
    _filters: ClassVar[tuple[Filter, ...]] = ()
    _export: ClassVar[tuple[str, ...]] = ()

    rows: list[Any] = []
    total: int = 0
    first: int = 0
    last: int = 0
    page: int = 1
    pages: int = 1
    size: int = 50
    sort: str = ""
    q: str = ""
    facets: list[Facet] = []
    hidden: list[str] = []
    filtered: bool = False
    phase: str = "loading"  # loading, ready, error
    problem: Problem = NO_PROBLEM
    loaded: float = 0
    paused: bool = False
    selected: list[str] = []
    all_matching: bool = False
    cursor: int = -1
    help_open: bool = False
    export_query: str = ""
    summary: str = ""
    _chosen: dict[str, str] = {}
    _names: dict[str, str] = {}  # of the selected rows, which may be on other pages

    # -- what a page provides

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Any:
        """A Page of domain objects; `ask` has limit, offset, sort and, when set, q and the filters."""

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Any, ...]) -> list[Any]:
        """The rows to display for the domain objects."""
        return list(items)

    def _open(self, id: str) -> Any:
        """What Enter does on a row; None by default."""
        return None

    def _closed(self) -> None:
        self.help_open = self.bulk_open = self.saved_open = False
        super()._closed()

    # -- what a page's handlers may call

    def _picked(self) -> list[str]:
        return list(self.selected)

    async def _matching(self) -> list[str]:
        """Ids of the selection: what is ticked, or everything that matches, up to BULK_LIMIT."""
        return [id for id, _ in await self._wanted()]

    async def _wanted(self) -> list[tuple[str, str]]:
        """The same with names, for a report (see parts.bulk)."""
        if not self.all_matching:
            return [(id, self._names.get(id, id)) for id in self.selected]
        ctx = await asking(self)
        found: list[tuple[str, str]] = []
        ask = {**self._question(), "limit": 500, "offset": 0}
        while True:
            part = await self._list(ctx, ask)
            found.extend((item.id, self._label(item)) for item in part.items)
            if part.next is None or len(found) >= BULK_LIMIT:
                return found[:BULK_LIMIT]
            ask = {**ask, "cursor": part.next}

    async def _acted(self) -> None:
        """After a bulk act: nothing is selected any more, the rows are read again."""
        self._forget()
        await self._reload()

    @staticmethod
    def _label(item: Any) -> str:
        """What a row or a domain object is called in a report."""
        return str(getattr(item, "name", "") or item.id)

    async def _read(self) -> tuple[int, list[Any]]:
        ctx = await asking(self)
        found = await self._list(ctx, self._question())
        self.pages = max(1, -(-found.total // self.size))
        if self.page > self.pages:
            self.page = self.pages
            found = await self._list(ctx, self._question())
        return found.total, await self._rows(ctx, found.items)

    async def _reload(self) -> None:
        """Read the page of rows again; a failure keeps the old rows and says so."""
        answer, self.problem = await attempt(self._read())
        if answer is None:
            if self.problem.code in WITHDRAWN:
                self.rows.clear()
                self.total = 0
                self._forget()
            self.phase = "ready" if self.rows else "error"
            return
        self.total, rows = answer
        if rows != self.rows:
            self.rows = rows
        self.phase, self.loaded = "ready", time.time()
        self.first, self.last = (
            ((self.page - 1) * self.size + 1 if rows else 0),
            (self.page - 1) * self.size + len(rows),
        )
        self.cursor = min(self.cursor, len(rows) - 1)
        self._describe(await self.get_state(Session))

    # -- inside

    def _question(self) -> dict[str, Any]:
        ask: dict[str, Any] = {
            "limit": self.size,
            "offset": (self.page - 1) * self.size,
            "sort": self.sort or self._sort,
            **{k: v for k, v in self._chosen.items() if v},
        }
        return {**ask, "q": self.q} if self.q else ask

    def _describe(self, session: Session) -> None:
        defaults = {f.key: f.default for f in self._filters}
        chosen = {k: v or "*" for k, v in self._chosen.items() if v != defaults[k]}
        order = {"sort": self.sort} if self.sort and self.sort != self._sort else {}
        text = {"q": self.q} if self.q else {}
        view = {
            **({"page": str(self.page)} if self.page > 1 else {}),
            **({"size": str(self.size)} if self.size != 50 else {}),
            **({"cols": "-" + ",".join(self.hidden)} if self.hidden else {}),
        }
        query = urlencode({**text, **chosen, **order, **view}, safe="!,*")
        self.address = f"{self._route}?{query}" if query else self._route
        active = {k: v for k, v in self._chosen.items() if v}
        tenant = {"tenant": session.tenant_id} if session.tenant_id else {}
        self.export_query = urlencode(
            {**text, **active, "sort": self.sort or self._sort, **tenant}, safe="!,*"
        )
        self.facets = [facet(f, self._chosen.get(f.key, "")) for f in self._filters]
        self.filtered = bool(chosen or text)
        self.summary = words.count(self.total, self._noun, self._plural)
        self._name_saved()

    def _drop(self) -> None:
        self.selected.clear()
        self.all_matching = False

    def _forget(self) -> None:
        self._drop()
        self.cursor = -1

    async def _again(self) -> None:
        """Another question: from its first page, nothing selected."""
        self.page = 1
        self._forget()
        await self._reload()

    # -- events

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def load(self):
        """Takes filters, order, page and columns from the address and reads the rows."""
        self._closed()
        await self._show(dict(self.router.url.query_parameters))
        await self._read_saved()

    async def _show(self, given: dict[str, str]) -> None:
        self._chosen = {
            f.key: "" if given.get(f.key) == "*" else cleaned(f, given.get(f.key)) for f in self._filters
        }
        self.q = "".join(c for c in given.get("q", "") if c.isprintable())[:200]
        sort = given.get("sort", "")
        self.sort = sort if sort.removeprefix("-") in self._sorts else self._sort
        size = _number(given.get("size", ""), 1, 500, 50)
        self.size = size if size in SIZES else 50
        self.page = _number(given.get("page", ""), 1, MAX_PAGE, 1)
        self.hidden = [c for c in given.get("cols", "").removeprefix("-").split(",") if c][:30]
        self._forget()
        self.help_open = self.bulk_open = self.saved_open = False
        await self._reload()

    @rx.event(background=True)
    @requires(Permission.SIGNED_IN)
    async def live(self):
        """Reads the rows again whenever something changed, until the page is left or the session ends."""
        sequence = 0
        while is_open():
            sequence = await changed(sequence)
            async with self:
                here = await signed_in(self) is not None
                if here and not self.paused:
                    await self._reload()
            if not here:
                yield goto("/login")
                return
            await asyncio.sleep(0.4)

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def refresh(self):
        """Reads the rows again now."""
        await self._reload()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def pause(self):
        """Holds the display still, or lets it follow again."""
        self.paused = not self.paused
        if not self.paused:
            await self._reload()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def search(self, text: str):
        """Filters by free text."""
        self.q = str(text)[:200]
        await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def tick(self, key: str, value: str):
        """Ticks a value of a filter, or unticks it."""
        spec = next((f for f in self._filters if f.key == key), None)
        if spec is None or value not in dict(spec.options()):
            return
        before = self._chosen.get(key, "")
        ticked = set(before.removeprefix("!").split(",")) ^ {value}
        bang = "!" if before.startswith("!") else ""
        self._chosen = {**self._chosen, key: cleaned(spec, bang + ",".join(ticked))}
        await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def enter(self, key: str, value: str):
        """Takes what was typed into a filter."""
        spec = next((f for f in self._filters if f.key == key and f.kind != "choice"), None)
        if spec is not None:
            bang = "!" if self._chosen.get(key, "").startswith("!") and spec.kind == "text" else ""
            self._chosen = {**self._chosen, key: cleaned(spec, bang + str(value).removeprefix("!"))}
            await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def negate(self, key: str, negated: bool):
        """Turns a filter from *is* to *is not* and back."""
        value = self._chosen.get(key, "").removeprefix("!")
        if any(f.key == key and f.kind != "time" for f in self._filters) and value:
            self._chosen = {**self._chosen, key: f"!{value}" if negated is True else value}
            await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def clear(self, key: str):
        """Empties one filter; for an empty key, goes back to how the page begins."""
        if key:
            self._chosen = {k: "" if k == key else v for k, v in self._chosen.items()}
        else:
            self._chosen, self.q = {f.key: f.default for f in self._filters}, ""
        await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def order(self, key: str):
        """Sorts by a column; the same column again turns the order around."""
        if key in self._sorts:
            self.sort = f"-{key}" if self.sort == key else key
            await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def turn(self, pages: int):
        """Goes so many pages on, or back."""
        if pages in (-1, 1):
            self.page = min(max(self.page + pages, 1), self.pages)
            self.cursor = -1
            await self._reload()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def resize(self, size: str):
        """Shows so many rows a page."""
        if str(size) in map(str, SIZES):
            self.size = int(size)
            await self._again()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def column(self, key: str):
        """Hides a column, or shows it."""
        self.hidden = sorted({*self.hidden} ^ {str(key)[:40]})[:30]
        self._describe(await self.get_state(Session))

    @rx.event
    @requires(Permission.SIGNED_IN)
    def pick(self, id: str):
        """Selects a row, or drops it."""
        self._pick(id)

    def _pick(self, id: str) -> None:
        self.all_matching = False
        if id in self.selected:
            self.selected = [s for s in self.selected if s != id]
        elif (row := next((r for r in self.rows if r.id == id), None)) is not None:
            self.selected = [*self.selected, id]
            self._names[id] = self._label(row)

    @rx.event
    @requires(Permission.SIGNED_IN)
    def pick_page(self):
        """Selects the rows of this page, or none when all of them are."""
        shown = [row.id for row in self.rows]
        self._names = {row.id: self._label(row) for row in self.rows}
        full = bool(shown) and set(shown) <= set(self.selected)
        self._forget()
        self.selected = [] if full else shown

    @rx.event
    @requires(Permission.SIGNED_IN)
    def pick_all(self):
        """Selects everything that matches, on every page."""
        if self.total > BULK_LIMIT:
            most = words.count(BULK_LIMIT, "row")
            return toast("warning", f"At most {most} at once", description="Narrow the filters first.")
        self.selected, self.all_matching = [row.id for row in self.rows], True
        return None

    @rx.event
    @requires(Permission.SIGNED_IN)
    def pick_none(self):
        """Drops the selection."""
        self._drop()

    @rx.event
    @requires(Permission.SIGNED_IN)
    def show_help(self, shown: bool):
        """Opens or closes the list of keys."""
        self.help_open = shown is True

    @rx.event
    @requires(Permission.SIGNED_IN)
    def key(self, name: str):
        """j and k move, x selects, Enter opens, ? explains."""
        if name == "?":
            self.help_open = True
        elif name in ("j", "k") and self.rows:
            step = 1 if name == "j" else -1
            self.cursor = min(max(self.cursor + step, 0), len(self.rows) - 1)
        elif 0 <= self.cursor < len(self.rows):
            id = self.rows[self.cursor].id
            if name == "Enter":
                return self._open(id)
            if name == "x":
                self._pick(id)
        return None
