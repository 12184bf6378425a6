"""Names on engines that are ours: claimed before something is made there, put away when nothing comes of it."""

import logging
from dataclasses import replace
from typing import Any

from ..domain.database import Database, DatabaseStatus
from ..domain.errors import StorageError
from ..domain.job import Job
from ..domain.naming import another_name
from ..ports.catalog import UnitOfWork
from ..ports.engine import Engine
from .kernel import Kernel, Service, found, insisted, raced
from .lease_ends import LeaseEnds

log = logging.getLogger(__name__)

#: A database in one of these is half made or half gone; nobody was told that it is there.
UNFINISHED = frozenset({DatabaseStatus.CREATING, DatabaseStatus.DELETING})


class Claims(Service):
    """The way of a database's row from reserved to ready, or back to nothing.

    A row's `location` is written before the engine is asked to make anything, and only if the name was free then:
    without it, what has the name on the engine is somebody else's and is never dropped.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._ends = LeaseEnds(kernel)

    async def claim(self, row: Database, engine: Engine) -> Database:
        """Find a name on the engine that nobody's database has, and write down that from here on it is this row's.

        What has the usual name already is somebody else's: it stays untouched, and nobody learns that it is there.
        """
        name = row.physical_name
        if name in {d.physical_name for d in await engine.databases.existing()}:
            name = another_name(name, self.kernel.new_id())
        return await self._change(row.id, physical_name=name, location=engine.location(name))

    async def ready(self, id: str, location: str | None = None) -> Database:
        """Write down that a new database is there."""
        changes: dict[str, Any] = {} if location is None else {"location": location}
        return await self._change(id, status=DatabaseStatus.READY, problem=None, **changes)

    async def put_away(self, id: str) -> None:
        """Drop what an unfinished creation or deletion left, then its row; nothing for any other. Idempotent.

        Where the engine cannot do it now, the row stays as DELETING with the problem, for the reconciler's rounds.
        """
        async with self.kernel.catalog.read() as uow:
            row = await uow.databases.get(id)
            provider = None if row is None else await uow.providers.get(row.provider_id)
        if row is None or row.status not in UNFINISHED:
            return
        if row.location is not None and provider is not None:
            try:
                await self._ends.end_of("database_id", id, "its database is deleted")
                await (await self.engine_of(provider)).databases.drop(row.physical_name)
            except StorageError as error:
                log.info("%s stays on %s for now: %s", row.physical_name, provider.name, error.detail)
                await self._postpone(row, f"It is being removed: {error.detail}")
                return
        await self.forget(id)

    async def forget(self, id: str) -> None:
        """Take the row away; what may lie on the engine is not touched."""

        async def remove() -> None:
            async with self.kernel.catalog.write() as uow:
                await uow.databases.remove(id)

        await insisted(remove)

    async def give_up(self, uow: UnitOfWork, job: Job) -> None:
        """A database a job should have made will not come. The row goes at once where nothing can have been made."""
        row = await uow.databases.get(job.target_id or "")
        if row is None or row.status is not DatabaseStatus.CREATING:
            return
        if row.location is None:
            await uow.databases.remove(row.id)
        else:
            problem = "Its restore did not finish; it is being removed."
            await uow.databases.save(
                replace(row, status=DatabaseStatus.DELETING, problem=problem, updated_at=self.kernel.now())
            )

    async def fail(self, id: str, problem: str) -> None:
        """Say what is wrong with a database that people must look at."""

        async def write() -> None:
            async with self.kernel.catalog.write() as uow:
                row = await uow.databases.get(id)
                if row is not None:
                    now = self.kernel.now()
                    failed = replace(row, status=DatabaseStatus.FAILED, problem=problem, updated_at=now)
                    await uow.databases.save(failed)

        await insisted(write)

    async def _postpone(self, row: Database, problem: str) -> None:
        if row.status is not DatabaseStatus.DELETING or row.problem != problem:
            await self._change(row.id, status=DatabaseStatus.DELETING, problem=problem)

    async def _change(self, id: str, **changes: Any) -> Database:
        async def write() -> Database:
            async with self.kernel.catalog.write() as uow:
                row = await found(uow.databases.get(id), "database", id)
                row = replace(row, **changes, updated_at=self.kernel.now())
                await uow.databases.save(row)
                return row

        return await raced(write)
