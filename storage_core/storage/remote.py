"""Tenants' storage of a console elsewhere: operations over REST, documents on the engines with leased logins."""

import asyncio
import random
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import MetaData

from ..bootstrap import OPERATIONS, utc_now
from ..client import Client
from ..domain.errors import (
    InvalidRequest,
    NotFound,
    StorageError,
    TooManyRequests,
    Unavailable,
    Unreachable,
    Unsupported,
)
from ..domain.event import Event
from ..domain.naming import said
from ..ports.collection import Collection, Session
from ..ports.engine import Engine
from ..services.databases import GetDatabase
from ..services.programs import OpenDatabase, OpenedDatabase
from ..services.providers import GetProvider
from ..services.request import ById, Request
from ..services.tenants import GetTenant
from ..telemetry import log
from .door import Standing, check_ready
from .leasing import LINGER, SECONDS, Leasing
from .link import Link
from .source import check_agrees

_OPERATIONS = {op.name: op for op in OPERATIONS}
#: How what changed is read again.
_ROWS: dict[str, tuple[str, type[ById]]] = {
    "databases": ("databases.get", GetDatabase),
    "providers": ("providers.get", GetProvider),
    "tenants": ("tenants.get", GetTenant),
}
#: What has happened to a database whose login was ended.
ENDED = "ended"
#: Pauses before news are asked for again.
SHORTEST, LONGEST = 0.2, 5.0
#: Statuses from here on say that something is out of order; those below, that one is refused.
SERVER_ERRORS = 500


class Remote:
    """See `source.Source`. It never has a key of the console's: what is sealed stays sealed here."""

    def __init__(self, client: Client, *, seconds: int = SECONDS, linger: float = LINGER) -> None:
        """:param seconds: how long logins are leased for; see `Leasing`."""
        self._client = client
        self.models: list[MetaData] = []
        self.leasing = Leasing(self._ask, self._due, seconds=seconds, linger=linger)
        self.news = RemoteNews(client, self.leasing)
        self._links: weakref.WeakValueDictionary[str, Link] = weakref.WeakValueDictionary()
        self._watches: dict[str, _Watch] = {}
        self._renewing: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> Callable[[], datetime]:
        return utc_now

    async def open(self, request: OpenDatabase, agrees: str | None) -> Standing:
        opened: OpenedDatabase = await self._ask("databases.open", request)
        check_agrees(opened.tenant, agrees)
        return await self._standing(opened)

    async def standing(self, before: Standing) -> Standing:
        row = before.database
        request = OpenDatabase(tenant_id=before.tenant.id, namespace=row.namespace, name=row.name)
        try:
            opened: OpenedDatabase = await self._ask("databases.open", request)
            if opened.database.id != row.id:
                raise NotFound(f"The database {said(row.name)} is another one now.", field="name")
            return await self._standing(opened)
        except StorageError as error:
            if error.status < SERVER_ERRORS and not isinstance(error, TooManyRequests):
                await self.leasing.refuse(row.id)
            raise

    async def collection(self, at: Standing, name: str, session: Session | None = None) -> Collection:
        if name in at.sealed:
            raise Unsupported(
                f"The collection {said(name)} is sealed and opened by the console alone.",
                hint="Reach it through records, or in a program beside the console.",
            )
        return at.plain(name, session)

    def watch(self, link: Link) -> None:
        id, engine = link.standing.database.id, link.standing.engine
        self._links[id] = link
        watch = self._watches[id] = _Watch(weakref.ref(link), engine)
        self.leasing.watch(engine, watch.over)

    async def call(self, operation: str, request: Request, tenant_id: str) -> Any:
        return await self._ask(operation, request)

    async def create_tables(self, at: Standing) -> None:
        raise Unsupported(
            "Leased logins make no tables.",
            hint="Make them in a program beside the console, or there with `storage-console migrate`.",
        )

    async def _ask(self, operation: str, request: Request) -> Any:
        return await self._client.call(_OPERATIONS[operation], request)

    async def _standing(self, opened: OpenedDatabase) -> Standing:
        row, kind = opened.database, opened.provider.kind
        check_ready(row)
        if kind.is_files:
            raise Unsupported(
                f"{kind} databases are files beside the console: no login reaches them from elsewhere.",
                hint="Go through records, or run the program beside the console; "
                "or put the database on PostgreSQL or MongoDB.",
            )
        engine = await self.leasing.engine(opened)
        engine.bound(row.physical_name, opened.tenant.policy.connections)
        return Standing(opened.tenant, row, opened.provider, engine, frozenset(opened.encrypted))

    def _due(self, database_id: str) -> None:
        """Whoever uses the database next gets the next login; models that are bound to it get it now."""
        link = self._links.get(database_id)
        if link is None:
            return
        if not self.news.listening and self.leasing.lasts(database_id):
            self.leasing.later(database_id)
        elif link.family is None:
            link.stale()
        else:
            task = asyncio.create_task(self._renew(link), name="leased login")
            self._renewing.add(task)
            task.add_done_callback(self._renewing.discard)

    async def _renew(self, link: Link) -> None:
        id = link.standing.database.id
        self._watches[id].moving = True
        self.leasing.bound.add(id)
        try:
            await link.move(await self.standing(link.standing))
        except StorageError:
            link.stale()  # whoever uses it next is told


