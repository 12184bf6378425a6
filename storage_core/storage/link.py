"""The tie between handles that applications hold and a tenant's database as it stands."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from ..domain.errors import Conflict, TenantMismatch
from ..domain.naming import said
from ..ports.collection import Collection as Port
from ..ports.collection import Session
from ..tenancy import TenantScope
from .door import Standing
from .source import Source

if TYPE_CHECKING:
    from .documents import Family

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

    __slots__ = ("__weakref__", "_lock", "_names", "_news", "_ports", "family", "source", "stamp", "standing")

    def __init__(self, standing: Standing, source: Source) -> None:
        self.standing, self.source = standing, source
        self.stamp: object | None = object()
        self._names = (standing.tenant.id, standing.tenant.name)
        self._lock: asyncio.Lock | None = None
        self._news = 0
        self._ports: dict[str, Port] = {}
        #: The application's Beanie models as they are bound to this database (see `documents`).
        self.family: Family | None = None
        source.watch(self)

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
                    self.standing = await self.source.standing(self.standing)
                    self.source.watch(self)
                    if news == self._news:
                        self.stamp = object()
        return self.standing

    async def move(self, standing: Standing) -> None:
        """Reach the same database in another way from now on; whoever uses it notices nothing."""
        move = None if self.family is None else await self.family.place.opened(standing)
        self.standing, self.stamp = standing, object()
        self._ports = {}
        self._news += 1
        self.source.watch(self)
        if move is not None:
            move(self.stamp)

    async def bind(self, name: str) -> tuple[Port, object]:
        standing, stamp, ports = await self.current(), self.stamp, self._ports
        port = ports.get(name)
        if port is None:
            port = await self.source.collection(standing, name)
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
        return await link.source.collection(link.standing, name, self._session), self.stamp
