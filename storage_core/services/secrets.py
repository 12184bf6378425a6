"""Secrets: what there is (never what it is), keys rotated, everything tried, the recovery key."""

import asyncio
from dataclasses import replace
from typing import Any

from pydantic import Field, SecretStr

from ..domain.context import Context
from ..domain.errors import Conflict, NotFound, StorageError
from ..domain.page import MAX_LIMIT, Clause, Page, Query, Test
from ..domain.permission import Permission, Target
from ..domain.provider import Provider, StepStatus
from ..domain.secret import (
    MASTER_OWNER,
    SYSTEM_OWNER,
    Fault,
    RecoveryKey,
    Rotation,
    SecretInfo,
    SecretKind,
    Validation,
    owner_of,
)
from ..ports.catalog import UnitOfWork
from .handle import JobHandle
from .kernel import Kernel, Service, found
from .keys import BATCH, Keys, OnRewrapped
from .operation import Accepted, Effect, durable, operation
from .request import ListRequest, Request
from .targets import TargetOf, a_list, tenant_target

#: Engines asked at once, and faults named in an answer.
_AT_ONCE, _NAMED = 4, 100
_FROM_CREATION = frozenset({SecretKind.MASTER, SecretKind.KEY, SecretKind.DATA_KEY})
_RUNNING = ("queued", "running")
_MASTER_NAME = "master-key"


