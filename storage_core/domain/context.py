"""Who asks, through which door, in which tenant."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from .permission import Grant, Role, Scope


class Door(StrEnum):
    REST = "rest"
    CLI = "cli"
    CONSOLE = "console"
    ADMIN = "admin"
    WORKER = "worker"
    SDK = "sdk"
    SYSTEM = "system"


class ActorKind(StrEnum):
    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind of actor, no secret
    LOCAL = "local"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `id` is the user's id (a token acts as its owner), `name` is what people read."""

    id: str
    name: str
    kind: ActorKind


@dataclass(frozen=True, slots=True)
class Context:
    """One caller's authority for one call: explicit in every service, frozen.

    `tenant_id` narrows what the call may touch to one tenant; `namespace` splits that tenant's storage.
    `expires_at` is when the authority itself ends (a token's expiry): nothing made with it may outlive it.
    `session_id` is the browser session it came with, and `signed_in_at` when its person last proved who they are;
    none for tokens, programs and the system.
    `token_id` is the API token it came with, `narrowed` whether that carries less than its owner's rights, `maker_id`
    who made that token, where that was somebody else.
    `reason` is set where the system acts on its own.
    """

    actor: Actor
    grants: tuple[Grant, ...]
    correlation_id: str
    door: Door
    tenant_id: str | None = None
    namespace: str | None = None
    address: str | None = None
    reason: str | None = None
    expires_at: datetime | None = None
    session_id: str | None = None
    signed_in_at: datetime | None = None
    token_id: str | None = None
    narrowed: bool = False
    maker_id: str | None = None

    def through(self, door: Door) -> "Context":
        return replace(self, door=door)


def local_context(user: str, correlation_id: str) -> Context:
    """The operating system's user who owns the home: SuperAdmin by the home's file mode."""
    return Context(
        Actor(f"local:{user}", f"local:{user}", ActorKind.LOCAL),
        (Grant(Role.SUPER_ADMIN, Scope()),),
        correlation_id,
        Door.CLI,
    )


def system_context(reason: str, correlation_id: str) -> Context:
    """The product acting on its own (reconciler, reaper); always with the reason, always audited."""
    return Context(
        Actor("system", "system", ActorKind.SYSTEM),
        (Grant(Role.SUPER_ADMIN, Scope()),),
        correlation_id,
        Door.SYSTEM,
        reason=reason,
    )
