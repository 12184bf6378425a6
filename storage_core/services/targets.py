"""What an operation touches: from a request to the target that authorisation and audit speak of."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..domain.context import Context
from ..domain.database import Database
from ..domain.errors import Forbidden
from ..domain.job import Job
from ..domain.permission import Permission, Target, Verdict, decide
from ..domain.provider import Provider
from ..domain.schedule import Schedule
from ..domain.tenant import Tenant
from ..ports.catalog import UnitOfWork
from .kernel import found

#: Finds the target of a request; NotFound where it does not exist.
TargetOf = Callable[[UnitOfWork, Context, Any], Awaitable[Target]]


def provider_target(provider: Provider) -> Target:
    version = str(provider.revision)
    return Target("provider", provider.id, provider.name, provider_id=provider.id, version=version)


def tenant_target(tenant: Tenant) -> Target:
    version = tenant.updated_at.isoformat()
    return Target("tenant", tenant.id, tenant.name, tenant_id=tenant.id, version=version)


def database_target(database: Database) -> Target:
    return Target(
        "database",
        database.id,
        database.name,
        database.tenant_id,
        database.provider_id,
        version=database.updated_at.isoformat(),
    )


def schedule_target(schedule: Schedule) -> Target:
    version = schedule.updated_at.isoformat()
    return Target(
        "schedule", schedule.id, schedule.name, schedule.tenant_id, schedule.provider_id, version=version
    )


def job_target(job: Job) -> Target:
    return Target("job", job.id, job.operation, job.tenant_id, job.provider_id, job.actor_id)


def everything(kind: str) -> TargetOf:
    """The system as a whole: only a global grant covers it."""

    async def find(_uow: UnitOfWork, _ctx: Context, _request: Any) -> Target:
        return Target(kind)

    return find


def a_list(kind: str) -> TargetOf:
    """A list has no single target: the service narrows it to the caller's reach."""

    async def find(_uow: UnitOfWork, _ctx: Context, _request: Any) -> Target:
        return Target(f"{kind} list", tenant_id=LIST)

    return find


#: Marks a target that is a list; the operation asks for the permission in any scope.
LIST = "*"


def own(kind: str) -> TargetOf:
    """What belongs to the caller: every signed-in user has it."""

    async def find(_uow: UnitOfWork, ctx: Context, _request: Any) -> Target:
        return Target(kind, tenant_id=LIST, owner_id=ctx.actor.id)

    return find


def provider(field: str = "id") -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        id = getattr(request, field)
        return provider_target(await found(uow.providers.get(id), "provider", id))

    return find


def tenant(field: str = "id") -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        id = getattr(request, field)
        return tenant_target(await found(uow.tenants.get(id), "tenant", id))

    return find


def database(field: str = "id") -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        id = getattr(request, field)
        return database_target(await found(uow.databases.get(id), "database", id))

    return find


def new_database() -> TargetOf:
    """A database to be made: of the tenant it names, or of the one the call is narrowed to."""

    async def find(_uow: UnitOfWork, ctx: Context, request: Any) -> Target:
        owner = request.tenant_id or ctx.tenant_id
        return Target("database", None, request.name, owner, request.provider_id)

    return find


def unmanaged_database() -> TargetOf:
    """A database that lies on a provider already: only who may on all of the provider speaks of it, for whatever tenant.

    Nobody knows whose it is. Others are refused before anything is looked at, whatever they name.
    """

    async def find(_uow: UnitOfWork, ctx: Context, request: Any) -> Target:
        if not may_adopt(ctx, request.provider_id):
            raise Forbidden(
                "Adopting a database needs a role that covers its whole provider.",
                hint="Ask an administrator of the provider to adopt it for your tenant.",
            )
        owner = request.tenant_id or ctx.tenant_id
        return Target("database", None, request.name, owner, request.provider_id)

    return find


def backup(field: str = "id") -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        id = getattr(request, field)
        row = await found(uow.backups.get(id), "backup", id)
        version = row.updated_at.isoformat()
        return Target("backup", row.id, row.database_name, row.tenant_id, row.provider_id, version=version)

    return find


def schedule(field: str = "id") -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        id = getattr(request, field)
        return schedule_target(await found(uow.schedules.get(id), "schedule", id))

    return find


def job(field: str = "id") -> TargetOf:
    async def find(uow: UnitOfWork, _ctx: Context, request: Any) -> Target:
        id = getattr(request, field)
        return job_target(await found(uow.jobs.get(id), "job", id))

    return find


def may_inspect(ctx: Context, target: Target) -> bool:
    """Whether the caller may see what tells where an engine is: hosts, users, paths, logs of jobs."""
    return decide(Permission.PROVIDER_INSPECT, target, ctx.grants, ctx.actor.id) is Verdict.ALLOWED


def may_adopt(ctx: Context, provider_id: str) -> bool:
    """Whether the caller may see and take what lies on a provider unmanaged: with a role over all of it."""
    place = Target("provider", provider_id=provider_id)
    return decide(Permission.DATABASE_ADOPT, place, ctx.grants, ctx.actor.id) is Verdict.ALLOWED
