"""How a tenant's database stands, and what programs beside the console alone ask of the core."""

from dataclasses import dataclass

from pydantic import Field
from sqlalchemy import MetaData

from ..domain.context import Context
from ..domain.database import Database, DatabaseStatus
from ..domain.errors import Conflict, PolicyRefused
from ..domain.naming import said
from ..domain.permission import Permission
from ..domain.provider import Provider
from ..domain.record import Quota
from ..domain.tenant import Tenant
from ..ports.collection import Collection, Collections, Session
from ..ports.engine import Engine
from ..services.collections import collections_of, quota_of, sealed
from ..services.kernel import Kernel, Service, active_tenant, found
from ..services.operation import operation
from ..services.request import Request
from ..services.targets import database
from .sessions import create_tables


class CreateTables(Request):
    """Make the tables of a program's models that a database does not have."""

    id: str = Field(max_length=64)
    """The database."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant's database as it stands now, and the live engine it is on.

    `sealed` are its collections that cannot be opened from here.
    """

    tenant: Tenant
    database: Database
    provider: Provider
    engine: Engine
    sealed: frozenset[str] = frozenset()

    @property
    def collections(self) -> Collections:
        return collections_of(self.engine)

    def plain(self, name: str, session: Session | None = None) -> Collection:
        """A collection as it lies there, in a transaction if there is one."""
        if session is not None:
            return session.collection(name)
        return self.collections.collection(self.database.physical_name, name, self.quota)

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


class StorageDoor(Service):
    """The operations of programs that open storage. Not among those of the other doors."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        #: What a program declares of tables.
        self.models: list[MetaData] = []

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
        check_ready(row)
        engine = await self.engine_of(provider)
        engine.bound(row.physical_name, tenant.policy.connections)
        return Standing(tenant, row, provider, engine)

    async def collection(self, at: Standing, name: str, session: Session | None = None) -> Collection:
        """A collection as the tenant's policy has it, in a transaction if there is one."""
        return await sealed(self.kernel, at.database, at.tenant.policy, name, at.plain(name, session))

    @operation("storage.create_tables", needs=Permission.RECORDS_WRITE, on=database())
    async def create_tables(self, ctx: Context, request: CreateTables) -> None:
        await create_tables(await self.standing(request.id), self.models, self.kernel.now)


def check_ready(row: Database) -> None:
    """Conflict for a database that cannot be used."""
    if row.status is not DatabaseStatus.READY:
        raise Conflict(
            f"The database {said(row.name)} is {row.status}, not ready.",
            hint=row.problem or "Wait for its job.",
        )
