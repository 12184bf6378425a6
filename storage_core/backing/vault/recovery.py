"""The recovery key: the master key sealed under a passphrase, as text that can be printed and typed.

argon2id (RFC 9106) makes a key from the passphrase, AES-256-GCM seals; every line above the body is authenticated.
"""

import base64
import os
import re
import textwrap
from datetime import UTC, datetime

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.errors import InvalidRequest, WrongKey
from .master import KEY_BYTES, fingerprint

_BEGIN, _END = "-----BEGIN STORAGE CONSOLE RECOVERY KEY-----", "-----END STORAGE CONSOLE RECOVERY KEY-----"
_SALT_BYTES, _NONCE_BYTES = 16, 12
#: KiB of memory, rounds, lanes: about half a second, once in a lifetime.
_COST = (262_144, 4, 1)
#: What a text may ask of the machine that reads it.
_MOST = (1_048_576, 16, 8)
_KDF = re.compile(r"argon2id m=(\d{1,8}) t=(\d{1,3}) p=(\d{1,2})")


def written(key: bytes, passphrase: str, at: datetime) -> str:
    """A master key as a recovery text."""
    memory, rounds, lanes = _COST
    head = "\n".join(
        (
            "Format: 1",
            f"Key: {fingerprint(key)}",
            f"Made: {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"Derivation: argon2id m={memory} t={rounds} p={lanes}",
        )
    )
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_derived(passphrase, salt, _COST)).encrypt(nonce, key, head.encode())
    body = textwrap.fill(base64.b64encode(salt + nonce + sealed).decode(), 64)
    return f"{_BEGIN}\n{head}\n\n{body}\n{_END}\n"


def read(text: str, passphrase: str) -> bytes:
    """The master key in a recovery text; InvalidRequest for no such text, WrongKey for another passphrase."""
    try:
        # Between the marks, whatever a command printed around them: a label, or JSON with its line ends spelt out.
        inside = text.replace("\\n", "\n").split(_BEGIN, 1)[1].split(_END, 1)[0]
        lines = [line.strip() for line in inside.strip().splitlines()]
        split = lines.index("")
        head, body = lines[:split], base64.b64decode("".join(lines[split:]), validate=True)
        fields = dict(line.split(": ", 1) for line in head)
        cost = _cost(fields["Derivation"])
        if fields["Format"] != "1":
            raise ValueError(fields["Format"])
    except (ValueError, KeyError, IndexError):
        raise InvalidRequest("This is no recovery key as the console writes it.", field="recovery") from None
    salt, nonce, sealed = (
        body[:_SALT_BYTES],
        body[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES],
        body[_SALT_BYTES + _NONCE_BYTES :],
    )
    try:
        key = AESGCM(_derived(passphrase, salt, cost)).decrypt(nonce, sealed, "\n".join(head).encode())
    except (InvalidTag, ValueError):
        raise WrongKey(
            "The passphrase does not open this recovery key, or the text was changed.",
            hint="Type both again.",
        ) from None
    if len(key) != KEY_BYTES or fingerprint(key) != fields["Key"]:
        raise WrongKey("The recovery key does not hold the key it names.")
    return key


def _cost(text: str) -> tuple[int, int, int]:
    found = _KDF.fullmatch(text)
    if found is None:
        raise ValueError(text)
    cost = (int(found[1]), int(found[2]), int(found[3]))
    if any(asked > most for asked, most in zip(cost, _MOST, strict=True)):
        raise ValueError(text)
    return cost


def _derived(passphrase: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    memory, rounds, lanes = cost
    return hash_secret_raw(passphrase.encode(), salt, rounds, memory, lanes, hash_len=KEY_BYTES, type=Type.ID)
