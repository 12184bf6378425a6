"""A factory over an open core, and tenants with a database on a directory of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from storage_core.bootstrap import Core, new_id
from storage_core.domain.database import Database
from storage_core.domain.provider import Provider
from storage_core.domain.tenant import Tenant
from storage_core.services.databases import CreateDatabase
from storage_core.services.providers import CreateProvider
from storage_core.services.tenants import CreateTenant
from storage_core.storage import StorageFactory
from tests.integration.homes import opened, settings_of, somebody
from tests.integration.servers import Server


class Ground:
    """An open core with a factory; makes tenants and databases on demand."""

    def __init__(self, core: Core, factory: StorageFactory, root: Path) -> None:
        self.core, self.factory, self.root = core, factory, root
        self._providers: dict[str, Provider] = {}

    async def provider(self, kind: str = "sqlite") -> Provider:
        """A provider whose databases are files."""
        if kind not in self._providers:
            path = self.root / kind
            path.mkdir(parents=True)
            request = CreateProvider.model_validate(
                {"name": f"{kind}-files", "kind": kind, "connection": {"path": str(path)}}
            )
            self._providers[kind] = await self.core.providers.create(somebody(), request)
        return self._providers[kind]

    async def serve(self, kind: str, server: Server) -> None:
        """Register a real server as the provider of its kind."""
        endpoint, password = server
        words = ("host", "port", "user", "database", "tls", "replica_set")
        connection = {word: getattr(endpoint, word) for word in words if getattr(endpoint, word)}
        request = {"name": kind, "kind": kind, "connection": {**connection, "password": password}}
        self._providers[kind] = await self.core.providers.create(
            somebody(), CreateProvider.model_validate(request)
        )

    async def tenant(self, name: str | None = None) -> Tenant:
        return await self.core.tenants.create(somebody(), CreateTenant(name=name or f"t-{new_id()[:12]}"))

    async def database(
        self, tenant: Tenant, name: str = "main", kind: str = "sqlite", **more: object
    ) -> Database:
        provider = await self.provider(kind)
        request = CreateDatabase.model_validate(
            {"provider_id": provider.id, "name": name, "tenant_id": tenant.id, **more}
        )
        return await self.core.databases.create(somebody(), request)


@asynccontextmanager
async def ground_at(home: Path) -> AsyncIterator[Ground]:
    async with opened(settings_of(home / "home")) as core, StorageFactory(core).running() as factory:
        yield Ground(core, factory, home / "files")
