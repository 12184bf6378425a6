"""Envelope encryption: the master key wraps tenants' keys, a tenant's key seals values and data keys.

AES-256-GCM throughout (NIST SP 800-38D) with random 96-bit nonces and the value's place as associated data.
"""

import asyncio
import base64
import os
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.errors import VersionConflict, WrongKey
from ...domain.secret import (
    MASTER_OWNER,
    OPENING,
    Binding,
    DataKey,
    Key,
    Sealed,
    associated_data,
    key_of,
    owner_of,
)
from ...ports.vault import KeyStore, MasterKeys
from .master import KEY_BYTES, fingerprint
from .recovery import written

FORMAT = "v1"
_NONCE_BYTES = 12
#: How often a key is made again when the master key was rotated in between.
_RACES = 5


class MasterRing:
    """The master keys at hand, by id. Looks again where they are kept when one is not known yet."""

    def __init__(self, source: MasterKeys, store: KeyStore, now: Callable[[], datetime]) -> None:
        self._source, self._store, self._now = source, store, now
        self._keys: dict[str, bytes] = {}

    async def unlock(self) -> None:
        """Prove that the catalog's master key is here."""
        await self.cipher(await self.present())

    async def present(self) -> str:
        """The id of the key that wraps from now on; on first use, written down which one it is."""
        present = await self._store.primary(MASTER_OWNER)
        if present is None:
            await self._load(first=True)
            now = self._now()
            present = await self._store.add(Key(next(iter(self._keys)), MASTER_OWNER, "", now, now))
        return present.id

    async def cipher(self, master_id: str) -> AESGCM:
        return AESGCM(await self._key(master_id))

    async def successor(self) -> str:
        key = await asyncio.to_thread(self._source.successor, await self._key(await self.present()))
        self._keys[fingerprint(key)] = key
        return fingerprint(key)

    async def promote(self, master_id: str) -> str | None:
        return await asyncio.to_thread(self._source.promote, await self._key(master_id))

    async def discard(self, master_id: str) -> None:
        """Nothing for a key that is not here any more."""
        key = self._keys.pop(master_id, None)
        if key is not None:
            await asyncio.to_thread(self._source.discard, key)

    async def recovery(self, passphrase: str) -> tuple[str, str]:
        master_id = await self.present()
        key = await self._key(master_id)
        return master_id, await asyncio.to_thread(written, key, passphrase, self._now())

    async def _key(self, master_id: str) -> bytes:
        if master_id not in self._keys:
            await self._load()
        try:
            return self._keys[master_id]
        except KeyError:
            raise WrongKey("The master key is not the one this catalog was made with.") from None

    async def _load(self, *, first: bool = False) -> None:
        keys = await asyncio.to_thread(lambda: self._source.read(first=first))
        self._keys = {fingerprint(key): key for key in keys}


