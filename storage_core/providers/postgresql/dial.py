"""Connections to one endpoint: structured fields only, the address resolved once and pinned."""

import asyncio
from collections.abc import Mapping
from copy import copy

import asyncpg

from ...domain.errors import InvalidRequest
from ...domain.naming import schema_in, server_name
from ...domain.provider import Endpoint, TlsMode
from ...ports.outbound import Outbound
from ..names import PlainNames
from .errors import ErrorMap
from .sql import ident
from .tls import client_context

CONNECT_SECONDS = 10.0
DEFAULT_PORT = 5432
#: Prepared statements that a connection keeps.
STATEMENTS = 100
APPLICATION = "storage-console"
#: A setting of our own sessions: the one schema they are about, where a database is a schema.
ONLY = "storage_console.schema"

Connection = asyncpg.Connection


class Dialer:
    """Knows how to reach a server, and nothing else; builds without I/O.

    A database that is a schema is connected to as the shared one, with the schema as the session's search path.

    Every field is passed on purpose, so that neither asyncpg nor libpq looks into the environment, the password
    file or the service file of whoever runs us.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        password: str | None,
        connect_seconds: float = CONNECT_SECONDS,
        outbound: Outbound | None = None,
        field: str = "connection.host",
        scoped: bool = True,
    ) -> None:
        """:param field: what names the host in a request.
        :param scoped: whether sessions may begin with settings, which poolers do not take.
        """
        self.endpoint, self._field, self._scoped = endpoint, field, scoped
        self._outbound = outbound or PlainNames()
        self.connect_seconds = connect_seconds
        self.host = endpoint.host or "localhost"
        self.port = endpoint.port or DEFAULT_PORT
        self.user = endpoint.user or "postgres"
        self.maintenance = endpoint.database or "postgres"
        self.password = password
        self.errors = ErrorMap(self.host, self.port, self.user, endpoint.tls, password)
        if not self.host.isprintable() or any(c in self.host for c in "/,@ "):
            raise InvalidRequest("The host is not a name or an address.", field=field)

    def signed_in_as(self, user: str, password: str) -> "Dialer":
        """The way to the same server as somebody else."""
        other = copy(self)
        other.user, other.password = user, password
        other.errors = ErrorMap(self.host, self.port, user, self.endpoint.tls, password)
        return other

    @property
    def verifies(self) -> bool:
        return self.endpoint.tls in (TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL)

    async def addresses(self) -> tuple[str, ...]:
        """The host's addresses in the system's order; domain errors when there is none or one is not allowed."""
        async with asyncio.timeout(self.connect_seconds):
            return await self._outbound.addresses(self.host, self.port, self._field)

    async def dial(
        self,
        database: str | None = None,
        settings: Mapping[str, str] | None = None,
        address: str | None = None,
        cached: int = STATEMENTS,
    ) -> tuple[Connection, str]:
        """A new connection, and the address it went to. Raises the driver's errors.

        :param cached: how many prepared statements it keeps, for as long as it lives.
        """
        places = (address,) if address else await self.addresses()
        for place in places[:-1]:
            try:
                return await self._open(place, database, settings, cached), place
            except (ConnectionRefusedError, TimeoutError):
                continue
        return await self._open(places[-1], database, settings, cached), places[-1]

    async def connect(
        self,
        database: str | None = None,
        settings: Mapping[str, str] | None = None,
        cached: int = STATEMENTS,
    ) -> Connection:
        """A new connection; domain errors."""
        with self.errors.speaking(database):
            return (await self.dial(database, settings, cached=cached))[0]

    async def _open(
        self, address: str, database: str | None, settings: Mapping[str, str] | None, cached: int
    ) -> Connection:
        return await asyncpg.connect(
            host=address,
            port=self.port,
            user=self.user,
            password=self.password or "",
            database=self.maintenance if database is None else server_name(database),
            ssl=client_context(self.endpoint, self.host) or False,
            direct_tls=False,
            timeout=self.connect_seconds,
            server_settings={
                "application_name": APPLICATION,
                **self._scope(database, settings),
                **(settings or {}),
            },
            target_session_attrs="any",
            statement_cache_size=cached,
            max_cached_statement_lifetime=0,
        )

    def _scope(self, database: str | None, settings: Mapping[str, str] | None) -> dict[str, str]:
        """What says which schema a session is about; of one that is about all, whatever its database's defaults say."""
        schema = schema_in(database or "")
        if schema is None or not self._scoped:
            return {ONLY: ""} if settings and self._scoped else {}
        return {"search_path": ident(schema), ONLY: schema}
