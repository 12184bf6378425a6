"""What this door alone asks of the core: opening a tenant's storage, and changing what shapes its collections.

Single reads and writes of documents are no operations: they belong to the application whose storage it is.
"""

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import MetaData

from ..domain.context import Context
from ..domain.database import Database, DatabaseStatus
from ..domain.errors import Conflict, NotFound, PolicyRefused, TenantMismatch
from ..domain.naming import said
from ..domain.page import Clause, Query, Test
from ..domain.permission import Permission, Target
from ..domain.provider import Provider
from ..domain.query import Path
from ..domain.record import Index, Quota
from ..domain.tenant import Tenant
from ..ports.catalog import UnitOfWork
from ..ports.collection import Collection, Collections, Session
from ..ports.engine import Engine
from ..services.collections import collections_of, quota_of, sealed
from ..services.kernel import Kernel, Service, active_tenant, found
from ..services.operation import Effect, operation
from ..services.request import Request
from ..services.targets import TargetOf, database, database_target
from .sessions import create_tables


class OpenStorage(Request):
    """Open a tenant's storage in a program."""

    tenant: str = Field(min_length=1, max_length=64)
    """The tenant, by name or id."""
    agrees: str | None = Field(None, max_length=64)
    """Another word for the same tenant: whoever asks meant both."""
    namespace: str | None = Field(None, max_length=48)
    """The part of the tenant's storage."""
    name: str | None = Field(None, max_length=48)
    """The database; the tenant's default one, or its only one, if left out."""


class OfCollection(Request):
    """What is about one collection of a database."""

    id: str = Field(max_length=64)
    """The database."""
    collection: str = Field(max_length=48)
    """The collection."""


class DropCollection(OfCollection):
    """Remove a collection with all its documents, from a program."""


class CreateIndex(OfCollection):
    """Make an index over a collection, from a program."""

    index: str = Field(max_length=48)
    """The index's name."""
    paths: tuple[str, ...]
    """The fields, in order."""
    unique: bool = False
    """Whether no two documents may hold the same values there."""


class DropIndex(OfCollection):
    """Remove an index of a collection, from a program."""

    index: str = Field(max_length=48)
    """The index's name."""


class CreateTables(Request):
    """Make the tables of a program's models that a database does not have."""

    id: str = Field(max_length=64)
    """The database."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant's database as it stands now, and the live engine it is on."""

    tenant: Tenant
    database: Database
    provider: Provider
    engine: Engine

    @property
    def collections(self) -> Collections:
        return collections_of(self.engine)

    def refuse_plain(self, what: str) -> None:
        """PolicyRefused where the tenant's policy keeps its data in encrypted collections alone."""
        if self.tenant.policy.encryption:
            raise PolicyRefused(
                f"The tenant's policy keeps data encrypted, and {what} are not.",
                hint="Use collections that were declared with storage.encrypt(…).",
            )

    @property
    def quota(self) -> Quota | None:
        return quota_of(self.tenant.policy)


def _stored() -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: OpenStorage) -> Target:
        return database_target((await _wanted(uow, request))[1])

    return find


