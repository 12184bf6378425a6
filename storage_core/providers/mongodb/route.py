"""Where the driver's connections go: to addresses the outbound port gave, whichever member they are for.

A replica set's members are announced by the server itself, so that each is judged like an address people type.
"""

import asyncio
import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from pymongo import pool_shared
from pymongo.asynchronous.pool import AsyncConnection, Pool
from pymongo.errors import AutoReconnect

from ...domain.errors import AddressRefused, StorageError
from ...ports.outbound import Outbound

FIELD = "connection.host"

_judged: ContextVar[tuple[str, ...] | None] = ContextVar("mongodb_addresses", default=None)
_driver_lookup = pool_shared._getaddrinfo


async def _lookup(host: str, port: int, **kwargs: Any) -> list[Any]:
    """The driver's look-up: inside a guarded pool it answers what was judged, and asks no name server."""
    judged = _judged.get()
    if judged is None:
        return await _driver_lookup(host, port, **kwargs)
    loop, found = asyncio.get_running_loop(), list[Any]()
    for address in judged:
        found += await loop.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    return found


pool_shared._getaddrinfo = _lookup


def guarded(outbound: Outbound, refused: Callable[[StorageError], None]) -> type[Pool]:
    """A pool class whose connections go through `outbound`; `refused` hears why one did not come about.

    The driver verifies certificates against the member's name as before.
    """

    class GuardedPool(Pool):
        async def connect(self, handler: Any = None) -> AsyncConnection:
            host, port = self.address
            try:
                if host.endswith(".sock"):
                    raise AddressRefused("The replica set announces a socket of this machine.", field=FIELD)
                found = await outbound.addresses(host, port or 27017, FIELD)
            except StorageError as error:
                refused(error)
                raise AutoReconnect(f"no way to {host}") from error
            token = _judged.set(found)
            try:
                return await super().connect(handler)
            finally:
                _judged.reset(token)

    return GuardedPool
