"""Private local servers of real engines, registered as providers."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from ..domain.context import Context
from ..domain.errors import NotFound
from ..domain.naming import checked_name
from ..domain.permission import Permission
from ..domain.provider import EngineKind, Provider, ProviderStatus
from ..domain.server import PrivateServer
from .kernel import Service
from .operation import Effect, operation
from .request import Request
from .targets import everything


class StartEngine(Request):
    """Start a private local server, and register it as a provider."""

    kind: Literal["postgresql", "mongodb"] = Field(examples=["postgresql"])
    """Which engine."""
    name: str | None = Field(None, max_length=48, examples=["local-postgresql"])
    """Its name; several of a kind run side by side under different names."""


class StopEngine(Request):
    """Stop a private local server; its data stays."""

    name: str = Field(max_length=48, examples=["local-postgresql"])
    """Its name."""


class ListEngines(Request):
    """List the private local servers."""


class PrivateEngines(Service):
    """The private servers' operations."""

    @operation("engines.start", needs=Permission.SERVER_MANAGE, on=everything("engine"))
    async def start(self, ctx: Context, request: StartEngine) -> PrivateServer:
        name = checked_name(request.name or f"local-{request.kind}", "name")
        server = await self.kernel.servers.start(request.kind, name)
        endpoint, _ = await self.kernel.servers.endpoint(name)
        async with self.kernel.catalog.write() as uow:
            row = await uow.providers.one(server=name)
            now = self.kernel.now()
            if row is None:
                row = Provider(
                    self.kernel.new_id(), name, EngineKind(request.kind), endpoint, now, now, server=name
                )
                await uow.providers.add(row)
            elif row.endpoint != endpoint:
                row = replace(row, endpoint=endpoint, revision=row.revision + 1, updated_at=now)
                await uow.providers.save(row)
        await self.kernel.servers.bind(name, row.id)
        await self._check(row)
        return replace(server, provider_id=row.id)

    @operation("engines.stop", needs=Permission.SERVER_MANAGE, on=everything("engine"))
    async def stop(self, ctx: Context, request: StopEngine) -> PrivateServer:
        server = await self.kernel.servers.stop(request.name)
        async with self.kernel.catalog.write() as uow:
            row = await uow.providers.one(server=request.name)
            if row is not None:
                now = self.kernel.now()
                await uow.providers.save(
                    replace(
                        row, status=ProviderStatus.OFFLINE, problem="Stopped.", checked_at=now, updated_at=now
                    )
                )
        if row is not None:
            await self.kernel.engines.forget(row.id)
        return server

    @operation("engines.list", needs=Permission.SERVER_MANAGE, on=everything("engine"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListEngines) -> tuple[PrivateServer, ...]:
        return await self.kernel.servers.list()

    async def _check(self, row: Provider) -> None:
        engine = await self.engine_of(row)
        health, info = await engine.health(), await engine.info()
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            current = await uow.providers.get(row.id)
            if current is None:
                raise NotFound("The server's provider was deleted meanwhile.")
            await uow.providers.save(
                replace(
                    current,
                    status=ProviderStatus.ONLINE,
                    problem=None,
                    engine_version=info.version,
                    latency_ms=health.milliseconds,
                    checked_at=now,
                    updated_at=now,
                )
            )
