"""Opens the core: the one module that names concrete classes."""

import asyncio
import fcntl
import os
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from .backing.archive import SealedArchive
from .backing.artifacts import store_from_url
from .backing.bus import OutboxBus
from .backing.notary import VaultNotary
from .backing.outbound import Guard, GuardedWeb
from .backing.passwords import Argon2Passwords
from .backing.queue import DbosQueue, DbosWorker, jobs_engine, mark_of, migrate_jobs
from .backing.servers.servers import LocalServers
from .backing.vault import EnvelopeVault, MasterRing, fingerprint, master_keys, read_recovery
from .backing.witness import witness_from_url
from .catalog.catalog import SqlCatalog, open_engine
from .catalog.migrate import migrate as migrate_catalog
from .catalog.migrate import newest_file, versions
from .domain.errors import InvalidRequest, StorageError, Unavailable, WrongKey
from .domain.federation import RolePolicy, read_rule
from .domain.heads import Head
from .domain.outbound import Rules, networks
from .domain.provider import EngineKind
from .domain.secret import OPENING
from .ports.bus import Bus
from .ports.vault import MasterKeys
from .ports.verifier import TokenVerifier
from .providers.directory import EngineDirectory
from .providers.registry import builder
from .providers.sqlite.own import Own
from .services.approvals import Approvals
from .services.audits import Audits
from .services.backups import Backups
from .services.configuration import Configuration, Setting
from .services.credentials import Credentials
from .services.databases import Databases
from .services.declared import OPERATIONS
from .services.engines import PrivateEngines
from .services.federation import Federation
from .services.federation import Provider as IdentityProvider
from .services.grants import Grants
from .services.heads import HeadExport
from .services.jobs import Jobs
from .services.kernel import Kernel, Service, options_in
from .services.monitor import Monitor
from .services.operation import Operation, operations_of
from .services.preferences import Filters, PersonalPreferences
from .services.providers import Providers
from .services.reconcile import Reconciler
from .services.runner import JobRunner
from .services.secrets import Secrets
from .services.sessions import Sessions
from .services.sign_in import SignIn
from .services.tenants import Tenants
from .services.tokens import Tokens
from .services.users import Users
from .settings import OWN_FOLDERS, PREFIX, Settings, prepare_home
from .telemetry import log

BUS_SECONDS = 0.2
#: Where the catalog itself tells of news, reading every so often is only the safety net.
NET_SECONDS = 2.0
RECONCILE_SECONDS = 60
PROBE_SECONDS = 30
HEADS_SECONDS = 60
#: How long a process that ends waits for the place of the audit's heads.
EXPORT_SECONDS = 15
WORKER_JOBS = 2

__all__ = [
    "OPERATIONS",
    "Core",
    "Registry",
    "WorkerLock",
    "migrate",
    "open_core",
    "open_worker",
    "setup_link",
]

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
    backups: Backups
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


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid.uuid4())


def new_token() -> str:
    return secrets.token_urlsafe(32)


async def migrate(settings: Settings) -> None:
    """Make the home and bring catalog and job store to this version; before any other process opens them."""
    prepare_home(settings)
    note = settings.home / "migrated"
    engine = open_engine(settings.catalog)
    try:
        if settings.jobs == settings.catalog and await _current(engine) == _noted(note):
            return
        await migrate_catalog(engine)
        await asyncio.to_thread(migrate_jobs, settings.jobs)
        note.write_text(await _current(engine) or "", "utf-8")
    finally:
        await engine.dispose()


async def _current(engine: AsyncEngine) -> str | None:
    """What the database is at, if that is this version's catalog; none when there is something to do."""
    revision, jobs = await versions(engine)
    return f"{revision} {jobs} {version('dbos')}" if revision == newest_file() else None


def _noted(note: Path) -> str:
    """What the last migration brought it to; DBOS cannot be asked without loading it."""
    try:
        return note.read_text("utf-8")
    except OSError:
        return ""


async def setup_link(settings: Settings) -> str | None:
    """The one-time address that creates the first SuperAdmin, none when there are users."""
    async with open_core(settings) as core:
        token = await core.auth.setup_token()
    return None if token is None else f"{settings.address}/setup?token={token}"


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open the catalog, the vault and the services; WrongKey when the master key is not this catalog's."""
    prepare_home(settings)
    async with _Opening(settings) as core:
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
        await asyncio.wait_for(core.heads.export(), EXPORT_SECONDS)
    except TimeoutError:
        log.error("the audit's heads are not exported: the place does not answer")
    finally:
        lock.release()


