"""Sealing 100 000 data keys anew, on the embedded catalog: the job's own code, without the queue."""

import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from storage_core.backing.vault import EnvelopeVault, MasterRing, master_keys
from storage_core.bootstrap import Core, migrate, new_id, open_core, utc_now
from storage_core.catalog.catalog import open_engine
from storage_core.catalog.tables import DataKeyRow
from storage_core.domain.secret import Key, Rotation, data_key_binding
from storage_core.services.keys import Keys
from storage_core.settings import Settings

KEYS = 100_000
LIMIT_SECONDS = 60
_BATCH = 2000


async def run(_: int) -> dict[str, float | str]:
    """Seconds for a tenant's key, for the master key above it, and for opening everything once."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        await migrate(settings)
        async with open_core(settings) as core:
            await _fill(core)
            keys = Keys(core.kernel)
            took, done = await _timed(keys.rotate("t1", new_id(), lambda *_: None))
            master, _done = await _timed(
                keys.rotate_master(await core.kernel.masters.successor(), lambda *_: None)
            )
            opened = await _opened(core)
    return {
        "data_keys": done.rewrapped,
        "rewrap_seconds": took,
        "within_60_s": str(took <= LIMIT_SECONDS),
        "master_seconds": master,
        "open_all_seconds": opened,
    }


class _Known:
    """The keys as they were, without asking the catalog for each value."""

    def __init__(self, *keys: Key) -> None:
        self._keys = keys

    async def primary(self, owner: str) -> Key | None:
        return next((key for key in self._keys if key.owner == owner), None)

    async def by_id(self, key_id: str) -> Key | None:
        return next((key for key in self._keys if key.id == key_id), None)

    async def of(self, owner: str) -> tuple[Key, ...]:
        return tuple(key for key in self._keys if key.owner == owner)

    async def add(self, key: Key) -> Key:
        return key

    async def promote(self, key: Key) -> Key:
        return key


async def _fill(core: Core) -> None:
    """Many rows at once, straight into the table: only what comes after it is measured."""
    key = await core.kernel.catalog.keys.add(await core.kernel.rewrapping.new_key("t1", new_id()))
    vault = EnvelopeVault(_masters(core), _Known(key), utc_now, new_id)
    engine = open_engine(core.settings.catalog)
    table: Any = DataKeyRow.__table__  # type: ignore[attr-defined]
    try:
        for _ in range(KEYS // _BATCH):
            rows = [await _row(vault, new_id(), key.id) for _ in range(_BATCH)]
            async with engine.begin() as connection:
                await connection.execute(insert(table), rows)
    finally:
        await engine.dispose()


def _masters(core: Core) -> MasterRing:
    source = master_keys(core.settings.home, "file", None, None, None)
    return MasterRing(source, core.kernel.catalog.keys, utc_now)


async def _row(vault: EnvelopeVault, id: str, key_id: str) -> dict[str, Any]:
    made = await vault.new_data_key(data_key_binding("t1", id))
    return {
        "id": id,
        "tenant_id": "t1",
        "wrapped": made.wrapped,
        "key_id": key_id,
        "created_at": utc_now(),
        "row_version": 1,
    }


async def _timed(work: Awaitable[Rotation]) -> tuple[float, Rotation]:
    began = time.perf_counter()
    done = await work
    return time.perf_counter() - began, done


async def _opened(core: Core) -> float:
    began, mark = time.perf_counter(), ("", "")
    while batch := await core.kernel.catalog.envelopes.after("t1", mark, 1000):
        mark = (batch[-1].noun, batch[-1].id)
        if any(await core.kernel.rewrapping.faults(batch)):
            raise RuntimeError("a data key does not open")
    return time.perf_counter() - began
