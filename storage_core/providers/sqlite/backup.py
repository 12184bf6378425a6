"""SQLite backups: the whole file as of one moment, with what it holds hashed from that same moment."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from ...domain.backup import Manifest, ManifestObject, build_manifest
from ...domain.errors import DamagedArtifact, Internal
from ...ports.backup import OnProgress, Piece, RestoreReport
from .connect import Halt, in_thread
from .content import METHOD
from .measure import measured
from .place import Place
from .restore import Arrival
from .snapshot import Snapshot

MEMBER = "database.sqlite3"
PIECE = 1 << 20

#: Time limit of the look at a restored file: a start, then this many bytes per second.
CHECK_SECONDS = 60.0
CHECK_RATE = 5_000_000


class SqliteDump:
    """A running dump: the copy's bytes and, from the same moment, its hashes, both under way from the start."""

    def __init__(self, snapshot: Snapshot, halt: Halt, on_progress: OnProgress) -> None:
        self._snapshot = snapshot
        self._halt = halt
        self._told = on_progress
        self._copying = asyncio.create_task(in_thread(snapshot.copy, halt))
        self._hashing = asyncio.create_task(in_thread(snapshot.describe, halt))
        self._reading: asyncio.Task[bytes] | None = None
        self._objects: tuple[ManifestObject, ...] | None = None

    @property
    def manifest(self) -> Manifest:
        if self._objects is None:
            raise Internal("The manifest was read before the pieces came to their end.")
        return build_manifest("sqlite", sqlite3.sqlite_version, METHOD, self._objects)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The copy in pieces of 1 MiB, read one ahead, then the end of the hashing."""
        size = await self._copying
        done = 0
        self._told(done, size)
        self._read_ahead(done)
        while self._reading and (data := await self._reading):
            done += len(data)
            self._read_ahead(done)
            self._told(done, size)
            yield Piece(MEMBER, data)
        self._objects = await self._hashing

    async def end(self) -> None:
        """Stop what still runs and wait until it has; its errors were told to whoever awaited it."""
        self._halt.now()
        tasks = [task for task in (self._copying, self._hashing, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _read_ahead(self, offset: int) -> None:
        self._reading = asyncio.create_task(in_thread(partial(self._snapshot.read, PIECE, offset)))


class SqliteBackup:
    """Backup of the databases of one directory."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def dump(self, name: str, on_progress: OnProgress) -> AbstractAsyncContextManager[SqliteDump]:
        return self._dump(name, on_progress)

    @asynccontextmanager
    async def _dump(self, name: str, on_progress: OnProgress) -> AsyncGenerator[SqliteDump]:
        halt = Halt()
        path = await in_thread(lambda: self._place.file(name))
        snapshot = Snapshot(path, self._place.scratch(path), halt)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(in_thread, snapshot.close)
            await in_thread(snapshot.open, halt)
            dump = SqliteDump(snapshot, halt, on_progress)
            stack.push_async_callback(dump.end)
            yield dump

    async def restore(
        self, pieces: AsyncIterator[Piece], name: str, manifest: Manifest, on_progress: OnProgress
    ) -> RestoreReport:
        """Restore under a private name, check, publish; a file is all or nothing, so `manifest` is not needed."""
        arrival = Arrival(self._place, name)
        try:
            await in_thread(arrival.open)
            async for piece in pieces:
                if piece.member != MEMBER:
                    raise DamagedArtifact(f"The backup has an unknown member {piece.member[:80]!r}.")
                on_progress(await in_thread(partial(arrival.write, piece.data)), None)
            halt = Halt(CHECK_SECONDS + arrival.size / CHECK_RATE)
            skipped = await in_thread(partial(arrival.settle, halt), halt)
            await in_thread(arrival.publish)
        except BaseException:
            await in_thread(arrival.withdraw)
            raise
        return RestoreReport(skipped)

    async def finish(self, name: str) -> tuple[str, ...]:
        """Nothing waits: the file came back whole, its statistics are tables like any other."""
        await in_thread(lambda: self._place.file(name))
        return ()

    async def measure(self, name: str, like: Manifest) -> tuple[ManifestObject, ...]:
        halt = Halt()
        path = await in_thread(lambda: self._place.file(name))
        return await in_thread(lambda: measured(path, halt), halt)