class RemoteNews:
    """See `source.News`."""

    def __init__(self, client: Client, leasing: Leasing) -> None:
        self._client, self._leasing = client, leasing
        self.listening = False

    async def events(self) -> AsyncGenerator[Event]:
        number, pause = 1, SHORTEST
        yield _own_news(number)
        while True:
            try:
                async with aclosing(self._client.events()) as stream:
                    async for event in stream:
                        if event is not None:
                            number += 1
                            yield replace(self._meant(event), sequence=number)
                        elif not self.listening:
                            self.listening, pause = True, SHORTEST
                            number += 2  # what happened meanwhile was not heard
                            yield _own_news(number)
            except Unavailable as error:
                log.debug("storage: %s", error.detail)
            except StorageError:  # refused: whoever uses a storage is told why
                number += 2
                yield _own_news(number)
            self.listening = False
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - spreads programs apart
            pause = min(2 * pause, LONGEST)

    async def row(self, event: Event) -> Any:
        known = _ROWS.get(event.topic)
        if known is None or event.verb == ENDED:
            return None
        operation, request = known
        try:
            return await self._client.call(_OPERATIONS[operation], request(id=event.id))
        except StorageError:
            return None  # whoever uses it next will see

    async def ping(self) -> None:
        if not self.listening:
            raise Unreachable("The console cannot be heard.")

    def _meant(self, event: Event) -> Event:
        """The end of a login that is in use is news of its database."""
        if event.topic == "leases" and event.verb == "removed":
            database_id = self._leasing.ended(event.id)
            if database_id is not None:
                return replace(event, topic="databases", verb=ENDED, id=database_id)
        return event


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Watch:
    """Tells a link of its engine's end; one that goes over to another engine, or has done so, hears nothing."""

    link: "weakref.ref[Link]"
    engine: Engine
    moving: bool = False

    def over(self) -> None:
        link = self.link()
        if link is not None and link.standing.engine is self.engine and not self.moving:
            link.stale()


@asynccontextmanager
async def remote(
    url: str, token: str, *, seconds: int = SECONDS, linger: float = LINGER
) -> AsyncIterator[Remote]:
    """A console's storage, until the block ends; then every login is given back."""
    async with Client(_checked(url), token) as client:
        source = Remote(client, seconds=seconds, linger=linger)
        async with source.leasing.running():
            yield source


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            "url is no address of a console.", field="url", hint="Write https://storage.example.com."
        )
    return url


def _own_news(number: int) -> Event:
    return Event(number, "console", "heard", "", None, utc_now())
