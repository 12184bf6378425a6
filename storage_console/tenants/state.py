"""The tenants page's state: the list, a tenant's usage, its forms and dangers."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.form import FormState
from storage_console.parts.listing import Filter, ListState
from storage_console.session import (
    NO_PROBLEM,
    Context,
    Permission,
    Problem,
    asking,
    attempt,
    requires,
    toast,
)
from storage_console.tenants.policy import PolicyFields, PolicyWords, from_form, in_fields, in_words
from storage_core.domain.page import Page
from storage_core.domain.tenant import Tenant
from storage_core.services.databases import ListDatabases
from storage_core.services.tenants import (
    CreateTenant,
    DeleteTenant,
    GetTenant,
    ListTenants,
    ResumeTenant,
    SuspendTenant,
    TenantUsageRequest,
    UpdateTenant,
)


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant in the list."""

    id: str
    name: str
    title: str
    status: str
    reason: str
    databases: int
    created: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant uses, in words."""

    databases: str = ""
    live: str = ""
    backups: str = ""
    stored: str = ""
    unmeasured: str = ""


async def databases_of(ctx: Context, tenants: tuple[str, ...]) -> dict[str, int]:
    """How many databases each tenant has."""
    if not tenants:
        return {}
    found = await core().databases.list(ctx, ListDatabases(limit=500, tenant_id=",".join(tenants)))
    counts = dict(Counter(d.tenant_id or "" for d in found.items))
    if found.total > len(found.items):
        for id in tenants:
            counts[id] = (await core().databases.list(ctx, ListDatabases(limit=1, tenant_id=id))).total
    return counts


class Tenants(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[TenantRow] = []
    look_open: bool = False
    look_busy: bool = False
    look_title: str = ""
    look_name: str = ""
    look_problem: Problem = NO_PROBLEM
    usage: Usage = Usage()
    policy: PolicyWords = PolicyWords()
    _look_id: str = ""

    _acts: ClassVar[dict[str, str]] = {"resume": "Resume tenants"}
    _route: ClassVar[str] = "/tenants"
    _noun: ClassVar[str] = "tenant"
    _sorts: ClassVar[tuple[str, ...]] = ("name", "title", "status", "created_at")
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("status", "Status", ("active", "suspended", "deleted"), default="!deleted"),
    )
    _export: ClassVar[tuple[str, ...]] = ("id", "name", "title", "status", "status_reason", "created_at")

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Tenant]:
        return await core().tenants.list(ctx, ListTenants(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Tenant, ...]) -> list[TenantRow]:
        held = await databases_of(ctx, tuple(t.id for t in items))
        return [
            TenantRow(
                t.id,
                t.name,
                t.title,
                t.status.value,
                t.status_reason or "",
                held.get(t.id, 0),
                words.epoch(t.created_at),
            )
            for t in items
        ]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().tenants.resume(ctx, ResumeTenant(id=id))
        return "It works again"

    def _open(self, id: str) -> Any:
        return Tenants.look(id)

    def _row(self, id: str) -> TenantRow | None:
        return next((row for row in self.rows if row.id == id), None)

    @rx.event
    @requires(Permission.STATUS_READ)
    async def look(self, id: str):
        """Opens a tenant's usage and policy; the engines are asked, so it may take a moment."""
        if (row := self._row(id)) is None:
            return
        self._look_id, self.look_title, self.look_name = row.id, row.title, row.name
        self.look_open, self.look_busy, self.look_problem, self.usage = True, True, NO_PROBLEM, Usage()
        yield
        found, self.look_problem = await attempt(self._measured(id))
        self.look_busy = False
        if found is not None:
            self.usage, self.policy = found

    async def _measured(self, id: str) -> tuple[Usage, PolicyWords]:
        ctx = await asking(self)
        used = await core().tenants.usage(ctx, TenantUsageRequest(id=id))
        usage = Usage(
            words.count(used.databases, "database"),
            words.size(used.bytes_live),
            words.count(used.backups, "backup"),
            words.size(used.bytes_stored),
            ", ".join(used.unmeasured),
        )
        tenant = await core().tenants.get(ctx, GetTenant(id=id))
        return usage, in_words(tenant.policy, used.databases)

    @rx.event
    @requires(Permission.TENANT_ADMIN)
    def change_policy(self):
        """Goes from what the tenant may have to the form that changes it."""
        self.look_open = False
        return EditPolicy.edit(self._look_id)

    def _closed(self) -> None:
        self.look_open = False
        super()._closed()

    @rx.event
    @requires(Permission.SIGNED_IN)
    def look_toggle(self, shown: bool):
        """Closes the usage."""
        self.look_open = shown is True and self.look_open

    @rx.event
    @requires(Permission.TENANT_DANGER)
    def ask_suspend(self, id: str):
        """Asks before a tenant is suspended."""
        if row := self._row(id):
            effects = [
                "Every page, API call and program of this tenant is refused until it is resumed.",
                f"Its {words.count(row.databases, 'database')} and all backups stay untouched.",
                "Whoever is refused reads your reason.",
            ]
            self._ask(
                "suspend", f"Suspend {row.title}", effects, label="Suspend tenant", ids=[id], name=row.name
            )

    @rx.event
    @requires(Permission.TENANT_ADMIN)
    async def resume(self, id: str):
        """Lets a suspended tenant work again."""
        tenant = await core().tenants.resume(await asking(self), ResumeTenant(id=str(id)))
        await self._reload()
        return toast("success", f"{tenant.title} works again")

    @rx.event
    @requires(Permission.TENANT_DANGER)
    def ask_delete(self, id: str):
        """Asks before a tenant is deleted."""
        if row := self._row(id):
            held = f"It still has {words.count(row.databases, 'database')}: delete those first, or this is refused."
            effects = [
                held if row.databases else "The tenant disappears from every list and nobody can work in it.",
                "Its stored backups stay until somebody deletes them.",
                "Its name stays taken.",
            ]
            self._ask(
                "delete", f"Delete {row.title}", effects, label="Delete tenant", ids=[id], name=row.name
            )

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        if verb == "suspend":
            await core().tenants.suspend(ctx, SuspendTenant(id=ids[0], confirm=typed, reason=reason))
        else:
            await core().tenants.delete(ctx, DeleteTenant(id=ids[0], confirm=typed))
        await self._reload()
        return toast("success", "Tenant suspended" if verb == "suspend" else "Tenant deleted")


