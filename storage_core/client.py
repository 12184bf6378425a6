"""The SDK's way to a server: the same operations over HTTP."""

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx

from .domain.errors import StorageError, Unreachable, revive
from .domain.event import Event
from .services.operation import Operation
from .services.request import Request
from .wire import BASE, from_json, parts, route

#: The server says something at least every fifteen.
QUIET_SECONDS = 40.0


@cache
def _trusted() -> ssl.SSLContext:
    """Whom TLS is spoken with; read once, since reading every certificate takes longer than most calls."""
    return httpx.create_ssl_context()


class Client:
    """Calls operations on a server with an API token. Use as an async context manager.

    Errors come back as the same domain errors the service raised.
    """

    def __init__(self, url: str, token: str, *, tenant: str | None = None, transport: Any = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        if tenant is not None:
            headers["X-Tenant-ID"] = tenant
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=60, transport=transport, verify=_trusted()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, op: Operation, request: Request) -> Any:
        """Run an operation; answers the domain object (a Ticket for long work)."""
        return from_json(op, await self.call_json(op, request))

    @asynccontextmanager
    async def stream(self, op: Operation, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """Run an operation that answers a file; gives its pieces as they come."""
        path, query, body = parts(op, request)
        try:
            async with self._http.stream(route(op).method, path, params=query, json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                yield response.aiter_bytes()
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    async def events(self) -> AsyncGenerator[Event | None]:
        """What changes within the caller's reach, as it does; none once it is heard, and while nothing happens.

        Ends where the server ends it: what has happened until the next call is not heard.
        """
        wait = httpx.Timeout(60, read=QUIET_SECONDS)
        try:
            async with self._http.stream("GET", f"{BASE}/events", timeout=wait) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                told: dict[str, str] = {}
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if line and name:
                        told[name] = value
                    elif line:
                        yield None
                    elif told:
                        yield _event(told)
                        told = {}
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    async def call_json(self, op: Operation, request: Request) -> Any:
        """Run an operation; answers the JSON values REST returned."""
        path, query, body = parts(op, request)
        try:
            response = await self._http.request(route(op).method, path, params=query, json=body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if response.is_error:
            raise _error(response)
        return response.json()


def _event(told: dict[str, str]) -> Event:
    data = json.loads(told["data"])
    return Event(
        int(told["id"]), told["event"], data["verb"], data["id"], data["tenant_id"], datetime.now(UTC)
    )


def _unreachable(error: httpx.HTTPError) -> Unreachable:
    return Unreachable(f"The console cannot be reached: {type(error).__name__}.", hint="Check STORAGE_URL.")


def _error(response: httpx.Response) -> StorageError:
    try:
        data = response.json()
        error = revive(data["code"], data["detail"], data.get("hint", ""))
        error.field = data.get("field")
    except (ValueError, KeyError, TypeError):
        return StorageError(f"The server answered {response.status_code}.")
    return error
