"""Many tenants, several engines, many tasks at once: whatever happens is remembered, and in the end compared."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from storage_core import Collection, StorageFactory, tenant_scope
from storage_core.domain.errors import Conflict, NotFound, VersionConflict
from storage_core.domain.record import Ability
from storage_core.domain.tenant import Tenant

COUNTERS, SHARED_IDS = 3, 40


@dataclass
class Place:
    """One tenant's database on one engine: what it must hold, as far as is known."""

    tenant: Tenant
    name: str
    counts: Counter[str] = field(default_factory=Counter)
    unsure: Counter[str] = field(default_factory=Counter)
    there: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)


@dataclass
class Campaign:
    """Mixed calls on all places. Every tenant uses the same ids: what is another's would be seen by its owner."""

    factory: StorageFactory
    places: Sequence[Place]
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)

    async def prepare(self) -> None:
        for place in self.places:
            collection = await self._opened(place)
            for n in range(COUNTERS):
                await collection.insert({"owner": place.tenant.name, "n": 0}, f"counter-{n}")

    async def run(self, calls: int, tasks: int) -> None:
        left = iter(range(calls))

        async def work() -> None:
            for _ in left:
                await self._one()

        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(work())

    async def run_cancelled(self, calls: int, tasks: int) -> None:
        """The same, each call cancelled somewhere along its way, if it is not done by then."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.run(10 * tasks, tasks)
        longest = (
            2 * (loop.time() - began) / 10
        )  # as calls take here and now: about half of them are done sooner
        left = iter(range(calls))

        async def work() -> None:
            for _ in left:
                call = asyncio.create_task(self._one())
                timer = loop.call_later(self.chance.random() * longest, call.cancel)
                try:
                    await call
                    self.done["finished"] += 1
                except asyncio.CancelledError:
                    self.done["cancelled"] += 1
                finally:
                    timer.cancel()

        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(work())

    async def _opened(self, place: Place) -> Collection:
        with tenant_scope(place.tenant.name):
            return (await self.factory.get_storage(place.name)).collection("ledger")

    async def _one(self) -> None:
        place = self.chance.choice(self.places)
        calls: Sequence[tuple[Callable[[Place, Collection], Awaitable[None]], int]] = (
            (self._add, 30),
            (self._write, 20),
            (self._rewrite, 10),
            (self._remove, 10),
            (self._look, 20),
            (self._ask, 5),
            (self._together, 5),
        )
        [(call, _)] = self.chance.choices(calls, [weight for _, weight in calls])
        with tenant_scope(place.tenant.name):
            collection = (await self.factory.get_storage(place.name)).collection("ledger")
            await call(place, collection)
        self.done[call.__name__] += 1

    async def _add(self, place: Place, collection: Collection) -> None:
        """One more on a counter, by compare and set: what was acknowledged counts."""
        id = f"counter-{self.chance.randrange(COUNTERS)}"
        place.unsure[id] += 1
        while True:
            found = await collection.get(id)
            assert found is not None
            try:
                await collection.update(id, {"n": found.data["n"] + 1}, version=found.version)
            except VersionConflict:
                continue
            place.counts[id] += 1
            place.unsure[id] -= 1
            return

    async def _write(self, place: Place, collection: Collection) -> None:
        id = f"doc-{self.chance.randrange(SHARED_IDS)}"
        place.doubtful.add(id)
        try:
            await collection.insert({"owner": place.tenant.name, "n": self.chance.randrange(100)}, id)
        except Conflict:
            return  # somebody else's of this tenant

    async def _rewrite(self, place: Place, collection: Collection) -> None:
        id = f"doc-{self.chance.randrange(SHARED_IDS)}"
        try:
            changed = await collection.update(id, {"n": 7, "seen.by": place.tenant.name})
        except NotFound:
            return
        assert changed.data["owner"] == place.tenant.name

    async def _remove(self, place: Place, collection: Collection) -> None:
        id = f"doc-{self.chance.randrange(SHARED_IDS)}"
        place.doubtful.add(id)
        try:
            await collection.delete(id)
        except NotFound:
            return

    async def _look(self, place: Place, collection: Collection) -> None:
        found = await collection.get(f"doc-{self.chance.randrange(SHARED_IDS)}")
        assert found is None or found.data["owner"] == place.tenant.name

    async def _ask(self, place: Place, collection: Collection) -> None:
        assert await collection.count({"owner": {"$ne": place.tenant.name}}) == 0
        async for document in collection.query({"n": {"$gte": 0}}, sort="-n", limit=20):
            assert document.data["owner"] == place.tenant.name

    async def _together(self, place: Place, collection: Collection) -> None:
        """One more on two counters at once, or on neither."""
        storage = await self.factory.get_storage(place.name)
        if Ability.TRANSACTIONS not in storage.abilities:
            return
        first, second = self.chance.sample(range(COUNTERS), 2)
        ids = [f"counter-{n}" for n in sorted((first, second))]
        place.unsure.update(ids)
        try:
            async with storage.transaction() as transaction:
                inside = transaction.collection("ledger")
                for id in ids:
                    found = await inside.get(id)
                    assert found is not None
                    await inside.update(id, {"n": found.data["n"] + 1}, version=found.version)
        except Conflict:
            place.unsure.subtract(ids)
            return
        place.counts.update(ids)
        place.unsure.subtract(ids)

    async def check(self) -> None:
        """Nothing of another tenant's anywhere, nothing acknowledged is missing, nothing was done twice."""
        for place in self.places:
            collection = await self._opened(place)
            async for document in collection.query():
                assert document.data["owner"] == place.tenant.name, (place, document)
            for n in range(COUNTERS):
                id = f"counter-{n}"
                counter = await collection.get(id)
                assert counter is not None
                most = place.counts[id] + place.unsure[id]
                assert place.counts[id] <= counter.data["n"] <= most, (place, counter)
                assert counter.version == counter.data["n"] + 1
