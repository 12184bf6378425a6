"""Leases: logins of a tenant's own database, for a while, for programs elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from .database import Database, DatabaseStatus
from .identity import ApiToken, User, UserStatus, token_alive
from .permission import Grant, Permission, Target, Verdict, decide
from .tenant import Tenant, TenantStatus

#: As long as a login may be in the making.
MAKING = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Lease:
    """A login that was leased out. `write`: it may change data. It ends at `expires_at`, when it is released, or when
    what it was given by is gone.

    `made` says that its login was handed out. `ending` says why it ends, where it still has to be removed from its
    engine, and `problem` what has kept it there so far.
    """

    id: str
    tenant_id: str
    database_id: str
    provider_id: str
    user: str
    made_by: str
    write: bool
    created_at: datetime
    expires_at: datetime
    token_id: str | None = None
    made: bool = False
    ending: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What a lease stands on, as it is now.

    `user` is who asked for it: none where that is nobody of this console's users (its own machine's command line, a
    token of another issuer), whom nothing but the time ends. `grants` are what they hold, less what their token leaves out.
    """

    tenant: Tenant | None
    database: Database | None
    user: User | None
    token: ApiToken | None
    grants: tuple[Grant, ...]


def making(lease: Lease, now: datetime) -> bool:
    """Whether its login may still be made at this moment: then it may appear on the engine later."""
    return not lease.made and now - lease.created_at <= MAKING


def over(lease: Lease, ground: Ground, now: datetime) -> str | None:
    """Why a lease ends now; none while it stands."""
    return lease.ending or next(_reasons(lease, ground, now), None)


def _reasons(lease: Lease, ground: Ground, now: datetime) -> Iterator[str]:
    if lease.expires_at <= now:
        yield "its time is over"
    if not lease.made and not making(lease, now):
        yield "it was not made whole"
    if ground.tenant is None or ground.tenant.status is not TenantStatus.ACTIVE:
        yield "its tenant is not active"
    elif ground.tenant.policy.encryption:
        yield "its tenant's policy keeps documents encrypted"
    if ground.database is None or ground.database.status is not DatabaseStatus.READY:
        yield "its database is gone, or not ready"
    if ground.user is None:
        return
    if ground.user.status is not UserStatus.ACTIVE:
        yield "who asked for it is disabled"
    if lease.token_id is not None and (ground.token is None or not token_alive(ground.token, now)):
        yield "the token that asked for it has ended"
    needed = (Permission.RECORDS_READ, Permission.RECORDS_WRITE)[: 2 if lease.write else 1]
    target = Target("database", lease.database_id, "", lease.tenant_id, lease.provider_id)
    if any(decide(p, target, ground.grants, ground.user.id) is not Verdict.ALLOWED for p in needed):
        yield "who asked for it has no right to it any more"


@dataclass(frozen=True, slots=True)
class LeasedLogin:
    """How a program signs in with its lease. `password`, and `url` which holds it, are shown this once.

    `database` is the database's name on the engine; `tls`, `tls_ca` and `replica_set` are as the provider has them;
    `sign_in` is the database that knows the login.
    """

    id: str
    kind: str
    host: str
    port: int
    tls: str
    database: str
    user: str
    password: str
    url: str
    write: bool
    expires_at: datetime
    sign_in: str
    tls_ca: str | None = None
    replica_set: str | None = None

    SHORTEST: ClassVar[int] = 60
    LONGEST: ClassVar[int] = 86_400

    def __repr__(self) -> str:
        return f"LeasedLogin({self.id!r}, ***)"
