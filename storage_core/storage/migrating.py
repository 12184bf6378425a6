"""Every tenant's tables to one revision: one after the other fails alone, and what was done stays done."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from pydantic import Field

from ..domain.context import Context
from ..domain.database import Database, DatabaseStatus
from ..domain.errors import Conflict, EngineFailure, InvalidRequest, NotFound, StorageError, Unsupported
from ..domain.migration import MigrationOutcome, MigrationReport, TenantMigration
from ..domain.naming import said
from ..domain.page import MAX_LIMIT, Query
from ..domain.permission import Permission
from ..domain.tenant import Tenant, TenantStatus
from ..ports.catalog import Catalog, Repository
from ..ports.sessions import Access
from ..services.kernel import Service
from ..services.operation import Suspended, operation
from ..services.request import Request
from ..services.targets import database
from ..telemetry import log
from .door import Standing, StorageDoor
from .revisions import Revisions, said_heads
from .sessions import bound, sessions_of

T = TypeVar("T")

MOST = 64
Heard = Callable[[TenantMigration], None]


class Way(StrEnum):
    """What is done with the revisions: run them, or note only that what they make is there."""

    RUN = "run"
    STAMP = "stamp"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which databases: of these tenants (all, if none is named), the one of this name (the default one)."""

    name: str | None = None
    tenants: Collection[str] = ()


class MigrateDatabase(Request):
    """Bring the tables of one database to a revision, from a program."""

    id: str = Field(max_length=64)
    """The database."""
    scripts: str
    """Where the revisions lie."""
    before: str | None
    """The revision it is at."""
    target: str
    """The revision it is brought to."""
    way: Way = Way.RUN
    """Whether they are run, or only noted."""


class Migrating(Service):
    """One run over all tenants. Repeating it goes on where the one before ended, however that ended: each database says
    itself where it stands, written in the transaction of each revision."""

    def __init__(
        self,
        door: StorageDoor,
        caller: Callable[[str], Context],
        revisions: Revisions,
        way: Way = Way.RUN,
    ) -> None:
        super().__init__(door.kernel)
        self._door, self._caller, self._revisions, self._way = door, caller, revisions, way

    async def run(self, choice: Choice, concurrency: int, heard: Heard) -> MigrationReport:
        if not 1 <= concurrency <= MOST:
            raise InvalidRequest(
                f"concurrency is {concurrency}.", field="concurrency", hint=f"Use 1 to {MOST}."
            )
        items, doable = await self._chosen(choice)
        for item in items:
            heard(item)
        queue = iter(doable)

        async def work() -> None:
            for item in queue:
                done = await self._one(item)
                items.append(done)
                heard(done)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
        order = sorted(items, key=lambda i: (i.tenant, i.namespace or "", i.database or ""))
        return MigrationReport(self._revisions.target, tuple(order))

    async def _one(self, item: TenantMigration) -> TenantMigration:
        began = time.perf_counter()
        before = after = None
        try:
            standing = await self._door.standing(item.database_id or "", while_suspended=True)
            sessions_of(standing)
            before = after = await self._stands(standing)
            if not self._pending(before):
                return replace(item, outcome=MigrationOutcome.CURRENT, before=before, after=before)
            request = MigrateDatabase(
                id=standing.database.id,
                scripts=str(self._revisions.location),
                before=before,
                target=self._revisions.target,
                way=self._way,
            )
            try:
                await self.migrate(self._caller(standing.tenant.id), request)
            finally:
                after = await self._stands(standing)
        except Unsupported as error:
            return replace(item, outcome=MigrationOutcome.SKIPPED, error=error.detail, hint=error.hint)
        except StorageError as error:
            return replace(
                _timed(item, began),
                outcome=MigrationOutcome.FAILED,
                before=before,
                after=after,
                code=error.code,
                error=error.detail,
                hint=error.hint,
            )
        done = MigrationOutcome.MIGRATED if self._way is Way.RUN else MigrationOutcome.STAMPED
        return replace(_timed(item, began), outcome=done, before=before, after=after)

    def _pending(self, stands: str | None) -> bool:
        if self._way is Way.STAMP:
            return stands != self._revisions.target
        return bool(self._revisions.pending(_heads(stands)))

    @operation(
        "storage.migrate", needs=Permission.DATABASE_WRITE, on=database(), while_suspended=Suspended.MANAGERS
    )
    async def migrate(self, ctx: Context, request: MigrateDatabase) -> None:
        """Run (or note) what is pending, each revision in a transaction of its own; two at once take turns."""
        standing = await self._door.standing(request.id, while_suspended=True)
        sessions = sessions_of(standing)
        step = self._revisions.step if request.way is Way.RUN else self._revisions.stamp
        schema = sessions.schema(standing.database.physical_name)
        async with bound(standing, Access.SHAPE, self.kernel.now) as connection:
            try:
                while await connection.run_sync(step, schema, sessions.locking):
                    pass
            except StorageError:
                raise
            except Exception as error:
                # A revision is people's program: whatever is wrong with it is this tenant's failure, nobody else's.
                log.exception("migrating %s", standing.database.id)
                raise EngineFailure(
                    f"A revision failed: {type(error).__name__}: {_first_line(error)}",
                    hint="The database stands as the revision before left it: correct the revision, and run it again.",
                ) from error

    async def _stands(self, standing: Standing) -> str | None:
        """The revision a database is at."""
        schema = sessions_of(standing).schema(standing.database.physical_name)
        async with bound(standing, Access.READ, self.kernel.now) as connection:
            return said_heads(await connection.run_sync(lambda sync: self._revisions.heads(sync, schema)))

    async def _chosen(self, choice: Choice) -> tuple[list[TenantMigration], list[TenantMigration]]:
        """What is settled without a look, and what is to be migrated."""
        tenants, databases = await _everything(self.kernel.catalog)
        unknown = set(choice.tenants) - {t.id for t in tenants} - {t.name for t in tenants}
        if unknown:
            names = ", ".join(said(name) for name in sorted(unknown))
            raise NotFound(f"There is no tenant {names}.", field="tenants")
        settled: list[TenantMigration] = []
        doable: list[TenantMigration] = []
        for tenant in tenants:
            if choice.tenants and not {tenant.id, tenant.name} & set(choice.tenants):
                continue
            mine = [d for d in databases if d.tenant_id == tenant.id]
            found = [_item(tenant, rows, choice.name) for rows in _by_namespace(mine, choice.name)]
            for item in found or [_item(tenant, [], choice.name)]:
                (doable if item.database_id is not None else settled).append(item)
        return settled, doable


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:500]


