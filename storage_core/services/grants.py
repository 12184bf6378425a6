"""Grants: who holds which role in which scope."""

from typing import Protocol

from pydantic import Field

from ..domain.context import Context
from ..domain.errors import Conflict, Forbidden
from ..domain.identity import UserGrant
from ..domain.page import Clause, Page, Reach, Test
from ..domain.permission import Permission, Role, ScopeKind, Target
from ..ports.catalog import UnitOfWork
from .kernel import Service, found, missing
from .operation import Effect, operation
from .request import ById, ListRequest, Request
from .scopes import (
    in_scope,
    keep_one_super_admin,
    knows,
    managed_ids,
    manages_all,
    not_above,
    read_scope,
    scope_of,
    target_scope,
)
from .targets import a_list


class HasRole(Protocol):
    """A request that gives somebody a role."""

    @property
    def role(self) -> Role: ...


class CreateGrant(Request):
    """Give a user a role in a scope; the highest of the matching ones counts."""

    user_id: str = Field(min_length=1, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """Whom."""
    role: Role = Field(examples=["Operator"])
    """SuperAdmin, Admin, Operator or Viewer."""
    scope: str = Field("global", max_length=128, examples=["tenant:acme"])
    """Where the role holds: `global`, `tenant:NAME-OR-ID` or `provider:NAME-OR-ID`."""
    confirm: str = Field("", max_length=128, examples=["ann"])
    """The user's exact name, typed as a confirmation; needed to make a SuperAdmin."""


class ListGrants(ListRequest):
    """List who holds which role where."""

    user_id: str | None = None
    """Filter: the user."""
    role: str | None = Field(None, examples=["Admin"])
    """Filter: the role."""
    scope_kind: str | None = Field(None, examples=["tenant"])
    """Filter: global, tenant or provider."""
    scope_id: str | None = None
    """Filter: the tenant or provider."""


class RevokeGrant(ById):
    """Take a role in a scope away; it counts from the next call on."""


def empowering(request: HasRole) -> Permission | None:
    """Making a SuperAdmin is a right of its own; making anybody who could be a second person is watched."""
    if request.role is Role.SUPER_ADMIN:
        return Permission.GRANT_SUPER_ADMIN
    return Permission.USER_EMPOWER if request.role is Role.ADMIN else None


async def _new_grant(uow: UnitOfWork, ctx: Context, request: CreateGrant) -> Target:
    scope = await target_scope(uow, ctx, request.scope)
    user = await found(uow.users.get(request.user_id), "user", request.user_id)
    if not await knows(uow, ctx, user.id):
        raise missing("user", request.user_id)
    return in_scope(scope, "user", user.id, user.username, user.updated_at.isoformat())


async def _grant(uow: UnitOfWork, _ctx: Context, request: RevokeGrant) -> Target:
    row = await found(uow.grants.get(request.id), "grant", request.id)
    return in_scope(scope_of(row), "grant", row.id, str(row.role))


class Grants(Service):
    """The grants' operations."""

    @operation("grants.create", needs=Permission.USER_MANAGE, on=_new_grant, also=empowering, fresh=True)
    async def create(self, ctx: Context, request: CreateGrant) -> UserGrant:
        _not_oneself(ctx, request.user_id)
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            scope = await read_scope(uow, request.scope)
            not_above(ctx, request.role, scope)
            same = {"user_id": request.user_id, "role": request.role.value, "scope_kind": scope.kind.value}
            if await uow.grants.one(**same, scope_id=scope.id) is not None:
                raise Conflict("The user holds this role in this scope already.")
            row = UserGrant(self.kernel.new_id(), request.user_id, request.role, scope.kind, scope.id, now)
            await uow.grants.add(row)
        return row

    @operation("grants.list", needs=Permission.USER_MANAGE, on=a_list("grant"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListGrants) -> Page[UserGrant]:
        async with self.kernel.catalog.read() as uow:
            return await uow.grants.find(request.query(Reach(everything=True), _within(ctx)))

    @operation("grants.revoke", needs=Permission.USER_MANAGE, on=_grant)
    async def revoke(self, ctx: Context, request: RevokeGrant) -> UserGrant:
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.grants.get(request.id), "grant", request.id)
            _not_oneself(ctx, row.user_id)
            not_above(ctx, row.role, scope_of(row))
            if row.role is Role.SUPER_ADMIN and row.scope_kind is ScopeKind.GLOBAL:
                await keep_one_super_admin(uow, leaving=row)
            await uow.grants.remove(row.id)
        return row


def _within(ctx: Context) -> tuple[Clause, ...]:
    """Only grants of the scopes the caller manages; all for whoever manages everywhere."""
    return () if manages_all(ctx) else (Clause("scope_id", Test.ANY_OF, managed_ids(ctx)),)


def _not_oneself(ctx: Context, user_id: str) -> None:
    if ctx.actor.id == user_id:
        raise Forbidden("Nobody changes their own roles.", hint="Ask another administrator.")
