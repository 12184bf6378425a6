"""The logins facet: a second user with the roles of the first."""

import secrets
from typing import Any

from ...domain.errors import Conflict, InvalidRequest
from .link import Client, Link

SUFFIX = "_2"
#: In a user's custom data: whose second login it is.
MARK = "storage_console_second_of"


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
            if root is None:
                command["customData"] = {MARK: login}
            await client[self._base].command(command)
            return other

    async def lock_out(self, user: str) -> None:
        async with self._link.speaking() as client:
            if await self._user(client, user) is not None:
                # A password that nobody learns: a user removed and made again would lose what was granted to it.
                await client[self._base].command("updateUser", user, pwd=secrets.token_urlsafe(32))

    @property
    def _base(self) -> str:
        return self._link.endpoint.database or "admin"

    async def _user(self, client: Client, name: str) -> dict[str, Any] | None:
        found = await client[self._base].command("usersInfo", {"user": name, "db": self._base})
        users: list[dict[str, Any]] = found["users"]
        return users[0] if users else None
