"""The vault's ports: envelope encryption, master key to tenant key to data key."""

from collections.abc import Sequence
from typing import Protocol

from ..domain.secret import Binding, DataKey, Key, KeyState, Sealed


class KeyStore(Protocol):
    """Where wrapped keys and the standing of master keys live; the catalog implements it."""

    async def primary(self, owner: str) -> Key | None: ...

    async def by_id(self, key_id: str) -> Key | None: ...

    async def of(self, owner: str) -> tuple[Key, ...]:
        """Every generation of an owner's key, oldest first."""
        ...

    async def add(self, key: Key) -> Key:
        """Insert an owner's first key, or answer the primary that somebody else inserted first.

        VersionConflict, as from `promote`, when the master key that wraps it is not in use any more.
        """
        ...

    async def promote(self, key: Key) -> Key:
        """Insert a successor as primary, one version on; the key before it only opens from now on. Idempotent."""
        ...


class KeyRing(Protocol):
    """What rotations do to the keys in the catalog. Each call is one transaction."""

    async def owners(self) -> tuple[str, ...]:
        """Everybody who has a key, the master's own rows left out."""
        ...

    async def wrapped_by(self, master_id: str, limit: int) -> tuple[Key, ...]:
        """Keys that a master key wraps; destroyed ones are wrapped by none."""
        ...

    async def rewrap(self, changes: Sequence[tuple[Key, str]]) -> int:
        """Exchange what is wrapped, where it is still as it was read; answers how many were."""
        ...

    async def retire(self, key_id: str) -> int:
        """Disable a former key that nothing refers to any more; answers how many references are left."""
        ...

    async def destroy(self, key_id: str) -> int:
        """Wipe a disabled key that nothing refers to any more; answers how many references are left."""
        ...

    async def erase(self, owner: str) -> tuple[str, ...]:
        """Wipe all keys of a tenant, whatever they sealed is lost for ever; answers the ids. Idempotent."""
        ...

    async def set_state(self, key_id: str, state: KeyState) -> Key:
        """Disable a key, or enable a disabled one; Conflict for any other change."""
        ...


class Envelopes(Protocol):
    """Everything in the catalog that a tenant's or the system's key sealed, whichever table it lies in."""

    async def sealed_by(self, key_id: str, mark: tuple[str, str], limit: int) -> tuple[Sealed, ...]:
        """What a key sealed, in order, beginning after a (noun, id)."""
        ...

    async def after(self, tenant_id: str | None, mark: tuple[str, str], limit: int) -> tuple[Sealed, ...]:
        """One tenant's or (none) everybody's, in order, beginning after a (noun, id)."""
        ...

    async def replace(self, changes: Sequence[tuple[Sealed, str]]) -> int:
        """Exchange envelopes in one transaction, where they are still as they were read; answers how many were."""
        ...

    async def count(self, key_ids: Sequence[str]) -> int: ...


class MasterKeys(Protocol):
    """Where master keys come from and are kept: environment, file or system keyring. All calls block.

    `read` answers every key that is there, the one that should be in use first; `first` may make one.
    """

    def read(self, *, first: bool = False) -> tuple[bytes, ...]: ...

    def successor(self, present: bytes) -> bytes:
        """A durable key to follow the present one: made here, or the one given from outside. Idempotent.

        InvalidRequest with the way to do it, where keys come from outside and no other one is given.
        """
        ...

    def promote(self, key: bytes) -> str | None:
        """Make a successor the key that is read first; what was first stays beside it. Idempotent.

        Answers what is left to the administrator, where keys come from outside.
        """
        ...

    def discard(self, key: bytes) -> None:
        """Remove a former key from where it is kept; nothing where keys come from outside. Idempotent."""
        ...

    def restore(self, key: bytes) -> str:
        """Put a recovered key in place; answers where it is now. What was there is kept beside it."""
        ...


class Vault(Protocol):
    """Seals small values under a tenant's key and makes data keys. WrongKey when it cannot open something."""

    async def unlock(self) -> None:
        """Prove that the master key opens the system's key; WrongKey otherwise. Makes both on first use."""
        ...

    async def seal(self, value: bytes, binding: Binding) -> str: ...

    async def open(self, envelope: str, binding: Binding) -> bytes: ...

    async def new_data_key(self, binding: Binding) -> DataKey: ...

    async def data_key(self, wrapped: str, binding: Binding) -> bytes: ...


class Rewrapping(Protocol):
    """What rotations ask of the vault: keys made, wrapped and moved, and never shown."""

    async def new_key(self, owner: str, key_id: str) -> Key:
        """A fresh key of an owner, wrapped by the present master key; not kept anywhere yet."""
        ...

    async def resealed(self, sealed: Sequence[Sealed], key_id: str) -> list[str]:
        """Envelopes of the same values under another key."""
        ...

    async def faults(self, sealed: Sequence[Sealed]) -> list[str | None]:
        """Why each of these does not open; none for one that does."""
        ...

    async def rewrapped(self, keys: Sequence[Key], master_id: str) -> list[str]:
        """What these keys are, wrapped by another master key."""
        ...


class Masters(Protocol):
    """Master keys by their ids. Their bytes never leave."""

    async def present(self) -> str:
        """The id of the one that wraps from now on; made on first use."""
        ...

    async def successor(self) -> str:
        """A durable master key to follow the present one; see MasterKeys."""
        ...

    async def promote(self, master_id: str) -> str | None:
        """Make it the one that is read first; answers what is left to the administrator."""
        ...

    async def discard(self, master_id: str) -> None: ...

    async def recovery(self, passphrase: str) -> tuple[str, str]:
        """The present master key's id, and that key sealed under a passphrase, as text."""
        ...
