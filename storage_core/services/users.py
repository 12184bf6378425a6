"""Users, their sessions and their API tokens."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import Field, SecretStr

from ..domain.context import ActorKind, Context
from ..domain.errors import Conflict, Forbidden, InvalidRequest, NotFound
from ..domain.identity import (
    ApiToken,
    Credential,
    CredentialKind,
    Password,
    Session,
    User,
    UserGrant,
    UserStatus,
)
from ..domain.page import Clause, Page, Query, Reach, Test, clause
from ..domain.permission import Permission, Role, Scope, ScopeKind, Target, covers, reach
from ..ports.catalog import UnitOfWork
from .kernel import Service, found
from .operation import Effect, operation
from .request import ById, ListRequest, Request
from .sign_in import TOKEN_PREFIX, check_password, checked_username, digest, end_sessions
from .targets import everything, own


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


class ListUsers(ListRequest):
    """List users."""

    status: str | None = Field(None, examples=["active"])
    """Filter: active, disabled."""


class DisableUser(ById):
    """Disable a user: their sessions and tokens stop at once."""


class CreateToken(Request):
    """Create an API token. The answer shows it once; only its hash is kept."""

    name: str = Field(min_length=1, max_length=64, examples=["ci"])
    """What it is for."""
    user: str | None = Field(None, max_length=64, examples=["ann"])
    """Whose rights it carries (user name); your own, if left out."""
    scopes: tuple[str, ...] = Field((), max_length=8, examples=[["role:Viewer", "tenant:acme"]])
    """Narrow it: `role:ROLE` caps the role, `tenant:NAME-OR-ID` binds it to one tenant."""
    expires_at: datetime | None = None
    """When it ends; never, if left out."""


class ListTokens(ListRequest):
    """List API tokens: your own, or all for those who manage users."""


class RevokeToken(ById):
    """End an API token at once."""


class ListSessions(ListRequest):
    """List open browser sessions: your own, or all for those who manage users."""


class RevokeSession(ById):
    """End a browser session at once."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A fresh API token: `token` is shown this once."""

    id: str
    name: str
    token: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"NewToken({self.id}, ***)"


async def _new_user_target(uow: UnitOfWork, _ctx: Context, request: CreateUser) -> Target:
    scope = await read_scope(uow, request.scope)
    return Target(
        "user",
        name=request.username,
        tenant_id=scope.id if scope.kind is ScopeKind.TENANT else None,
        provider_id=scope.id if scope.kind is ScopeKind.PROVIDER else None,
    )


async def read_scope(uow: UnitOfWork, text: str) -> Scope:
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
    raise _unknown_scope(text, "scope")


def _unknown_scope(text: str, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"The scope {text[:80]!r} is unknown.", field=field, hint="Use global, tenant:NAME or provider:NAME."
    )


