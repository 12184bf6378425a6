"""Tenants: whose data it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TenantStatus(StrEnum):
    """Whether a tenant may work; every door refuses a suspended one."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


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
