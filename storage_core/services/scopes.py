"""Scopes as people write them, and who may manage whom within them."""

from ..domain.context import Context
from ..domain.errors import Conflict, Forbidden, InvalidRequest, NotFound
from ..domain.identity import UserGrant, UserStatus
from ..domain.page import Clause, Test
from ..domain.permission import MATRIX, Permission, Role, Rule, Scope, ScopeKind, Target, covers
from ..ports.catalog import UnitOfWork
from .kernel import every, found

#: The id of no tenant.
UNKNOWN = "unknown"


async def read_scope(uow: UnitOfWork, text: str, field: str = "scope") -> Scope:
    """``global``, ``tenant:acme`` or ``provider:main`` (name or id) as a scope."""
    kind, _, name = text.partition(":")
    if kind == "global" and not name:
        return Scope()
    if kind == "tenant" and name:
        tenant = await uow.tenants.get(name) or await uow.tenants.one(name=name)
        if tenant is not None:
            return Scope(ScopeKind.TENANT, tenant.id)
    elif kind == "provider" and name:
        provider = await uow.providers.get(name) or await uow.providers.one(name=name)
        if provider is not None:
            return Scope(ScopeKind.PROVIDER, provider.id)
    raise unknown_scope(text, field)


async def target_scope(uow: UnitOfWork, ctx: Context, text: str) -> Scope:
    """The scope a request is about; to whoever does not manage everything an unknown one reads like a foreign one."""
    try:
        return await read_scope(uow, text)
    except InvalidRequest:
        if manages_all(ctx):
            raise
        return Scope(ScopeKind.TENANT, UNKNOWN)


def unknown_scope(text: str, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"The scope {text[:80]!r} is unknown.", field=field, hint="Use global, tenant:NAME or provider:NAME."
    )


def in_scope(scope: Scope, kind: str, id: str | None = None, name: str = "", version: str = "") -> Target:
    """A target that lies exactly in a scope."""
    return Target(
        kind,
        id,
        name,
        tenant_id=scope.id if scope.kind is ScopeKind.TENANT else None,
        provider_id=scope.id if scope.kind is ScopeKind.PROVIDER else None,
        version=version,
    )


def scope_of(grant: UserGrant) -> Scope:
    return Scope(grant.scope_kind, grant.scope_id)


def not_above(ctx: Context, role: Role, scope: Scope) -> None:
    """Nobody gives, or takes, a role above their own in that scope."""
    mine = [g.role.rank for g in ctx.grants if covers(g.scope, in_scope(scope, "user"))]
    if not mine or max(mine) < role.rank:
        raise Forbidden(f"The role {role} in this scope is above your own.")


async def grants_of(uow: UnitOfWork, user_id: str) -> tuple[UserGrant, ...]:
    where = (Clause("user_id", Test.ANY_OF, (user_id,)),)
    return tuple([grant async for grant in every(uow.grants, where)])


async def a_user(uow: UnitOfWork, id: str) -> Target:
    """A user as a target: in the one scope all their grants lie in, of the system where there are several.

    So whoever manages one tenant manages the people who are only there.
    """
    user = await found(uow.users.get(id), "user", id)
    scopes = {scope_of(grant) for grant in await grants_of(uow, id)}
    scope = scopes.pop() if len(scopes) == 1 else Scope()
    return in_scope(scope, "user", user.id, user.username, user.updated_at.isoformat())


async def manages(uow: UnitOfWork, ctx: Context, user_id: str) -> bool:
    """Whether the caller manages users in every scope this one has a role in."""
    scopes = [scope_of(grant) for grant in await grants_of(uow, user_id)] or [Scope()]
    return all(_manages_in(ctx, scope) for scope in scopes)


async def knows(uow: UnitOfWork, ctx: Context, user_id: str) -> bool:
    """Whether the caller may learn that this user is there: who is everywhere, or somewhere where they are."""
    mine = {g.scope.id for g in ctx.grants}
    if ctx.tenant_id is not None:
        mine = {ctx.tenant_id} if mine & {None, ctx.tenant_id} else set()
    return None in mine or any(grant.scope_id in mine for grant in await grants_of(uow, user_id))


def manages_all(ctx: Context) -> bool:
    """Whether the caller manages users everywhere."""
    return _manages_in(ctx, Scope())


def managed_ids(ctx: Context) -> tuple[str, ...]:
    """The tenants and providers the caller manages users in, where that is not everywhere."""
    held = [g.scope for g in ctx.grants if MATRIX[Permission.USER_MANAGE][g.role] > Rule.OWN]
    if ctx.tenant_id is None:
        return tuple(s.id for s in held if s.id is not None)
    return (ctx.tenant_id,) if any(s.id in (None, ctx.tenant_id) for s in held) else ()


def _manages_in(ctx: Context, scope: Scope) -> bool:
    if ctx.tenant_id is not None and scope != Scope(ScopeKind.TENANT, ctx.tenant_id):
        return False
    target = in_scope(scope, "user")
    return any(
        covers(g.scope, target) for g in ctx.grants if MATRIX[Permission.USER_MANAGE][g.role] > Rule.OWN
    )


async def keep_one_super_admin(
    uow: UnitOfWork, leaving: UserGrant | None = None, user_id: str | None = None
) -> None:
    """Conflict when no active SuperAdmin would be left without this grant, or without this user."""
    where = (
        Clause("role", Test.ANY_OF, (Role.SUPER_ADMIN.value,)),
        Clause("scope_kind", Test.ANY_OF, (ScopeKind.GLOBAL.value,)),
    )
    async for grant in every(uow.grants, where):
        if grant.user_id == user_id or (leaving is not None and grant.id == leaving.id):
            continue
        user = await uow.users.get(grant.user_id)
        if user is not None and user.status is UserStatus.ACTIVE:
            return
    raise Conflict("The last SuperAdmin stays.", hint="Make another SuperAdmin first.")


async def visible_owners(uow: UnitOfWork, ctx: Context) -> tuple[Clause, ...]:
    """One's own, and those of the users one manages."""
    if manages_all(ctx):
        return ()
    within = (Clause("scope_id", Test.ANY_OF, managed_ids(ctx)),)
    others = {g.user_id async for g in every(uow.grants, within)}
    mine = [id for id in sorted(others) if await manages(uow, ctx, id)]
    return (Clause("user_id", Test.ANY_OF, (ctx.actor.id, *mine)),)


async def only_managed(uow: UnitOfWork, ctx: Context, owner_id: str, kind: str, id: str) -> None:
    if owner_id != ctx.actor.id and not await manages(uow, ctx, owner_id):
        raise NotFound(f"There is no {kind} {id!r}.", field="id")
