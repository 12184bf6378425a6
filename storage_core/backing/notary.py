"""The notary: Ed25519 (RFC 8032) signatures and HMAC-SHA256, with keys that the vault seals."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Callable
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..domain.errors import NameTaken, VersionConflict, WrongKey
from ..domain.secret import Binding, Secret
from ..ports.catalog import Catalog
from ..ports.recording import recording
from ..ports.vault import Vault

OWNER = "audit"
SIGNING, HASHING = "signing", "hashing"


def key_place(name: str) -> str:
    return f"{name}/key"


def key_binding(name: str) -> Binding:
    return Binding(None, OWNER, name, "key")


class VaultNotary:
    """Two keys of 32 random bytes among the catalog's sealed secrets; opened once, kept in memory."""

    def __init__(self, catalog: Catalog, vault: Vault, now: Callable[[], datetime]) -> None:
        self._catalog, self._vault, self._now = catalog, vault, now
        self._keys: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def public(self) -> bytes:
        private = Ed25519PrivateKey.from_private_bytes(await self._key(SIGNING))
        return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    async def sign(self, data: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(await self._key(SIGNING)).sign(data)

    async def fingerprint(self, value: bytes) -> str:
        return hmac.new(await self._key(HASHING), value, hashlib.sha256).hexdigest()

    def pem(self, public: bytes) -> str:
        key = Ed25519PublicKey.from_public_bytes(public)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def holds(self, public: bytes, signature: bytes, data: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    async def _key(self, name: str) -> bytes:
        async with self._lock:
            if name not in self._keys:
                self._keys[name] = await self._opened(name) or await self._made(name)
            return self._keys[name]

    async def _opened(self, name: str) -> bytes | None:
        before = None
        while (kept := await self._kept(name)) is not None:
            try:
                return await self._vault.open(kept.envelope, key_binding(name))
            except WrongKey:
                if kept.envelope == before:
                    raise
                before = kept.envelope  # its key was rotated between the two
        return None

    async def _kept(self, name: str) -> Secret | None:
        async with self._catalog.read() as uow:
            return await uow.secrets.get(key_place(name))

    async def _made(self, name: str) -> bytes:
        """A fresh key; the one that another process made meanwhile counts."""
        key, now = os.urandom(32), self._now()
        envelope = await self._vault.seal(key, key_binding(name))
        recorder = recording.set(None)  # whatever runs now did not ask for this
        try:
            async with self._catalog.write() as uow:
                await uow.secrets.add(
                    Secret(key_place(name), None, name, envelope, now, now, collection=OWNER)
                )
        except NameTaken:
            return await self._opened(name) or key
        except VersionConflict:
            return await self._made(name)  # the system's key was rotated meanwhile
        finally:
            recording.reset(recorder)
        return key
