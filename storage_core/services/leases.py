"""Leased logins: for programs that reach a tenant's database directly, and never see the console's own credentials."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote, urlencode

from pydantic import Field

from ..domain.context import Context
from ..domain.database import Database
from ..domain.errors import Conflict, InvalidRequest, PolicyRefused, StorageError, TimedOut, Unsupported
from ..domain.lease import MAKING, Lease, LeasedLogin
from ..domain.naming import server_name
from ..domain.page import Page
from ..domain.permission import Permission, Target
from ..domain.provider import Endpoint, EngineKind, TlsMode
from ..ports.catalog import UnitOfWork
from ..ports.logins import Logins
from .collections import policy_of
from .databases import Databases
from .kernel import Kernel, Service, found, missing, to_its_end
from .lease_ends import LeaseEnds
from .operation import Effect, operation
from .request import ById, ListRequest
from .targets import a_list, database

#: How long an engine may take to make a login: well within the time that its row is kept for it.
PATIENCE = MAKING / 2


class LeaseLogin(ById):
    """Make a login that reaches this database alone, for a while. The password is shown once."""

    seconds: int = Field(3600, ge=LeasedLogin.SHORTEST, le=LeasedLogin.LONGEST, examples=[3600])
    """How long it works; lease anew before it ends."""
    write: bool = Field(False, examples=[True])
    """Whether it may change data."""


class ListLeases(ListRequest):
    """List the leased logins that still work, and those that have not been removed from their engine yet."""

    database_id: str | None = None
    """Filter: the database."""
    tenant_id: str | None = None
    """Filter: the tenant."""


class ReleaseLogin(ById):
    """End a leased login of this database now, with its sessions."""

    lease_id: str = Field(min_length=1, max_length=64, examples=["3f0c6a52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The lease."""


async def _lease(uow: UnitOfWork, _ctx: Context, request: ReleaseLogin) -> Target:
    """The lease itself: it can still be ended when its database is gone."""
    lease = await found(uow.leases.get(request.lease_id), "lease", request.lease_id)
    if lease.database_id != request.id:
        raise missing("lease", request.lease_id)
    return Target("lease", lease.id, lease.user, lease.tenant_id, lease.provider_id)


class Leases(Service):
    """The leases' operations."""

    def __init__(self, kernel: Kernel, databases: Databases) -> None:
        super().__init__(kernel)
        self._databases, self._ends = databases, LeaseEnds(kernel)

    @operation(
        "databases.lease",
        needs=Permission.RECORDS_READ,
        on=database(),
        also=lambda request: Permission.RECORDS_WRITE if request.write else None,
        fresh=True,
    )
    async def lease(self, ctx: Context, request: LeaseLogin) -> LeasedLogin:
        row, engine = await self._databases.opened(request.id)
        if row.tenant_id is None:
            raise InvalidRequest("Only a tenant's database has leased logins.", field="id")
        if (await policy_of(self.kernel, row)).encryption:
            raise PolicyRefused(
                "The tenant's policy keeps documents encrypted, and a login of the engine seals nothing.",
                field="id",
                hint="Go through records, or through the SDK beside the console.",
            )
        if engine.logins is None:
            raise Unsupported(
                f"{engine.kind} has no logins: whoever may open the files may open the database.", field="id"
            )
        now, id = self.kernel.now(), self.kernel.new_id()
        until = min(filter(None, (now + timedelta(seconds=request.seconds), ctx.expires_at)))
        user, password = f"sc_lease_{id.replace('-', '')[-20:]}", self.kernel.new_token()
        made = Lease(
            id,
            row.tenant_id,
            row.id,
            row.provider_id,
            user,
            ctx.actor.id,
            request.write,
            now,
            until,
            token_id=ctx.token_id,
        )
        async with self.kernel.catalog.write() as uow:
            await uow.leases.add(made)  # before the login: the upkeep ends what a crash leaves
        try:
            await self._make(engine.logins, made, password, row)
            await self._hand_out(made)
        except BaseException:
            await to_its_end(self._take_back(made))
            raise
        async with self.kernel.catalog.read() as uow:
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
        return _login(made, provider.kind, provider.endpoint, row, password)

    @operation("databases.leases", needs=Permission.CONNECTION_READ, on=a_list("lease"), effect=Effect.READ)
    async def leases(self, ctx: Context, request: ListLeases) -> Page[Lease]:
        async with self.kernel.catalog.read() as uow:
            return await uow.leases.find(request.query(self.reach(ctx, Permission.CONNECTION_READ)))

    @operation("databases.release", needs=Permission.RECORDS_READ, on=_lease)
    async def release(self, ctx: Context, request: ReleaseLogin) -> None:
        async with self.kernel.catalog.read() as uow:
            lease = await found(uow.leases.get(request.lease_id), "lease", request.lease_id)
        await self._ends.end(lease, "it was released")

    async def _make(self, logins: Logins, lease: Lease, password: str, row: Database) -> None:
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await logins.lease(
                    lease.user, password, row.physical_name, lease.expires_at, write=lease.write
                )
        except TimeoutError as error:
            raise TimedOut("The engine takes too long to make a login.") from error

    async def _hand_out(self, lease: Lease) -> None:
        """Conflict where what the lease stands on went while its login was made."""
        async with self.kernel.catalog.write() as uow:
            row = await uow.leases.get(lease.id)
            why = "it was ended meanwhile" if row is None else await self._ends.reason(uow, row)
            if row is None or why is not None:
                raise Conflict(f"The login was taken back before it was handed out: {why}.")
            await uow.leases.save(replace(row, made=True))

    async def _take_back(self, lease: Lease) -> None:
        """End a login that was not handed out; what cannot be taken back now is the upkeep's."""
        with suppress(StorageError):
            await self._ends.end(replace(lease, made=True), "it was not made whole")


def _login(lease: Lease, kind: EngineKind, endpoint: Endpoint, row: Database, password: str) -> LeasedLogin:
    host, port = endpoint.host or "localhost", endpoint.port or kind.usual_port
    place = f"[{host}]" if ":" in host else host
    sign_in = name = server_name(row.physical_name)
    more: dict[str, str] = {}
    if kind is EngineKind.MONGODB:
        more["authSource"] = sign_in = endpoint.database or "admin"
        if endpoint.replica_set:
            more["replicaSet"] = endpoint.replica_set
        if endpoint.tls is not TlsMode.DISABLE:
            more["tls"] = "true"
    elif endpoint.tls is not TlsMode.DISABLE:
        more["sslmode"] = endpoint.tls.value
    query = f"?{urlencode(more)}" if more else ""
    url = f"{kind}://{lease.user}:{quote(password, safe='')}@{place}:{port}/{quote(name, safe='')}{query}"
    return LeasedLogin(
        lease.id,
        kind,
        host,
        port,
        endpoint.tls,
        name,
        lease.user,
        password,
        url,
        lease.write,
        lease.expires_at,
        sign_in,
        endpoint.tls_ca,
        endpoint.replica_set,
    )
