"""The core, opened and closed: services over ports over what the settings name."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import make_url

from ..backing.archive import SealedArchive
from ..backing.artifacts import store_from_url
from ..backing.bus import OutboxBus
from ..backing.mail import SmtpMail
from ..backing.notary import VaultNotary
from ..backing.outbound import Guard, GuardedWeb
from ..backing.passwords import Argon2Passwords
from ..backing.queue import DbosQueue, jobs_engine, mark_of
from ..backing.servers.servers import LocalServers
from ..backing.vault import EnvelopeVault, MasterRing
from ..backing.witness import witness_from_url
from ..catalog.catalog import SqlCatalog, open_engine
from ..domain.errors import Unavailable
from ..domain.heads import Head
from ..domain.outbound import Rules, networks
from ..domain.provider import EngineKind
from ..ports.bus import Bus
from ..ports.verifier import TokenVerifier
from ..providers.directory import EngineDirectory
from ..providers.encrypted import encrypted
from ..providers.registry import builder
from ..services.approvals import Approvals
from ..services.audits import Audits
from ..services.backups import Backups
from ..services.configuration import Configuration
from ..services.credentials import Credentials
from ..services.databases import Databases
from ..services.encryptions import Encryptions
from ..services.engines import PrivateEngines
from ..services.federation import Federation
from ..services.federation import Provider as IdentityProvider
from ..services.grants import Grants
from ..services.heads import HeadExport
from ..services.holds import Holds
from ..services.jobs import Jobs
from ..services.kernel import Kernel, Service, options_in
from ..services.leases import Leases
from ..services.notifications import Notifications
from ..services.operation import Operation, operations_of
from ..services.preferences import Filters, PersonalPreferences
from ..services.programs import Programs
from ..services.providers import Providers
from ..services.records import Records
from ..services.schedules import Schedules
from ..services.secrets import Secrets
from ..services.sessions import Sessions
from ..services.sign_in import SignIn
from ..services.tenants import Tenants
from ..services.tokens import Tokens
from ..services.users import Users
from ..settings import Settings, prepare_home
from ..telemetry import log
from .given import (
    configured_rules,
    identity_provider_of,
    master_keys_of,
    own_ground,
    own_rules,
    started_with,
    verifier_of,
)
from .lock import WorkerLock, home_id
from .sources import new_id, new_token, utc_now

BUS_SECONDS = 0.2
#: Where the catalog itself tells of news, reading every so often is only the safety net.
NET_SECONDS = 2.0
#: How long a process that ends waits for the place of the audit's heads.
EXPORT_SECONDS = 15

Registry = Mapping[str, tuple[Operation, Callable[..., Awaitable[Any]]]]


@dataclass(frozen=True, slots=True)
class Core:
    """Everything that is open: the services by noun, who is asking, the bus."""

    settings: Settings
    kernel: Kernel
    auth: SignIn
    federation: Federation
    bus: Bus
    tenants: Tenants
    providers: Providers
    databases: Databases
    encryptions: Encryptions
    leases: Leases
    notifications: Notifications
    programs: Programs
    records: Records
    backups: Backups
    schedules: Schedules
    holds: Holds
    jobs: Jobs
    users: Users
    grants: Grants
    tokens: Tokens
    sessions: Sessions
    approvals: Approvals
    audit: Audits
    configuration: Configuration
    heads: HeadExport
    secrets: Secrets
    credentials: Credentials
    engines: PrivateEngines
    filters: Filters
    preferences: PersonalPreferences
    operations: Registry
    verifier: TokenVerifier | None = None

    def correlation(self) -> str:
        return self.kernel.new_id()


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open the catalog, the vault and the services; WrongKey when the master key is not this catalog's."""
    prepare_home(settings)
    async with Opening(settings) as core:
        known = await _heads(core)
        try:
            yield core
        finally:
            if await _heads(core) != known:
                await _export_without_worker(core)


async def _heads(core: Core) -> tuple[Head, ...]:
    try:
        async with core.kernel.catalog.read() as uow:
            return await uow.audit.heads()
    except Unavailable:
        return ()


async def _export_without_worker(core: Core) -> None:
    """Export what this process wrote, where no worker will."""
    lock = WorkerLock(core.settings.home)
    if not lock.acquire(borrowed=True):
        return
    try:
        async with asyncio.timeout(EXPORT_SECONDS):
            await core.heads.export()
    except TimeoutError:
        log.error("the audit's heads are not exported: the place does not answer")
    finally:
        lock.release()


