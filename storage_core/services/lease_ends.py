"""The end of leases: a login leaves its engine before its row leaves the catalog, whoever asks for it."""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ..domain.errors import NotFound, StorageError, Unavailable
from ..domain.lease import Ground, Lease, making, over
from ..domain.page import clause
from ..domain.permission import Grant, Target
from ..domain.provider import Provider
from ..ports.bus import Bus
from ..ports.catalog import UnitOfWork
from .kernel import Service, every, raced
from .scopes import grants_of, scope_of
from .sign_in import narrowed
from .system import acting

log = logging.getLogger(__name__)

#: News of these may take away what a lease stands on, or bring back the engine that one waits for.
GROUND = frozenset({"users", "grants", "tokens", "tenants", "databases", "providers"})


class LeaseEnds(Service):
    """Ends leases: for operations that take away what they stand on, and by itself."""

    async def end(self, lease: Lease, why: str) -> None:
        """Remove a lease's login with its connections, then forget it. Idempotent.

        Where the engine does not do it, its error is raised; the lease ends all the same, as soon as the engine does.
        """
        await self._note(lease.id, why)
        try:
            await self._remove_login(lease)
        except StorageError as error:
            await self._note(lease.id, why, problem=f"{error.detail} {error.hint}".strip())
            raise
        if not making(lease, self.kernel.now()):
            async with self.kernel.catalog.write() as uow:
                await uow.leases.remove(lease.id)

    async def end_of(self, field: str, id: str, why: str) -> None:
        """End all leases of a database or a provider, by that field; the first one that does not end is an error."""
        for lease in await self.open_of(field, id):
            await self.end(lease, why)

    async def open_of(self, field: str, id: str) -> tuple[Lease, ...]:
        """The leases of a database or a provider that still stand, or have not ended on the engine yet."""
        async with self.kernel.catalog.read() as uow:
            return tuple([lease async for lease in every(uow.leases, clause(field, id))])

    async def reason(self, uow: UnitOfWork, lease: Lease) -> str | None:
        """Why a lease ends now; none while it stands."""
        user = await uow.users.get(lease.made_by)
        token = None if lease.token_id is None else await uow.tokens.get(lease.token_id)
        held: tuple[Grant, ...] = ()
        if user is not None:
            held = tuple(Grant(g.role, scope_of(g)) for g in await grants_of(uow, user.id))
        if token is not None:
            held = narrowed(held, token)
        tenant, database = await uow.tenants.get(lease.tenant_id), await uow.databases.get(lease.database_id)
        return over(lease, Ground(tenant, database, user, token, held), self.kernel.now())

    async def settle(self) -> None:
        """End what nothing stands under any more; what an engine does not do now is left for a later round."""
        ending: dict[str, list[Lease]] = {}
        async with self.kernel.catalog.read() as uow:
            async for lease in every(uow.leases, ()):
                if (why := await self.reason(uow, lease)) is not None:
                    ending.setdefault(lease.provider_id, []).append(replace(lease, ending=why))
        async with asyncio.TaskGroup() as group:  # an engine that is away keeps no other one waiting
            for leases in ending.values():
                group.create_task(self._end_on_one(leases))

    async def follow(self, bus: Bus) -> None:
        """End leases as soon as what they stand on goes; until cancelled."""
        settled = 0
        async with aclosing(bus.subscribe()) as events:
            async for event in events:
                if event.topic not in GROUND or event.sequence <= settled:
                    continue
                settled = await self.kernel.catalog.last_event()
                await self.settle()

    async def _end_on_one(self, leases: list[Lease]) -> None:
        """End leases of one provider."""
        for lease in leases:
            await self._note(lease.id, lease.ending or "")
        if not await self._runs(leases[0].provider_id):
            return
        for lease in leases:
            target = Target("lease", lease.id, lease.user, lease.tenant_id, lease.provider_id)
            try:
                async with acting(self.kernel, lease.ending or "", "leases.settle", target):
                    await self.end(lease, lease.ending or "")
            except Unavailable as error:
                log.info("the lease %s, and others there, stay for now: %s", lease.id, error.detail)
                return
            except StorageError as error:
                log.warning("the lease %s stays for now: %s", lease.id, error.detail)

    async def _remove_login(self, lease: Lease) -> None:
        async with self.kernel.catalog.read() as uow:
            provider = await uow.providers.get(lease.provider_id)
        if provider is None:
            log.warning("the login %s stays on a server whose provider is gone: remove it there", lease.user)
            return
        engine = await self.engine_of(provider)
        if engine.logins is not None:
            await engine.logins.end_lease(lease.user)

    async def _runs(self, provider_id: str) -> bool:
        """Nobody signs in to a private server that people stopped, and ending a login is no reason to start it."""
        async with self.kernel.catalog.read() as uow:
            provider: Provider | None = await uow.providers.get(provider_id)
        if provider is None or provider.server is None:
            return True
        try:
            return any(s.name == provider.server and s.running for s in await self.kernel.servers.list())
        except NotFound:
            return False

    async def _note(self, id: str, why: str, **more: Any) -> None:
        """Write down that a lease ends, which it will not go back on, and what keeps it."""

        async def write() -> None:
            async with self.kernel.catalog.write() as uow:
                row = await uow.leases.get(id)
                noted = None if row is None else replace(row, ending=row.ending or why, **more)
                if noted is not None and noted != row:
                    await uow.leases.save(noted)

        await raced(write)
