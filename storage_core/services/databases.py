"""Databases: create, adopt, look into, configure, optimize, delete."""

from contextlib import suppress
from dataclasses import replace
from typing import Literal

from pydantic import Field

from ..domain.context import Context
from ..domain.database import (
    Database,
    DatabaseSchema,
    DatabaseStats,
    DatabaseStatus,
    ExistingDatabase,
    OptimizeReport,
)
from ..domain.errors import (
    Conflict,
    InvalidRequest,
    NameTaken,
    NotFound,
    Protected,
    QuotaExceeded,
    StorageError,
    VersionConflict,
)
from ..domain.naming import SCRATCH_PREFIX, checked_name, file_name, physical_name, said, schema_name
from ..domain.page import Clause, Page, Query, Test
from ..domain.permission import Permission
from ..domain.provider import EngineKind, Provider
from ..domain.tenant import Tenant
from ..ports.catalog import UnitOfWork
from ..ports.engine import Engine
from .claims import Claims
from .handle import JobHandle
from .kernel import RACES, Kernel, Service, active_tenant, found, raced
from .lease_ends import LeaseEnds
from .operation import Accepted, Effect, durable, operation
from .request import ById, Confirmed, ListRequest, Request
from .targets import (
    a_list,
    database,
    database_target,
    may_inspect,
    new_database,
    provider,
    unmanaged_database,
)
from .twins import Twins


