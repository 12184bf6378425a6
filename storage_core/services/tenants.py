"""Tenants: create, list, get, update, policies, suspend, resume, delete, usage."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ..domain.context import Context
from ..domain.errors import Conflict, InUse, StorageError
from ..domain.naming import checked_name
from ..domain.page import Clause, Page, Query, Test
from ..domain.permission import Permission
from ..domain.provider import EngineKind
from ..domain.tenant import Policy, Tenant, TenantStatus, TenantUsage
from ..ports.catalog import UnitOfWork
from .kernel import Service, found
from .operation import Effect, Suspended, operation
from .request import LINES, ById, Confirmed, ListRequest, Request
from .targets import a_list, everything, tenant

#: What every engine can count to.
MOST_COUNTED = 10**15


class CreateTenant(Request):
    """Create a tenant."""

    name: str = Field(max_length=48, examples=["acme"])
    """Its unique name: a-z, 0-9, _ and -, used in scopes and headers; it never changes."""
    title: str = Field("", max_length=200, examples=["Acme Corporation"])
    """What people read; the name, if empty."""


class ListTenants(ListRequest):
    """List the tenants you may see."""

    status: str | None = Field(None, examples=["active"])
    """Filter: active, suspended, deleted."""


class GetTenant(ById):
    """Show one tenant."""


class UpdateTenant(ById):
    """Change a tenant's title."""

    title: str = Field(min_length=1, max_length=200, examples=["Acme Corporation"])
    """What people read."""


class TenantPolicies(ById):
    """Set what a tenant may have: the whole policy, what is left out is not limited."""

    engines: tuple[EngineKind, ...] | None = Field(None, examples=[["postgresql", "sqlite"]])
    """The kinds of engines its databases may live on; databases it has already stay."""
    encryption: bool = False
    """Its documents are kept in encrypted collections alone."""
    databases: int | None = Field(None, ge=0, le=MOST_COUNTED, examples=[10])
    """How many databases it may have."""
    documents: int | None = Field(None, ge=0, le=MOST_COUNTED, examples=[1_000_000])
    """How many documents each of its databases may hold in collections."""
    bytes: int | None = Field(None, ge=0, le=MOST_COUNTED, examples=[10_000_000_000])
    """How many bytes of documents, as JSON, each of its databases may hold in collections."""
    connections: int | None = Field(None, ge=1, le=100, examples=[4])
    """How many connections a process keeps to each of its databases."""


class SuspendTenant(Confirmed):
    """Suspend a tenant: every door refuses it until it is resumed; its data stays."""

    reason: Annotated[str, LINES] = Field("", max_length=500, examples=["unpaid invoice"])
    """Why; shown to whoever is refused."""


class ResumeTenant(ById):
    """Let a suspended tenant work again."""


class DeleteTenant(Confirmed):
    """Delete a tenant that has no databases any more; its backups stay until they are deleted."""


class TenantUsageRequest(ById):
    """Show what a tenant uses: databases, live bytes, stored backups."""