class _Opening:
    """Opens in order, closes in reverse, whatever happens in between."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = jobs_engine(settings.jobs, 5)
        self._queue = DbosQueue(self._jobs)
        engine = open_engine(settings.catalog)
        self._shared = make_url(settings.jobs) == make_url(settings.catalog)
        self._catalog = SqlCatalog(engine, self._queue, utc_now, shared=self._shared)
        options: Mapping[EngineKind, Mapping[str, Any]] = {
            EngineKind.POSTGRESQL: {"bin_dir": settings.pg_bin, "own": self._own_databases},
            EngineKind.SQLITE: {"own": _own_ground(settings)},
        }
        self._engines = EngineDirectory(
            builder(options, Guard(self._provider_rules)),
            time.monotonic,
            build_own=builder(options, Guard(_own_rules)),
        )
        self._trusted_web = GuardedWeb(Guard(_configured_rules))
        listens = make_url(settings.catalog).get_backend_name() == "postgresql"
        seconds, news = (NET_SECONDS, self._catalog.news) if listens else (BUS_SECONDS, None)
        self._bus = OutboxBus(self._catalog.events, self._catalog.last_event, seconds, news)

    async def _own_databases(self) -> frozenset[str]:
        """Marks of the databases on PostgreSQL that hold the catalog and the jobs."""
        marks = [await self._catalog.mark()]
        if not self._shared:
            marks.append(await asyncio.to_thread(mark_of, self._jobs))
        return frozenset(mark for mark in marks if mark is not None)

    async def _provider_rules(self) -> Rules:
        """What the options say; this machine's own servers also where the console serves this machine alone."""
        async with self._catalog.read() as uow:
            options = await options_in(uow)
        return Rules(
            options.outbound_private,
            options.outbound_loopback or self._settings.is_local,
            networks(options.outbound_networks, "outbound_networks"),
        )

    def _verifier(self) -> TokenVerifier | None:
        settings = self._settings
        if settings.jwt_issuer is None:
            return None
        from .backing.jwt import Issuer, JwtVerifier  # here: most homes trust no other issuer

        keys = settings.jwt_jwks
        try:
            if settings.jwt_jwks_file is not None:
                keys = settings.jwt_jwks_file.read_text("utf-8")
            issuer = Issuer(
                settings.jwt_issuer,
                settings.jwt_audience or "",
                settings.jwt_tenant_claim,
                settings.jwt_role_claim,
                keys,
            )
            return JwtVerifier(issuer, self._trusted_web, utc_now)
        except (OSError, ValueError) as error:
            raise InvalidRequest(
                f"STORAGE_JWT_JWKS: {error}.", hint="Give a JWKS with public keys."
            ) from None

    async def __aenter__(self) -> Core:
        try:
            return await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> Core:
        settings = self._settings
        source = _master_keys(settings)
        masters = MasterRing(source, self._catalog.keys, utc_now)
        vault = EnvelopeVault(masters, self._catalog.keys, utc_now, new_id)
        await vault.unlock()
        kernel = Kernel(
            catalog=self._catalog,
            vault=vault,
            rewrapping=vault,
            masters=masters,
            engines=self._engines,
            servers=LocalServers(settings.home),
            artifacts=store_from_url(settings.artifacts),
            archive=SealedArchive(),
            queue=self._queue,
            passwords=Argon2Passwords(),
            notary=VaultNotary(self._catalog, vault, utc_now),
            witness=witness_from_url(settings.audit_heads, settings.home, utc_now, self._trusted_web),
            now=utc_now,
            new_id=new_id,
            new_token=new_token,
            home=settings.home,
        )
        await self._bus.start()
        core = _core(settings, kernel, self._bus, self._verifier(), self._identity_provider())
        if settings.admin_password is not None:
            await core.auth.ensure_admin(settings.admin_password.get_secret_value())
        return core

    def _identity_provider(self) -> IdentityProvider | None:
        """Whom people may sign in with, if that is configured."""
        settings = self._settings
        if settings.oidc_issuer is None or settings.oidc_client_id is None:
            return None
        from .backing.issuer import Client, OidcIssuer  # here: most homes have none

        client = Client(
            settings.oidc_issuer,
            settings.oidc_client_id,
            settings.oidc_secret(),
            f"{settings.address.rstrip('/')}/api/auth/oidc/callback",
            settings.oidc_scopes,
            settings.oidc_username_claim,
            settings.oidc_groups_claim,
        )
        return IdentityProvider(
            OidcIssuer(client, self._trusted_web), settings.oidc_name, _role_policy(settings)
        )

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._bus.close()
        await self._trusted_web.close()
        await self._engines.close()
        await self._queue.close()
        await self._catalog.close()
        await asyncio.to_thread(self._jobs.dispose)


def _own_ground(settings: Settings) -> Own:
    """What the console has on this machine's disk: no directory of databases may hold it or lie in it."""
    files = [_file_of(settings.catalog), _file_of(settings.jobs), settings.master_key_file]
    files += [_path_of(settings.audit_heads)]
    folders = [_path_of(settings.artifacts), *(settings.home / name for name in OWN_FOLDERS)]
    return Own(settings.home, tuple(f for f in files if f), tuple(f for f in folders if f))


