"""What the console keeps for a person: preferences, and filters of lists, private or shared."""

import re
from dataclasses import replace
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from ..domain.context import Context
from ..domain.errors import Conflict, InvalidRequest, NotFound
from ..domain.page import Clause, Page, Query, Reach, Test
from ..domain.permission import Permission, ScopeKind, Target, Verdict, decide, reach
from ..domain.preference import (
    AUDIENCE_GLOBAL,
    Density,
    Motion,
    Preferences,
    SavedFilter,
    Theme,
    audience_of_one,
    audience_of_tenant,
)
from .kernel import Service, found
from .operation import Effect, Suspended, operation
from .request import ById, ListRequest, Request
from .targets import own

MAX_FILTERS = 200
_ZONE = re.compile(r"[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)*")


class ShowPreferences(Request):
    """Show how you want the console: theme, density, motion, time zone, language of dates, start page."""


class UpdatePreferences(Request):
    """Change how you want the console; what is left out stays."""

    theme: Theme | None = Field(None, examples=["dark"])
    """system, light or dark."""
    density: Density | None = Field(None, examples=["compact"])
    """comfortable or compact."""
    motion: Motion | None = Field(None, examples=["none"])
    """system or none."""
    time_zone: str | None = Field(None, max_length=64, examples=["Europe/Berlin"])
    """An IANA zone for exact times; the browser's own, if empty."""
    language: str | None = Field(None, max_length=35, examples=["de-DE"])
    """The language dates are written in; the browser's own, if empty."""
    start_page: str | None = Field(
        None, max_length=60, pattern=r"^/([a-z]+(/[a-z]+)*)?$", examples=["/databases"]
    )
    """The page a sign-in leads to."""

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        # A machine without zone data cannot tell; then the shape has to do, and the browser decides.
        known = available_timezones()
        if value and (value not in known if known else not _ZONE.fullmatch(value)):
            raise ValueError("is no time zone; write one like Europe/Berlin")
        return value

    @field_validator("language")
    @classmethod
    def _language(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", value):
            raise ValueError("is no language; write one like de-DE")
        return value


class CreateFilter(Request):
    """Save a list's filters, order and columns under a name."""

    page: str = Field(max_length=42, pattern=r"^/[a-z]+(/[a-z]+)*$", examples=["/backups"])
    """The list's page."""
    name: str = Field(min_length=1, max_length=60, examples=["Failed last night"])
    """What to call it."""
    query: str = Field("", max_length=2000, examples=["status=failed&sort=-created_at"])
    """The question part of the page's address."""
    shared: bool = False
    """Whether everybody who works in the same tenant sees it (or, outside of one, everybody whose role holds
    everywhere)."""

    @field_validator("name", "query")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("has characters that cannot be shown")
        return value.strip()


class ListFilters(ListRequest):
    """List saved filters: your own, and those shared where you work."""

    sort: str = Field("name", max_length=64, examples=["name"])
    """Field to order by; a leading `-` reverses."""
    page: str | None = Field(None, max_length=42, examples=["/backups"])
    """Filter: of one page."""


class DeleteFilter(ById):
    """Delete a saved filter: your own, or a shared one of a scope you administer."""


class PersonalPreferences(Service):
    """The preferences' operations: everybody has their own, and nobody else's."""

    @operation(
        "preferences.show",
        needs=Permission.SIGNED_IN,
        on=own("preferences"),
        effect=Effect.READ,
        while_suspended=Suspended.PEOPLE,
    )
    async def show(self, ctx: Context, request: ShowPreferences) -> Preferences:
        async with self.kernel.catalog.read() as uow:
            return await uow.preferences.get(ctx.actor.id) or Preferences(ctx.actor.id)

    @operation(
        "preferences.update",
        needs=Permission.SIGNED_IN,
        on=own("preferences"),
        while_suspended=Suspended.PEOPLE,
    )
    async def update(self, ctx: Context, request: UpdatePreferences) -> Preferences:
        wanted = {k: v for k, v in request.model_dump().items() if v is not None}
        async with self.kernel.catalog.write() as uow:
            known = await uow.preferences.get(ctx.actor.id)
            new = replace(known or Preferences(ctx.actor.id), **wanted, updated_at=self.kernel.now())
            await (uow.preferences.save(new) if known else uow.preferences.add(new))
        return new

    async def start_page(self, user_id: str) -> str:
        """Where a sign-in of this user leads to."""
        async with self.kernel.catalog.read() as uow:
            known = await uow.preferences.get(user_id)
        return known.start_page if known else "/"


class Filters(Service):
    """The saved filters' operations."""

    @operation(
        "filters.create", needs=Permission.SIGNED_IN, on=own("filter"), while_suspended=Suspended.PEOPLE
    )
    async def create(self, ctx: Context, request: CreateFilter) -> SavedFilter:
        owner = ctx.actor
        audience = _audience(ctx) if request.shared else audience_of_one(owner.id)
        row = SavedFilter(
            self.kernel.new_id(),
            owner.id,
            owner.name,
            request.page,
            request.name,
            request.query,
            request.shared,
            audience,
            self.kernel.now(),
        )
        async with self.kernel.catalog.write() as uow:
            mine = await uow.filters.find(Query((Clause("owner_id", Test.ANY_OF, (owner.id,)),), limit=1))
            if mine.total >= MAX_FILTERS:
                raise Conflict(f"You keep {MAX_FILTERS} filters already.", hint="Delete one first.")
            await uow.filters.add(row)
        return row

    @operation(
        "filters.list",
        needs=Permission.SIGNED_IN,
        on=own("filter"),
        effect=Effect.READ,
        while_suspended=Suspended.PEOPLE,
    )
    async def list(self, ctx: Context, request: ListFilters) -> Page[SavedFilter]:
        seen = (Clause("audience", Test.ANY_OF, _audiences(ctx)),)
        async with self.kernel.catalog.read() as uow:
            return await uow.filters.find(request.query(_all(), seen))

    @operation(
        "filters.delete", needs=Permission.SIGNED_IN, on=own("filter"), while_suspended=Suspended.PEOPLE
    )
    async def delete(self, ctx: Context, request: DeleteFilter) -> SavedFilter:
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.filters.get(request.id), "filter", request.id)
            if row.owner_id != ctx.actor.id and not _administers(ctx, row):
                raise NotFound(f"There is no filter {request.id!r}.", field="id")
            await uow.filters.remove(row.id)
        return row