class Users(Service):
    """The users' operations."""

    @operation("users.create", needs=Permission.USER_MANAGE, on=_new_user_target)
    async def create(self, ctx: Context, request: CreateUser) -> User:
        async with self.kernel.catalog.read() as uow:
            scope = await read_scope(uow, request.scope)
        _not_above(ctx, request.role, scope)
        name = checked_username(request.username)
        hashed = await self.kernel.passwords.hash(check_password(request.password.get_secret_value()))
        now = self.kernel.now()
        user = User(self.kernel.new_id(), name, now, now)
        async with self.kernel.catalog.write() as uow:
            await uow.users.add(user)
            await uow.passwords.add(Password(user.id, hashed, now))
            grant = UserGrant(self.kernel.new_id(), user.id, request.role, scope.kind, scope.id, now)
            await uow.grants.add(grant)
        return user

    @operation("users.list", needs=Permission.USER_MANAGE, on=everything("user"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListUsers) -> Page[User]:
        async with self.kernel.catalog.read() as uow:
            return await uow.users.find(request.query(_everything()))

    @operation("users.disable", needs=Permission.USER_MANAGE, on=everything("user"))
    async def disable(self, ctx: Context, request: DisableUser) -> User:
        if request.id == ctx.actor.id:
            raise Forbidden("Nobody disables themselves.", hint="Ask another administrator.")
        async with self.kernel.catalog.write() as uow:
            user = await found(uow.users.get(request.id), "user", request.id)
            grants = await uow.grants.find(Query(_of("user_id", user.id), limit=500))
            for grant in grants.items:
                _not_above(ctx, grant.role, Scope(grant.scope_kind, grant.scope_id))
            if any(g.role is Role.SUPER_ADMIN for g in grants.items):
                await _keep_one_super_admin(uow, user.id)
            user = replace(user, status=UserStatus.DISABLED, updated_at=self.kernel.now())
            await uow.users.save(user)
            await end_sessions(uow, user.id, self.kernel.now())
        return user


class Tokens(Service):
    """The API tokens' operations."""

    @operation("tokens.create", needs=Permission.TOKEN_OWN, on=own("token"))
    async def create(self, ctx: Context, request: CreateToken) -> NewToken:
        now = self.kernel.now()
        if request.expires_at is not None and (
            request.expires_at.tzinfo is None or request.expires_at <= now
        ):
            raise InvalidRequest("expires_at must lie ahead and carry a time zone.", field="expires_at")
        value = TOKEN_PREFIX + self.kernel.new_token()
        async with self.kernel.catalog.write() as uow:
            owner = await self._owner(uow, ctx, request)
            role, tenant_id = await _caps(uow, ctx, request.scopes)
            expires_at = request.expires_at
            if ctx.actor.kind is ActorKind.TOKEN:
                # What a token makes is never more than the token itself: not in role, tenant or time.
                role = min(filter(None, (role, _highest(ctx))), key=lambda r: r.rank, default=Role.VIEWER)
                expires_at = min(filter(None, (expires_at, ctx.expires_at)), default=None)
            if all(g.role is Role.VIEWER for g in ctx.grants):
                role = Role.VIEWER
            token = ApiToken(
                self.kernel.new_id(),
                owner.id,
                request.name,
                value[:12],
                now,
                role,
                tenant_id or ctx.tenant_id,
                expires_at,
            )
            await uow.tokens.add(token)
            await uow.credentials.add(Credential(digest(value), CredentialKind.TOKEN, token.id, now))
        return NewToken(token.id, token.name, value, token.expires_at)

    @operation("tokens.list", needs=Permission.TOKEN_OWN, on=own("token"), effect=Effect.READ, sensitive=True)
    async def list(self, ctx: Context, request: ListTokens) -> Page[ApiToken]:
        async with self.kernel.catalog.read() as uow:
            return await uow.tokens.find(request.query(_everything(), _mine(ctx)))

    @operation("tokens.revoke", needs=Permission.TOKEN_OWN, on=own("token"))
    async def revoke(self, ctx: Context, request: RevokeToken) -> ApiToken:
        async with self.kernel.catalog.write() as uow:
            token = await found(uow.tokens.get(request.id), "token", request.id)
            _only_own(ctx, token.user_id, "token", request.id)
            token = replace(token, revoked_at=token.revoked_at or self.kernel.now())
            await uow.tokens.save(token)
            await uow.publish("tokens", "ended", token.id, None)  # its streams end at once
        return token

    async def _owner(self, uow: UnitOfWork, ctx: Context, request: CreateToken) -> User:
        if request.user is None:
            if ctx.actor.kind is not ActorKind.LOCAL:
                return await found(uow.users.get(ctx.actor.id), "user", ctx.actor.id)
            users = await uow.users.find(Query(_of("status", UserStatus.ACTIVE.value), limit=2))
            if users.total == 1:
                return users.items[0]
            raise InvalidRequest("Whose token shall it be?", field="user", hint="Name a user with --user.")
        owner = await uow.users.one(username=request.user)
        if owner is None or (owner.id != ctx.actor.id and not _manages_users(ctx)):
            raise InvalidRequest(f"There is no user {request.user!r}.", field="user")
        if owner.id != ctx.actor.id:
            grants = await uow.grants.find(Query(_of("user_id", owner.id), limit=500))
            for grant in grants.items:
                _not_above(ctx, grant.role, Scope(grant.scope_kind, grant.scope_id))
        return owner


class Sessions(Service):
    """The browser sessions' operations."""

    @operation(
        "sessions.list", needs=Permission.SIGNED_IN, on=own("session"), effect=Effect.READ, sensitive=True
    )
    async def list(self, ctx: Context, request: ListSessions) -> Page[Session]:
        active = (Clause("revoked_at", Test.ANY_OF, (None,)),)
        async with self.kernel.catalog.read() as uow:
            return await uow.sessions.find(request.query(_everything(), _mine(ctx), active))

    @operation("sessions.revoke", needs=Permission.SIGNED_IN, on=own("session"))
    async def revoke(self, ctx: Context, request: RevokeSession) -> Session:
        async with self.kernel.catalog.write() as uow:
            session = await found(uow.sessions.get(request.id), "session", request.id)
            _only_own(ctx, session.user_id, "session", request.id)
            session = replace(session, revoked_at=session.revoked_at or self.kernel.now())
            await uow.sessions.save(session)
            await uow.publish("sessions", "ended", session.id, None)  # its pages notice at once
        return session


def _everything() -> Reach:
    return Reach(everything=True)


def _of(field: str, value: Any) -> tuple[Clause, ...]:
    return (Clause(field, Test.ANY_OF, (value,)),)


def _mine(ctx: Context) -> tuple[Clause, ...]:
    return () if _manages_users(ctx) else clause("user_id", ctx.actor.id)


def _manages_users(ctx: Context) -> bool:
    """Whoever manages users everywhere also sees and ends their tokens and sessions."""
    return any(
        g.scope.kind is ScopeKind.GLOBAL and g.role in (Role.SUPER_ADMIN, Role.ADMIN) for g in ctx.grants
    )


def _only_own(ctx: Context, owner_id: str, kind: str, id: str) -> None:
    if owner_id != ctx.actor.id and not _manages_users(ctx):
        raise NotFound(f"There is no {kind} {id!r}.", field="id")


def _not_above(ctx: Context, role: Role, scope: Scope) -> None:
    """Nobody gives, or takes, a role above their own in that scope."""
    target = Target(
        "user",
        tenant_id=scope.id if scope.kind is ScopeKind.TENANT else None,
        provider_id=scope.id if scope.kind is ScopeKind.PROVIDER else None,
    )
    mine = [g.role.rank for g in ctx.grants if covers(g.scope, target)]
    if not mine or max(mine) < role.rank:
        raise Forbidden(f"The role {role} in this scope is above your own.")


async def _keep_one_super_admin(uow: UnitOfWork, leaving: str) -> None:
    grants: Page[UserGrant] = await uow.grants.find(Query(_of("role", Role.SUPER_ADMIN.value), limit=500))
    for grant in grants.items:
        user = await uow.users.get(grant.user_id)
        if grant.user_id != leaving and user is not None and user.status is UserStatus.ACTIVE:
            return
    raise Conflict("The last SuperAdmin stays.", hint="Make another SuperAdmin first.")


def _highest(ctx: Context) -> Role | None:
    return max((g.role for g in ctx.grants), key=lambda r: r.rank, default=None)


async def _caps(uow: UnitOfWork, ctx: Context, scopes: tuple[str, ...]) -> tuple[Role | None, str | None]:
    role: Role | None = None
    tenant_id: str | None = None
    for text in scopes:
        kind, _, value = text.partition(":")
        if kind == "role" and value in set(Role):
            role = Role(value)
        elif kind == "tenant":
            tenant_id = (await read_scope(uow, text)).id
            outside = reach(Permission.SIGNED_IN, ctx.grants, tenant_id).nothing
            if outside or ctx.tenant_id not in (None, tenant_id):
                raise _unknown_scope(text, "scopes")
        else:
            raise InvalidRequest(
                f"The scope {text[:80]!r} is unknown.", field="scopes", hint="Use role:Viewer or tenant:NAME."
            )
    return role, tenant_id
