"""Keys and what they seal."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class KeyState(StrEnum):
    PRIMARY = "primary"
    ENABLED = "enabled"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A tenant's key-encryption key (`tenant_id` none: the system's), wrapped by the master key."""

    id: str
    tenant_id: str | None
    wrapped: str
    created_at: datetime
    state: KeyState = KeyState.PRIMARY


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a sealed value belongs. It is authenticated with the value, so that none can be moved elsewhere."""

    tenant_id: str | None
    collection: str
    id: str
    field: str


def associated_data(binding: Binding, key_id: str, form: str) -> bytes:
    """``tenant|collection|id|field|key id|format`` with lengths, so that no two bindings read the same."""
    parts = (binding.tenant_id or "", binding.collection, binding.id, binding.field, key_id, form)
    return b"|".join(str(len(p.encode())).encode() + b":" + p.encode() for p in parts)


@dataclass(frozen=True, slots=True)
class Secret:
    """A sealed value somebody entrusted to us: a provider's password. `id` names its place, `owner/field`."""

    id: str
    tenant_id: str | None
    owner_id: str
    envelope: str
    created_at: datetime
    updated_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The wrapped data key of one artifact; `id` is the backup's."""

    id: str
    tenant_id: str | None
    wrapped: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key: the 32 bytes to use now, and the wrapped form to keep."""

    plain: bytes
    wrapped: str

    def __repr__(self) -> str:
        return "DataKey(***)"
