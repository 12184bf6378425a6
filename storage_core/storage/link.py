"""The tie between handles that applications hold and a tenant's database as it stands."""

import asyncio
from typing import Protocol

from ..domain.errors import Conflict, TenantMismatch
from ..domain.naming import said
from ..ports.collection import Collection as Port
from ..ports.collection import Session
from ..tenancy import TenantScope
from .door import Standing, StorageDoor

#: Collections of one database that are known without asking the catalog again.
KEPT_PORTS = 256


class Tie(Protocol):
    """What a collection's handle hangs on: where `stamp` is not the one it knows, it binds again before its call."""

    stamp: object | None

    async def bind(self, name: str) -> tuple[Port, object]:
        """The collection as it is to be reached now, and the stamp that this holds for."""
        ...

    def check(self, scope: TenantScope) -> None:
        """TenantMismatch where another tenant than the handle's is in force."""
        ...


class Link:
    """One tenant's database. All handles of it share one; its stamp goes when something about it has changed."""

    __slots__ = ("__weakref__", "_lock", "_names", "_news", "_ports", "door", "family", "stamp", "standing")

    def __init__(self, standing: Standing, door: StorageDoor) -> None:
        self.standing, self.door = standing, door
        self.stamp: object | None = object()
        self._names = (standing.tenant.id, standing.tenant.name)
        self._lock: asyncio.Lock | None = None
        self._news = 0
        self._ports: dict[str, Port] = {}
        #: The application's Beanie models as they are bound to this database (see `documents`).
        self.family: object | None = None
        self._watch()

    def _watch(self) -> None:
        self.door.kernel.engines.watch(self.standing.engine, self.stale)

    def stale(self) -> None:
        """Something about it may have changed: every handle looks before its next call."""
        self.stamp = None
        self._news += 1
        self._ports = {}

    def check(self, scope: TenantScope) -> None:
        if scope.tenant not in self._names:
            raise TenantMismatch(
                f"This storage is of the tenant {said(self._names[1])}, and {said(scope.tenant)} is in force.",
                hint="Get the storage inside the scope it is used in: factory.get_storage().",
            )

    async def current(self) -> Standing:
        """How the database stands; looked up where news came since the last time. Refused as opening it would be."""
        if self.stamp is None:
            self._lock = self._lock or asyncio.Lock()
            async with self._lock:
                while self.stamp is None:
                    news = self._news
                    self.standing = await self.door.standing(self.standing.database.id)
                    self._watch()
                    if news == self._news:
                        self.stamp = object()
        return self.standing

    async def bind(self, name: str) -> tuple[Port, object]:
        standing, stamp, ports = await self.current(), self.stamp, self._ports
        port = ports.get(name)
        if port is None:
            port = await self.door.collection(standing, name)
            if len(ports) < KEPT_PORTS:
                ports[name] = port  # all handles of a collection share it, until the next news
        return port, stamp if stamp is not None else object()


class TransactionTie:
    """What the collections of a transaction hang on, until it is over."""

    __slots__ = ("_link", "_session", "stamp")

    def __init__(self, link: Link, session: Session) -> None:
        self._link, self._session = link, session
        self.stamp: object | None = object()

    def check(self, scope: TenantScope) -> None:
        self._link.check(scope)

    async def bind(self, name: str) -> tuple[Port, object]:
        if self.stamp is None:
            raise Conflict("The transaction is over.", hint="Use its collections inside its block only.")
        link = self._link
        return await link.door.collection(link.standing, name, self._session), self.stamp
