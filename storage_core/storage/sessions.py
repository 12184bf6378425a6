"""Units of work of SQLAlchemy, each bound to one database of one tenant."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import InstanceState, ORMExecuteState, Session, UOWTransaction

from ..domain.errors import Conflict, InvalidRequest, TenantMismatch, Unsupported
from ..domain.naming import said
from ..ports.sessions import Access, Sessions
from ..tenancy import TenantScope, optional_tenant
from .models import NOW, TENANT, Audited

if TYPE_CHECKING:
    from .door import Standing

#: Models declared with this schema, or with none, lie where the tenant's tables lie.
SCHEMA = "tenant"
_OWNER, _CHECK = "storage_tenant", "storage_check"

Check = Callable[[TenantScope], None]


class TenantSession(Session):
    """The session beneath a tenant's: it takes no object that was another tenant's."""

    def merge(self, instance: Any, **more: Any) -> Any:
        self._refuse_others([instance])
        return super().merge(instance, **more)

    def merge_all(self, instances: Iterable[Any], **more: Any) -> Any:
        kept = list(instances)
        self._refuse_others(kept)
        return super().merge_all(kept, **more)

    def _refuse_others(self, instances: Iterable[Any]) -> None:
        for instance in instances:
            state = inspect(instance)
            refuse_other(self, state)
            for _, _, related, _ in state.mapper.cascade_iterator("merge", state):
                refuse_other(self, related)


class StorageSession(AsyncSession):
    """A tenant's `AsyncSession`: a unit of work that commits when its block ends and rolls back when it raises."""

    sync_session_class = TenantSession

    async def exec(self, statement: Any, params: Any = None, **more: Any) -> Any:
        """SQLModel's way to ask: of ``sqlmodel.select(Model)`` it answers the models themselves."""
        from sqlmodel.sql.expression import SelectOfScalar

        result = await self.execute(statement, params, **more)
        return result.scalars() if isinstance(statement, SelectOfScalar) else result


def sessions_of(standing: "Standing") -> Sessions:
    if standing.engine.sessions is None:
        raise Unsupported(
            f"The provider {said(standing.provider.name)} ({standing.provider.kind}) keeps no tables.",
            hint="Use collections there, or put the database on PostgreSQL or SQLite.",
        )
    return standing.engine.sessions


@asynccontextmanager
async def bound(
    standing: "Standing", access: Access, now: Callable[[], datetime]
) -> AsyncGenerator[AsyncConnection]:
    """A connection to the database, on which an application's models lie in the tenant's schema."""
    sessions = sessions_of(standing)
    schema = sessions.schema(standing.database.physical_name)
    async with sessions.connection(standing.database.physical_name, access) as connection:
        # A pool's search path is never trusted: models without a schema get theirs spelled out, too.
        places = {SCHEMA: schema} if schema is None else {SCHEMA: schema, None: schema}
        await connection.execution_options(schema_translate_map=places)
        await connection.execution_options(**{TENANT: standing.tenant.id, NOW: now})
        yield connection


@asynccontextmanager
async def unit(
    standing: "Standing", access: Access, now: Callable[[], datetime], check: Check
) -> AsyncGenerator[StorageSession]:
    async with bound(standing, access, now) as connection:
        info = {_OWNER: standing.tenant.id, _CHECK: check}
        async with StorageSession(connection, expire_on_commit=False, info=info) as session:
            yield session
            await session.commit()


async def missing_tables(connection: AsyncConnection, models: Iterable[MetaData]) -> tuple[str, ...]:
    """Names of declared tables that the database does not have."""

    def look(sync: Any) -> tuple[str, ...]:
        there = inspect(sync)
        tables = [table for metadata in models for table in metadata.sorted_tables]
        return tuple(
            table.name
            for table in tables
            if not there.has_table(table.name, schema=sync.schema_for_object(table))
        )

    return await connection.run_sync(look)


async def create_tables(
    standing: "Standing", models: Iterable[MetaData], now: Callable[[], datetime]
) -> None:
    """Make the tables that are missing, all in one transaction; two at once wait for each other."""
    locking = sessions_of(standing).locking
    async with bound(standing, Access.WRITE, now) as connection, connection.begin():
        if locking is not None:
            await connection.execute(text(locking))
        for metadata in models:
            await connection.run_sync(metadata.create_all)


def refuse_other(session: Session, state: InstanceState[Any]) -> None:
    """TenantMismatch for an object that was another tenant's."""
    mine, was = session.info.get(_OWNER), state.info.get(_OWNER)
    if was is not None and was != mine:
        raise TenantMismatch(
            f"The {state.class_.__name__} belongs to another tenant than the session.",
            hint="Make a new object of the values that may be shared.",
        )


@event.listens_for(TenantSession, "before_attach")
def _attached(session: Session, instance: Any) -> None:
    state: InstanceState[Any] = inspect(instance)
    refuse_other(session, state)
    if state.key is not None:
        state.info[_OWNER] = session.info.get(_OWNER)


@event.listens_for(TenantSession, "pending_to_persistent")
def _written(session: Session, instance: Any) -> None:
    inspect(instance).info[_OWNER] = session.info.get(_OWNER)


@event.listens_for(TenantSession, "loaded_as_persistent")
def _loaded(session: Session, instance: Any) -> None:
    mine = session.info.get(_OWNER)
    inspect(instance).info[_OWNER] = mine
    if isinstance(instance, Audited) and instance.__dict__.get("tenant_id", mine) != mine:
        raise TenantMismatch(
            f"A row of {type(instance).__name__} in this database belongs to another tenant.",
            hint="Somebody copied it here past the product: look where it comes from.",
        )


@event.listens_for(TenantSession, "do_orm_execute")
def _asked(state: ORMExecuteState) -> None:
    _in_scope(state.session)


@event.listens_for(TenantSession, "before_flush")
def _flushing(session: Session, _context: UOWTransaction, _instances: Any) -> None:
    _in_scope(session)
    mine = session.info.get(_OWNER)
    for instance in session.new:
        if isinstance(instance, Audited) and instance.__dict__.get("tenant_id") not in (None, mine):
            raise _not_mine(instance)
    for instance in session.dirty:
        if isinstance(instance, Audited):
            _unchanged(instance)


def _in_scope(session: Session) -> None:
    scope, check = optional_tenant(), session.info.get(_CHECK)
    if scope is not None and check is not None:
        check(scope)


def _unchanged(instance: Any) -> None:
    state: InstanceState[Any] = inspect(instance)
    if state.attrs["tenant_id"].history.has_changes():
        raise _not_mine(instance)
    if state.attrs["created_at"].history.has_changes():
        raise InvalidRequest(
            f"created_at of {type(instance).__name__} never changes.",
            field="created_at",
            hint="Leave it alone, or keep your own moment in a field of your own.",
        )


def _not_mine(instance: Any) -> TenantMismatch:
    return TenantMismatch(
        f"tenant_id of {type(instance).__name__} names another tenant than the session.",
        field="tenant_id",
        hint="Leave it out: it is filled in.",
    )


def no_models() -> Conflict:
    return Conflict(
        "No models are registered.", hint="Call factory.register(Base.metadata) once, at the start."
    )