class NewDatabase(Request):
    """What every new database needs."""

    provider_id: str = Field(max_length=64)
    """The provider it lives on."""
    name: str = Field(max_length=48, examples=["orders"])
    """Its name, unique within the tenant and namespace."""
    tenant_id: str | None = Field(None, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The tenant it belongs to; without one the system owns it."""
    namespace: str | None = Field(None, max_length=48, examples=["eu"])
    """A part of the tenant's storage with names of its own."""


class CreateDatabase(NewDatabase):
    """Create an empty database for a tenant."""

    isolation: Literal["database", "schema"] = "database"
    """On PostgreSQL: a database of its own, or a schema in one that many share."""
    settings: dict[str, str] = Field(default_factory=dict, examples=[{"work_mem": "16MB"}])
    """The engine's own settings by name."""
    default: bool = False
    """Make it the tenant's default database."""
    labels: tuple[str, ...] = Field((), max_length=20, examples=[["gold"]])
    """Words by which schedules find it."""


class AdoptDatabase(NewDatabase):
    """Take a database that exists on a provider already into the console's care. Nothing in it changes.

    Whose it is nobody knows here: this needs a role that covers the whole provider.
    """

    physical_name: str = Field(min_length=1, max_length=4096, examples=["legacy_orders"])
    """Its name on the engine, as databases.existing shows it."""


class ListDatabases(ListRequest):
    """List the databases you may see."""

    provider_id: str | None = None
    """Filter: the provider."""
    tenant_id: str | None = None
    """Filter: the tenant."""
    status: str | None = Field(None, examples=["ready"])
    """Filter: creating, ready, deleting, failed."""


class ExistingDatabases(Request):
    """List what exists on a provider, known here or not: for roles that cover the whole provider."""

    provider_id: str = Field(max_length=64)
    """The provider to look at."""


class GetDatabase(ById):
    """Show one database."""


class DeleteDatabase(Confirmed):
    """Drop a database with everything in it. Its backups stay and can be restored."""


class ConfigureDatabase(ById):
    """Change a database's settings on its engine, or make it its tenant's default."""

    settings: dict[str, str] = Field(default_factory=dict, examples=[{"statement_timeout": "30s"}])
    """The engine's own settings by name; an unknown one is refused and nothing changes."""
    default: bool | None = None
    """Make it the tenant's default database."""
    labels: tuple[str, ...] | None = Field(None, max_length=20, examples=[["gold"]])
    """Words by which schedules find it, in place of those it has."""


class OptimizeDatabase(ById):
    """Reclaim space and refresh statistics (VACUUM and ANALYZE, compact)."""


class DatabaseStatsRequest(ById):
    """Show size, objects and rows now."""


class DatabaseSchemaRequest(ById):
    """Show tables or collections with their columns and indexes."""


class Databases(Service):
    """The databases' operations."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.claims, self._ends = Claims(kernel), LeaseEnds(kernel)
        self._twins = Twins(kernel)

    @operation("databases.create", needs=Permission.DATABASE_WRITE, on=new_database())
    async def create(self, ctx: Context, request: CreateDatabase) -> Database:
        row, provider = await raced(lambda: self._reserved(ctx, request))
        try:
            engine = await self.engine_of(provider)
            row = await self.claims.claim(row, engine)
        except BaseException:
            await self.claims.forget(row.id)
            raise
        try:
            location = await engine.databases.create(row.physical_name, request.settings)
            row = await self.claims.ready(row.id, location)
        except NameTaken:
            await self.claims.forget(row.id)
            raise
        except BaseException:
            await self.claims.put_away(row.id)
            raise
        return await raced(lambda: self._chosen(row.id)) if request.default else row

    async def _reserved(self, ctx: Context, request: CreateDatabase) -> tuple[Database, Provider]:
        async with self.kernel.catalog.write() as uow:
            row, provider = await self.reserve(uow, ctx, request)
            if request.default:
                _refuse_unowned(row)
            settings, labels = tuple(sorted(request.settings.items())), _labels(request.labels)
            row = replace(row, settings=settings, labels=labels)
            if request.isolation == "schema":
                row = _as_schema(row, provider)
            await uow.databases.add(row)
        return row, provider

    async def _chosen(self, id: str) -> Database:
        """Make a database its tenant's default; only now that it is there."""
        async with self.kernel.catalog.write() as uow:
            row = await self._make_default(uow, await found(uow.databases.get(id), "database", id))
            await uow.databases.save(row)
        return row

    @operation("databases.adopt", needs=Permission.DATABASE_ADOPT, on=unmanaged_database())
    async def adopt(self, ctx: Context, request: AdoptDatabase) -> Database:
        async with self.kernel.catalog.read() as uow:
            provider = await found(uow.providers.get(request.provider_id), "provider", request.provider_id)
            owner = await self._owner(uow, ctx, request)
        engine = await self.engine_of(provider)
        await self._adoptable(provider, engine, request.physical_name)
        if owner is not None:
            owner.policy.admit(provider.kind)
        row = replace(
            self._row(request, owner, request.physical_name),
            location=engine.location(request.physical_name),
            status=DatabaseStatus.READY,
            adopted=True,
        )
        for _ in range(RACES):
            judged = await self._twins.refuse(provider, engine, request.physical_name)
            with suppress(VersionConflict):
                async with self.kernel.catalog.write() as uow:
                    if await self._twins.is_new(uow, provider, request.physical_name, judged):
                        await within_quota(uow, owner)
                        await uow.databases.add(row)
                        return row
        raise Conflict("Others adopt databases at the same time.", hint="Repeat it.")

    async def _adoptable(self, provider: Provider, engine: Engine, name: str) -> None:
        """Refuse what is not there, is not people's, or cannot be used: an adopted database is ready."""
        try:
            listed = name in {d.physical_name for d in await engine.databases.existing()}
            await engine.databases.schema(name)  # connects and reads
        except InvalidRequest as error:
            error.field = "physical_name" if error.field == "name" else error.field
            raise
        except NotFound:
            listed = False
        if not listed:
            raise NotFound(
                f"There is no database {said(name)} on {said(provider.name)}.",
                field="physical_name",
                hint="Look at databases.existing for the names on the engine.",
            )

    @operation(
        "databases.existing", needs=Permission.DATABASE_ADOPT, on=provider("provider_id"), effect=Effect.READ
    )
    async def existing(self, ctx: Context, request: ExistingDatabases) -> tuple[ExistingDatabase, ...]:
        async with self.kernel.catalog.read() as uow:
            provider = await found(uow.providers.get(request.provider_id), "provider", request.provider_id)
        engine = await self.engine_of(provider)
        there = [d for d in await engine.databases.existing() if SCRATCH_PREFIX not in d.physical_name]
        judged = await self._twins.judge(provider, engine, (d.physical_name for d in there))
        known = {name: row.id for name, row in judged.known.items()}
        return tuple(replace(d, adopted_as=known.get(d.physical_name)) for d in there)

    @operation("databases.list", needs=Permission.INVENTORY_READ, on=a_list("database"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListDatabases) -> Page[Database]:
        async with self.kernel.catalog.read() as uow:
            page = await uow.databases.find(request.query(self.reach(ctx, Permission.INVENTORY_READ)))
        return replace(page, items=tuple(_shown(ctx, d) for d in page.items))

    @operation("databases.get", needs=Permission.INVENTORY_READ, on=database(), effect=Effect.READ)
    async def get(self, ctx: Context, request: GetDatabase) -> Database:
        async with self.kernel.catalog.read() as uow:
            return _shown(ctx, await found(uow.databases.get(request.id), "database", request.id))

    @operation("databases.delete", needs=Permission.DATABASE_DELETE, on=database())
    async def delete(self, ctx: Context, request: DeleteDatabase) -> Database:
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.databases.get(request.id), "database", request.id)
            if row.protected:
                raise Protected(f"The database {said(row.name)} is protected.")
            if row.status is DatabaseStatus.CREATING:
                raise Conflict(
                    f"The database {said(row.name)} is being made.", hint="Cancel its job first, or wait."
                )
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
            row = replace(row, status=DatabaseStatus.DELETING, updated_at=self.kernel.now())
            await uow.databases.save(row)
        try:
            if row.location is not None:
                await self._ends.end_of("database_id", row.id, "its database is deleted")
                await (await self.engine_of(provider)).databases.drop(row.physical_name)
        except StorageError as error:
            await self.claims.fail(row.id, f"Deletion failed: {error.detail} Delete it again.")
            raise
        # After a crash in between the reconciler finishes what the row says.
        await self.claims.forget(row.id)
        return row

    @operation("databases.configure", needs=Permission.DATABASE_WRITE, on=database())
    async def configure(self, ctx: Context, request: ConfigureDatabase) -> Database:
        row, engine = await self.opened(request.id)
        if request.settings:
            await engine.databases.configure(row.physical_name, request.settings)
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.databases.get(request.id), "database", request.id)
            if request.default:
                row = await self._make_default(uow, row)
            elif request.default is False:
                row = replace(row, is_default=False)
            if request.labels is not None:
                row = replace(row, labels=_labels(request.labels))
            merged = {**dict(row.settings), **request.settings}
            row = replace(row, settings=tuple(sorted(merged.items())), updated_at=self.kernel.now())
            await uow.databases.save(row)
        return row

    async def _accept_optimize(
        self, ctx: Context, request: OptimizeDatabase, uow: UnitOfWork, job_id: str
    ) -> Accepted:
        row = await found(uow.databases.get(request.id), "database", request.id)
        _refuse_unready(row)
        return Accepted(row.id, row.name, row.tenant_id, row.provider_id)

    @durable("databases.optimize", needs=Permission.DATABASE_WRITE, on=database(), accept=_accept_optimize)
    async def optimize(self, ctx: Context, request: OptimizeDatabase, job: JobHandle) -> OptimizeReport:
        row, engine = await self.opened(request.id)
        job.progress("optimizing")

        async def work() -> dict[str, object]:
            report = await engine.databases.optimize(row.physical_name)
            return {
                "steps": list(report.steps),
                "size_before": report.size_before,
                "size_after": report.size_after,
            }

        done = await job.step("optimize", work)
        return OptimizeReport(tuple(done["steps"]), done["size_before"], done["size_after"])

    @operation("databases.stats", needs=Permission.STATUS_READ, on=database(), effect=Effect.READ)
    async def stats(self, ctx: Context, request: DatabaseStatsRequest) -> DatabaseStats:
        row, engine = await self.opened(request.id)
        return await engine.databases.stats(row.physical_name)

    @operation("databases.schema", needs=Permission.PROVIDER_INSPECT, on=database(), effect=Effect.READ)
    async def schema(self, ctx: Context, request: DatabaseSchemaRequest) -> DatabaseSchema:
        row, engine = await self.opened(request.id)
        return await engine.databases.schema(row.physical_name)

    async def opened(self, id: str) -> tuple[Database, Engine]:
        """A ready database and the live engine it is on."""
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.databases.get(id), "database", id)
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
        _refuse_unready(row)
        return row, await self.engine_of(provider)

    async def reserve(self, uow: UnitOfWork, ctx: Context, request: NewDatabase) -> tuple[Database, Provider]:
        """A row for a new database, checked but not added: its names, its owner, its provider."""
        provider = await found(uow.providers.get(request.provider_id), "provider", request.provider_id)
        owner = await self._owner(uow, ctx, request)
        tenant_id, tenant_name = (owner.id, owner.name) if owner else (None, None)
        if owner is not None:
            owner.policy.admit(provider.kind)
        await within_quota(uow, owner)
        checked_name(request.name, "name")
        physical = physical_name(tenant_id, tenant_name, request.namespace, request.name)
        if provider.kind.is_files:
            physical = file_name(provider.kind, tenant_id, physical)
        return self._row(request, owner, physical), provider

    async def _owner(self, uow: UnitOfWork, ctx: Context, request: NewDatabase) -> Tenant | None:
        if request.namespace is not None:
            checked_name(request.namespace, "namespace")
        id = request.tenant_id or ctx.tenant_id
        if id is None:
            if request.namespace is not None:
                raise InvalidRequest(
                    "A namespace splits a tenant's storage.", field="namespace", hint="Name a tenant."
                )
            return None
        return await active_tenant(uow, id)

    def _row(self, request: NewDatabase, owner: Tenant | None, physical: str) -> Database:
        now = self.kernel.now()
        return Database(
            self.kernel.new_id(),
            request.provider_id,
            checked_name(request.name, "name"),
            physical,
            now,
            now,
            tenant_id=owner.id if owner else None,
            namespace=request.namespace,
        )

    async def _make_default(self, uow: UnitOfWork, row: Database) -> Database:
        _refuse_unowned(row)
        before = await uow.databases.one(tenant_id=row.tenant_id, is_default=True)
        if before is not None and before.id != row.id:
            await uow.databases.save(replace(before, is_default=False, updated_at=self.kernel.now()))
        return replace(row, is_default=True)