class Tenants(Service):
    """The tenants' operations."""

    @operation("tenants.create", needs=Permission.TENANT_ADMIN, on=everything("tenant"))
    async def create(self, ctx: Context, request: CreateTenant) -> Tenant:
        name = checked_name(request.name, "name")
        now = self.kernel.now()
        tenant = Tenant(self.kernel.new_id(), name, request.title or name, now, now)
        async with self.kernel.catalog.write() as uow:
            await uow.tenants.add(tenant)
        return tenant

    @operation(
        "tenants.list",
        needs=Permission.INVENTORY_READ,
        on=a_list("tenant"),
        effect=Effect.READ,
        while_suspended=Suspended.PEOPLE,
    )
    async def list(self, ctx: Context, request: ListTenants) -> Page[Tenant]:
        async with self.kernel.catalog.read() as uow:
            return await uow.tenants.find(request.query(self.reach(ctx, Permission.INVENTORY_READ)))

    @operation(
        "tenants.get",
        needs=Permission.INVENTORY_READ,
        on=tenant(),
        effect=Effect.READ,
        while_suspended=Suspended.PEOPLE,
    )
    async def get(self, ctx: Context, request: GetTenant) -> Tenant:
        async with self.kernel.catalog.read() as uow:
            return await found(uow.tenants.get(request.id), "tenant", request.id)

    @operation(
        "tenants.update", needs=Permission.TENANT_UPDATE, on=tenant(), while_suspended=Suspended.MANAGERS
    )
    async def update(self, ctx: Context, request: UpdateTenant) -> Tenant:
        async with self.kernel.catalog.write() as uow:
            tenant = await found(uow.tenants.get(request.id), "tenant", request.id)
            return await self._save(uow, replace(tenant, title=request.title))

    @operation(
        "tenants.policies", needs=Permission.TENANT_ADMIN, on=tenant(), while_suspended=Suspended.MANAGERS
    )
    async def policies(self, ctx: Context, request: TenantPolicies) -> Tenant:
        policy = Policy(**request.model_dump(exclude={"id"}))
        async with self.kernel.catalog.write() as uow:
            tenant = await found(uow.tenants.get(request.id), "tenant", request.id)
            return await self._save(uow, replace(tenant, policy=policy))

    @operation(
        "tenants.suspend", needs=Permission.TENANT_DANGER, on=tenant(), while_suspended=Suspended.MANAGERS
    )
    async def suspend(self, ctx: Context, request: SuspendTenant) -> Tenant:
        async with self.kernel.catalog.write() as uow:
            tenant = await self._in(uow, request.id, TenantStatus.ACTIVE)
            reason = request.reason or None
            return await self._save(uow, replace(tenant, status=TenantStatus.SUSPENDED, status_reason=reason))

    @operation(
        "tenants.resume", needs=Permission.TENANT_ADMIN, on=tenant(), while_suspended=Suspended.MANAGERS
    )
    async def resume(self, ctx: Context, request: ResumeTenant) -> Tenant:
        async with self.kernel.catalog.write() as uow:
            tenant = await self._in(uow, request.id, TenantStatus.SUSPENDED)
            return await self._save(uow, replace(tenant, status=TenantStatus.ACTIVE, status_reason=None))

    @operation(
        "tenants.delete", needs=Permission.TENANT_DANGER, on=tenant(), while_suspended=Suspended.MANAGERS
    )
    async def delete(self, ctx: Context, request: DeleteTenant) -> Tenant:
        async with self.kernel.catalog.write() as uow:
            tenant = await found(uow.tenants.get(request.id), "tenant", request.id)
            if tenant.status is TenantStatus.DELETED:
                raise Conflict(f"The tenant {tenant.name!r} is deleted already.")
            held = await uow.databases.find(Query(_of(tenant.id), limit=1))
            if held.total:
                raise InUse(
                    f"The tenant {tenant.name!r} still has {held.total} databases.",
                    hint="Delete its databases first.",
                )
            return await self._save(uow, replace(tenant, status=TenantStatus.DELETED))

    @operation(
        "tenants.usage",
        needs=Permission.STATUS_READ,
        on=tenant(),
        effect=Effect.READ,
        while_suspended=Suspended.MANAGERS,
    )
    async def usage(self, ctx: Context, request: TenantUsageRequest) -> TenantUsage:
        async with self.kernel.catalog.read() as uow:
            databases = await uow.databases.find(Query(_of(request.id), limit=500))
            backups = await uow.backups.find(Query((*_of(request.id), _kept()), limit=1))
            stored = await uow.sum("backups", "size_stored", tenant_id=request.id, deleted_at=None)
            providers = {d.provider_id: await uow.providers.get(d.provider_id) for d in databases.items}
        live = 0
        unmeasured: list[str] = []
        for database in databases.items:
            provider = providers[database.provider_id]
            try:
                assert provider is not None, "a foreign key holds it"  # noqa: S101
                engine = await self.engine_of(provider)
                live += (await engine.databases.stats(database.physical_name)).size_bytes
            except StorageError:
                unmeasured.append(database.name)
        return TenantUsage(request.id, databases.total, live, backups.total, stored, tuple(unmeasured))

    async def _in(self, uow: UnitOfWork, id: str, status: TenantStatus) -> Tenant:
        tenant = await found(uow.tenants.get(id), "tenant", id)
        if tenant.status is not status:
            raise Conflict(f"The tenant {tenant.name!r} is {tenant.status}, not {status}.")
        return tenant

    async def _save(self, uow: UnitOfWork, tenant: Tenant) -> Tenant:
        tenant = replace(tenant, updated_at=self.kernel.now())
        await uow.tenants.save(tenant)
        return tenant


def _of(tenant_id: str) -> tuple[Clause, ...]:
    return (Clause("tenant_id", Test.ANY_OF, (tenant_id,)),)


def _kept() -> Clause:
    return Clause("deleted_at", Test.ANY_OF, (None,))
