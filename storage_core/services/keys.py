"""The life of keys: add, promote, seal everything anew, retire the old one, destroy it once nothing refers to it.

Everything is idempotent and begins where the last run stopped; at no moment is there a value that no key opens.
"""

from collections.abc import Callable, Sequence

from ..domain.errors import Conflict, WrongKey
from ..domain.secret import MASTER_OWNER, Key, KeyState, Rotation, Sealed
from .kernel import Service, raced

BATCH = 1000
#: How often values that were sealed with the old key in the last moment are looked for again.
ROUNDS = 5

#: Told how many values are sealed anew, and of how many.
OnRewrapped = Callable[[int, int], None]


class Keys(Service):
    """Rotates and ends keys. Several at once do no harm."""

    async def rotate(self, owner: str, key_id: str, told: OnRewrapped) -> Rotation:
        """Let a fresh key of this id seal for an owner (a tenant's id, or the system's), and everything before it.

        Called again with the same id it goes on; once another key came after that one, it helps that one along.
        """
        known = await self.kernel.catalog.keys.by_id(key_id)
        if known is None:

            async def promote() -> Key:
                return await self.kernel.catalog.keys.promote(
                    await self.kernel.rewrapping.new_key(owner, key_id)
                )

            known = await raced(promote)
        done = 0
        for _ in range(ROUNDS):
            done += await self._rewrap(owner, told)
            if not await self._retire(owner):
                break
        destroyed, notes = await self._destroy(owner)
        return Rotation(owner, known.id, known.version, done, destroyed, notes)

    async def rotate_master(self, master_id: str, told: OnRewrapped) -> Rotation:
        """Let a master key that is durably kept already wrap every key; see `rotate`."""
        now = self.kernel.now()
        known = await self.kernel.catalog.keys.by_id(master_id)
        if known is None:
            known = await raced(
                lambda: self.kernel.catalog.keys.promote(Key(master_id, MASTER_OWNER, "", now, now))
            )
        done = 0
        for _ in range(ROUNDS):
            done += await self._rewrap_keys(told)
            if not await self._retire(MASTER_OWNER):
                break
        # The new one is what a start reads first before the old one goes away anywhere.
        left = await self.kernel.masters.promote(known.id)
        destroyed, notes = await self._destroy(MASTER_OWNER)
        for key in await self.kernel.catalog.keys.of(MASTER_OWNER):
            if key.state is KeyState.DESTROYED:
                await self.kernel.masters.discard(key.id)
        return Rotation(
            MASTER_OWNER, known.id, known.version, done, destroyed, notes if left is None else (*notes, left)
        )

    async def erase(self, tenant_id: str) -> tuple[str, ...]:
        """Destroy all keys of a tenant: what they sealed, its backups included, is lost for ever. Idempotent."""
        return await self.kernel.catalog.keys.erase(tenant_id)

    async def disable(self, key_id: str) -> Key:
        """Let a key that is not primary open nothing, until it is enabled again; Conflict for a primary one."""
        return await self.kernel.catalog.keys.set_state(key_id, KeyState.DISABLED)

    async def enable(self, key_id: str) -> Key:
        return await self.kernel.catalog.keys.set_state(key_id, KeyState.ENABLED)

    async def _rewrap(self, owner: str, told: OnRewrapped) -> int:
        former = [k.id for k in await self.kernel.catalog.keys.of(owner) if k.state is KeyState.ENABLED]
        total = await self.kernel.catalog.envelopes.count(former) if former else 0
        done = 0
        for key_id in former:
            mark = ("", "")
            while batch := await self.kernel.catalog.envelopes.sealed_by(key_id, mark, BATCH):
                mark = (batch[-1].noun, batch[-1].id)
                done += await self._exchanged(owner, batch)
                told(done, total)
        return done

    async def _exchanged(self, owner: str, batch: Sequence[Sealed]) -> int:
        """Seal a batch with whatever key is primary now, in one transaction; what does not open stays as it is."""

        async def move() -> int:
            primary = await self.kernel.catalog.keys.primary(owner)
            if primary is None:
                raise Conflict(f"{owner} has no primary key: its keys were destroyed.")
            good = list(batch)
            try:
                fresh = await self.kernel.rewrapping.resealed(good, primary.id)
            except WrongKey:
                faults = await self.kernel.rewrapping.faults(batch)
                good = [one for one, fault in zip(batch, faults, strict=True) if fault is None]
                fresh = await self.kernel.rewrapping.resealed(good, primary.id)
            return await self.kernel.catalog.envelopes.replace(list(zip(good, fresh, strict=True)))

        return await raced(move)

    async def _rewrap_keys(self, told: OnRewrapped) -> int:
        done = 0
        for old in await self.kernel.catalog.keys.of(MASTER_OWNER):
            while old.state is KeyState.ENABLED:
                keys = await self.kernel.catalog.keys.wrapped_by(old.id, BATCH)
                moved = await raced(lambda keys=keys: self._rewrapped(keys))
                done += moved
                told(done, done + len(keys) - moved)
                if not moved:
                    break
        return done

    async def _rewrapped(self, keys: Sequence[Key]) -> int:
        primary = await self.kernel.catalog.keys.primary(MASTER_OWNER)
        if primary is None or not keys:
            return 0
        changes: list[tuple[Key, str]] = []
        for key in keys:
            try:
                changes += [(key, (await self.kernel.rewrapping.rewrapped([key], primary.id))[0])]
            except WrongKey:
                continue  # it was damaged before; the old master key stays because of it
        return await self.kernel.catalog.keys.rewrap(changes)

    async def _retire(self, owner: str) -> int:
        """Raise the floor: former keys that seal nothing any more open nothing any more. Answers what is left."""
        left = 0
        for key in await self.kernel.catalog.keys.of(owner):
            if key.state is KeyState.ENABLED:
                left += await self.kernel.catalog.keys.retire(key.id)
        return left

    async def _destroy(self, owner: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        gone: list[str] = []
        notes: list[str] = []
        for key in await self.kernel.catalog.keys.of(owner):
            if key.state is KeyState.DISABLED and not await self.kernel.catalog.keys.destroy(key.id):
                gone.append(key.id)
            elif key.state in (KeyState.DISABLED, KeyState.ENABLED):
                notes.append(
                    f"The key {key.id} stays {key.state}: it sealed values that do not open, or is in use."
                )
        return tuple(gone), tuple(notes)
