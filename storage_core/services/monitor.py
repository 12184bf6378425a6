"""Keeps each provider's status honest: probed every half minute by the worker."""

import asyncio
from dataclasses import replace
from datetime import datetime

from ..domain.errors import StorageError
from ..domain.health import Health
from ..domain.notification import Happening, Notice
from ..domain.page import Query
from ..domain.provider import Provider, ProviderStatus
from .kernel import Service
from .notices import tell

AT_ONCE = 8

STOPPED = (
    "The private server does not run. Start it on the Providers page or with `engines start`; "
    "whatever uses it also starts it."
)


class Monitor(Service):
    """Probes engines. Not an operation: it reads nobody's data and changes only what it saw."""

    async def probe_all(self) -> None:
        """Probe every provider, a few at a time, and write down what changed."""
        async with self.kernel.catalog.read() as uow:
            providers = (await uow.providers.find(Query(limit=500))).items
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(provider: Provider) -> None:
            async with gate:
                await self._remember(provider.id, await self._health(provider))

        async with asyncio.TaskGroup() as group:
            for provider in providers:
                group.create_task(one(provider))

    async def _health(self, provider: Provider) -> Health:
        if provider.server is not None and not await self._runs(provider.server):
            # A probe is no reason to start a private server that people stopped.
            return Health(online=False, milliseconds=0, problem=STOPPED)
        try:
            return await (await self.engine_of(provider)).health()
        except StorageError as error:
            return Health(online=False, milliseconds=0, problem=f"{error.detail} {error.hint}".strip())

    async def _runs(self, server: str) -> bool:
        return any(s.name == server and s.running for s in await self.kernel.servers.list())

    async def _remember(self, id: str, health: Health) -> None:
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            row = await uow.providers.get(id)
            if row is None:
                return
            notice = _notice(row, health, now)
            if notice is not None:
                await tell(uow, notice, now)
            await uow.providers.save(
                replace(
                    row,
                    status=ProviderStatus.ONLINE if health.online else ProviderStatus.OFFLINE,
                    problem=_problem(row, health),
                    engine_version=health.version or row.engine_version,
                    latency_ms=round(health.milliseconds, 2) if health.online else row.latency_ms,
                    checked_at=now,
                    updated_at=row.updated_at
                    if health.online == (row.status is ProviderStatus.ONLINE)
                    else now,
                )
            )


def _notice(row: Provider, health: Health, now: datetime) -> Notice | None:
    """What people are told of a provider that went away or came back; nothing at its first probe that is well."""
    was, is_ = row.status, ProviderStatus.ONLINE if health.online else ProviderStatus.OFFLINE
    if was is is_ or (health.online and was is not ProviderStatus.OFFLINE):
        return None
    event = Happening.PROVIDER_ONLINE if health.online else Happening.PROVIDER_OFFLINE
    title = f"Provider {'online again' if health.online else 'offline'}: {row.name}"
    return Notice(
        f"provider:{row.id}:{is_}:{now.isoformat()}",
        event,
        now,
        title,
        health.problem or title,
        target_kind="provider",
        target_id=row.id,
        target_name=row.name,
    )


def _problem(row: Provider, health: Health) -> str | None:
    """What is wrong; while it stays online, what its last test warned of still holds."""
    if not health.online:
        return health.problem
    return row.problem if row.status is ProviderStatus.ONLINE else None
