"""The factory: from a tenant's name to its storage, opened once and kept for as long as it is used."""

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import MetaData

from ..bootstrap import Core, migrate, open_core
from ..domain.database import Database
from ..domain.errors import (
    InvalidRequest,
    NotFound,
    StorageError,
    TenantMismatch,
    TenantRequired,
    Unauthenticated,
    Unsupported,
)
from ..domain.event import Event
from ..domain.migration import MigrationReport, TenantMigration
from ..domain.naming import NAME_RULE, checked_name
from ..domain.provider import Provider
from ..domain.tenant import Tenant
from ..services.programs import OpenDatabase
from ..settings import Settings
from ..telemetry import configure, log
from ..telemetry.meters import METERS
from ..telemetry.watch import WATCH
from ..tenancy import TenantScope, optional_tenant
from .door import Standing
from .home import Home, caller
from .link import Link
from .migrating import Choice, Migrating, Way
from .revisions import Revisions
from .source import Source
from .storage import Storage

#: Storages that are kept although nobody holds them: some kilobytes each, without connections.
KEPT = 4096
#: How often it is looked whether news are heard, and how long they may stay away before handles ask themselves.
PULSE_SECONDS, STALE_SECONDS = 5.0, 300.0

Key = tuple[str, str | None, str | None, str | None]


