"""The connection to one MongoDB server or replica set: one bounded pool, opened on first use."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from ...domain.errors import (
    AddressRefused,
    EngineFailure,
    InvalidRequest,
    NotFound,
    StorageError,
    TlsMismatch,
    Unavailable,
)
from ...domain.naming import said
from ...domain.provider import Endpoint, TlsMode
from ...ports.outbound import Outbound
from ..names import PlainNames
from .errors import is_unsent, translate
from .names import checked
from .route import FIELD, guarded

Client = AsyncMongoClient[dict[str, Any]]

DEFAULT_PORT = 27017
POOL = 12
#: Of its connections so many are left to transactions. Plain writes wait for documents that a transaction has changed,
#: each on a connection: had they all of them, the transaction could never end.
TRANSACTIONS = 4
#: What calls of the driver raise; the last one where a text has lone surrogates.
DRIVER_ERRORS = (PyMongoError, BSONError, UnicodeEncodeError)
#: Seconds a server is waited for.
PATIENCE = 5.0
#: Host names and addresses only; anything else could be read as a connection string or a list of hosts.
HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True, slots=True)
class Topology:
    """What kind of deployment answers. Only a replica set (or a cluster) can be read at one moment."""

    version: str
    snapshots: bool


def host_and_port(endpoint: Endpoint) -> tuple[str, int]:
    """The server's address; InvalidRequest when the host is not a plain name or address."""
    host = endpoint.host or "localhost"
    if not HOST.fullmatch(host):
        raise InvalidRequest(
            "The host is not a name or an address.",
            field="connection.host",
            hint="One host name, without a scheme.",
        )
    return host, endpoint.port or DEFAULT_PORT


async def _set_id(client: Client) -> Any:
    answer = await client.admin.command("replSetGetConfig")
    return answer["config"].get("settings", {}).get("replicaSetId")


async def _cluster_id(client: Client) -> Any:
    found = await client["config"]["version"].find_one({}, {"clusterId": 1})
    return None if found is None else found.get("clusterId")


class Link:
    """One engine's client. `explain` turns a lost connection into the reason, by asking the network."""

    def __init__(
        self,
        endpoint: Endpoint,
        password: str | None,
        explain: Callable[["Link"], Coroutine[Any, Any, StorageError | None]],
        patience: float = PATIENCE,
        outbound: Outbound | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._outbound = outbound or PlainNames()
        self._refused: AddressRefused | None = None
        self.patience = patience
        self._password = password
        self._explain = explain
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self.writers = asyncio.Semaphore(POOL - TRANSACTIONS)
        self.transactions = asyncio.Semaphore(TRANSACTIONS)

    @property
    def place(self) -> str:
        host, port = host_and_port(self.endpoint)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def addresses(self) -> tuple[str, ...]:
        """Where the named server may be reached; domain errors."""
        host, port = host_and_port(self.endpoint)
        return await self._outbound.addresses(host, port, FIELD)

    def _hear(self, error: StorageError) -> None:
        if isinstance(error, AddressRefused):
            self._refused = error

    @property
    def client(self) -> Client | None:
        """The client, none before its first use and after `close`."""
        return self._client

    async def open(self) -> Client:
        """The client; without I/O."""
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._build)
            return self._client

    def _build(self) -> Client:
        if self.endpoint.tls is TlsMode.DISABLE or not self.endpoint.tls_ca:
            return AsyncMongoClient(**self._options())
        # The driver reads the file while it is built, so the authority lies on disk no longer than that.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ca.pem"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.endpoint.tls_ca)
            try:
                return AsyncMongoClient(**self._options(), tlsCAFile=str(path))
            except (OSError, PyMongoError) as error:
                raise TlsMismatch(
                    "The provider's certificate authority cannot be read.", hint="Give it as PEM text."
                ) from error

    def _options(self) -> dict[str, Any]:
        host, port = host_and_port(self.endpoint)
        options: dict[str, Any] = {
            "host": f"[{host}]" if ":" in host else host,
            "port": port,
            "appname": "storage-console",
            "maxPoolSize": POOL,
            "maxIdleTimeMS": 120_000,
            "waitQueueTimeoutMS": 30_000,
            "serverSelectionTimeoutMS": int(self.patience * 1000),
            "connectTimeoutMS": int(self.patience * 1000),
            # a streaming monitor would leave a server that refused a sign-in unusable until its next report
            "serverMonitoringMode": "poll",
            "tls": self.endpoint.tls is not TlsMode.DISABLE,
            "_pool_class": guarded(self._outbound, self._hear),
        }
        if self.endpoint.replica_set:
            options["replicaSet"] = self.endpoint.replica_set
        else:
            options["directConnection"] = True
        if self.endpoint.user:
            options |= {
                "username": self.endpoint.user,
                "password": self._password or "",
                "authSource": self.endpoint.database or "admin",
            }
        if self.endpoint.tls is TlsMode.REQUIRE:
            options["tlsAllowInvalidCertificates"] = True
        if self.endpoint.tls is TlsMode.VERIFY_CA:
            options["tlsAllowInvalidHostnames"] = True
        return options

    @asynccontextmanager
    async def speaking(self) -> AsyncIterator[Client]:
        """The client, with every driver error translated on its way out."""
        try:
            yield await self.open()
        except DRIVER_ERRORS as error:
            raise await self.failed(error) from error

    async def failed(self, error: Exception) -> StorageError:
        """The product's error for one of DRIVER_ERRORS."""
        if isinstance(error, UnicodeEncodeError):
            return InvalidRequest("MongoDB takes no text with lone surrogates.", hint="Send valid Unicode.")
        if not isinstance(error, PyMongoError):
            return EngineFailure(f"{self.place} answered what cannot be read as BSON.")
        if not isinstance(error, ConnectionFailure):
            return translate(error, self.place)
        refused, self._refused = self._refused, None
        found = await self._explain(self) or refused or translate(error, self.place)
        return found.undone() if is_unsent(error) and isinstance(found, Unavailable) else found

    async def topology(self) -> Topology:
        async with self.speaking() as client:
            hello = await client.admin.command("hello")
            built = await client.admin.command("buildInfo")
        version: str = built["version"]
        clustered = "setName" in hello or hello.get("msg") == "isdbgrid"
        return Topology(version, clustered and int(version.split(".")[0]) >= 5)

    async def marks(self) -> frozenset[str]:
        """The process that answers, and where the user may read them the replica set's and the cluster's ids."""
        found: set[str] = set()
        async with self.speaking() as client:
            hello = await client.admin.command("hello")
            if (process := hello.get("topologyVersion", {}).get("processId")) is not None:
                found.add(f"process:{process}")
            for name, ask in (("set", _set_id), ("cluster", _cluster_id)):
                try:
                    id = await ask(client)
                except OperationFailure:
                    continue  # no replica set or cluster, or not this user's to know
                if id is not None:
                    found.add(f"{name}:{id}")
        return frozenset(f"mongodb:{mark}" for mark in found)

    async def existing(self) -> dict[str, int | None]:
        """Every database's name and size in bytes."""
        async with self.speaking() as client:
            return {d["name"]: d.get("sizeOnDisk") async for d in await client.list_databases()}

    async def present(self, name: str) -> str:
        """The name of a database that exists; NotFound otherwise."""
        if checked(name) not in await self.existing():
            raise NotFound(f"There is no database {said(name, 200)} on {self.place}.", field="name")
        return name

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
