"""Users: who can sign in."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from pydantic import Field, SecretStr

from ..domain.context import ActorKind, Context
from ..domain.errors import Forbidden
from ..domain.identity import Password, User, UserGrant, UserStatus
from ..domain.page import Clause, Page, Reach, Test
from ..domain.permission import Permission, Role, Target
from ..ports.catalog import UnitOfWork
from .grants import empowering
from .kernel import Service, every, found
from .operation import Effect, Suspended, check_fresh, operation
from .request import ById, ListRequest, Request
from .scopes import (
    a_user,
    grants_of,
    in_scope,
    keep_one_super_admin,
    managed_ids,
    manages_all,
    not_above,
    read_scope,
    scope_of,
    target_scope,
)
from .sign_in import check_password, checked_username, end_sessions
from .targets import a_list, own


class CreateUser(Request):
    """Create a user with a role in a scope."""

    username: str = Field(min_length=1, max_length=64, examples=["ann"])
    """The name to sign in with."""
    password: SecretStr
    """At least 12 characters."""
    role: Role = Field(examples=["Operator"])
    """SuperAdmin, Admin, Operator or Viewer."""
    scope: str = Field("global", max_length=128, examples=["tenant:acme"])
    """Where the role holds: `global`, `tenant:NAME-OR-ID` or `provider:NAME-OR-ID`."""
    confirm: str = Field("", max_length=64, examples=["ann"])
    """The new user's exact name, typed as a confirmation; needed to make a SuperAdmin."""


class ListUsers(ListRequest):
    """List users."""

    status: str | None = Field(None, examples=["active"])
    """Filter: active, disabled."""


class UpdateUser(ById):
    """Change a user: name, password, or let a disabled one sign in again. What is left out stays."""

    username: str | None = Field(None, min_length=1, max_length=64, examples=["ann"])
    """The name to sign in with."""
    password: SecretStr | None = None
    """A new password, at least 12 characters; every session of theirs ends."""
    status: Literal["active"] | None = None
    """`active` lets a disabled user sign in again."""


class DisableUser(ById):
    """Disable a user: their sessions and tokens stop at once."""


class ChangePassword(Request):
    """Change your own password: needs a sign-in of the last five minutes; your other sessions end."""

    password: SecretStr
    """The new password, at least 12 characters."""


async def _new_user(uow: UnitOfWork, ctx: Context, request: CreateUser) -> Target:
    return in_scope(await target_scope(uow, ctx, request.scope), "user", name=request.username)


async def _user(uow: UnitOfWork, _ctx: Context, request: ById) -> Target:
    return await a_user(uow, request.id)


def _taking_over(request: UpdateUser) -> Permission | None:
    """Whoever sets somebody's password, or lets them in again, could act as them."""
    harmless = request.password is None and request.status is None
    return None if harmless else Permission.USER_EMPOWER


class Users(Service):
    """The users' operations."""

    @operation("users.create", needs=Permission.USER_MANAGE, on=_new_user, also=empowering, fresh=True)
    async def create(self, ctx: Context, request: CreateUser) -> User:
        async with self.kernel.catalog.read() as uow:
            scope = await read_scope(uow, request.scope)
        not_above(ctx, request.role, scope)
        name = checked_username(request.username)
        hashed = await self._hashed(request.password)
        now = self.kernel.now()
        user = User(self.kernel.new_id(), name, now, now)
        async with self.kernel.catalog.write() as uow:
            await uow.users.add(user)
            await uow.passwords.add(Password(user.id, hashed, now))
            grant = UserGrant(self.kernel.new_id(), user.id, request.role, scope.kind, scope.id, now)
            await uow.grants.add(grant)
        return user

    @operation("users.list", needs=Permission.USER_MANAGE, on=a_list("user"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListUsers) -> Page[User]:
        async with self.kernel.catalog.read() as uow:
            seen: tuple[Clause, ...] = ()
            if not manages_all(ctx):
                within = (Clause("scope_id", Test.ANY_OF, managed_ids(ctx)),)
                ids = {g.user_id async for g in every(uow.grants, within)}
                seen = (Clause("id", Test.ANY_OF, tuple(sorted(ids))),)
            return await uow.users.find(request.query(Reach(everything=True), seen))

    @operation("users.update", needs=Permission.USER_MANAGE, on=_user, also=_taking_over, fresh=True)
    async def update(self, ctx: Context, request: UpdateUser) -> User:
        _not_oneself(ctx, request.id)
        hashed = None if request.password is None else await self._hashed(request.password)
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            user = await self._managed(uow, ctx, request.id)
            if request.username is not None:
                user = replace(user, username=checked_username(request.username))
            if request.status is not None:
                user = replace(user, status=UserStatus.ACTIVE)
            user = replace(user, updated_at=now)
            await uow.users.save(user)
            if hashed is not None:
                await self._set_password(uow, user.id, hashed, now)
        return user

    @operation("users.disable", needs=Permission.USER_MANAGE, on=_user)
    async def disable(self, ctx: Context, request: DisableUser) -> User:
        _not_oneself(ctx, request.id)
        async with self.kernel.catalog.write() as uow:
            user = await self._managed(uow, ctx, request.id)
            if any(g.role is Role.SUPER_ADMIN for g in await grants_of(uow, user.id)):
                await keep_one_super_admin(uow, user_id=user.id)
            user = replace(user, status=UserStatus.DISABLED, updated_at=self.kernel.now())
            await uow.users.save(user)
            await end_sessions(uow, user.id, self.kernel.now())
        return user

    @operation("users.password", needs=Permission.SIGNED_IN, on=own("user"), while_suspended=Suspended.PEOPLE)
    async def password(self, ctx: Context, request: ChangePassword) -> User:
        if ctx.actor.kind is not ActorKind.USER:
            raise Forbidden("Only a person who is signed in changes their password.", hint="Use the console.")
        check_fresh(ctx, self.kernel.now())
        hashed = await self._hashed(request.password)
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            user = await found(uow.users.get(ctx.actor.id), "user", ctx.actor.id)
            if await uow.passwords.get(user.id) is None:
                # A password of their own would still open the console when the identity provider no longer does.
                raise Forbidden("You sign in with the identity provider.", hint="Change the password there.")
            await self._set_password(uow, user.id, hashed, now, but=ctx.session_id)
        return user

    async def _hashed(self, password: SecretStr) -> str:
        return await self.kernel.passwords.hash(check_password(password.get_secret_value()))

    async def _managed(self, uow: UnitOfWork, ctx: Context, id: str) -> User:
        """A user whom the caller may manage: nobody above them, in no scope."""
        user = await found(uow.users.get(id), "user", id)
        for grant in await grants_of(uow, id):
            not_above(ctx, grant.role, scope_of(grant))
        return user

    async def _set_password(
        self, uow: UnitOfWork, user_id: str, hashed: str, now: datetime, but: str | None = None
    ) -> None:
        """Replace a password and end every session that the old one opened, but one."""
        stored = await uow.passwords.get(user_id)
        fresh = Password(user_id, hashed, now)
        await (uow.passwords.add(fresh) if stored is None else uow.passwords.save(fresh))
        await end_sessions(uow, user_id, now, but)


def _not_oneself(ctx: Context, user_id: str) -> None:
    if user_id == ctx.actor.id:
        raise Forbidden("Nobody manages themselves.", hint="Ask another administrator.")