class StorageFactory:
    """Storage of many tenants from one process. Open one per process, at its start.

    What happens to a tenant elsewhere reaches handles that are held here within two seconds: a suspended tenant is
    refused, rotated credentials and moved databases are followed. While the catalog (or the console) cannot be reached
    handles go on for five minutes, then they are refused until it can.
    """

    def __init__(
        self, core: Core | Source, *, kept: int = KEPT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Over a core that is open already; `running` must be entered. Programs of their own use `open`.

        :param kept: how many storages are kept that nobody holds.
        :param clock: monotonic seconds.
        """
        self._source: Source = Home(core) if isinstance(core, Core) else core
        self._most, self._clock = kept, clock
        self._held: OrderedDict[Key, Storage] = OrderedDict()
        self._links: WeakValueDictionary[str, Link] = WeakValueDictionary()
        self._opening: dict[Key, asyncio.Lock] = {}
        self._heard_at = clock()
        self._deaf = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        kept: int = KEPT,
    ) -> AsyncIterator["StorageFactory"]:
        """Open the home's storage; settings from the environment, if none are given.

        With a `url`, or where STORAGE_URL is set, that of the console there instead: documents go straight to the
        engines, with logins of single databases that the console leases out for the token (STORAGE_TOKEN, if left out).
        SettingsError names a setting that is wrong.
        """
        url = url or (os.environ.get("STORAGE_URL") if settings is None else None)
        settings = settings or Settings.load()
        configure(
            "WARNING" if settings.log_level == "INFO" else settings.log_level, None, settings.diagnostics
        )
        async with (
            _home(settings) if url is None else _elsewhere(url, token) as opened,
            cls(opened, kept=kept).running() as factory,
        ):
            yield factory

    @property
    def core(self) -> Core:
        """The open core, for what else is made of it: the REST API, for one. Unsupported with a console elsewhere."""
        return self._home("The core is").core

    @property
    def kept(self) -> int:
        """How many storages are kept, whoever holds them."""
        return len(self._held)

    def register(self, *models: MetaData) -> None:
        """Make known what tables the application declares (``Base.metadata``, ``SQLModel.metadata``), at its start."""
        known = self._source.models
        known.extend(each for each in models if each not in known)

    async def migrate(
        self,
        scripts: str | Path,
        *,
        name: str | None = None,
        tenants: Collection[str] = (),
        revision: str = "head",
        concurrency: int = 8,
        heard: Callable[[TenantMigration], None] = lambda _: None,
    ) -> MigrationReport:
        """Bring every tenant's tables to one Alembic revision. A tenant that fails stops no other: the report says why.

        Each revision is a transaction of its own, and each database says itself where it stands: whatever ends a run,
        the next one goes on from there. Two runs at once take turns. Suspended tenants are migrated, too.

        :param scripts: the directory that holds ``versions``, or an ``alembic.ini`` that names it; its ``env.py`` is not
            used. Revisions name no schema: tables without one are the tenant's.
        :param name: the database of each tenant, in every namespace; the default one, or the only one, if left out.
        :param tenants: these alone, by id or name.
        :param concurrency: how many databases at once, 1 to 64.
        :param heard: told of each database when it is done.
        """
        run = await self._migrating(scripts, revision, Way.RUN)
        return await run.run(Choice(name, tenants), concurrency, heard)

    async def stamp(
        self,
        scripts: str | Path,
        *,
        name: str | None = None,
        tenants: Collection[str] = (),
        revision: str = "head",
        concurrency: int = 8,
        heard: Callable[[TenantMigration], None] = lambda _: None,
    ) -> MigrationReport:
        """Note in tenants' databases that they are at a revision, without running any: their tables are there already.

        What was noted before is replaced. Parameters are those of `migrate`.
        """
        run = await self._migrating(scripts, revision, Way.STAMP)
        return await run.run(Choice(name, tenants), concurrency, heard)

    async def _migrating(self, scripts: str | Path, revision: str, way: Way) -> Migrating:
        home = self._home("Migrations run")
        revisions = await asyncio.to_thread(Revisions, scripts, revision, home.models)
        return Migrating(home.door, lambda tenant_id: caller(home.core, tenant_id), revisions, way)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["StorageFactory"]:
        """Follow what happens in the catalog until the block ends."""
        METERS.expose()
        WATCH.refresh()
        events = self._source.news.events()
        tasks = [asyncio.create_task(work, name="storage") for work in (self._follow(events), self._pulse())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await events.aclose()
            for link in self._links.values():
                link.stale()
            self._held.clear()

    async def get_storage(
        self, name: str | None = None, *, tenant_id: str | None = None, namespace: str | None = None
    ) -> Storage:
        """The storage of the tenant in force (`tenant_scope`, `TenancyMiddleware`): one of its databases.

        TenantRequired where no tenant is set; NotFound, Conflict, TenantSuspended say what is wrong with it.

        :param name: the database; the tenant's default one, or its only one, if left out.
        :param tenant_id: the tenant by id or name; where one is in force already it must be the same.
        :param namespace: the part of the tenant's storage; where one is in force already it must be the same.
        """
        key = _wanted(optional_tenant(), name, tenant_id, namespace)
        held = self._held.get(key)
        if held is not None and held.link.stamp is not None:
            self._held.move_to_end(key)
            return held
        lock = self._opening.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                held = self._held.get(key)
                if held is not None:
                    with suppress(NotFound):  # it is gone, and another one may be in its place
                        await held.link.current()
                        return held
                    self._held.pop(key, None)
                return await self._open(key)
        finally:
            self._opening.pop(key, None)

    async def _open(self, key: Key) -> Storage:
        tenant, agrees, namespace, name = key
        standing = await self._source.open(_checked(tenant, agrees, namespace, name), agrees)
        link = self._links.get(standing.database.id)
        if link is None:
            link = self._links[standing.database.id] = Link(standing, self._source)
        storage = self._held[key] = Storage(link)
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return storage

    def _home(self, what: str) -> Home:
        if not isinstance(self._source, Home):
            raise Unsupported(
                f"{what} beside the console, where its home is, and this storage is reached over REST.",
                hint="Open the factory there, without a url.",
            )
        return self._source

    async def _follow(self, events: AsyncGenerator[Event]) -> None:
        last: int | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    if last is not None and event.sequence != last + 1:
                        self._all_stale()  # something was missed
                    last = event.sequence
                    self._heard_at = self._clock()
                    await self._heard(event)
        finally:
            self._deaf = True  # whoever does not hear must look
            self._all_stale()

    async def _heard(self, event: Event) -> None:
        """Find out whether what happened concerns anything that is open here: most changes of rows are measurements."""
        touched = [link for link in self._links.values() if _concerns(link, event)]
        by_default = [
            key
            for key, storage in self._held.items()
            if event.topic == "databases" and key[3] is None and storage.tenant.id == event.tenant_id
        ]
        if not touched and not by_default:
            return
        row = await self._source.news.row(event)
        if event.verb == "encrypted" or any(_differs(link.standing, row) for link in touched):
            for link in touched:
                link.stale()
        if by_default and (event.verb != "changed" or _moves_default(row, self._links.get(event.id))):
            for key in by_default:
                self._held.pop(key, None)

    def _all_stale(self) -> None:
        for link in self._links.values():
            link.stale()

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            WATCH.refresh()
            try:
                await self._source.news.ping()
                self._heard_at = self._clock()
            except StorageError as error:
                log.debug("storage: %s", error.detail)
            if self._deaf or self._clock() - self._heard_at > STALE_SECONDS:
                self._all_stale()


def _concerns(link: Link, event: Event) -> bool:
    standing = link.standing
    return event.id == {
        "tenants": standing.tenant.id,
        "providers": standing.provider.id,
        "databases": standing.database.id,
    }.get(event.topic)


def _differs(known: Standing, row: Any) -> bool:
    """Whether a row is another one in what storage looks at."""
    if isinstance(row, Provider):
        return row.revision != known.provider.revision
    if isinstance(row, Tenant):
        return (row.status, row.policy) != (known.tenant.status, known.tenant.policy)
    if not isinstance(row, Database):
        return True
    was = known.database
    return (row.status, row.physical_name, row.provider_id, row.tenant_id) != (
        was.status,
        was.physical_name,
        was.provider_id,
        was.tenant_id,
    )


def _moves_default(row: Database | None, link: Link | None) -> bool:
    """Whether another database may be its tenant's default one now."""
    if row is None:
        return True
    return row.is_default if link is None else row.is_default != link.standing.database.is_default


def _wanted(scope: TenantScope | None, name: str | None, tenant_id: str | None, namespace: str | None) -> Key:
    """The tenant in force is the authority; what is said beside it must agree."""
    if scope is None:
        if tenant_id is None:
            raise TenantRequired("No tenant is set for this call.")
        return tenant_id, None, namespace, name
    if scope.namespace is not None:
        if namespace not in (None, scope.namespace):
            raise TenantMismatch(
                "namespace names another one than is in force.",
                field="namespace",
                hint="Leave namespace out.",
            )
        namespace = scope.namespace
    return scope.tenant, None if tenant_id == scope.tenant else tenant_id, namespace, name


def _checked(tenant: str, agrees: str | None, namespace: str | None, name: str | None) -> OpenDatabase:
    """The request, of names that can be names."""
    given = {"tenant_id": tenant, "namespace": namespace, "name": name}
    for field, value in (*given.items(), ("tenant_id", agrees)):
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidRequest(f"{field} is not a text.", field=field, hint=f"Use {NAME_RULE}.")
        checked_name(value, field)
    return OpenDatabase(tenant_id=tenant, namespace=namespace, name=name)


@asynccontextmanager
async def _home(settings: Settings) -> AsyncIterator[Home]:
    await migrate(settings)
    async with open_core(settings) as core:
        yield Home(core)


def _elsewhere(url: str, token: str | None) -> AbstractAsyncContextManager[Source]:
    from .remote import remote  # HTTP is for those who use it

    token = token or os.environ.get("STORAGE_TOKEN")
    if not token:
        raise Unauthenticated(
            "There is no token for the console.",
            hint="Make one (tokens create), and give it as token, or in STORAGE_TOKEN.",
        )
    return remote(url, token)
