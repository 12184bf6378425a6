"""Whole MongoDB databases out as bytes with a manifest, in again, and measured by queries of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...domain.backup import Manifest, ManifestObject
from ...ports.backup import Dump, OnProgress, Piece, RestoreReport
from . import finish, measure, restore
from .dump import MongoDump
from .link import Link


class MongoBackup:
    """On replica sets everything but capped collections is read in one snapshot; standalone servers have none."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @asynccontextmanager
    async def dump(self, name: str, on_progress: OnProgress) -> AsyncIterator[Dump]:
        running = MongoDump(self._link, name, on_progress)
        try:
            await running.open()
            yield running
        finally:
            await running.close()

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        return await restore.restore(self._link, pieces, name, on_progress)

    async def finish(self, name: str) -> tuple[str, ...]:
        return await finish.finish(self._link, name)

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        return await measure.measure(self._link, name)
