"""What programs need of the console to work on tenants' storage: which database is meant, and its collections' shape.

Single reads and writes of documents are no operations: they belong to the application whose storage it is.
"""

from dataclasses import dataclass, replace

from pydantic import Field

from ..domain.context import Context
from ..domain.database import Database, DatabaseStatus
from ..domain.errors import Conflict, InvalidRequest, NotFound, Unsupported
from ..domain.naming import said
from ..domain.page import Clause, Query, Test
from ..domain.permission import Permission, Target, reach
from ..domain.provider import Endpoint, Provider
from ..domain.query import OWN, Path, parse_path
from ..domain.record import Index, checked_collection
from ..domain.tenant import Tenant
from ..ports.catalog import UnitOfWork
from ..ports.collection import Collection
from ..ports.engine import Engine
from .collections import collection_of, collections_of, policy_of, quota_of, sealed
from .databases import Databases
from .encryptions import encryptions_of
from .kernel import Kernel, Service, active_tenant, found
from .operation import Effect, operation
from .request import Request
from .targets import TargetOf, database, database_target

INDEX_NAME = r"^[a-zA-Z0-9_]{1,48}$"


@dataclass(frozen=True, slots=True)
class OpenedDatabase:
    """A tenant's database as it stands. `encrypted` are the collections that are sealed and opened by the console alone."""

    tenant: Tenant
    database: Database
    provider: Provider
    encrypted: tuple[str, ...] = ()


class OpenDatabase(Request):
    """Say which database a program means, and what its tenant's policy asks of it."""

    tenant_id: str = Field(min_length=1, max_length=64, examples=["acme"])
    """The tenant, by id or name."""
    namespace: str | None = Field(None, max_length=48, examples=["eu"])
    """The part of the tenant's storage."""
    name: str | None = Field(None, max_length=48, examples=["orders"])
    """The database; the tenant's default one, or its only one, if left out."""


class OfDatabase(Request):
    """What every request about collections names."""

    database_id: str = Field(min_length=1, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The database."""


class OfCollection(OfDatabase):
    """What every request about one collection names."""

    collection: str = Field(min_length=1, max_length=48, examples=["orders"])
    """The collection."""


class PrepareCollections(OfDatabase):
    """Make what leased logins may not make themselves: the place of a database's collections, and one of them."""

    collection: str | None = Field(None, min_length=1, max_length=48, examples=["orders"])
    """The collection; only what all of them need, if left out."""


class DropCollection(OfCollection):
    """Remove a collection with all its documents."""


class IndexCollection(OfCollection):
    """Make an index over a collection; one that is there already changes nothing."""

    index: str = Field(pattern=INDEX_NAME, examples=["sku"])
    """The index's name."""
    paths: tuple[str, ...] = Field(min_length=1, max_length=20, examples=[["sku"]])
    """The fields, in order, as dotted paths."""
    unique: bool = False
    """Whether no two documents may hold the same values there."""


class UnindexCollection(OfCollection):
    """Remove an index of a collection."""

    index: str = Field(pattern=INDEX_NAME, examples=["sku"])
    """The index's name."""


def _meant() -> TargetOf:
    async def find(uow: UnitOfWork, ctx: Context, request: OpenDatabase) -> Target:
        return database_target((await _wanted(uow, ctx, request))[1])

    return find


class Programs(Service):
    """The operations of programs that work on tenants' storage."""

    def __init__(self, kernel: Kernel, databases: Databases) -> None:
        super().__init__(kernel)
        self._databases = databases

    @operation(
        "databases.open", needs=Permission.RECORDS_WRITE, on=_meant(), effect=Effect.READ, sensitive=True
    )
    async def open(self, ctx: Context, request: OpenDatabase) -> OpenedDatabase:
        async with self.kernel.catalog.read() as uow:
            tenant, row = await _wanted(uow, ctx, request)
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
            encrypted = tuple(e.collection for e in await encryptions_of(uow, row.id))
        row = replace(row, location=None, problem=None)
        provider = replace(provider, endpoint=Endpoint(tls=provider.endpoint.tls), problem=None, server=None)
        return OpenedDatabase(tenant, row, provider, encrypted)

    @operation("collections.prepare", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def prepare(self, ctx: Context, request: PrepareCollections) -> None:
        row, engine = await self._databases.opened(request.database_id)
        if request.collection is not None:
            await self._refuse_sealed(row, engine, checked_collection(request.collection))
        if engine.logins is not None:  # without logins there are none to make anything for
            quota = quota_of(await policy_of(self.kernel, row))
            await engine.logins.prepare(row.physical_name, request.collection, quota)

    @operation("collections.drop", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def drop(self, ctx: Context, request: DropCollection) -> None:
        row, engine = await self._databases.opened(request.database_id)
        await collections_of(engine).drop(row.physical_name, checked_collection(request.collection))

    @operation("collections.index", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def index(self, ctx: Context, request: IndexCollection) -> None:
        paths = tuple(_body_path(path) for path in request.paths)
        collection = await self._collection(request)
        await collection.create_index(Index(request.index, paths, request.unique))

    @operation("collections.unindex", needs=Permission.RECORDS_WRITE, on=database("database_id"))
    async def unindex(self, ctx: Context, request: UnindexCollection) -> None:
        await (await self._collection(request)).drop_index(request.index)

    async def _collection(self, request: OfCollection) -> Collection:
        row, engine = await self._databases.opened(request.database_id)
        return await collection_of(self.kernel, row, engine, checked_collection(request.collection))

    async def _refuse_sealed(self, row: Database, engine: Engine, name: str) -> None:
        plain = collections_of(engine).collection(row.physical_name, name)
        policy = await policy_of(self.kernel, row)
        if await sealed(self.kernel, row, policy, name, plain) is not plain:
            raise Unsupported(
                f"The collection {said(name)} is sealed and opened by the console alone.",
                field="collection",
                hint="Reach it through records, or in a program beside the console.",
            )


def _body_path(text: str) -> Path:
    if text in OWN:
        raise InvalidRequest(
            f"{text} is the document's own.", field="paths", hint=f"A field of the body is written $.{text}."
        )
    return parse_path(text, "paths")


async def _wanted(uow: UnitOfWork, ctx: Context, request: OpenDatabase) -> tuple[Tenant, Database]:
    """Whose database is meant, and which; what is not the caller's to see reads like what is not there."""
    tenant = await uow.tenants.get(request.tenant_id) or await uow.tenants.one(name=request.tenant_id)
    seen = reach(Permission.INVENTORY_READ, ctx.grants, ctx.tenant_id)
    if tenant is None or not (seen.everything or tenant.id in seen.tenants):
        raise NotFound(f"There is no tenant {said(request.tenant_id)}.", field="tenant_id")
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
