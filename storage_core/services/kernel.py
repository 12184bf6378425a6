"""What every service stands on: ports, clock and ids, handed over by bootstrap."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from ..domain.context import Context
from ..domain.encryption import Encryption
from ..domain.errors import NotFound, StorageError, TenantSuspended, Unavailable, VersionConflict, WrongKey
from ..domain.idempotency import Remembered
from ..domain.naming import said
from ..domain.option import Options, options_of
from ..domain.page import MAX_LIMIT, Clause, Query, Reach
from ..domain.permission import Grant, Permission, ScopeKind, reach
from ..domain.provider import Endpoint, Provider
from ..domain.secret import Binding, Secret, WrappedKey
from ..domain.tenant import Tenant, TenantStatus
from ..ports.archive import Archive
from ..ports.artifacts import Artifacts
from ..ports.catalog import Catalog, Repository, UnitOfWork
from ..ports.engine import Engine
from ..ports.engines import Engines
from ..ports.mail import Mail
from ..ports.notary import Notary
from ..ports.outbound import Web
from ..ports.passwords import Passwords
from ..ports.queue import Queue
from ..ports.seals import Seals
from ..ports.servers import Servers
from ..ports.vault import Masters, Rewrapping, Vault
from ..ports.witness import Witness

T = TypeVar("T")

RACES = 30
#: Pauses in seconds while the catalog is away: what was done already is not given up for that.
PATIENCE = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@dataclass(frozen=True, slots=True)
class Kernel:
    """The ports and the two sources of change (time, ids). One per open core."""

    catalog: Catalog
    vault: Vault
    rewrapping: Rewrapping
    masters: Masters
    engines: Engines
    servers: Servers
    artifacts: Artifacts
    archive: Archive
    queue: Queue
    passwords: Passwords
    encrypted: Seals
    notary: Notary
    witness: Witness
    web: Web
    mail: Mail
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    new_token: Callable[[], str]
    home: Path


class Service:
    """Base of the services: the kernel, and what several of them need from it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    async def engine_of(self, provider: Provider) -> Engine:
        """The live engine of a provider; a private server that is down is started again."""
        endpoint = provider.endpoint
        if provider.server is not None:
            endpoint, password = await self.kernel.servers.endpoint(provider.server)
            if endpoint != provider.endpoint:
                provider = await self._moved(provider.id, endpoint)
            return await self.kernel.engines.engine(provider, password)
        current, password = await self._signing_in(provider.id)
        return await self.kernel.engines.engine(current or provider, password)

    async def password_of(self, provider_id: str) -> str | None:
        return (await self._signing_in(provider_id))[1]

    async def _signing_in(self, provider_id: str) -> tuple[Provider | None, str | None]:
        """A provider's row and password as they are at one moment: user and password change together."""
        row: Provider | None = None

        async def read() -> Secret | None:
            nonlocal row
            async with self.kernel.catalog.read() as uow:
                row = await uow.providers.get(provider_id)
                return await uow.secrets.get(password_place(provider_id))

        password = await opened(self.kernel.vault, read)
        return row, None if password is None else password.decode()

    async def sealed_password(self, provider_id: str, password: str) -> Secret:
        """Seal a provider's password. Call it outside of a unit of work: the vault may write a key."""
        envelope = await self.kernel.vault.seal(password.encode(), password_binding(provider_id))
        now = self.kernel.now()
        return Secret(password_place(provider_id), None, provider_id, envelope, now, now)

    async def _moved(self, provider_id: str, endpoint: Endpoint) -> Provider:
        """A private server came up on another port: the provider follows it."""
        async with self.kernel.catalog.write() as uow:
            current = await found(uow.providers.get(provider_id), "provider", provider_id)
            if current.endpoint == endpoint:
                return current  # somebody else saw it first
            current = replace(
                current, endpoint=endpoint, revision=current.revision + 1, updated_at=self.kernel.now()
            )
            await uow.providers.save(current)
        return current

    def reach(self, ctx: Context, permission: Permission) -> Reach:
        return reach(permission, ctx.grants, ctx.tenant_id)


def password_place(provider_id: str) -> str:
    return f"{provider_id}/password"