def _all() -> Reach:
    return Reach(everything=True)  # the audience narrows already


def _tenants(ctx: Context) -> frozenset[str]:
    """The tenants the caller stands in: the one the call is narrowed to, or those of their grants."""
    return reach(Permission.SIGNED_IN, ctx.grants, ctx.tenant_id).tenants


def _everywhere(ctx: Context) -> bool:
    return ctx.tenant_id is None and any(g.scope.kind is ScopeKind.GLOBAL for g in ctx.grants)


def _audience(ctx: Context) -> str:
    """Whom a filter is shared with from where the caller stands."""
    if _everywhere(ctx):
        return AUDIENCE_GLOBAL
    tenants = _tenants(ctx)
    if len(tenants) != 1:
        raise InvalidRequest(
            "Shared with whom? You work in several scopes.",
            field="shared",
            hint="Choose one tenant first, then save.",
        )
    return audience_of_tenant(next(iter(tenants)))


def _audiences(ctx: Context) -> tuple[str, ...]:
    """All audiences the caller belongs to."""
    tenants = (audience_of_tenant(t) for t in sorted(_tenants(ctx)))
    return (audience_of_one(ctx.actor.id), *tenants, *((AUDIENCE_GLOBAL,) if _everywhere(ctx) else ()))


def _administers(ctx: Context, row: SavedFilter) -> bool:
    """Whether the caller may take away what others share where they administer."""
    if row.audience not in _audiences(ctx) or not row.shared:
        return False
    tenant_id = row.audience.partition(":")[2] or None
    target = Target("filter", row.id, row.name, tenant_id=tenant_id)
    return decide(Permission.USER_MANAGE, target, ctx.grants, ctx.actor.id) is Verdict.ALLOWED
