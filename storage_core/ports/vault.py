"""The vault port: envelope encryption, master key to tenant key to data key."""

from typing import Protocol

from ..domain.secret import Binding, DataKey, TenantKey


class KeyStore(Protocol):
    """Where wrapped tenant keys live; the catalog implements it."""

    async def primary(self, tenant_id: str | None) -> TenantKey | None: ...

    async def by_id(self, key_id: str) -> TenantKey | None: ...

    async def add(self, key: TenantKey) -> TenantKey:
        """Insert, or answer the primary that somebody else inserted first."""
        ...


class Vault(Protocol):
    """Seals small values under a tenant's key and makes data keys. WrongKey when it cannot open something."""

    async def unlock(self) -> None:
        """Prove that the master key opens the system's key; WrongKey otherwise. Makes that key on first use."""
        ...

    async def seal(self, value: bytes, binding: Binding) -> str: ...

    async def open(self, envelope: str, binding: Binding) -> bytes: ...

    async def new_data_key(self, binding: Binding) -> DataKey: ...

    async def data_key(self, wrapped: str, binding: Binding) -> bytes: ...