def _file_of(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _path_of(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


async def _configured_rules() -> Rules:
    """Addresses that stand in the settings of whoever runs the console may be anywhere."""
    return Rules(private=True, loopback=True)


def _role_policy(settings: Settings) -> RolePolicy:
    """The settings' table of groups and roles, read."""
    groups = {
        group: tuple(read_rule(text) for text in ([roles] if isinstance(roles, str) else roles))
        for group, roles in settings.oidc_roles.items()
    }
    return RolePolicy(groups, read_rule(settings.oidc_default_role) if settings.oidc_default_role else None)


async def _own_rules() -> Rules:
    """Private local servers listen on this machine, and nowhere else."""
    return Rules(loopback=True)


def _master_keys(settings: Settings) -> MasterKeys:
    return master_keys(
        settings.home,
        settings.master_key_source,
        _shown(settings.master_key),
        settings.master_key_file,
        _shown(settings.master_key_previous),
    )


async def unlock(settings: Settings, recovery: str, passphrase: str) -> str:
    """Put a recovered master key where this home keeps it; answers where. WrongKey unless it is this catalog's."""
    prepare_home(settings)
    key = await asyncio.to_thread(read_recovery, recovery, passphrase)
    opening = _Opening(settings)
    try:
        known = await opening._catalog.keys.by_id(fingerprint(key))
    finally:
        await opening.close()
    if known is None or known.state not in OPENING:
        raise WrongKey(
            "The recovery key is not of the master key that this catalog is sealed with.",
            hint="Use the one that was exported last; check STORAGE_HOME and STORAGE_CATALOG_URL.",
        )
    return await asyncio.to_thread(_master_keys(settings).restore, key)


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


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
        backups=Backups(kernel, databases),
        jobs=Jobs(kernel, lambda: registry),
        users=Users(kernel),
        grants=Grants(kernel),
        tokens=Tokens(kernel),
        sessions=Sessions(kernel),
        approvals=Approvals(kernel),
        audit=Audits(kernel),
        configuration=Configuration(kernel, _started(settings)),
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


def _started(settings: Settings) -> tuple[Setting, ...]:
    """What the console was started with, as people may read it: of secrets only that they are set."""
    out = []
    for name, info in Settings.model_fields.items():
        value = getattr(settings, name)
        hidden = isinstance(value, SecretStr) or (
            value is not None and name.endswith("_url") and "@" in str(value)
        )
        shown = "set, not shown" if hidden else None if value is None else str(value)
        out.append(
            Setting(
                f"{PREFIX}{name.upper()}", info.description or "", shown, settings.source(name), restart=True
            )
        )
    return tuple(out)


_BORROWED = "borrowed"


class WorkerLock:
    """The home's worker lock: on SQLite exactly one process executes jobs. A killed holder's lock is free."""

    def __init__(self, home: Path) -> None:
        self._path = home / "worker.lock"
        self._file: Any = None

    def acquire(self, *, borrowed: bool = False) -> bool:
        """Take the lock if it is free; answers whether this process holds it.

        Who takes it for one command only says so: a worker waits for such a holder, and refuses beside another worker.
        """
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            self._file = None
            return False
        self._file.truncate(0)
        self._file.write(_BORROWED if borrowed else "")
        self._file.flush()
        return True

    @property
    def is_borrowed(self) -> bool:
        """Whether its holder is one command that will soon be done."""
        return self._path.exists() and self._path.read_text("ascii") == _BORROWED

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@asynccontextmanager
async def open_worker(core: Core) -> AsyncIterator[JobRunner]:
    """Execute jobs in this process until the block ends. The caller holds the worker lock."""
    runner = JobRunner(core.kernel, lambda: core.operations, f"worker-{os.getpid()}")
    reconciler = Reconciler(core.kernel, runner)
    engine = jobs_engine(core.settings.jobs, 10)
    worker = DbosWorker(engine, _executor(core.settings.home), WORKER_JOBS)
    await worker.launch(runner.run)
    monitor = Monitor(core.kernel)
    tasks = [
        # Beside the jobs, not before them: an engine that does not answer keeps nobody waiting.
        asyncio.create_task(_every(RECONCILE_SECONDS, reconciler.settle, at_once=True), name="reconciler"),
        asyncio.create_task(_every(PROBE_SECONDS, monitor.probe_all), name="monitor"),
        asyncio.create_task(
            _every(HEADS_SECONDS, core.heads.export, at_once=True, set_to=core.heads.interval), name="heads"
        ),
    ]
    try:
        yield runner
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await worker.close()
        await asyncio.to_thread(engine.dispose)
        with suppress(TimeoutError):
            await asyncio.wait_for(core.heads.export(), EXPORT_SECONDS)


async def _every(
    seconds: float,
    work: Callable[[], Awaitable[None]],
    *,
    at_once: bool = False,
    set_to: Callable[[], Awaitable[float]] | None = None,
) -> None:
    """Repeat some upkeep; a round that fails is logged and does not end the next ones.

    `set_to` answers the pause people have set; `seconds` stands for it where it cannot be read.
    """
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
            seconds = seconds if set_to is None else await set_to()
        except StorageError as error:
            log.warning("upkeep: %s", error.detail)
        except Exception:  # noqa: BLE001 - it is logged, with its trace, and the next round comes
            log.exception("upkeep")
        await asyncio.sleep(seconds)


def _executor(home: Path) -> str:
    """This home's name as an executor: stable, so that its jobs resume, and its own, so that nobody else's do."""
    path = home / "worker.id"
    known = path.read_text("ascii").strip() if path.exists() else ""
    if not known:
        known = new_id()
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(known)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    return known
