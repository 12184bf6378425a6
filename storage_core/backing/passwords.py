"""argon2id with OWASP's second parameter set (19 MiB, t=2, p=1), two at a time, off the loop."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

_AT_ONCE = 2


class Argon2Passwords:
    """The passwords port over argon2-cffi."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        async with self._gate:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password: str, hash: str | None) -> bool:
        async with self._gate:
            fits = await asyncio.to_thread(self._fits, password, hash or self._nobody)
        return fits and hash is not None

    def _fits(self, password: str, hash: str) -> bool:
        try:
            return self._hasher.verify(hash, password)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False
