"""Envelope encryption: the master key wraps tenants' keys, a tenant's key seals values and data keys.

AES-256-GCM throughout (NIST SP 800-38D) with random 96-bit nonces and the value's place as associated data.
"""

import asyncio
import base64
import hashlib
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..domain.errors import WrongKey
from ..domain.secret import Binding, DataKey, KeyState, TenantKey, associated_data
from ..ports.vault import KeyStore

FORMAT = "v1"
_KEY_BYTES, _NONCE_BYTES = 32, 12


def read_master_key(given: str | None, file: Path | None, home: Path, *, first: bool) -> bytes:
    """The master key: from the environment, from a file, or from the home's own key file.

    That file is made only on the `first` start, while the catalog has no key yet: a missing key later on means
    locked, never a new one. WrongKey also when a file does not hold 64 hexadecimal digits.
    """
    if given is not None:
        return bytes.fromhex(given)
    path = file or home / "master.key"
    if file is None and not path.exists():
        if not first:
            raise WrongKey(f"The key file {path} is missing, and the catalog was sealed with it.")
        _create_key_file(path)
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError, UnicodeDecodeError):
        raise WrongKey(f"The key file {path} cannot be read as 64 hexadecimal digits.") from None
    if len(key) != _KEY_BYTES:
        raise WrongKey(f"The key file {path} must hold 64 hexadecimal digits.")
    return key


def _create_key_file(path: Path) -> None:
    """Write a fresh key so that it is complete, durable and its owner's alone before its name exists."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(os.urandom(_KEY_BYTES).hex() + "\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(temporary, path)  # fails where another process was first: its key stays
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a key that a power cut takes away takes every backup with it
    finally:
        os.close(folder)


class EnvelopeVault:
    """The vault over a master key and the catalog's key store. Unwrapped tenant keys stay in memory."""

    def __init__(
        self, master: bytes, store: KeyStore, now: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._master = AESGCM(master)
        self._master_id = hashlib.blake2b(master, digest_size=6, person=b"sc-master-id").hexdigest()
        self._store, self._now, self._new_id = store, now, new_id
        self._keys: dict[str, AESGCM] = {}
        self._primary: dict[str | None, str] = {}
        self._lock = asyncio.Lock()

    async def unlock(self) -> None:
        await self._primary_key(None)

    async def seal(self, value: bytes, binding: Binding) -> str:
        key_id, key = await self._primary_key(binding.tenant_id)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = key.encrypt(nonce, value, associated_data(binding, key_id, FORMAT))
        return f"{FORMAT}.{key_id}.{_text(nonce + sealed)}"

    async def open(self, envelope: str, binding: Binding) -> bytes:
        form, _, rest = envelope.partition(".")
        key_id, _, body = rest.partition(".")
        if form != FORMAT or not body:
            raise WrongKey("The sealed value has an unknown form.")
        raw = _raw(body)
        key = await self._key(key_id)
        try:
            return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], associated_data(binding, key_id, form))
        except InvalidTag:
            raise WrongKey(
                f"{binding.collection}.{binding.field} cannot be opened: it was changed or moved."
            ) from None

    async def new_data_key(self, binding: Binding) -> DataKey:
        plain = os.urandom(_KEY_BYTES)
        return DataKey(plain, await self.seal(plain, binding))

    async def data_key(self, wrapped: str, binding: Binding) -> bytes:
        return await self.open(wrapped, binding)

    async def _primary_key(self, tenant_id: str | None) -> tuple[str, AESGCM]:
        async with self._lock:
            if tenant_id not in self._primary:
                row = await self._store.primary(tenant_id) or await self._store.add(self._new(tenant_id))
                self._keys[row.id] = self._unwrapped(row)
                self._primary[tenant_id] = row.id
            key_id = self._primary[tenant_id]
            return key_id, self._keys[key_id]

    async def _key(self, key_id: str) -> AESGCM:
        if key_id not in self._keys:
            row = await self._store.by_id(key_id)
            if row is None or row.state in (KeyState.DISABLED, KeyState.DESTROYED):
                raise WrongKey("The key that sealed this value is gone or disabled.")
            self._keys[key_id] = self._unwrapped(row)
        return self._keys[key_id]

    def _new(self, tenant_id: str | None) -> TenantKey:
        key_id, nonce = self._new_id(), os.urandom(_NONCE_BYTES)
        sealed = self._master.encrypt(nonce, os.urandom(_KEY_BYTES), _key_place(tenant_id, key_id))
        return TenantKey(key_id, tenant_id, f"{self._master_id}.{_text(nonce + sealed)}", self._now())

    def _unwrapped(self, row: TenantKey) -> AESGCM:
        master_id, _, body = row.wrapped.partition(".")
        if master_id != self._master_id:
            raise WrongKey("The master key is not the one this catalog was made with.")
        raw = _raw(body)
        try:
            plain = self._master.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _key_place(row.tenant_id, row.id)
            )
        except InvalidTag:
            raise WrongKey("A tenant's key cannot be unwrapped: the catalog was changed.") from None
        return AESGCM(plain)


def _key_place(tenant_id: str | None, key_id: str) -> bytes:
    return associated_data(Binding(tenant_id, "keys", key_id, "wrapped"), "master", FORMAT)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise WrongKey("The sealed value has an unknown form.") from None
