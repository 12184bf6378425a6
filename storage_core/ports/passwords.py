"""The passwords port: slow hashes, at most a few at a time."""

from typing import Protocol


class Passwords(Protocol):
    """argon2id. Hashing takes tens of milliseconds and never runs on the loop; calls queue behind each other."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, hash: str | None) -> bool:
        """Whether the password fits; with no hash (unknown user) it works as long and answers no."""
        ...
