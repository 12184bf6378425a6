"""An open core on a temporary home, and callers of every role behind every door."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI

from storage_core.api import create_app
from storage_core.bootstrap import OPERATIONS, Core, open_core
from storage_core.client import Client
from storage_core.domain.context import Context, local_context
from storage_core.domain.permission import Role
from storage_core.domain.tenant import Tenant
from storage_core.services.tenants import CreateTenant
from storage_core.services.tokens import CreateToken
from storage_core.services.users import CreateUser
from storage_core.settings import Settings
from tests.integration.homes import prepare

T = TypeVar("T")
BY_NAME = {op.name: op for op in OPERATIONS}
PASSWORD = "correct horse battery"
ADDRESS = "http://127.0.0.1:8080"


class Clock:
    """The core's clock, which tests move. It runs otherwise: two rows never have the same time."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Doors:
    """A core with every door open to it in this process."""

    core: Core
    clock: Clock
    root: Context
    tokens: dict[tuple[Role, str], str] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)

    @cached_property
    def app(self) -> FastAPI:
        """REST, made when somebody comes through it."""
        return create_app(lambda: self.core, OPERATIONS)

    async def call(self, name: str, ctx: Context | None = None, /, **fields: Any) -> Any:
        """An operation called directly; as the local user unless told."""
        op, method = self.core.operations[name]
        return await method(ctx or self.root, op.request(**fields))

    async def tenant(self, name: str) -> Tenant:
        if name not in self.tenants:
            self.tenants[name] = await self.core.tenants.create(self.root, CreateTenant(name=name))
        return self.tenants[name]

    async def user(self, username: str, role: Role, scope: str = "global") -> str:
        request = CreateUser(username=username, password=PASSWORD, role=role, scope=scope, confirm=username)
        return (await self.core.users.create(self.root, request)).id

    async def token(self, role: Role, scope: str = "global") -> str:
        """The token of a user who has this role in this scope; one user each."""
        key = (role, scope)
        if key not in self.tokens:
            name = f"{role.lower()}-{scope.replace(':', '-')}"
            await self.user(name, role, scope)
            made = await self.core.tokens.create(self.root, CreateToken(name="test", user=name))
            self.tokens[key] = made.token
        return self.tokens[key]

    async def context(self, role: Role | None, scope: str = "global") -> Context | None:
        """The Context that role's token stands for; none without a role."""
        if role is None:
            return None
        return await self.core.auth.by_token(await self.token(role, scope), "127.0.0.1", "test")

    @asynccontextmanager
    async def rest(
        self, role: Role | None = Role.SUPER_ADMIN, scope: str = "global", **headers: str
    ) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client with that role's token; without any sign-in for no role."""
        if role is not None:
            headers["Authorization"] = f"Bearer {await self.token(role, scope)}"
        async with httpx.AsyncClient(
            transport=self.transport(),
            base_url=ADDRESS,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
        ) as client:
            yield client

    def transport(self, client: tuple[str, int] = ("127.0.0.1", 50000)) -> httpx.ASGITransport:
        return httpx.ASGITransport(app=self.app, client=client, raise_app_exceptions=False)

    @asynccontextmanager
    async def sdk(
        self, role: Role | None, scope: str = "global", tenant: str | None = None
    ) -> AsyncIterator[Client]:
        token = "none" if role is None else await self.token(role, scope)
        async with Client(ADDRESS, token, tenant=tenant, transport=self.transport()) as client:
            yield client


@asynccontextmanager
async def doors_at(home: Path, **more: Any) -> AsyncIterator[Doors]:
    settings = Settings(home=home, **more)
    await prepare(settings)
    clock = Clock()
    async with open_core(settings) as core:
        # The kernel is frozen and shared by all services: one field is turned for the tests.
        object.__setattr__(core.kernel, "now", clock)
        yield Doors(core, clock, local_context("tester", "test"))


class Live:
    """The doors behind a real uvicorn, in a thread of its own: for the command line and other clients."""

    def __init__(self, home: Path) -> None:
        self._home, self._ready = home, threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(60)
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the core lives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - told to the thread that waits
            self._failed = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with doors_at(self._home) as self.doors:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                config = uvicorn.Config(self.doors.app, log_config=None, lifespan="off")
                self._server = uvicorn.Server(config)
                listener.listen()  # from here on nobody is turned away
                self._loop.call_soon(self._ready.set)
                await self._server.serve([listener])
