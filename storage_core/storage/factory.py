"""The factory: from a tenant's name to its storage, opened once and kept for as long as it is used."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import MetaData

from ..bootstrap import Core, migrate, open_core
from ..domain.database import Database
from ..domain.errors import InvalidRequest, NotFound, StorageError, TenantMismatch, TenantRequired
from ..domain.event import Event
from ..domain.migration import MigrationReport, TenantMigration
from ..domain.naming import NAME_RULE, checked_name
from ..domain.provider import Provider
from ..domain.tenant import Tenant
from ..settings import Settings
from ..telemetry import configure, log
from ..telemetry.meters import METERS
from ..telemetry.watch import WATCH
from ..tenancy import TenantScope, optional_tenant
from .door import OpenStorage, Standing, StorageDoor
from .link import Link
from .migrating import Choice, Migrating
from .revisions import Revisions
from .storage import Storage, caller

#: Storages that are kept although nobody holds them: some kilobytes each, without connections.
KEPT = 4096
#: How often the catalog is asked whether it is there, and how long it may be away before handles ask it themselves.
PULSE_SECONDS, STALE_SECONDS = 5.0, 300.0

Key = tuple[str, str | None, str | None, str | None]


class StorageFactory:
    """Storage of many tenants from one process. Open one per process, at its start.

    What happens to a tenant elsewhere reaches handles that are held here within two seconds: a suspended tenant is
    refused, rotated credentials and moved databases are followed. While the catalog cannot be reached handles go on for
    five minutes, then they are refused until it can.
    """

    def __init__(self, core: Core, *, kept: int = KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        """Over a core that is open already; `running` must be entered. Programs of their own use `open`.

        :param kept: how many storages are kept that nobody holds.
        :param clock: monotonic seconds.
        """
        self._core, self._most, self._clock = core, kept, clock
        self._door = StorageDoor(core.kernel)
        self._held: OrderedDict[Key, Storage] = OrderedDict()
        self._links: WeakValueDictionary[str, Link] = WeakValueDictionary()
        self._opening: dict[Key, asyncio.Lock] = {}
        self._heard_at = clock()
        self._deaf = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings | None = None, *, kept: int = KEPT
    ) -> AsyncIterator["StorageFactory"]:
        """Open the home's storage; settings from the environment, if none are given.

        SettingsError names a setting that is wrong.
        """
        settings = settings or Settings.load()
        configure(
            "WARNING" if settings.log_level == "INFO" else settings.log_level, None, settings.diagnostics
        )
        await migrate(settings)
        async with open_core(settings) as core, cls(core, kept=kept).running() as factory:
            yield factory

    @property
    def core(self) -> Core:
        """The open core, for what else is made of it: the REST API, for one."""
        return self._core

    @property
    def kept(self) -> int:
        """How many storages are kept, whoever holds them."""
        return len(self._held)

    def register(self, *models: MetaData) -> None:
        """Make known what tables the application declares (``Base.metadata``, ``SQLModel.metadata``), at its start."""
        self._door.models.extend(each for each in models if each not in self._door.models)

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
        revisions = await asyncio.to_thread(Revisions, scripts, revision, self._door.models)
        run = Migrating(self._door, lambda tenant_id: caller(self._core, tenant_id), revisions)
        return await run.run(Choice(name, tenants), concurrency, heard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["StorageFactory"]:
        """Follow what happens in the catalog until the block ends."""
        METERS.expose()
        WATCH.refresh()
        events = self._core.bus.subscribe()
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
        request = _checked(tenant, agrees, namespace, name)
        standing = await self._door.open(caller(self._core), request)
        link = self._links.get(standing.database.id)
        if link is None:
            link = self._links[standing.database.id] = Link(standing, self._door)
        storage = self._held[key] = Storage(self._core, self._door, link)
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return storage

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
        try:
            async with self._core.kernel.catalog.read() as uow:
                rows: Any = getattr(uow, event.topic)
                row = await rows.get(event.id)
        except StorageError:
            row = None  # whoever uses it next will see
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
                await self._core.kernel.catalog.ping()
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


def _checked(tenant: str, agrees: str | None, namespace: str | None, name: str | None) -> OpenStorage:
    """The request, of names that can be names."""
    given = {"tenant_id": tenant, "namespace": namespace, "name": name}
    for field, value in (*given.items(), ("tenant_id", agrees)):
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidRequest(f"{field} is not a text.", field=field, hint=f"Use {NAME_RULE}.")
        checked_name(value, field)
    return OpenStorage(tenant=tenant, agrees=agrees, namespace=namespace, name=name)
