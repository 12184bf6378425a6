"""Changing documents that are stored already, version by version, tenant by tenant.

What was done is noted in the tenant's own database, in `sc_migrations`, so that a restored copy knows how far it is. On
a replica set each batch is changed and noted in one transaction: a process that is killed has done a batch or has not,
and the next one goes on behind it. On a standalone server the last batch is changed again; so a change must leave alone
what it has changed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from ..domain.errors import Conflict, EngineFailure, InvalidRequest

COLLECTION = "sc_migrations"
BATCH = 200
#: How long a process that says nothing is taken to be at work.
LEASE = timedelta(seconds=30)
#: A process that is killed may leave a transaction behind, which the server ends after a minute: longer than that.
ATTEMPTS, LONGEST_WAIT = 100, 1.0
COLLIDED = "TransientTransactionError"

Stored = dict[str, Any]
Database = AsyncDatabase[Stored]


@dataclass(frozen=True, slots=True)
class DocumentMigration:
    """One step: `change` answers each document of a collection as it is to be, or none to leave it as it is.

    Steps run in order of `version`, each once in a database. `change` must be pure, and leave alone what it has
    changed.
    """

    version: int
    name: str
    collection: str
    change: Callable[[Stored], Stored | None]


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a step did in this database, over all its attempts."""

    version: int
    name: str
    seen: int
    changed: int


async def migrate_documents(
    database: Database,
    migrations: Sequence[DocumentMigration],
    now: Callable[[], datetime],
    *,
    batch: int = BATCH,
    lease: timedelta = LEASE,
) -> tuple[Migrated, ...]:
    """Run the steps that a database has not seen; answers those that ran to their end now."""
    steps = sorted(migrations, key=lambda step: step.version)
    if len({step.version for step in steps}) < len(steps):
        raise InvalidRequest("Two migrations have one version.", field="migrations")
    notes = database[COLLECTION]
    known = {note["_id"]: note async for note in notes.find({"done_at": {"$exists": True}})}
    done: list[Migrated] = []
    for step in steps:
        note = known.get(step.version)
        if note is None:
            done.append(await _Run(database, step, now, batch, lease).finish())
        elif note["name"] != step.name:
            raise Conflict(
                f"The migration {step.version} is {note['name']!r} in this database, not {step.name!r}.",
                field="migrations",
                hint="Give a new migration a new version.",
            )
    return tuple(done)


class _Run:
    """One step in one database, by one process."""

    def __init__(
        self,
        database: Database,
        step: DocumentMigration,
        now: Callable[[], datetime],
        batch: int,
        lease: timedelta,
    ) -> None:
        self._database, self._step, self._now, self._batch, self._lease = database, step, now, batch, lease
        self._owner = uuid4().hex
        self._notes = database[COLLECTION]
        self._documents = database[step.collection]

    async def finish(self) -> Migrated:
        note = await self._taken()
        transactional = await self._transactional()
        while "done_at" not in note:
            note = await (self._together(note) if transactional else self._batch_of(note, None))
        return Migrated(self._step.version, self._step.name, note["seen"], note["changed"])

    async def _taken(self) -> Stored:
        """The step's note, ours for as long as we go on; Conflict while another process is at it."""
        now = self._now()
        free = {"_id": self._step.version, "$or": [{"until": {"$lt": now}}, {"owner": self._owner}]}
        change = {
            "$set": {"owner": self._owner, "until": now + self._lease, "name": self._step.name},
            "$setOnInsert": {"seen": 0, "changed": 0, "begun_at": now},
        }
        try:
            note = await self._notes.find_one_and_update(free, change, upsert=True, return_document=True)
        except DuplicateKeyError as error:
            raise Conflict(
                f"Another process runs the migration {self._step.version} on this database.",
                hint="Wait for it; if it was killed, its turn is over within half a minute.",
            ) from error
        return dict(note or {})

    async def _transactional(self) -> bool:
        hello = await self._database.client.admin.command("hello")
        return "setName" in hello or hello.get("msg") == "isdbgrid"

    async def _together(self, note: Stored) -> Stored:
        """A batch and its note in one transaction."""
        for attempt in range(ATTEMPTS):
            try:
                async with (
                    self._database.client.start_session() as session,
                    await session.start_transaction(),
                ):
                    return await self._batch_of(note, session)
            except PyMongoError as error:
                if not error.has_error_label(COLLIDED) or attempt + 1 == ATTEMPTS:
                    raise
            await asyncio.sleep(min(0.01 * 2**attempt, LONGEST_WAIT))
        raise AssertionError("the last attempt raises")

    async def _batch_of(self, note: Stored, session: AsyncClientSession | None) -> Stored:
        where: Stored = {} if "after" not in note else {"_id": {"$gt": note["after"]}}
        cursor = self._documents.find(where, sort=[("_id", 1)], limit=self._batch, session=session)
        found = await cursor.to_list()
        changed = [(old, new) for old in found if (new := self._changed(old)) is not None]
        written = await self._write(changed, session) if changed else 0
        if written < len(changed):
            return note  # others changed some of them meanwhile: read the batch again
        progress: Stored = {"until": self._now() + self._lease}
        if found:
            progress["after"] = found[-1]["_id"]
        if len(found) < self._batch:
            progress["done_at"] = self._now()
        update = {"$set": progress, "$inc": {"seen": len(found), "changed": len(changed)}}
        mine = {"_id": self._step.version, "owner": self._owner}
        after = await self._notes.find_one_and_update(mine, update, return_document=True, session=session)
        if after is None:
            raise Conflict(
                f"Another process has taken over the migration {self._step.version}.", hint="Leave it to it."
            )
        return dict(after)

    def _changed(self, old: Stored) -> Stored | None:
        new = self._step.change(dict(old))
        if new is None or new == old:
            return None
        if new.get("_id") != old["_id"]:
            raise InvalidRequest(
                f"The migration {self._step.version} changes a document's _id.", field="migrations"
            )
        return new

    async def _write(
        self, changed: Sequence[tuple[Stored, Stored]], session: AsyncClientSession | None
    ) -> int:
        """Replace documents that are still as they were read; answers how many."""
        same = [{"_id": old["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": old}]}} for old, _ in changed]
        requests = [ReplaceOne(where, new) for where, (_, new) in zip(same, changed, strict=True)]
        try:
            return (await self._documents.bulk_write(requests, ordered=False, session=session)).matched_count
        except OperationFailure as error:
            if error.has_error_label(COLLIDED):
                raise
            raise EngineFailure(
                f"MongoDB refused documents of the migration {self._step.version}.",
                hint="Look at what `change` answers: a unique index or a validator may be against it.",
            ) from error