def _shown(ctx: Context, row: Database) -> Database:
    """The database as this caller may see it: where it lies only with the right to inspect its provider."""
    allowed = may_inspect(ctx, database_target(row))
    return row if allowed else replace(row, location=None, problem=None)


async def within_quota(uow: UnitOfWork, owner: Tenant | None) -> None:
    """Refuse one database more than a tenant may have, whoever else makes one at the same moment."""
    owner = None if owner is None else await uow.tenants.get(owner.id)
    if owner is None or owner.policy.databases is None:
        return
    held = await uow.databases.find(Query((Clause("tenant_id", Test.ANY_OF, (owner.id,)),), limit=1))
    if held.total >= owner.policy.databases:
        raise QuotaExceeded(
            f"The tenant {said(owner.name)} may have {owner.policy.databases} databases and has {held.total}.",
            hint="Delete one it no longer needs, or ask an administrator to change the tenant's policy.",
        )
    await uow.tenants.save(owner)  # whoever counted at the same moment counts again


def _as_schema(row: Database, provider: Provider) -> Database:
    if provider.kind is not EngineKind.POSTGRESQL:
        raise InvalidRequest(
            f"{said(provider.name)} ({provider.kind}) has no schemas.",
            field="isolation",
            hint="Leave it out: every database there is one of its own.",
        )
    return replace(row, physical_name=schema_name(row.physical_name))


def _refuse_unowned(row: Database) -> None:
    if row.tenant_id is None:
        raise InvalidRequest("Only a tenant's database can be its default.", field="default")


def _refuse_unready(row: Database) -> None:
    if row.status is not DatabaseStatus.READY:
        raise Conflict(f"The database {said(row.name)} is {row.status}, not ready.", hint=row.problem or "")


def _labels(given: tuple[str, ...]) -> tuple[str, ...]:
    """Labels as they are kept: checked, each once, in order."""
    return tuple(sorted({checked_name(label, "labels") for label in given}))