class EnvelopeVault:
    """The vault over the master keys and the catalog's key store. Unwrapped keys stay in memory.

    Which key seals, and whether a key still opens, is asked anew every time: other processes rotate, too.
    """

    def __init__(
        self, masters: MasterRing, store: KeyStore, now: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._masters, self._store, self._now, self._new_id = masters, store, now, new_id
        self._unwrapped: dict[str, tuple[str, AESGCM]] = {}

    async def unlock(self) -> None:
        await self._masters.unlock()
        await self._primary(None)

    async def seal(self, value: bytes, binding: Binding) -> str:
        key = await self._primary(binding.tenant_id)
        return _sealed(await self._cipher(key), key.id, value, binding)

    async def open(self, envelope: str, binding: Binding) -> bytes:
        key_id, raw = _parsed(envelope)
        return _opened(await self._opening(key_id), key_id, raw, binding)

    async def new_data_key(self, binding: Binding) -> DataKey:
        plain = os.urandom(KEY_BYTES)
        return DataKey(plain, await self.seal(plain, binding))

    async def data_key(self, wrapped: str, binding: Binding) -> bytes:
        return await self.open(wrapped, binding)

    async def new_key(self, owner: str, key_id: str) -> Key:
        master_id = await self._masters.present()
        master = await self._masters.cipher(master_id)
        now = self._now()
        return Key(key_id, owner, _wrapped(master, master_id, owner, key_id, os.urandom(KEY_BYTES)), now, now)

    async def resealed(self, sealed: Sequence[Sealed], key_id: str) -> list[str]:
        fresh = await self._opening(key_id)
        ciphers = {k: await self._opening(k) for k in {key_of(one.envelope) for one in sealed}}

        def work() -> list[str]:
            return [
                _sealed(fresh, key_id, _opened(ciphers[old], old, raw, one.binding), one.binding)
                for one in sealed
                for old, raw in (_parsed(one.envelope),)
            ]

        return await asyncio.to_thread(work)

    async def faults(self, sealed: Sequence[Sealed]) -> list[str | None]:
        ciphers: dict[str, AESGCM | str] = {}
        for key_id in {key_of(one.envelope) for one in sealed}:
            try:
                ciphers[key_id] = await self._opening(key_id)
            except WrongKey as error:
                ciphers[key_id] = error.detail

        def fault(one: Sealed) -> str | None:
            cipher = ciphers[key_of(one.envelope)]
            if isinstance(cipher, str):
                return cipher
            try:
                _opened(cipher, *_parsed(one.envelope), one.binding)
            except WrongKey as error:
                return error.detail
            return None

        return await asyncio.to_thread(lambda: [fault(one) for one in sealed])

    async def rewrapped(self, keys: Sequence[Key], master_id: str) -> list[str]:
        master = await self._masters.cipher(master_id)
        old = {k: await self._masters.cipher(k) for k in {key.master_id for key in keys}}

        def work() -> list[str]:
            return [
                _wrapped(master, master_id, key.owner, key.id, _unwrapped(old[key.master_id], key))
                for key in keys
            ]

        return await asyncio.to_thread(work)

    async def _primary(self, tenant_id: str | None) -> Key:
        """The key that seals for a tenant; made on its first use."""
        owner = owner_of(tenant_id)
        for _ in range(_RACES):
            known = await self._store.primary(owner)
            if known is not None:
                await self._cipher(known)
                return known
            try:
                await self._store.add(await self.new_key(owner, self._new_id()))
            except VersionConflict:
                continue  # the master key was rotated meanwhile
        raise VersionConflict("The master key is being rotated again and again.")

    async def _opening(self, key_id: str) -> AESGCM:
        key = await self._store.by_id(key_id)
        if key is None or key.state not in OPENING:
            self._unwrapped.pop(key_id, None)
            raise WrongKey("The key that sealed this value is gone or disabled.")
        return await self._cipher(key)

    async def _cipher(self, key: Key) -> AESGCM:
        known = self._unwrapped.get(key.id)
        if known is None or known[0] != key.wrapped:
            master = await self._masters.cipher(key.master_id)
            known = self._unwrapped[key.id] = (key.wrapped, AESGCM(_unwrapped(master, key)))
        return known[1]


def _sealed(cipher: AESGCM, key_id: str, value: bytes, binding: Binding) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return f"{FORMAT}.{key_id}.{_text(nonce + cipher.encrypt(nonce, value, associated_data(binding, key_id, FORMAT)))}"


def _opened(cipher: AESGCM, key_id: str, raw: bytes, binding: Binding) -> bytes:
    try:
        return cipher.decrypt(
            raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], associated_data(binding, key_id, FORMAT)
        )
    except (InvalidTag, ValueError):
        raise WrongKey(
            f"{binding.collection}.{binding.field} cannot be opened: it was changed or moved."
        ) from None


def _parsed(envelope: str) -> tuple[str, bytes]:
    form, _, rest = envelope.partition(".")
    key_id, _, body = rest.partition(".")
    if form != FORMAT or not body:
        raise WrongKey("The sealed value has an unknown form.")
    return key_id, _raw(body)


def _wrapped(master: AESGCM, master_id: str, owner: str, key_id: str, plain: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return f"{master_id}.{_text(nonce + master.encrypt(nonce, plain, _place(owner, key_id)))}"


def _unwrapped(master: AESGCM, key: Key) -> bytes:
    raw = _raw(key.wrapped.partition(".")[2])
    try:
        return master.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _place(key.owner, key.id))
    except (InvalidTag, ValueError):
        raise WrongKey("A tenant's key cannot be unwrapped: the catalog was changed.") from None


def _place(owner: str, key_id: str) -> bytes:
    tenant_id = None if owner == owner_of(None) else owner
    return associated_data(Binding(tenant_id, "keys", key_id, "wrapped"), "master", FORMAT)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise WrongKey("The sealed value has an unknown form.") from None
