"""A home for the benchmark: real private servers, a tenant with a database on each engine, the SDK as a user gets it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage_core.bootstrap import Core, migrate, open_core
from storage_core.domain.context import Context, local_context
from storage_core.domain.database import Database, DatabaseStatus
from storage_core.domain.provider import Endpoint, Provider
from storage_core.domain.tenant import Tenant
from storage_core.services.databases import CreateDatabase
from storage_core.services.providers import CreateProvider
from storage_core.services.tenants import CreateTenant
from storage_core.settings import Settings
from storage_core.storage import Change, Collection, Storage, StorageFactory


def root() -> Context:
    return local_context("bench", "bench")


class Stage:
    """An open home with a factory."""

    def __init__(self, core: Core, factory: StorageFactory, folder: Path) -> None:
        self.core, self.factory, self.folder = core, factory, folder

    async def provider(self, kind: str, connection: dict[str, Any]) -> Provider:
        request = CreateProvider.model_validate(
            {"name": f"bench-{kind}", "kind": kind, "connection": connection}
        )
        return await self.core.providers.create(root(), request)

    async def files(self, kind: str) -> Provider:
        path = self.folder / kind
        path.mkdir()
        return await self.provider(kind, {"path": str(path)})

    async def server(self, kind: str, endpoint: Endpoint, password: str) -> Provider:
        known = {
            "host": endpoint.host,
            "port": endpoint.port,
            "user": endpoint.user,
            "database": endpoint.database,
        }
        given = {k: v for k, v in {**known, "replica_set": endpoint.replica_set}.items() if v is not None}
        return await self.provider(kind, {**given, "password": password})

    async def tenant(self, name: str) -> Tenant:
        return await self.core.tenants.create(root(), CreateTenant(name=name))

    async def database(self, tenant: Tenant, provider: Provider, name: str = "main") -> Database:
        return await self.core.databases.create(
            root(), CreateDatabase(provider_id=provider.id, name=name, tenant_id=tenant.id)
        )

    async def crowd(self, provider: Provider, count: int) -> list[str]:
        """So many tenants with a database each, without an operation for every one of them; answers their ids."""
        engine, now = await self.core.databases.engine_of(provider), self.core.kernel.now()
        rows: list[Database] = []
        async with self.core.kernel.catalog.write() as uow:
            for n in range(count):
                tenant = Tenant(self.core.kernel.new_id(), f"many-{n:04d}", f"Many {n}", now, now)
                await uow.tenants.add(tenant)
                wanted = CreateDatabase(provider_id=provider.id, name="main", tenant_id=tenant.id)
                row, _ = await self.core.databases.reserve(uow, root(), wanted)
                location = engine.location(row.physical_name)
                rows.append(replace(row, status=DatabaseStatus.READY, location=location))
                await uow.databases.add(rows[-1])
        for row in rows:
            await engine.databases.create(row.physical_name, {})
        return [row.tenant_id or "" for row in rows]


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    settings = Settings(home=folder / "home")
    await migrate(settings)
    async with open_core(settings) as core, StorageFactory(core).running() as factory:
        yield Stage(core, factory, folder)


class Sdk:
    """The SDK, with all that wraps it."""

    name = "sdk"

    def __init__(self, stage: Stage, provider: Provider) -> None:
        self._stage, self._provider = stage, provider
        self.orders: Collection
        self._storage: Storage

    async def open(self) -> None:
        tenant = await self._stage.tenant(f"bench-{self._provider.kind}")
        self.database = await self._stage.database(tenant, self._provider)
        self._storage = await self._stage.factory.get_storage("main", tenant_id=tenant.id)
        await self.begin("orders")

    async def begin(self, name: str) -> None:
        """Go on with an empty collection."""
        self.orders = self._storage.collection(name)
        await self.orders.create_index(["user_id", "status"])

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        await self.orders.insert(data, id)

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        outcomes = await self.orders.insert_many((data for _, data in items), ids=[id for id, _ in items])
        assert all(outcome.error is None for outcome in outcomes)

    async def get(self, id: str) -> Any:
        assert await self.orders.get(id) is not None

    async def find(self, user: int, status: str) -> Any:
        return [d async for d in self.orders.query({"user_id": user, "status": status}, limit=20)]

    async def update(self, id: str, version: int, qty: int) -> Any:
        await self.orders.update(id, {"qty": qty}, version=version)

    async def delete(self, id: str) -> Any:
        await self.orders.delete(id)

    async def change_many(self, changes: Sequence[Change]) -> Any:
        return await self.orders.update_many(changes)

    async def close(self) -> None: ...
