"""The notary port: signs what leaves the house, and hashes what must not be readable in it."""

from typing import Protocol


class Notary(Protocol):
    """Keys of the audit log's own, made on first use and sealed in the vault."""

    async def public(self) -> bytes:
        """The public key of our signatures (Ed25519, 32 bytes)."""
        ...

    async def sign(self, data: bytes) -> bytes: ...

    async def fingerprint(self, value: bytes) -> str:
        """A keyed hash: equal for equal values, and nobody without the key can try values out."""
        ...

    def pem(self, public: bytes) -> str:
        """A public key as other programs read it."""
        ...

    def holds(self, public: bytes, signature: bytes, data: bytes) -> bool:
        """Whether the signature was made over the data with that key."""
        ...
