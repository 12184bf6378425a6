"""Providers: register engines, test them step by step, keep their connection."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from ..domain.context import Context
from ..domain.errors import (
    AddressRefused,
    Conflict,
    Forbidden,
    InUse,
    InvalidRequest,
    NameTaken,
    NameUnresolved,
    StorageError,
    revive,
)
from ..domain.naming import checked_name
from ..domain.outbound import plain
from ..domain.page import Clause, Page, Query, Reach, Test
from ..domain.permission import Permission, Target, Verdict, decide
from ..domain.provider import (
    CheckStep,
    Endpoint,
    EngineKind,
    Provider,
    ProviderStatus,
    StepStatus,
    TlsMode,
    exposes,
    moved,
)
from ..ports.catalog import UnitOfWork
from .kernel import Kernel, Service, every, found, password_place, previous_place, put_secret, raced
from .lease_ends import LeaseEnds
from .operation import Effect, operation
from .request import LINES, ById, Confirmed, ListRequest, Request
from .targets import a_list, everything, may_inspect, provider, provider_target
from .twins import Twins


class Connection(Request):
    """How to reach an engine: a server (host, port, user, password …) or a directory (path)."""

    host: str | None = Field(None, min_length=1, max_length=253, examples=["db.example"])
    """Name or address of the server."""
    port: int | None = Field(None, ge=1, le=65535, examples=[5432])
    """Its port; the engine's usual one, if left out."""
    user: str | None = Field(None, min_length=1, max_length=128, examples=["console"])
    """Who signs in."""
    password: SecretStr | None = None
    """The password; stored sealed, never shown again."""
    database: str | None = Field(None, min_length=1, max_length=128, examples=["postgres"])
    """PostgreSQL: the database to sign in to. MongoDB: the one that knows the user (authSource)."""
    tls: TlsMode = Field(TlsMode.DISABLE, examples=["verify-full"])
    """disable, require (encrypted, identity unchecked), verify-ca, verify-full."""
    tls_ca: Annotated[str | None, LINES] = Field(None, max_length=100_000)
    """The certificate authority to trust, as PEM text."""
    replica_set: str | None = Field(None, max_length=128)
    """MongoDB: the replica set's name."""
    path: str | None = Field(None, max_length=4096)
    """SQLite, TinyDB, local files: the absolute directory that holds the databases."""
    pooler_host: str | None = Field(None, min_length=1, max_length=253, examples=["pgbouncer.example"])
    """PostgreSQL: a PgBouncer before the server; sessions of programs go through it, all else straight to the server."""
    pooler_port: int | None = Field(None, ge=1, le=65535, examples=[6432])
    """PostgreSQL: the PgBouncer's port; 6432, if left out."""

    @field_validator("host", "pooler_host")
    @classmethod
    def _plain(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Before anything else sees it: people paste connection strings here, and the audit keeps what it is told."""
        if value is not None:
            plain(value, f"connection.{info.field_name}")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.host is None) == (self.path is None):
            raise ValueError("give either host (a server) or path (a directory)")
        return self

    def endpoint(self, kind: EngineKind) -> Endpoint:
        """The part that is no secret, checked against the kind of engine."""
        if kind.is_files != (self.path is not None):
            raise InvalidRequest(
                f"{kind} needs {'a path' if kind.is_files else 'a host'}.",
                field=f"connection.{'path' if kind.is_files else 'host'}",
            )
        if self.replica_set is not None and kind is not EngineKind.MONGODB:
            raise InvalidRequest("Only MongoDB has replica sets.", field="connection.replica_set")
        if self.pooler_host is not None and kind is not EngineKind.POSTGRESQL:
            raise InvalidRequest("Only PostgreSQL has a PgBouncer.", field="connection.pooler_host")
        if self.pooler_host is None and self.pooler_port is not None:
            raise InvalidRequest("The PgBouncer's host is missing.", field="connection.pooler_host")
        return Endpoint(**self.model_dump(exclude={"password"}))


class CreateProvider(Request):
    """Register an engine. It is tested first; a connection that fails is refused with the step that failed."""

    name: str = Field(max_length=48, examples=["main-postgres"])
    """A unique name."""
    kind: EngineKind = Field(examples=["postgresql"])
    """Which engine it is."""
    connection: Connection
    """How to reach it."""
    proof_provider_id: str | None = Field(None, max_length=64)
    """Another provider of the same kind on which backups of this one are proven."""


class ListProviders(ListRequest):
    """List the registered engines."""

    kind: str | None = Field(None, examples=["postgresql"])
    """Filter: the kind of engine."""
    status: str | None = Field(None, examples=["online"])
    """Filter: unknown, online, offline."""


class GetProvider(ById):
    """Show one engine."""


class UpdateProvider(ById):
    """Change a provider's name, connection or proof provider; a new connection is tested first."""

    name: str | None = Field(None, max_length=48, examples=["main-postgres"])
    """A new unique name."""
    connection: Connection | None = None
    """A whole new connection; without a password the stored one stays, unless it would reach another place, or be less
    guarded on its way."""
    proof_provider_id: str | None = Field(None, max_length=64)
    """Another provider of the same kind to prove backups on; `none` takes it away."""


class DeleteProvider(Confirmed):
    """Forget a provider that holds no databases. Nothing on the engine is touched but logins leased there, which end."""

    leave_logins: bool = False
    """Also where the engine does not remove leased logins: they stay there, and the answer names them."""


class TestProvider(Request):
    """Test a connection step by step: a registered provider's, or one that is not saved yet."""

    __test__ = False

    id: str | None = Field(None, max_length=64)
    """The provider to test …"""
    kind: EngineKind | None = Field(None, examples=["postgresql"])
    """… or the kind of a connection that is not saved yet,"""
    connection: Connection | None = None
    """and that connection."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        unsaved = self.kind is not None and self.connection is not None
        if unsaved == (self.id is not None) or (not unsaved and (self.kind or self.connection) is not None):
            # never the one's password over the other's connection
            raise ValueError("give either id, or kind and connection")
        return self


class Providers(Service):
    """The providers' operations."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._twins, self._ends = Twins(kernel), LeaseEnds(kernel)

    @operation("providers.create", needs=Permission.PROVIDER_WRITE, on=everything("provider"))
    async def create(self, ctx: Context, request: CreateProvider) -> Provider:
        name = checked_name(request.name, "name")
        endpoint = request.connection.endpoint(request.kind)
        await self._check_proof_provider(request.proof_provider_id, request.kind)
        password = _plain(request.connection)
        async with self.kernel.catalog.read() as uow:
            if await uow.providers.one(name=name) is not None:
                raise NameTaken(f"The provider {name!r} exists already.", field="name")
        now, id = self.kernel.now(), self.kernel.new_id()
        row = Provider(
            id,
            name,
            request.kind,
            endpoint,
            now,
            now,
            proof_provider_id=request.proof_provider_id,
        )
        row = await self._tried(row, password)
        await self._write(row, password)
        return row

    @operation("providers.list", needs=Permission.INVENTORY_READ, on=a_list("provider"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListProviders) -> Page[Provider]:
        async with self.kernel.catalog.read() as uow:
            page = await uow.providers.find(request.query(_all()))
        return Page(tuple(_shown(ctx, p) for p in page.items), page.next, page.total)

    @operation("providers.get", needs=Permission.INVENTORY_READ, on=a_list("provider"), effect=Effect.READ)
    async def get(self, ctx: Context, request: GetProvider) -> Provider:
        async with self.kernel.catalog.read() as uow:
            return _shown(ctx, await found(uow.providers.get(request.id), "provider", request.id))

    @operation("providers.update", needs=Permission.PROVIDER_WRITE, on=provider())
    async def update(self, ctx: Context, request: UpdateProvider) -> Provider:
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.providers.get(request.id), "provider", request.id)
        before, password = row, None
        if request.name is not None:
            row = replace(row, name=checked_name(request.name, "name"))
        if request.proof_provider_id is not None:
            other = None if request.proof_provider_id == "none" else request.proof_provider_id
            await self._check_proof_provider(other, row.kind)
            row = replace(row, proof_provider_id=other)
        if request.connection is not None:
            row, password = await self._reconnected(row, request.connection)
        row = replace(row, updated_at=self.kernel.now())
        await self._write(row, password, before=before)
        return row

    async def _reconnected(self, row: Provider, connection: Connection) -> tuple[Provider, str | None]:
        """The provider over another connection, tested; and the new password, if one was given."""
        if row.server is not None:
            raise InvalidRequest("A private server's connection is its own.", field="connection")
        endpoint, password = connection.endpoint(row.kind), _plain(connection)
        current, stored = await self._signing_in(row.id)
        before = row if current is None else current  # the one that the stored password is for
        if password is None and stored is not None and exposes(row.kind, before.endpoint, endpoint):
            raise InvalidRequest(
                "The stored password would reach another place than it was given for, or travel less guarded.",
                field="connection.password",
                hint="Give the password again with the new connection.",
            )
        row = replace(row, endpoint=endpoint, revision=row.revision + 1)
        row = await self._tried(row, stored if password is None else password)
        if moved(row.kind, before.endpoint, endpoint):
            left, _ = await self._leases_ended(before, "its provider moved to another server")
            if left:
                row = replace(row, problem=" ".join(filter(None, (row.problem, _stay(before, left)))))
        return row, password

    async def _leases_ended(self, row: Provider, why: str) -> tuple[Mapping[str, str], StorageError | None]:
        """End the logins leased on an engine; answers those that stay there, by their leases' ids, and what keeps them."""
        kept: StorageError | None = None
        try:
            await self._ends.end_of("provider_id", row.id, why)
        except StorageError as error:
            kept = error
        left = await self._ends.open_of("provider_id", row.id) if kept is not None else ()
        return {lease.id: lease.user for lease in left}, kept

    @operation("providers.delete", needs=Permission.PROVIDER_DELETE, on=provider())
    async def delete(self, ctx: Context, request: DeleteProvider) -> Provider:
        async with self.kernel.catalog.read() as uow:
            row = await self._unused(uow, request.id)
        left, kept = await self._leases_ended(row, "its provider is removed")
        if kept is not None and not request.leave_logins:
            raise InUse(
                f"{_stay(row, left)} {kept.detail}",
                field="leave_logins",
                hint="Bring the server back, or set leave_logins to leave them there.",
            )
        async with self.kernel.catalog.write() as uow:
            row = await self._unused(uow, request.id)
            for lease in [lease async for lease in every(uow.leases, _on(row.id))]:
                if lease.id not in left:
                    raise InUse("A login is being leased there.", hint="Repeat it in two minutes.")
                await uow.leases.remove(lease.id)
            await uow.secrets.remove(password_place(row.id))
            await uow.secrets.remove(previous_place(row.id))
            await uow.providers.remove(row.id)
        await self.kernel.engines.forget(row.id)
        return replace(row, problem=_stay(row, left)) if left else row

    async def _unused(self, uow: UnitOfWork, id: str) -> Provider:
        """The provider, if nothing needs it any more."""
        row = await found(uow.providers.get(id), "provider", id)
        held = await uow.databases.find(Query(_on(row.id), limit=1))
        if held.total:
            raise InUse(
                f"The provider {row.name!r} still has {held.total} databases.",
                hint="Delete its databases first; their backups stay.",
            )
        proving = await uow.providers.find(
            Query((Clause("proof_provider_id", Test.ANY_OF, (row.id,)),), limit=1)
        )
        if proving.total:
            raise InUse(
                f"The provider {proving.items[0].name!r} proves its backups here.",
                hint="Name another proof provider there first.",
            )
        return row

    @operation("providers.test", needs=Permission.PROVIDER_INSPECT, on=a_list("provider"))
    async def test(self, ctx: Context, request: TestProvider) -> tuple[CheckStep, ...]:
        if request.connection is not None and request.kind is not None:
            # A connection of the caller's own making reaches out from here: only who may register may try.
            _needs_global(ctx, Permission.PROVIDER_WRITE)
            endpoint = request.connection.endpoint(request.kind)
            engine = self.kernel.engines.trial(request.kind, endpoint, _plain(request.connection))
            try:
                return await engine.check()
            finally:
                await engine.close()
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.providers.get(request.id or ""), "provider", request.id or "")
        steps = await (await self.engine_of(row)).check()
        await self._remember(row.id, steps)
        return steps

    async def _write(self, row: Provider, password: str | None, before: Provider | None = None) -> None:
        """Save the row and, where one was given, its password; sealed again if its key is rotated meanwhile.

        Conflict where its connection is not the one `before` any more: address and password belong together.
        """

        async def write() -> None:
            secret = await self.sealed_password(row.id, password) if password is not None else None
            async with self.kernel.catalog.write() as uow:
                if before is None:
                    await uow.providers.add(row)
                else:
                    current = await found(uow.providers.get(row.id), "provider", row.id)
                    if current.revision != before.revision:
                        raise Conflict(
                            "The provider's connection was changed meanwhile.", hint="Do it again."
                        )
                    await uow.providers.save(row)
                if secret is not None:
                    await put_secret(uow, secret)

        await raced(write)

    async def _remember(self, id: str, steps: tuple[CheckStep, ...]) -> None:
        failed = next((s for s in steps if s.status is StepStatus.FAILED), None)
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.providers.get(id), "provider", id)
            status = ProviderStatus.OFFLINE if failed else ProviderStatus.ONLINE
            problem = (
                f"{failed.detail} {failed.fix}".strip() if failed else " ".join(_warnings(steps)) or None
            )
            latency = sum(s.milliseconds or 0 for s in steps if s.name in ("tcp", "tls", "sign_in"))
            now = self.kernel.now()
            await uow.providers.save(
                replace(
                    row, status=status, problem=problem, checked_at=now, latency_ms=latency, updated_at=now
                )
            )

    async def _tried(self, row: Provider, password: str | None) -> Provider:
        """Test a connection; the first failed step becomes the error every door shows, a warning its problem."""
        engine = self.kernel.engines.trial(row.kind, row.endpoint, password)
        try:
            steps = await engine.check()
            for step in steps:
                if step.status is StepStatus.FAILED:
                    raise _failure(row.kind, step)
            health, info, marks = await engine.health(), await engine.info(), await engine.marks()
        finally:
            await engine.close()
        notes = [*_warnings(steps), *(_registered_as(o) for o in await self._twins.registered(row, marks))]
        return replace(
            row,
            status=ProviderStatus.ONLINE,
            engine_version=info.version,
            checked_at=self.kernel.now(),
            latency_ms=health.milliseconds,
            problem=" ".join(notes) or None,
        )

    async def _check_proof_provider(self, id: str | None, kind: EngineKind) -> None:
        if id is None:
            return
        async with self.kernel.catalog.read() as uow:
            other = await uow.providers.get(id)
        if other is None or other.kind is not kind:
            raise InvalidRequest(
                "The proof provider must be a registered provider of the same kind.",
                field="proof_provider_id",
            )


