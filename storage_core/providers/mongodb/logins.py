"""The logins facet: a second user with the roles of the first."""

import logging
import secrets
from datetime import datetime
from typing import Any

from pymongo.errors import OperationFailure

from ...domain.errors import Conflict, InvalidRequest
from ...domain.record import Quota
from .link import Client, Link

SUFFIX = "_2"
#: In a user's custom data: whose second login it is.
MARK = "storage_console_second_of"
#: In a user's custom data: the database it was leased for.
LEASE_MARK = "storage_console_leased_for"
#: From where nobody comes. Who is signed in is held to it at the next command, while a new password, and killed
#: sessions, leave an open connection what it was (measured on 6.0).
NOWHERE = [{"clientSource": ["255.255.255.255"]}]
UNAUTHORIZED, USER_NOT_FOUND = 13, 11

log = logging.getLogger(__name__)


class MongoLogins:
    """See the port. Users live in the database that knows the signed-in one (authSource)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def second(self, password: str) -> str:
        login = self._link.endpoint.user
        if not login:
            raise InvalidRequest("The provider signs in as nobody.", field="generate")
        async with self._link.speaking() as client:
            present = await self._user(client, login)
            if present is None:
                raise Conflict(f"The server does not show the user {login!r} to itself.")
            root = present.get("customData", {}).get(MARK)
            other = root or login + SUFFIX
            known = await self._user(client, other)
            if known is not None and root is None and known.get("customData", {}).get(MARK) != login:
                raise Conflict(
                    f"The server has a user {other!r} already, which is not the second login of {login!r}.",
                    hint="Remove that user, or set up new credentials yourself and give them.",
                )
            # The first one's own custom data is its owner's; only the second one is marked.
            verb = "createUser" if known is None else "updateUser"
            command: dict[str, Any] = {verb: other, "pwd": password, "roles": present["roles"]}
            limits = present.get("authenticationRestrictions", [])
            if limits != (known or {}).get("authenticationRestrictions", []):
                command["authenticationRestrictions"] = limits
            if root is None:
                command["customData"] = {MARK: login}
            await client[self._base].command(command)
            return other

    async def lock_out(self, user: str) -> None:
        async with self._link.speaking() as client:
            if await self._user(client, user) is not None:
                await self._shut(client, user)

    async def _shut(self, client: Client, user: str) -> None:
        """Let nobody sign in as a user any more, and nobody who did go on."""
        # A password that nobody learns: a user removed and made again would lose what was granted to it.
        changed = {"updateUser": user, "pwd": secrets.token_urlsafe(32)}
        try:
            await client[self._base].command({**changed, "authenticationRestrictions": NOWHERE})
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
            log.warning(
                "%s cannot sign in to %s any more; connections it has open go on, since the signed-in user lacks"
                " setAuthenticationRestriction", user, self._link.endpoint.host,
            )  # fmt: skip
            await client[self._base].command(changed)
        await self._end_sessions(client, user)

    async def lease(self, user: str, password: str, database: str, until: datetime, *, write: bool) -> None:
        role = {"role": "readWrite" if write else "read", "db": database}
        async with self._link.speaking() as client:
            await client[self._base].command(
                {"createUser": user, "pwd": password, "roles": [role], "customData": {LEASE_MARK: database}}
            )

    async def prepare(self, database: str, collection: str | None, quota: Quota | None) -> None:
        """Nothing: logins that write make what they need."""

    async def end_lease(self, user: str) -> None:
        async with self._link.speaking() as client:
            found = await self._user(client, user)
            if found is None:
                return
            if LEASE_MARK not in found.get("customData", {}):
                raise Conflict(f"The user {user!r} is not a leased one.")
            try:
                await self._shut(client, user)  # first, so that nothing new begins while its sessions end
                await client[self._base].command("dropUser", user)
            except OperationFailure as error:
                if error.code != USER_NOT_FOUND:  # somebody else ends it at the same moment
                    raise

    async def _end_sessions(self, client: Client, user: str) -> None:
        """What runs in its name, as far as we may: the right to do so is the cluster's, not the database's."""
        try:
            await client.admin.command({"killAllSessions": [{"user": user, "db": self._base}]})
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise

    @property
    def _base(self) -> str:
        return self._link.endpoint.database or "admin"

    async def _user(self, client: Client, name: str) -> dict[str, Any] | None:
        found = await client[self._base].command(
            "usersInfo", {"user": name, "db": self._base}, showAuthenticationRestrictions=True
        )
        users: list[dict[str, Any]] = found["users"]
        return users[0] if users else None
