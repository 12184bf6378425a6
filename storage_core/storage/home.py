"""Tenants' storage of the home beside the program, through the open core."""

import getpass
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import MetaData

from ..bootstrap import Core
from ..domain.context import Context, Door, local_context
from ..domain.errors import StorageError
from ..domain.event import Event
from ..ports.collection import Collection, Session
from ..services.programs import OpenDatabase
from ..services.request import Request
from .door import CreateTables, Standing, StorageDoor
from .link import Link
from .source import check_agrees


def caller(core: Core, tenant_id: str | None = None) -> Context:
    """Who acts: the operating system's user, whom the home's mode lets in; narrowed to the tenant."""
    ctx = local_context(getpass.getuser(), core.correlation()).through(Door.SDK)
    return replace(ctx, tenant_id=tenant_id)


class Home:
    """See `source.Source`."""

    def __init__(self, core: Core) -> None:
        self.core, self.door = core, StorageDoor(core.kernel)
        self.news = HomeNews(core)

    @property
    def now(self) -> Callable[[], datetime]:
        return self.core.kernel.now

    @property
    def models(self) -> list[MetaData]:
        return self.door.models

    async def open(self, request: OpenDatabase, agrees: str | None) -> Standing:
        opened = await self.core.programs.open(caller(self.core), request)
        check_agrees(opened.tenant, agrees)
        return await self.door.standing(opened.database.id)

    async def standing(self, before: Standing) -> Standing:
        return await self.door.standing(before.database.id)

    async def collection(self, at: Standing, name: str, session: Session | None = None) -> Collection:
        return await self.door.collection(at, name, session)

    def watch(self, link: Link) -> None:
        self.core.kernel.engines.watch(link.standing.engine, link.stale)

    async def call(self, operation: str, request: Request, tenant_id: str) -> Any:
        _, method = self.core.operations[operation]
        return await method(caller(self.core, tenant_id), request)

    async def create_tables(self, at: Standing) -> None:
        ctx = caller(self.core, at.tenant.id)
        await self.door.create_tables(ctx, CreateTables(id=at.database.id))


class HomeNews:
    """See `source.News`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def events(self) -> AsyncGenerator[Event]:
        return self._core.bus.subscribe()

    async def row(self, event: Event) -> Any:
        try:
            async with self._core.kernel.catalog.read() as uow:
                rows: Any = getattr(uow, event.topic)
                return await rows.get(event.id)
        except StorageError:
            return None  # whoever uses it next will see

    async def ping(self) -> None:
        await self._core.kernel.catalog.ping()
