"""People, their rights and where these hold, in words: for pages that know only ids."""

from contextlib import suppress

from storage_console.core import core
from storage_core.domain.context import Context
from storage_core.domain.errors import Forbidden
from storage_core.domain.identity import ApiToken, ListedToken, token_alive
from storage_core.domain.permission import Role, ScopeKind
from storage_core.services.providers import ListProviders
from storage_core.services.tenants import ListTenants
from storage_core.services.users import ListUsers

MANY = 500


async def user_names(ctx: Context) -> dict[str, str]:
    """The names of the users the caller may see, the first five hundred; their own in any case."""
    names = {ctx.actor.id: ctx.actor.name}
    with suppress(Forbidden):
        found = await core().users.list(ctx, ListUsers(limit=MANY, sort="username"))
        names |= {u.id: u.username for u in found.items}
    return names


async def tenant_names(ctx: Context) -> dict[str, str]:
    """Titles of the tenants the caller may see, the first five hundred."""
    found = await core().tenants.list(ctx, ListTenants(limit=MANY, sort="name", status="!deleted"))
    return {t.id: t.title for t in found.items}


async def provider_names(ctx: Context) -> dict[str, str]:
    """Names of the providers the caller may see, the first five hundred."""
    found = await core().providers.list(ctx, ListProviders(limit=MANY, sort="name"))
    return {p.id: p.name for p in found.items}


async def scope_names(ctx: Context) -> dict[str, str]:
    """What roles can hold in besides everywhere, by id."""
    return {**await tenant_names(ctx), **await provider_names(ctx)}


def scope_text(kind: ScopeKind, id: str | None, names: dict[str, str]) -> str:
    """Where a role holds."""
    if kind is ScopeKind.GLOBAL:
        return "everywhere"
    return f"{'in' if kind is ScopeKind.TENANT else 'on'} {kind.value} {names.get(id or '', id or '')}"


def roles_up_to(role: Role | None) -> list[str]:
    """The roles somebody may give: their own and those below, weakest first."""
    rank = role.rank if role else 0
    return [r.value for r in reversed(Role) if r.rank <= rank]


def token_rights(token: ListedToken, names: dict[str, str]) -> str:
    """What a token may now."""
    role = token.acts_as.value if token.acts_as else "Nothing now"
    if token.role is None:
        role += ", as its owner"
    elif token.acts_as is token.role:
        role += " at most"
    else:
        role += f", {token.role.value} at most"
    return role + (f", in {names.get(token.tenant_id, 'one tenant')}" if token.tenant_id else "")


def token_status(token: ApiToken) -> str:
    """Whether a token works now."""
    if token_alive(token, core().kernel.now()):
        return "active"
    return "revoked" if token.revoked_at else "expired"
