"""Keys in the catalog, and the rule that no row is ever sealed by a key that is being retired.

Who writes an envelope holds its key's row until the commit, and who retires a key changes that row first and counts
then: one of the two waits, and sees what the other did.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.errors import Conflict, NotFound, VersionConflict
from ..domain.secret import MASTER_OWNER, OPENING, Key, KeyState
from .envelopes import references
from .mapping import Mapper
from .tables import KeyRow

_KEYS: Any = KeyRow.__table__  # type: ignore[attr-defined]
_OPENING = tuple(state.value for state in OPENING)


class Begin(Protocol):
    """Opens a transaction on the catalog."""

    def __call__(self, *, readonly: bool) -> AbstractAsyncContextManager[AsyncConnection]: ...


async def hold(connection: AsyncConnection, key_id: str) -> None:
    """Hold a key until this transaction ends; VersionConflict when it opens nothing any more."""
    query = select(_KEYS.c.id).where(_KEYS.c.id == key_id, _KEYS.c.state.in_(_OPENING))
    if (await connection.execute(query.with_for_update(read=True))).first() is None:
        raise VersionConflict(
            "The key was rotated at the same moment.", hint="Do it again: it is sealed with the new key then."
        )


class SqlKeys:
    """The key store and the key ring over the catalog's tables."""

    def __init__(self, begin: Begin, now: Callable[[], datetime]) -> None:
        self._begin, self._now = begin, now
        self._mapper = Mapper(Key, _KEYS)

    async def primary(self, owner: str) -> Key | None:
        found = await self._some(_KEYS.c.owner == owner, _KEYS.c.state == KeyState.PRIMARY.value)
        return found[0] if found else None

    async def by_id(self, key_id: str) -> Key | None:
        found = await self._some(_KEYS.c.id == key_id)
        return found[0] if found else None

    async def of(self, owner: str) -> tuple[Key, ...]:
        return await self._some(_KEYS.c.owner == owner)

    async def add(self, key: Key) -> Key:
        try:
            async with self._begin(readonly=False) as connection:
                await self._insert(connection, key)
        except IntegrityError:
            existing = await self.primary(key.owner)
            if existing is None:
                raise
            return existing
        return key

    async def promote(self, key: Key) -> Key:
        try:
            async with self._begin(readonly=False) as connection:
                return await self._promoted(connection, key)
        except IntegrityError as error:
            raise VersionConflict("Another key of the same owner was promoted at the same moment.") from error

    async def owners(self) -> tuple[str, ...]:
        query = select(_KEYS.c.owner).where(_KEYS.c.owner != MASTER_OWNER).distinct().order_by(_KEYS.c.owner)
        async with self._begin(readonly=True) as connection:
            return tuple((await connection.execute(query)).scalars())

    async def wrapped_by(self, master_id: str, limit: int) -> tuple[Key, ...]:
        return await self._some(_wrapped_by(master_id), limit=limit)

    async def rewrap(self, changes: Sequence[tuple[Key, str]]) -> int:
        done = 0
        async with self._begin(readonly=False) as connection:
            for key, wrapped in changes:
                unchanged = (_KEYS.c.id == key.id) & (_KEYS.c.wrapped == key.wrapped)
                done += await self._set(connection, unchanged, wrapped=wrapped)
        return done

    async def retire(self, key_id: str) -> int:
        return await self._end(key_id, KeyState.ENABLED, state=KeyState.DISABLED.value)

    async def destroy(self, key_id: str) -> int:
        return await self._end(key_id, KeyState.DISABLED, state=KeyState.DESTROYED.value, wrapped="")

    async def erase(self, owner: str) -> tuple[str, ...]:
        async with self._begin(readonly=False) as connection:
            keys = await self._locked(connection, _KEYS.c.owner == owner)
            ids = [k.id for k in keys]
            await self._set(connection, _KEYS.c.id.in_(ids), state=KeyState.DESTROYED.value, wrapped="")
        return tuple(ids)

    async def set_state(self, key_id: str, state: KeyState) -> Key:
        allowed = {KeyState.ENABLED: KeyState.DISABLED, KeyState.DISABLED: KeyState.ENABLED}
        async with self._begin(readonly=False) as connection:
            found = await self._locked(connection, _KEYS.c.id == key_id)
            if not found:
                raise NotFound(f"There is no key {key_id!r}.", field="id")
            if found[0].state is not state and allowed.get(found[0].state) is not state:
                raise Conflict(f"The key {key_id} is {found[0].state} and cannot become {state}.")
            await self._set(connection, _KEYS.c.id == key_id, state=state.value)
        known = await self.by_id(key_id)
        assert known is not None, "its row was just held"  # noqa: S101
        return known

    async def _promoted(self, connection: AsyncConnection, key: Key) -> Key:
        present = await self._locked(connection, _KEYS.c.owner == key.owner)
        known = next((k for k in present if k.id == key.id), None)
        if known is not None and known.state is not KeyState.PRIMARY:
            raise Conflict(
                f"The key {key.id} was in use before, and is {known.state}.", hint="Use a key nobody had."
            )
        if known is not None:
            return known
        version = max((k.version for k in present), default=0) + 1
        before = [k.id for k in present if k.state is KeyState.PRIMARY]
        await self._set(connection, _KEYS.c.id.in_(before), state=KeyState.ENABLED.value)
        await self._insert(connection, key, version=version)
        row = (await connection.execute(select(_KEYS).where(_KEYS.c.id == key.id))).mappings().one()
        return self._mapper.value(row)

    async def _end(self, key_id: str, standing: KeyState, **values: str) -> int:
        """Change a key of this standing that nothing refers to any more; the row first, so that writers wait."""
        async with self._begin(readonly=False) as connection:
            found = await self._locked(connection, _KEYS.c.id == key_id, _KEYS.c.state == standing.value)
            if not found:
                return 0
            left = await self._left(connection, found[0])
            if not left:
                await self._set(connection, _KEYS.c.id == key_id, **values)
            return left

    async def _left(self, connection: AsyncConnection, key: Key) -> int:
        if key.owner != MASTER_OWNER:
            return await references(connection, [key.id])
        query = select(func.count()).select_from(_KEYS).where(_wrapped_by(key.id))
        return int((await connection.execute(query)).scalar_one())

    async def _insert(self, connection: AsyncConnection, key: Key, **values: int) -> None:
        if key.owner != MASTER_OWNER:
            await hold(connection, key.master_id)
        await connection.execute(insert(_KEYS).values(**{**self._mapper.row(key), **values}))

    async def _set(self, connection: AsyncConnection, where: Any, **values: str) -> int:
        statement = update(_KEYS).where(where).values(**values, updated_at=self._now())
        return (await connection.execute(statement)).rowcount

    async def _locked(self, connection: AsyncConnection, *tests: Any) -> tuple[Key, ...]:
        query = select(_KEYS).where(*tests).order_by(_KEYS.c.version).with_for_update()
        return tuple(self._mapper.value(row) for row in (await connection.execute(query)).mappings())

    async def _some(self, *tests: Any, limit: int | None = None) -> tuple[Key, ...]:
        query = select(_KEYS).where(*tests).order_by(_KEYS.c.version, _KEYS.c.id).limit(limit)
        async with self._begin(readonly=True) as connection:
            return tuple(self._mapper.value(row) for row in (await connection.execute(query)).mappings())


def _wrapped_by(master_id: str) -> Any:
    return _KEYS.c.wrapped.startswith(f"{master_id}.", autoescape=True)
