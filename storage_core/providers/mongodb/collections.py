"""The collections of a MongoDB deployment's databases."""

import re
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pymongo.asynchronous.client_session import AsyncClientSession

from ...domain.errors import Unsupported
from ...domain.record import Ability, Quota
from ...ports.collection import Collection
from .collection import Handles, MongoCollection
from .collection_form import PREFIX, Documents
from .collection_quota import Books, CountedCollection
from .collection_session import under_way
from .link import Client, Link
from .names import checked

#: The driver's objects that are kept: some kilobytes each.
KEPT = 512


class MongoCollections:
    """See `ports.collection.Collections`. All databases share the engine's one client and its bounded pool.

    Transactions need a replica set; on a standalone server they are Unsupported. So is `$text` (therefore no ability),
    except where somebody made a text index over the collection.
    """

    abilities = frozenset({Ability.REGEX, Ability.TRANSACTIONS})

    def __init__(self, link: Link) -> None:
        self._link = link
        self._handles: OrderedDict[tuple[str, str], tuple[Client, Documents]] = OrderedDict()
        self._books = Books(link, self.transactional, self.handle)
        self._transactional: tuple[Client, bool] | None = None

    def collection(self, database: str, name: str, quota: Quota | None = None) -> Collection:
        return self._of(database, name, quota, None)

    def _of(
        self, database: str, name: str, quota: Quota | None, session: AsyncClientSession | None
    ) -> Collection:
        plain = MongoCollection(self._link, name, self.handle(database, PREFIX + name), session)
        if quota is None or quota == Quota():
            return plain
        return CountedCollection(plain, self._books, database, quota)

    def handle(self, database: str, physical: str) -> Handles:
        """What answers the driver's object for a collection, by its physical name."""
        key = (database, physical)

        def of(client: Client) -> Documents:
            held = self._handles.get(key)
            if held is not None and held[0] is client:
                self._handles.move_to_end(key)
                return held[1]
            made = client[checked(database)][physical]
            self._handles[key] = (client, made)
            while len(self._handles) > KEPT:
                self._handles.popitem(last=False)
            return made

        return of

    def prefix(self, database: str) -> str:
        return PREFIX

    async def names(self, database: str) -> tuple[str, ...]:
        wanted = {"name": {"$regex": f"^{re.escape(PREFIX)}"}, "type": "collection"}
        async with self._link.speaking() as client:
            found = await client[checked(database)].list_collection_names(filter=wanted)
        return tuple(sorted(name.removeprefix(PREFIX) for name in found))

    async def drop(self, database: str, name: str) -> None:
        async with self._link.speaking() as client:
            await client[checked(database)].drop_collection(PREFIX + name)
        await self._books.forget(database)

    async def transactional(self) -> bool:
        """Whether the deployment has transactions."""
        client = self._link.client
        if self._transactional is None or self._transactional[0] is not client:
            async with self._link.speaking() as client:
                hello = await client.admin.command("hello")
            self._transactional = (client, "setName" in hello or hello.get("msg") == "isdbgrid")
        return self._transactional[1]

    @asynccontextmanager
    async def transaction(self, database: str, quota: Quota | None = None) -> AsyncGenerator["MongoSession"]:
        if not await self.transactional():
            raise Unsupported(
                "A standalone MongoDB server has no transactions.",
                hint="Make it a replica set (one member is enough), or change documents one by one, with their version.",
            )
        if quota is not None:
            async with self._books.turn(database):
                pass  # counted, before the transaction's view of it begins
        async with under_way(self._link) as session:
            yield MongoSession(self, database, quota, session)

    def within(
        self, database: str, name: str, quota: Quota | None, session: AsyncClientSession
    ) -> Collection:
        """A collection inside a transaction."""
        return self._of(database, name, quota, session)


class MongoSession:
    """See `ports.collection.Session`."""

    def __init__(
        self, owner: MongoCollections, database: str, quota: Quota | None, session: AsyncClientSession
    ) -> None:
        self._owner, self._database, self._quota, self._session = owner, database, quota, session

    def collection(self, name: str) -> Collection:
        return self._owner.within(self._database, name, self._quota, self._session)