def _heads(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def _timed(item: TenantMigration, began: float) -> TenantMigration:
    return replace(item, seconds=round(time.perf_counter() - began, 3))


def _by_namespace(databases: Iterable[Database], name: str | None) -> list[list[Database]]:
    """The databases that are meant, by the part of the tenant they lie in."""
    groups: dict[str | None, list[Database]] = {}
    for row in databases:
        if name in (None, row.name):
            groups.setdefault(row.namespace, []).append(row)
    return [groups[key] for key in sorted(groups, key=lambda key: key or "")]


def _item(tenant: Tenant, rows: list[Database], name: str | None) -> TenantMigration:
    marked = [row for row in rows if row.is_default] or rows
    base = TenantMigration(tenant.id, tenant.name, None, None, None, MigrationOutcome.SKIPPED)
    if not rows:
        wanted = "no database" if name is None else f"no database {said(name)}"
        return replace(base, error=f"The tenant has {wanted}.")
    if len(marked) > 1:
        names = ", ".join(sorted(row.name for row in marked))
        error = Conflict(f"None of {names} is the default one.", hint="Name one, or mark one as the default.")
        return replace(
            base,
            namespace=rows[0].namespace,
            outcome=MigrationOutcome.FAILED,
            code=error.code,
            error=error.detail,
            hint=error.hint,
        )
    (row,) = marked
    return replace(base, database_id=row.id, database=row.name, namespace=row.namespace)


async def _everything(catalog: Catalog) -> tuple[list[Tenant], list[Database]]:
    async with catalog.read() as uow:
        tenants = [t for t in await _all(uow.tenants) if t.status is not TenantStatus.DELETED]
        return tenants, [d for d in await _all(uow.databases) if d.status is DatabaseStatus.READY]


async def _all(rows: Repository[T]) -> list[T]:
    out: list[T] = []
    query = Query(sort="created_at", limit=MAX_LIMIT)
    while True:
        page = await rows.find(query)
        out.extend(page.items)
        if page.next is None:
            return out
        query = replace(query, cursor=page.next)