#: The collection of credentials that providers had before.
PREVIOUS = "previous"


def previous_place(provider_id: str) -> str:
    """Where the credentials a provider had before are kept, until their switch is over."""
    return f"{provider_id}/previous"


async def put_secret(uow: UnitOfWork, secret: Secret) -> None:
    """Add a secret, or put it in the place of the one before it, one version on."""
    before = await uow.secrets.get(secret.id)
    if before is None:
        await uow.secrets.add(secret)
    else:
        await uow.secrets.save(replace(secret, created_at=before.created_at, version=before.version + 1))


def password_binding(provider_id: str) -> Binding:
    return Binding(None, "providers", provider_id, "password")


async def opened(
    vault: Vault, read: Callable[[], Awaitable[Encryption | Secret | WrappedKey | Remembered | None]]
) -> bytes | None:
    """What is sealed in the row that `read` finds; read again where its key was rotated in between."""
    before = None
    while (row := await read()) is not None:
        try:
            return await vault.open(row.sealed, row.binding)
        except WrongKey:
            if row.sealed == before:
                raise
            before = row.sealed
    return None


async def found(row: Awaitable[T | None], kind: str, id: str) -> T:
    """The row, or NotFound in words."""
    value = await row
    if value is None:
        raise missing(kind, id)
    return value


async def every(rows: Repository[T], where: tuple[Clause, ...]) -> AsyncIterator[T]:
    """Every row that matches, page by page, oldest first."""
    cursor: str | None = None
    while True:
        page = await rows.find(Query(where, sort="created_at", limit=MAX_LIMIT, cursor=cursor))
        for row in page.items:
            yield row
        cursor = page.next
        if cursor is None:
            return


def missing(kind: str, id: str) -> NotFound:
    """What is not there, and what is not for the caller: one answer, so that nobody learns which."""
    return NotFound(f"There is no {kind} {said(id)}.", field="id")


async def raced(work: Callable[[], Awaitable[T]]) -> T:
    """Run a short unit of work, again when somebody else changed the same rows meanwhile.

    SQLite's writers wait for each other; PostgreSQL's find out at the end.
    """
    for attempt in range(RACES):
        try:
            return await work()
        except VersionConflict:
            await asyncio.sleep(0.01 * attempt)
    return await work()


async def insisted(work: Callable[[], Awaitable[T]]) -> T:
    """Like `raced`, and for a minute also while the catalog is away: for outcomes of what was done already."""
    for pause in PATIENCE:
        try:
            return await raced(work)
        except Unavailable:
            await asyncio.sleep(pause)
    return await raced(work)


async def to_its_end(work: Awaitable[T]) -> T:
    """Wait for work that must be done even while we are being cancelled; the cancellation is raised after it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled():
        task.exception()  # seen: that we are to stop is what matters now
        raise cancelled
    return task.result()


async def options_in(uow: UnitOfWork) -> Options:
    """The options in force."""
    return options_of((await uow.options.find(Query(limit=MAX_LIMIT))).items)


async def active_tenant(uow: UnitOfWork, tenant_id: str) -> Tenant:
    """The tenant, refusing one that is deleted or suspended."""
    tenant = await uow.tenants.get(tenant_id)
    if tenant is None or tenant.status is TenantStatus.DELETED:
        raise NotFound(f"There is no tenant {said(tenant_id)}.", field="tenant_id")
    if tenant.status is TenantStatus.SUSPENDED:
        why = f": {' '.join(tenant.status_reason.split())}" if tenant.status_reason else "."
        raise TenantSuspended(f"The tenant {said(tenant.name)} is suspended{why}")
    return tenant


async def without_suspended(uow: UnitOfWork, ctx: Context) -> Context:
    """The context less its grants in tenants that may not work now; refused when those were all it had."""
    out: list[Grant] = []
    refusal: StorageError | None = None
    for grant in ctx.grants:
        try:
            if grant.scope.kind is ScopeKind.TENANT and grant.scope.id is not None:
                await active_tenant(uow, grant.scope.id)
            out.append(grant)
        except StorageError as error:
            refusal = error
    if refusal is not None and not out:
        raise refusal
    return replace(ctx, grants=tuple(out))