class StorageDoor(Service):
    """The operations of programs that open storage. Not among those of the other doors."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        #: What a program declares of tables.
        self.models: list[MetaData] = []

    @operation(
        "storage.open", needs=Permission.RECORDS_WRITE, on=_stored(), effect=Effect.READ, sensitive=True
    )
    async def open(self, ctx: Context, request: OpenStorage) -> Standing:
        async with self.kernel.catalog.read() as uow:
            _, row = await _wanted(uow, request)
        return await self.standing(row.id)

    async def standing(self, database_id: str, *, while_suspended: bool = False) -> Standing:
        """How a database stands that was opened before; refused as opening it would be."""
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.databases.get(database_id), "database", database_id)
            owner = row.tenant_id or ""
            tenant = await (
                found(uow.tenants.get(owner), "tenant", owner)
                if while_suspended
                else active_tenant(uow, owner)
            )
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
        if row.status is not DatabaseStatus.READY:
            raise Conflict(
                f"The database {said(row.name)} is {row.status}, not ready.",
                hint=row.problem or "Wait for its job.",
            )
        engine = await self.engine_of(provider)
        engine.bound(row.physical_name, tenant.policy.connections)
        return Standing(tenant, row, provider, engine)

    async def collection(self, at: Standing, name: str, session: Session | None = None) -> Collection:
        """A collection as the tenant's policy has it, in a transaction if there is one."""
        plain = (
            at.collections.collection(at.database.physical_name, name, at.quota)
            if session is None
            else session.collection(name)
        )
        return await sealed(self.kernel, at.database, at.tenant.policy, name, plain)

    @operation("storage.drop_collection", needs=Permission.RECORDS_WRITE, on=database())
    async def drop_collection(self, ctx: Context, request: DropCollection) -> None:
        at = await self.standing(request.id)
        await at.collections.drop(at.database.physical_name, request.collection)

    @operation("storage.create_index", needs=Permission.RECORDS_WRITE, on=database())
    async def create_index(self, ctx: Context, request: CreateIndex) -> None:
        at = await self.standing(request.id)
        paths: tuple[Path, ...] = tuple(tuple(path.split(".")) for path in request.paths)
        await (await self.collection(at, request.collection)).create_index(
            Index(request.index, paths, request.unique)
        )

    @operation("storage.drop_index", needs=Permission.RECORDS_WRITE, on=database())
    async def drop_index(self, ctx: Context, request: DropIndex) -> None:
        at = await self.standing(request.id)
        await (await self.collection(at, request.collection)).drop_index(request.index)

    @operation("storage.create_tables", needs=Permission.RECORDS_WRITE, on=database())
    async def create_tables(self, ctx: Context, request: CreateTables) -> None:
        await create_tables(await self.standing(request.id), self.models, self.kernel.now)


async def _wanted(uow: UnitOfWork, request: OpenStorage) -> tuple[Tenant, Database]:
    tenant = await uow.tenants.get(request.tenant) or await uow.tenants.one(name=request.tenant)
    if tenant is None:
        raise NotFound(f"There is no tenant {said(request.tenant)}.", field="tenant_id")
    if request.agrees not in (None, tenant.id, tenant.name):
        raise TenantMismatch(
            f"tenant_id says {said(request.agrees or '')}, and the tenant in force is {said(tenant.name)}.",
            field="tenant_id",
            hint="Leave tenant_id out, or open it inside tenant_scope(…) of that tenant.",
        )
    await active_tenant(uow, tenant.id)
    if request.name is None:
        return tenant, await _default(uow, tenant, request.namespace)
    row = await uow.databases.one(tenant_id=tenant.id, namespace=request.namespace, name=request.name)
    if row is None:
        where = "" if request.namespace is None else f" in the namespace {said(request.namespace)}"
        raise NotFound(
            f"The tenant {said(tenant.name)} has no database {said(request.name)}{where}.",
            field="name",
            hint="Create it first: databases create; or open another.",
        )
    return tenant, row


async def _default(uow: UnitOfWork, tenant: Tenant, namespace: str | None) -> Database:
    """The database marked so, else the only one; with a namespace, of those in it."""
    marked = await uow.databases.one(tenant_id=tenant.id, is_default=True)
    if marked is not None and namespace in (None, marked.namespace):
        return marked
    mine = (Clause("tenant_id", Test.ANY_OF, (tenant.id,)),)
    usable = (Clause("status", Test.ANY_OF, (DatabaseStatus.READY.value, DatabaseStatus.CREATING.value)),)
    within = () if namespace is None else (Clause("namespace", Test.ANY_OF, (namespace,)),)
    page = await uow.databases.find(Query((*mine, *usable, *within), limit=2))
    if page.total == 1:
        return page.items[0]
    where = "" if namespace is None else f" in the namespace {said(namespace)}"
    if not page.total:
        raise NotFound(
            f"The tenant {said(tenant.name)} has no database{where}.",
            field="name",
            hint="Create one: databases create.",
        )
    raise Conflict(
        f"The tenant {said(tenant.name)} has {page.total} databases{where}, and none of them is its default.",
        field="name",
        hint='Name one (get_storage("orders")), or mark one: databases configure --id … --default.',
    )
