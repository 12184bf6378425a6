"""API tokens: what programs show."""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from pydantic import Field

from ..domain.context import ActorKind, Context
from ..domain.errors import Forbidden, InvalidRequest
from ..domain.identity import (
    ApiToken,
    Credential,
    CredentialKind,
    ListedToken,
    User,
    UserStatus,
    token_alive,
)
from ..domain.page import Page, Query, Reach, clause
from ..domain.permission import Grant, Permission, Role, Scope, ScopeKind, reach
from ..domain.tenant import TenantStatus
from ..ports.catalog import UnitOfWork
from .kernel import Service, every, found
from .operation import Effect, Suspended, operation
from .request import ById, ListRequest, Request
from .scopes import (
    grants_of,
    manages,
    not_above,
    only_managed,
    read_scope,
    scope_of,
    unknown_scope,
    visible_owners,
)
from .sign_in import TOKEN_PREFIX, digest, narrowed
from .targets import own


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

    user_id: str | None = Field(None, max_length=80, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """Filter: whose."""


class RevokeToken(ById):
    """End an API token at once."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A fresh API token: `token` is shown this once."""

    id: str
    name: str
    token: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"NewToken({self.id}, ***)"


class Tokens(Service):
    """The API tokens' operations."""

    @operation("tokens.create", needs=Permission.TOKEN_OWN, on=own("token"), fresh=True)
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
                made_by=ctx.maker_id or ctx.actor.id,
                made_with=ctx.token_id,
            )
            await uow.tokens.add(token)
            await uow.credentials.add(Credential(digest(value), CredentialKind.TOKEN, token.id, now))
        return NewToken(token.id, token.name, value, token.expires_at)

    @operation(
        "tokens.list",
        needs=Permission.TOKEN_OWN,
        on=own("token"),
        effect=Effect.READ,
        sensitive=True,
        while_suspended=Suspended.PEOPLE,
    )
    async def list(self, ctx: Context, request: ListTokens) -> Page[ListedToken]:
        now = self.kernel.now()
        async with self.kernel.catalog.read() as uow:
            page = await uow.tokens.find(
                request.query(Reach(everything=True), await visible_owners(uow, ctx))
            )
            listed = [ListedToken(**_fields(t), acts_as=await _acts_as(uow, t, now)) for t in page.items]
        return Page(tuple(listed), page.next, page.total)

    @operation("tokens.revoke", needs=Permission.TOKEN_OWN, on=own("token"), while_suspended=Suspended.PEOPLE)
    async def revoke(self, ctx: Context, request: RevokeToken) -> ApiToken:
        async with self.kernel.catalog.write() as uow:
            token = await found(uow.tokens.get(request.id), "token", request.id)
            await only_managed(uow, ctx, token.user_id, "token", request.id)
            if ctx.narrowed and ctx.token_id not in (token.id, token.made_with):
                raise Forbidden("A narrowed token ends itself and what it made, nothing else.")
            return await self._end(uow, token)

    async def _end(self, uow: UnitOfWork, token: ApiToken) -> ApiToken:
        """End a token with everything that was made with it."""
        token = replace(token, revoked_at=token.revoked_at or self.kernel.now())
        await uow.tokens.save(token)
        await uow.publish("tokens", "ended", token.id, None)  # its streams end at once
        for child in [t async for t in every(uow.tokens, clause("made_with", token.id))]:
            if child.revoked_at is None:
                await self._end(uow, child)
        return token

    async def _owner(self, uow: UnitOfWork, ctx: Context, request: CreateToken) -> User:
        if request.user is None:
            if ctx.actor.kind is not ActorKind.LOCAL:
                return await found(uow.users.get(ctx.actor.id), "user", ctx.actor.id)
            users = await uow.users.find(Query(clause("status", UserStatus.ACTIVE.value), limit=2))
            if users.total == 1:
                return users.items[0]
            raise InvalidRequest("Whose token shall it be?", field="user", hint="Name a user with --user.")
        owner = await uow.users.one(username=request.user)
        if owner is None or (owner.id != ctx.actor.id and not await manages(uow, ctx, owner.id)):
            raise InvalidRequest(f"There is no user {request.user!r}.", field="user")
        if owner.id != ctx.actor.id:
            for grant in await grants_of(uow, owner.id):
                not_above(ctx, grant.role, scope_of(grant))
        return owner


async def _acts_as(uow: UnitOfWork, token: ApiToken, now: datetime) -> Role | None:
    """The highest role a token acts with at this moment, none when it is refused everywhere."""
    owner = await uow.users.get(token.user_id)
    if owner is None or owner.status is not UserStatus.ACTIVE or not token_alive(token, now):
        return None
    held = tuple(Grant(g.role, scope_of(g)) for g in await grants_of(uow, owner.id))
    working = [g.role for g in narrowed(held, token) if await _works(uow, g.scope)]
    return max(working, key=lambda r: r.rank, default=None)


async def _works(uow: UnitOfWork, scope: Scope) -> bool:
    if scope.kind is not ScopeKind.TENANT or scope.id is None:
        return True
    tenant = await uow.tenants.get(scope.id)
    return tenant is not None and tenant.status is TenantStatus.ACTIVE


def _fields(token: ApiToken) -> dict[str, Any]:
    return {field.name: getattr(token, field.name) for field in fields(ApiToken)}


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
            tenant_id = (await read_scope(uow, text, "scopes")).id
            outside = reach(Permission.SIGNED_IN, ctx.grants, tenant_id).nothing
            if outside or ctx.tenant_id not in (None, tenant_id):
                raise unknown_scope(text, "scopes")
        else:
            raise InvalidRequest(
                f"The scope {text[:80]!r} is unknown.", field="scopes", hint="Use role:Viewer or tenant:NAME."
            )
    return role, tenant_id