def _failure(kind: EngineKind, step: CheckStep) -> StorageError:
    error = revive(step.code or StorageError.code, step.detail, step.fix)
    if isinstance(error, AddressRefused | NameUnresolved):
        error.field = "connection.host"
    elif kind.is_files and isinstance(error, InvalidRequest):
        error.field = "connection.path"
    return error


def _warnings(steps: tuple[CheckStep, ...]) -> tuple[str, ...]:
    return tuple(f"{s.detail} {s.fix}".strip() for s in steps if s.status is StepStatus.WARNING)


def _registered_as(other: Provider) -> str:
    return f"It is the same engine as the provider {other.name}; a database there is managed once."


def _stay(row: Provider, logins: Mapping[str, str]) -> str:
    """Which logins are still to be removed, and where, in words."""
    place = f"{row.endpoint.host}:{row.endpoint.port or row.kind.usual_port}"
    return f"Leased logins that may still be on {place}, to be removed there: {', '.join(sorted(logins.values()))}."


def _plain(connection: Connection) -> str | None:
    return None if connection.password is None else connection.password.get_secret_value()


def _on(provider_id: str) -> tuple[Clause, ...]:
    return (Clause("provider_id", Test.ANY_OF, (provider_id,)),)


def _all() -> Reach:
    """Providers are shared ground: everybody signed in sees that they exist (without host and user)."""
    return Reach(everything=True)


def _needs_global(ctx: Context, permission: Permission) -> None:
    if decide(permission, Target("provider"), ctx.grants, ctx.actor.id) is not Verdict.ALLOWED:
        raise Forbidden(f"This needs the permission {permission} everywhere.")


def _shown(ctx: Context, row: Provider) -> Provider:
    """The provider as this caller may see it: host, user and path only with the right to inspect it."""
    if may_inspect(ctx, provider_target(row)):
        return row
    return replace(row, endpoint=Endpoint(tls=row.endpoint.tls), problem=None, server=None)