class ListSecrets(ListRequest):
    """List keys, passwords and the data keys of backups: whose they are, their age, who sealed them. Never a secret."""

    kind: str | None = Field(None, examples=["password"])
    """Filter: master, key, password, value, data_key."""
    owner_id: str | None = Field(None, max_length=64)
    """Filter: the provider, tenant or backup it belongs to."""
    tenant_id: str | None = Field(None, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """Filter: the tenant."""
    key_id: str | None = Field(None, max_length=64)
    """Filter: the key that sealed it."""
    state: str | None = Field(None, examples=["primary"])
    """Filter: the state of the key, or of the key that sealed it: primary, enabled, disabled, destroyed."""


class RotateSecrets(Request):
    """Make a fresh key for one tenant, or for the system, and seal everything with it that the one before sealed."""

    tenant_id: str | None = Field(None, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """The tenant whose key is rotated; the system's own, if left out."""


class RotateMasterKey(Request):
    """Make a fresh master key, or take the one given in its place, and wrap every key with it."""

    confirm: str = Field("", max_length=128, examples=[_MASTER_NAME])
    """`master-key`, typed as a confirmation."""


class ValidateSecrets(Request):
    """Open every sealed value with its key, and sign in to every engine: says what does not hold."""

    tenant_id: str | None = Field(None, max_length=64, examples=["0b4f1c52-7f5e-4c9a-9a51-2f0f6b1f8e11"])
    """Only what is this tenant's; everything and the engines, if left out."""


class ExportRecoveryKey(Request):
    """The master key as a text that a passphrase opens: print it, and keep it apart from this machine."""

    passphrase: SecretStr = Field(min_length=12, max_length=1000)
    """At least 12 characters; without it the text is worth nothing."""
    confirm: str = Field("", max_length=128, examples=[_MASTER_NAME])
    """`master-key`, typed as a confirmation."""


def _keys_of() -> TargetOf:
    """The keys of the tenant that is named, or that the call is narrowed to; else the system's."""

    async def find(uow: UnitOfWork, ctx: Context, request: Any) -> Target:
        id = request.tenant_id or ctx.tenant_id
        if id is None:
            return Target("key", None, SYSTEM_OWNER)
        return tenant_target(await found(uow.tenants.get(id), "tenant", id))

    return find


def _master_key() -> TargetOf:
    async def find(_uow: UnitOfWork, _ctx: Context, _request: Any) -> Target:
        return Target("master key", None, _MASTER_NAME)

    return find


async def _accept(_: Service, ctx: Context, request: Any, uow: UnitOfWork, _job_id: str) -> Accepted:
    """One tenant's, or the system's."""
    id = request.tenant_id or ctx.tenant_id
    if id is None:
        return Accepted(SYSTEM_OWNER, SYSTEM_OWNER)
    row = await found(uow.tenants.get(id), "tenant", id)
    return Accepted(row.id, row.name, row.id)


async def _accept_rotation(
    service: Service, ctx: Context, request: Any, uow: UnitOfWork, job_id: str
) -> Accepted:
    accepted = await _accept(service, ctx, request, uow, job_id)
    await _only_one(uow, "secrets.rotate", accepted.id)
    return accepted


async def _accept_master(_: Service, _ctx: Context, _request: Any, uow: UnitOfWork, _job: str) -> Accepted:
    await _only_one(uow, "secrets.rotate_master", MASTER_OWNER)
    return Accepted(MASTER_OWNER, _MASTER_NAME)


async def _only_one(uow: UnitOfWork, operation: str, target_id: str) -> None:
    where = (
        Clause("operation", Test.ANY_OF, (operation,)),
        Clause("target_id", Test.ANY_OF, (target_id,)),
        Clause("status", Test.ANY_OF, _RUNNING),
    )
    running = await uow.jobs.find(Query(where, limit=1))
    if running.total:
        raise Conflict(
            "This key is being rotated already.", hint=f"Follow the job {running.items[0].id}, or cancel it."
        )


class Secrets(Service):
    """The secrets' operations."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._keys = Keys(kernel)

    @operation(
        "secrets.list",
        needs=Permission.SECRET_MANAGE,
        on=a_list("secret"),
        effect=Effect.READ,
        sensitive=True,
    )
    async def list(self, ctx: Context, request: ListSecrets) -> Page[SecretInfo]:
        async with self.kernel.catalog.read() as uow:
            page = await uow.inventory.find(request.query(self.reach(ctx, Permission.SECRET_MANAGE)))
        return Page(tuple(self._aged(one) for one in page.items), page.next, page.total)

    @durable("secrets.rotate", needs=Permission.SECRET_MANAGE, on=_keys_of(), accept=_accept_rotation)
    async def rotate(self, ctx: Context, request: RotateSecrets, job: JobHandle) -> Rotation:
        # The key has the job's id: however often this is begun, it makes one key.
        return await self._keys.rotate(owner_of(request.tenant_id or ctx.tenant_id), job.id, _told(job))

    @durable("secrets.rotate_master", needs=Permission.MASTER_KEY, on=_master_key(), accept=_accept_master)
    async def rotate_master(self, ctx: Context, request: RotateMasterKey, job: JobHandle) -> Rotation:
        async def successor() -> str:
            id = await self.kernel.masters.successor()
            if await self.kernel.catalog.keys.by_id(id) is not None:
                raise Conflict("The new master key was in use before.", hint="Give a key that nobody had.")
            return id

        return await self._keys.rotate_master(await job.step("successor", successor), _told(job))

    @durable("secrets.validate", needs=Permission.SECRET_MANAGE, on=_keys_of(), accept=_accept)
    async def validate(self, ctx: Context, request: ValidateSecrets, job: JobHandle) -> Validation:
        tenant_id = request.tenant_id or ctx.tenant_id
        job.progress("keys", 0)
        faults = await self._faults_of_keys(tenant_id)
        job.check()
        job.progress("envelopes", 5)
        count, more = await self._faults_of_envelopes(tenant_id)
        faults += more
        providers = 0
        if tenant_id is None:
            job.check()
            job.progress("providers", 60)
            providers, more = await self._faults_of_providers()
            faults += more
        for fault in faults[:_NAMED]:
            job.log(f"{fault.kind} {fault.id}: {fault.problem}")
        return Validation(not faults, count, providers, len(faults), tuple(faults[:_NAMED]))

    @operation("secrets.export_recovery", needs=Permission.MASTER_KEY, on=_master_key())
    async def export_recovery(self, ctx: Context, request: ExportRecoveryKey) -> RecoveryKey:
        return RecoveryKey(*await self.kernel.masters.recovery(request.passphrase.get_secret_value()))

    def _aged(self, one: SecretInfo) -> SecretInfo:
        """How long the secret itself has been the same: a key since it was made, a password since its last change."""
        since = one.created_at if one.kind in _FROM_CREATION else one.updated_at
        return replace(one, age_days=max(0, (self.kernel.now() - since).days))

    async def _faults_of_keys(self, tenant_id: str | None) -> tuple[Fault, ...]:
        owners = await self.kernel.catalog.keys.owners() if tenant_id is None else (tenant_id,)
        faults = []
        for owner in owners:
            for key in await self.kernel.catalog.keys.of(owner):
                try:
                    if key.wrapped:
                        await self.kernel.rewrapping.rewrapped([key], key.master_id)
                except StorageError as error:
                    faults.append(Fault("key", key.id, error.detail, error.hint))
        return tuple(faults)

    async def _faults_of_envelopes(self, tenant_id: str | None) -> tuple[int, tuple[Fault, ...]]:
        count, mark = 0, ("", "")
        faults: list[Fault] = []
        while batch := await self.kernel.catalog.envelopes.after(tenant_id, mark, BATCH):
            count, mark = count + len(batch), (batch[-1].noun, batch[-1].id)
            for one, problem in zip(batch, await self.kernel.rewrapping.faults(batch), strict=True):
                if problem is not None:
                    faults.append(Fault(one.noun, one.id, problem))
        return count, tuple(faults)

    async def _faults_of_providers(self) -> tuple[int, tuple[Fault, ...]]:
        stopped = {s.name for s in await self.kernel.servers.list() if not s.running}
        # Signing in is no reason to start a private server that people stopped.
        asked = [row for row in await self._providers() if row.server not in stopped]
        slots = asyncio.Semaphore(_AT_ONCE)
        faults = await asyncio.gather(*(self._fault_of(row, slots) for row in asked))
        return len(asked), tuple(fault for fault in faults if fault is not None)

    async def _providers(self) -> tuple[Provider, ...]:
        rows: tuple[Provider, ...] = ()
        cursor: str | None = None
        async with self.kernel.catalog.read() as uow:
            while True:
                page = await uow.providers.find(Query(limit=MAX_LIMIT, sort="name", cursor=cursor))
                rows = (*rows, *page.items)
                cursor = page.next
                if cursor is None:
                    return rows

    async def _fault_of(self, row: Provider, slots: asyncio.Semaphore) -> Fault | None:
        async with slots:
            try:
                steps = await (await self.engine_of(row)).check()
            except NotFound:
                return None  # it was deleted meanwhile
            except StorageError as error:
                return Fault("provider", row.id, f"{row.name}: {error.detail}", error.hint)
        failed = next((s for s in steps if s.status is StepStatus.FAILED), None)
        if failed is None:
            return None
        return Fault("provider", row.id, f"{row.name}, {failed.name}: {failed.detail}", failed.fix)


def _told(job: JobHandle) -> OnRewrapped:
    job.progress("rewrap", 0)

    def report(done: int, total: int) -> None:
        job.check()  # what is sealed anew already stays so, and both keys open
        percent = round(100 * done / total, 1) if total else None
        job.progress("rewrap", percent, message=f"{done} of {total} sealed anew")

    return report
