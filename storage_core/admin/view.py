"""What every admin view does: rows read through the lists' operations, changes made through the others."""

import builtins
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from markupsafe import Markup
from sqladmin import ModelView
from sqladmin.authorization import Action, AuthorizationBackend
from sqladmin.pagination import Pagination
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..domain.errors import InvalidRequest
from ..domain.page import Clause, Page, Query, Reach, Test
from ..domain.permission import MATRIX, Permission, Rule, Target, Verdict, decide, reach
from ..services.operation import Operation
from ..services.request import Request as OperationRequest
from ..sheets import Cell, cell
from .forms import Choices, Lookup, as_text, leaves
from .gate import Visit, visit_of

#: Fields that name another thing, by the noun whose list offers them.
REFERENCES = {
    "tenant_id": "tenants",
    "provider_id": "providers",
    "proof_provider_id": "providers",
    "database_id": "databases",
}
#: As many are offered at once; among more one searches.
OFFERED = 100
EXPORT_PAGE = 500
FARTHEST = 10_000_000


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of the list's operation: one of some values, another thing (a field in REFERENCES), or any text."""

    field: str
    label: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A filter as the page shows it: what is chosen, and what there is to choose (none: text)."""

    field: str
    label: str
    chosen: str
    choices: Choices | None


def values_of(kind: type[StrEnum]) -> tuple[str, ...]:
    return tuple(str(member.value) for member in kind)


def _moment(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _lines(value: tuple[Any, ...]) -> Markup:
    return Markup("<br>").join(" = ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)


def _flag(value: bool) -> str:
    return "yes" if value else "no"


def _nothing(_value: None) -> str:
    return ""


def _word(value: StrEnum) -> str:
    return value.value


def _measure(value: float) -> str:
    return f"{value:,.1f}"


SHAPES: Any = {
    type(None): _nothing,
    bool: _flag,
    float: _measure,
    datetime: _moment,
    StrEnum: _word,
    tuple: _lines,
}


class View(ModelView):
    """One view. `noun` names the operations; `creates`, `edits`, `deletes` those that a form is for.

    SQLAdmin's own queries and sessions are not used: what the operations answer is what is shown.
    """

    noun: ClassVar[str] = ""
    about: ClassVar[str] = ""
    creates: ClassVar[str | None] = None
    edits: ClassVar[str | None] = None
    deletes: ClassVar[str | None] = None
    #: What a new one belongs to when that is known beforehand; otherwise any grant will do until it is known.
    new_target: ClassVar[Target | None] = None
    filters: ClassVar[tuple[Filter, ...]] = ()

    can_create = can_edit = can_delete = can_import = False
    page_size = 25
    page_size_options: ClassVar[Sequence[int]] = [25, 50, 100]
    export_types: ClassVar[builtins.list[str]] = ["csv", "json", "xlsx"]
    column_type_formatters: ClassVar[Any] = SHAPES
    column_type_formatters_detail: ClassVar[Any] = SHAPES

    def target(self, row: Any) -> Target:
        """What an operation on this row touches."""
        raise HTTPException(404)

    def shown_before(self, row: Any, request: type[OperationRequest]) -> dict[str, Any]:
        """What the edit form shows before anything is typed, by the names of the request's fields."""
        return {leaf.name: as_text(getattr(row, leaf.name, None)) for leaf in leaves(request)}

    def title_of(self, row: Any) -> str:
        """What people call the row."""
        return self.target(row).name

    def operation_for(self, visit: Visit, act: str) -> Operation | None:
        """The operation behind create, edit or delete."""
        return visit.knows({"create": self.creates, "edit": self.edits, "delete": self.deletes}.get(act))

    def may(self, visit: Visit, act: str, row: Any = None) -> bool:
        """Whether the visitor's grants allow this at all. The operation decides again, for the very request."""
        if act in (Action.LIST, Action.DETAILS, Action.EXPORT):
            return True
        op = self.operation_for(visit, act)
        if op is None:
            return False
        target = self.target(row) if row is not None else self.new_target if act == "create" else None
        if target is None:
            return any(MATRIX[op.needs][g.role] > Rule.OWN for g in visit.ctx.grants)
        verdict = decide(op.needs, target, visit.ctx.grants, visit.ctx.actor.id)
        return verdict not in (Verdict.FORBIDDEN, Verdict.INVISIBLE)

    async def list(self, request: Request) -> Pagination:
        """One page of the rows within the visitor's reach."""
        size = self.validate_page_number(request.query_params.get("pageSize"), self.page_size)
        size = min(max(size, 1), max(self.page_size_options))
        number = self.validate_page_number(request.query_params.get("page"), 1)
        number = min(max(number, 1), FARTHEST // size)
        visit, asked = visit_of(request), self.asked(request)
        found = await self.page(visit, {**asked, "limit": size, "offset": (number - 1) * size})
        if not found.items and found.total:
            number = Pagination.max_page(found.total, size)
            found = await self.page(visit, {**asked, "limit": size, "offset": (number - 1) * size})
        await self._learn_names(request, found.items)
        return Pagination(rows=[*found.items], page=number, page_size=size, count=found.total)

    async def page(self, visit: Visit, asked: Mapping[str, Any]) -> Page[Any]:
        """What the list's operation answers."""
        return await visit.do(f"{self.noun}.list", **asked)

    async def rows(self, visit: Visit, asked: Mapping[str, Any]) -> AsyncGenerator[builtins.list[Cell], None]:
        """The cells of every row that is asked for, page by page; each page is read when the one before is used."""
        cursor: str | None = None
        while True:
            found = await self.page(visit, {**asked, "limit": EXPORT_PAGE, "cursor": cursor})
            for row in found.items:
                yield [self.cell(row, name) for name in self._export_prop_names]
            if (cursor := found.next) is None:
                return

    def cell(self, row: Any, name: str) -> Cell:
        """A value of a row as an export has it."""
        return cell(row, name)

    async def get_object_for_details(self, request: Request) -> Any:
        """The row of the address; NotFound outside the visitor's reach."""
        row = await self.one(visit_of(request), request.path_params["pk"])
        await self._learn_names(request, (row,))
        return row

    async def one(self, visit: Visit, key: str) -> Any:
        """The row with this key."""
        try:
            return await visit.do(f"{self.noun}.get", id=key)
        except InvalidRequest as error:  # no key of ours looks like that
            raise HTTPException(404) from error

    def asked(self, request: Request) -> dict[str, Any]:
        """What the address asks of the list: free text, filters, order."""
        given = request.query_params
        out: dict[str, Any] = {
            f.field: given[f.field] for f in self.filters if given.get(f.field, "").strip()
        }
        if search := given.get("search", "").strip():
            out["q"] = search[:200]
        by = given.get("sortBy", "")
        if by and by not in self._sort_fields:
            raise HTTPException(400, f"These rows cannot be sorted by {by[:40]!r}.")
        name, down = (by, given.get("sort") == "desc") if by else self._get_default_sort()[0]
        out["sort"] = f"-{name}" if down else name
        return out

    def search_placeholder(self) -> str:
        """What a search looks into."""
        return super().search_placeholder().replace("_", " ")

    async def list_context(self, request: Request) -> dict[str, Any]:
        """The filters with what is chosen."""
        visit = visit_of(request)
        return {"filters": [await self._filter(visit, f, request.query_params.get(f.field, "")) for f in self.filters]}  # fmt: skip

    async def _filter(self, visit: Visit, given: Filter, chosen: str) -> Shown:
        choices: Choices | None = [(v, v) for v in given.values] or None
        if given.field in REFERENCES:
            lookup = await self.lookup(visit, given.field, None)
            choices = lookup.choices if lookup.url is None else None
        return Shown(given.field, given.label, chosen, choices)

    async def lookup(self, visit: Visit, field: str, url: str | None, chosen: str = "") -> Lookup:
        """What a field that names another thing offers; beyond OFFERED things a search at `url`."""
        found = await self.search(visit, field, "", OFFERED)
        if len(found) < OFFERED:
            return Lookup(found)
        names = await names_of(visit, {(REFERENCES[field], chosen)} if chosen else set())
        return Lookup([(chosen, names.get(chosen, chosen))] if chosen else [], url or "")

    async def search(self, visit: Visit, field: str, term: str, limit: int = 20) -> Choices:
        """Things a field may name, within the visitor's reach."""
        noun = REFERENCES[field]
        if visit.knows(f"{noun}.list") is None:
            return []
        found = await visit.do(f"{noun}.list", q=term[:200], limit=limit, sort="name")
        return [(row.id, row.name) for row in found.items if getattr(row, "status", "") != "deleted"]

    async def _learn_names(self, request: Request, rows: Sequence[Any]) -> None:
        wanted = {
            (noun, getattr(row, field))
            for row in rows
            for field, noun in REFERENCES.items()
            if getattr(row, field, None)
        }
        request.state.names = await names_of(visit_of(request), wanted)


async def names_of(visit: Visit, wanted: set[tuple[str, str]]) -> dict[str, str]:
    """The names of things by id, as far as the visitor may know them; providers are known to everybody."""
    out: dict[str, str] = {}
    seen = reach(Permission.INVENTORY_READ, visit.ctx.grants, visit.ctx.tenant_id)
    async with visit.core.kernel.catalog.read() as uow:
        for noun in {noun for noun, _ in wanted}:
            ids = tuple(sorted({id for n, id in wanted if n == noun}))
            within = Reach(everything=True) if noun == "providers" else seen
            query = Query((Clause("id", Test.ANY_OF, ids),), limit=500, reach=within)
            found = await getattr(uow, noun).find(query)
            out.update({row.id: row.name for row in found.items})
    return out


def named(row: Any, field: str, request: Request) -> Any:
    """A cell that names another thing, as a link to it where the visitor may see it."""
    id = getattr(row, field, None)
    if not id:
        return ""
    name = request.state.names.get(id)
    if name is None:
        return id
    identity = REFERENCES[field].removesuffix("s")
    return Markup('<a href="{}">{}</a>').format(
        request.url_for("admin:details", identity=identity, pk=id), name
    )


NAMED: dict[Any, Any] = dict.fromkeys(REFERENCES, named)


class Roles(AuthorizationBackend):
    """SQLAdmin's question who may do what, answered from the visitor's grants."""

    def __init__(self, views: Callable[[], Sequence[View]]) -> None:
        self.views = views

    def has_permission(self, request: Request, identity: str, action: str, obj: Any | None = None) -> bool:
        """Whether the page may offer this; nothing without a visit."""
        visit: Visit | None = getattr(request.state, "visit", None)
        view = next((v for v in self.views() if v.identity == identity), None)
        return visit is not None and view is not None and view.may(visit, str(action), obj)
