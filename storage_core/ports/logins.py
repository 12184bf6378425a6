"""The logins port: whose sign-in the engine accepts, as far as the signed-in user may decide that."""

from typing import Protocol


class Logins(Protocol):
    """Two logins with the same rights, used in turn: the next one works before the present one stops.

    MissingPrivilege where the signed-in user may not do it, Conflict where a login in the other one's place is not ours.
    """

    async def second(self, password: str) -> str:
        """Let the login that is not signed in have this password, made if need be; answers its name. Idempotent."""
        ...

    async def lock_out(self, user: str) -> None:
        """Let nobody sign in as `user` any more, and end its sessions; of ours, those that idle. Idempotent."""
        ...