class NewTenant(FormState, rx.State):
    """The form that creates a tenant."""

    async def _save(self, data: dict[str, Any]) -> Any:
        wanted = CreateTenant(name=str(data.get("name", "")), title=str(data.get("title", "")).strip())
        tenant = await core().tenants.create(await asking(self), wanted)
        return [toast("success", f"{tenant.title} created"), Tenants.refresh]


class EditTenant(FormState, rx.State):
    """The form that changes a tenant's title."""

    name: str = ""
    title: str = ""
    _id: str = ""

    @rx.event
    @requires(Permission.TENANT_UPDATE)
    async def edit(self, id: str):
        """Opens the form for one tenant."""
        tenant = await core().tenants.get(await asking(self), GetTenant(id=str(id)))
        self._form_reset(shown=True)
        self._id, self.name, self.title = tenant.id, tenant.name, tenant.title

    async def _save(self, data: dict[str, Any]) -> Any:
        wanted = UpdateTenant(id=self._id, title=str(data.get("title", "")).strip())
        await core().tenants.update(await asking(self), wanted)
        return [toast("success", "Title changed"), Tenants.refresh]


class EditPolicy(FormState, rx.State):
    """The form that changes what a tenant may have."""

    name: str = ""
    title: str = ""
    fields: PolicyFields = PolicyFields()
    _id: str = ""

    @rx.event
    @requires(Permission.TENANT_ADMIN)
    async def edit(self, id: str):
        """Opens the form for one tenant."""
        tenant = await core().tenants.get(await asking(self), GetTenant(id=str(id)))
        self._form_reset(shown=True)
        self._id, self.name, self.title = tenant.id, tenant.name, tenant.title
        self.fields = in_fields(tenant.policy)

    async def _save(self, data: dict[str, Any]) -> Any:
        tenant = await core().tenants.policies(await asking(self), from_form(self._id, data))
        return [toast("success", f"The policy of {tenant.title} holds"), Tenants.refresh]
