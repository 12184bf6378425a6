"""The logins port: whose sign-in the engine accepts, as far as the signed-in user may decide that."""

from datetime import datetime
from typing import Protocol

from ..domain.record import Quota


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

    async def lease(self, user: str, password: str, database: str, until: datetime, *, write: bool) -> None:
        """Make a login of this name that reads, or reads and writes, one database and sees no other's data.

        Where the engine can, it ends by itself at `until`; whoever leases it out ends it then in any case.
        """
        ...

    async def prepare(self, database: str, collection: str | None, quota: Quota | None) -> None:
        """Make what leased logins need and may not make: the place of collections, and one of them; count what the
        database holds, where a quota is to hold. What is made before a lease may be used with it. Idempotent.
        """
        ...

    async def end_lease(self, user: str) -> None:
        """Lock a leased login out, end its sessions, remove it with whatever it made anywhere. Idempotent.

        An error where it cannot be removed; nobody signs in with it any more if the engine answered at all.
        """
        ...
