"""Leased logins: for programs that reach a tenant's database directly, and never see the console's own credentials."""

import logging
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote, urlencode

from pydantic import Field

from ..domain.context import Context
from ..domain.database import Database
from ..domain.errors import InvalidRequest, NotFound, PolicyRefused, StorageError, Unsupported
from ..domain.lease import Lease, LeasedLogin
from ..domain.naming import said, server_name
from ..domain.page import Page
from ..domain.permission import Permission
from ..domain.provider import Endpoint, EngineKind, TlsMode
from ..domain.tenant import TenantStatus
from ..ports.logins import Logins
from .collections import policy_of
from .databases import Databases
from .kernel import Kernel, Service, every, found, to_its_end
from .operation import Effect, operation
from .request import ById, ListRequest
from .targets import a_list, database

log = logging.getLogger(__name__)

PORTS = {EngineKind.POSTGRESQL: 5432, EngineKind.MONGODB: 27017}


class LeaseLogin(ById):
    """Make a login that reaches this database alone, for a while. The password is shown once."""

    seconds: int = Field(3600, ge=LeasedLogin.SHORTEST, le=LeasedLogin.LONGEST, examples=[3600])
    """How long it works; lease anew before it ends."""
    write: bool = Field(False, examples=[True])
    """Whether it may change data."""


class ListLeases(ListRequest):
    """List the leased logins that still work."""

    database_id: str | None = None
    """Filter: the database."""
    tenant_id: str | None = None
    """Filter: the tenant."""


class ReleaseLogin(ById):
    """End a leased login of this database now, with its sessions."""

    lease_id: str = Field(min_length=1, max_length=64, examples=["3f0c6a52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The lease."""


class Leases(Service):
    """The leases' operations, and the upkeep that ends them."""

    def __init__(self, kernel: Kernel, databases: Databases) -> None:
        super().__init__(kernel)
        self._databases = databases

    @operation(
        "databases.lease",
        needs=Permission.RECORDS_READ,
        on=database(),
        also=lambda request: Permission.RECORDS_WRITE if request.write else None,
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
        until = now + timedelta(seconds=request.seconds)
        user, password = f"sc_lease_{id.replace('-', '')[-20:]}", self.kernel.new_token()
        made = Lease(
            id, row.tenant_id, row.id, row.provider_id, user, ctx.actor.id, request.write, now, until
        )
        async with self.kernel.catalog.write() as uow:
            await uow.leases.add(made)  # before the login: the upkeep ends what a crash leaves
        try:
            await engine.logins.lease(user, password, row.physical_name, until, write=request.write)
        except BaseException:
            await to_its_end(self._end(made, row, engine.logins))
            raise
        async with self.kernel.catalog.read() as uow:
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
        return _login(made, provider.kind, provider.endpoint, row, password)

    @operation("databases.leases", needs=Permission.CONNECTION_READ, on=a_list("lease"), effect=Effect.READ)
    async def leases(self, ctx: Context, request: ListLeases) -> Page[Lease]:
        async with self.kernel.catalog.read() as uow:
            return await uow.leases.find(request.query(self.reach(ctx, Permission.CONNECTION_READ)))

    @operation("databases.release", needs=Permission.RECORDS_READ, on=database())
    async def release(self, ctx: Context, request: ReleaseLogin) -> None:
        async with self.kernel.catalog.read() as uow:
            lease = await uow.leases.get(request.lease_id)
        if lease is None or lease.database_id != request.id:
            raise NotFound(f"There is no lease {said(request.lease_id)}.", field="lease_id")
        await self._ended(lease)

    async def settle(self) -> None:
        """End the leases whose time is over, or whose tenant may not work; a later round does what cannot be done now."""
        over: list[Lease] = []
        now = self.kernel.now()
        async with self.kernel.catalog.read() as uow:
            async for lease in every(uow.leases, ()):
                tenant = await uow.tenants.get(lease.tenant_id)
                active = tenant is not None and tenant.status is TenantStatus.ACTIVE
                if lease.expires_at <= now or not active:
                    over.append(lease)
        for lease in over:
            try:
                await self._ended(lease)
            except StorageError as error:
                log.info("the lease %s stays for now: %s", lease.id, error.detail)

    async def _ended(self, lease: Lease) -> None:
        async with self.kernel.catalog.read() as uow:
            row = await uow.databases.get(lease.database_id)
            provider = await uow.providers.get(lease.provider_id)
        if provider is None:
            await self._forget(lease)
            return
        engine = await self.engine_of(provider)
        name = row.physical_name if row is not None else ""
        if engine.logins is not None:
            await engine.logins.end_lease(lease.user, name)
        await self._forget(lease)

    async def _end(self, lease: Lease, row: Database, logins: Logins) -> None:
        """Take back a login that was not made whole; what cannot be taken back now is the upkeep's."""
        try:
            await logins.end_lease(lease.user, row.physical_name)
        except StorageError:
            async with self.kernel.catalog.write() as uow:
                await uow.leases.save(replace(lease, expires_at=self.kernel.now()))
            return
        await self._forget(lease)

    async def _forget(self, lease: Lease) -> None:
        async with self.kernel.catalog.write() as uow:
            await uow.leases.remove(lease.id)


def _login(lease: Lease, kind: EngineKind, endpoint: Endpoint, row: Database, password: str) -> LeasedLogin:
    host, port = endpoint.host or "localhost", endpoint.port or PORTS[kind]
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
