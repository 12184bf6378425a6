"""Tenants: whose data it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .errors import PolicyRefused
from .provider import EngineKind


class TenantStatus(StrEnum):
    """Whether a tenant may work; every door refuses a suspended one."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tenant may have; none is no limit.

    `engines` are the kinds its databases may live on, `databases` how many it may have; `documents` and `bytes` (of
    their bodies as JSON) are what each of them may hold in collections, `connections` how many a process keeps to
    each. With `encryption` its documents are kept in encrypted collections alone.
    """

    engines: tuple[EngineKind, ...] | None = None
    encryption: bool = False
    databases: int | None = None
    documents: int | None = None
    bytes: int | None = None
    connections: int | None = None

    def admit(self, kind: EngineKind) -> None:
        """Refuse an engine that is not among the allowed ones."""
        if self.engines is not None and kind not in self.engines:
            allowed = ", ".join(self.engines) or "none"
            raise PolicyRefused(
                f"The tenant's policy does not allow {kind} databases.",
                hint=f"Use one of: {allowed}; or ask an administrator to change the tenant's policy.",
                field="provider_id",
            )


@dataclass(frozen=True, slots=True)
class Tenant:
    """`name` is the unique slug used in scopes and headers; `title` is what people read."""

    id: str
    name: str
    title: str
    created_at: datetime
    updated_at: datetime
    status: TenantStatus = TenantStatus.ACTIVE
    status_reason: str | None = None
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """Databases, bytes on the engines and bytes of stored backups of one tenant.

    `unmeasured` names databases whose engine did not answer; their bytes are not in the sum.
    """

    tenant_id: str
    databases: int
    bytes_live: int
    backups: int
    bytes_stored: int
    unmeasured: tuple[str, ...] = ()