class Opening:
    """Opens in order, closes in reverse, whatever happens in between."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = jobs_engine(settings.jobs, 5)
        self._queue = DbosQueue(self._jobs)
        engine = open_engine(settings.catalog)
        self._shared = make_url(settings.jobs) == make_url(settings.catalog)
        self.catalog = SqlCatalog(engine, self._queue, utc_now, shared=self._shared)
        options: Mapping[EngineKind, Mapping[str, Any]] = {
            EngineKind.POSTGRESQL: {"bin_dir": settings.pg_bin, "own": self._own_databases},
            **{kind: {"own": own_ground(settings)} for kind in EngineKind if kind.is_files},
        }
        self._engines = EngineDirectory(
            builder(options, Guard(self._provider_rules)),
            time.monotonic,
            build_own=builder(options, Guard(own_rules)),
        )
        self._trusted_web = GuardedWeb(Guard(configured_rules))
        self._named_web = GuardedWeb(Guard(self._provider_rules))
        self._mail = SmtpMail(Guard(self._provider_rules))
        listens = make_url(settings.catalog).get_backend_name() == "postgresql"
        seconds, news = (NET_SECONDS, self.catalog.news) if listens else (BUS_SECONDS, None)
        self._bus = OutboxBus(self.catalog.events, self.catalog.last_event, seconds, news)

    async def _own_databases(self) -> frozenset[str]:
        """Marks of the databases on PostgreSQL that hold the catalog and the jobs."""
        marks = [await self.catalog.mark()]
        if not self._shared:
            marks.append(await asyncio.to_thread(mark_of, self._jobs))
        return frozenset(mark for mark in marks if mark is not None)

    async def _provider_rules(self) -> Rules:
        """What the options say; this machine's own servers also where the console serves this machine alone."""
        async with self.catalog.read() as uow:
            options = await options_in(uow)
        return Rules(
            options.outbound_private,
            options.outbound_loopback or self._settings.is_local,
            networks(options.outbound_networks, "outbound_networks"),
        )

    async def __aenter__(self) -> Core:
        try:
            return await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> Core:
        settings = self._settings
        source = master_keys_of(settings)
        masters = MasterRing(source, self.catalog.keys, utc_now)
        vault = EnvelopeVault(masters, self.catalog.keys, utc_now, new_id)
        await vault.unlock()
        kernel = Kernel(
            catalog=self.catalog,
            vault=vault,
            rewrapping=vault,
            masters=masters,
            engines=self._engines,
            servers=LocalServers(settings.home),
            artifacts=store_from_url(settings.artifacts),
            archive=SealedArchive(),
            queue=self._queue,
            passwords=Argon2Passwords(),
            encrypted=encrypted,
            notary=VaultNotary(self.catalog, vault, utc_now),
            witness=witness_from_url(
                settings.audit_heads, settings.home, utc_now, self._trusted_web, home_id(settings.home)
            ),
            web=self._named_web,
            mail=self._mail,
            now=utc_now,
            new_id=new_id,
            new_token=new_token,
            home=settings.home,
        )
        await self._bus.start()
        core = _core(
            settings,
            kernel,
            self._bus,
            verifier_of(settings, self._trusted_web),
            identity_provider_of(settings, self._trusted_web),
        )
        if settings.admin_password is not None:
            await core.auth.ensure_admin(settings.admin_password.get_secret_value())
        return core

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._bus.close()
        await self._trusted_web.close()
        await self._named_web.close()
        self._mail.close()
        await self._engines.close()
        await self._queue.close()
        await self.catalog.close()
        await asyncio.to_thread(self._jobs.dispose)


def _core(
    settings: Settings,
    kernel: Kernel,
    bus: Bus,
    verifier: TokenVerifier | None,
    provider: IdentityProvider | None,
) -> Core:
    registry: dict[str, tuple[Operation, Callable[..., Awaitable[Any]]]] = {}
    databases = Databases(kernel)
    auth = SignIn(kernel)
    core = Core(
        settings,
        kernel,
        auth,
        Federation(kernel, auth, provider),
        bus,
        tenants=Tenants(kernel),
        providers=Providers(kernel),
        databases=databases,
        encryptions=Encryptions(kernel, databases),
        leases=Leases(kernel, databases),
        notifications=Notifications(kernel),
        programs=Programs(kernel, databases),
        records=Records(kernel, databases),
        backups=Backups(kernel, databases),
        schedules=Schedules(kernel),
        holds=Holds(kernel),
        jobs=Jobs(kernel, lambda: registry),
        users=Users(kernel),
        grants=Grants(kernel),
        tokens=Tokens(kernel),
        sessions=Sessions(kernel),
        approvals=Approvals(kernel),
        audit=Audits(kernel),
        configuration=Configuration(kernel, started_with(settings)),
        heads=HeadExport(kernel),
        secrets=Secrets(kernel),
        credentials=Credentials(kernel),
        engines=PrivateEngines(kernel),
        filters=Filters(kernel),
        preferences=PersonalPreferences(kernel),
        operations=registry,
        verifier=verifier,
    )
    for name in Core.__dataclass_fields__:
        part = getattr(core, name)
        if isinstance(part, Service):
            registry.update(operations_of(part))
    return core
