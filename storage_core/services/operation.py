"""`@operation` and `@durable`: what every door must do and none may forget, in one place.

A call is authorised against the permission and the target, its intent is audited, it is timed and logged, run, and
its outcome audited. A durable operation answers a ticket; a worker does the work (see `jobs`).
"""

import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import SecretBytes, SecretStr, TypeAdapter

from ..domain.audit import Phase
from ..domain.context import ActorKind, Context
from ..domain.errors import (
    ConfirmationRequired,
    Forbidden,
    Internal,
    SignInAgain,
    StorageError,
    Unavailable,
)
from ..domain.identity import freshly_signed_in
from ..domain.job import Job, JobOrder, Ticket
from ..domain.permission import MATRIX, Permission, Rule, ScopeKind, Target, Verdict, decide
from ..ports.catalog import UnitOfWork
from ..ports.recording import Recording, recording
from ..telemetry import correlation, diagnostics
from .auditing import unseen, write_audit, write_refusal
from .handle import JobHandle
from .kernel import Kernel, Service, active_tenant, missing, options_in, without_suspended
from .request import Request
from .second_person import second_person
from .targets import LIST, TargetOf

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Service)
R = TypeVar("R", bound=Request)
A = TypeVar("A")


class Effect(StrEnum):
    """What an operation does to the world; decides verb, audit and durability."""

    READ = "read"
    CHANGE = "change"
    LONG = "long"


class Suspended(StrEnum):
    """Who may call an operation in a suspended tenant, or about one."""

    NOBODY = "nobody"
    MANAGERS = "managers"
    """Whose role is global."""
    PEOPLE = "people"
    """Also its own people, signed in; none of their programs."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a durable operation's acceptance answers: the row the job is about."""

    id: str
    name: str = ""
    tenant_id: str | None = None
    provider_id: str | None = None


Accept = Callable[[Any, Context, Any, UnitOfWork, str], Awaitable[Accepted]]
Settle = Callable[[Any, UnitOfWork, Job, StorageError], Awaitable[None]]
Also = Callable[[Any], Permission | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing people can do. `answer` is what it returns in the end; doors are derived from these fields.

    `also` names a further permission that some of its requests need; `fresh` ones ask people for a recent sign-in
    even where nothing must be typed. `sensitive` reads show people's data or
    secrets' metadata and are audited. `while_suspended` says who may touch a suspended tenant. A `stream` answers a file in pieces.
    `work` runs a durable operation in the worker, `settle` tidies its rows when it fails.
    """

    name: str
    needs: Permission
    request: type[Request]
    answer: Any
    effect: Effect
    target: TargetOf
    summary: str
    sensitive: bool = False
    while_suspended: Suspended = Suspended.NOBODY
    stream: bool = False
    work: Callable[..., Awaitable[Any]] | None = None
    settle: Settle | None = None
    also: Also | None = None
    fresh: bool = False

    def permissions(self, request: Request) -> tuple[Permission, ...]:
        """Everything this request needs."""
        more = None if self.also is None else self.also(request)
        return (self.needs,) if more is None else (self.needs, more)

    @property
    def noun(self) -> str:
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(".")[2]


def operation(
    name: str,
    *,
    needs: Permission,
    on: TargetOf,
    effect: Effect = Effect.CHANGE,
    sensitive: bool = False,
    while_suspended: Suspended = Suspended.NOBODY,
    also: Also | None = None,
    fresh: bool = False,
    stream: bool = False,
) -> Callable[[Callable[[S, Context, R], Awaitable[A]]], Callable[[S, Context, R], Awaitable[A]]]:
    """Mark a service's method as an operation that answers at once."""

    def mark(method: Callable[[S, Context, R], Awaitable[A]]) -> Callable[[S, Context, R], Awaitable[A]]:
        request, answer = _signature(method)
        op = Operation(
            name,
            needs,
            request,
            answer,
            effect,
            on,
            _summary(request),
            sensitive,
            while_suspended,
            stream,
            also=also,
            fresh=fresh,
        )

        @functools.wraps(method)
        async def run(self: S, ctx: Context, request: R) -> A:
            return await _guarded(op, self.kernel, ctx, request, lambda ctx: method(self, ctx, request))

        run.operation = op  # type: ignore[attr-defined]
        return run

    return mark


def durable(
    name: str,
    *,
    needs: Permission,
    on: TargetOf,
    accept: Accept,
    settle: Settle | None = None,
    also: Also | None = None,
) -> Callable[
    [Callable[[S, Context, R, JobHandle], Awaitable[A]]], Callable[[S, Context, R], Awaitable[Ticket]]
]:
    """Mark a service's method as long work: the call accepts it and answers a ticket, a worker runs it.

    `accept` validates and writes the operation's own row in the transaction that enqueues the job.
    """

    def mark(
        method: Callable[[S, Context, R, JobHandle], Awaitable[A]],
    ) -> Callable[[S, Context, R], Awaitable[Ticket]]:
        request, answer = _signature(method)
        _refuse_secrets(name, request)
        op = Operation(
            name,
            needs,
            request,
            answer,
            Effect.LONG,
            on,
            _summary(request),
            work=method,
            settle=settle,
            also=also,
        )

        @functools.wraps(method)
        async def run(self: S, ctx: Context, request: R) -> Ticket:
            return await _guarded(
                op, self.kernel, ctx, request, lambda ctx: _submit(op, self, ctx, request, accept)
            )

        run.operation = op  # type: ignore[attr-defined]
        return cast("Callable[[S, Context, R], Awaitable[Ticket]]", run)

    return mark


def operations_of(service: Service) -> dict[str, tuple[Operation, Callable[..., Awaitable[Any]]]]:
    """The operations of a service, by name, with their bound methods."""
    marked = inspect.getmembers(service, lambda m: inspect.ismethod(m) and hasattr(m, "operation"))
    return {m.operation.name: (m.operation, m) for _, m in marked}


def declared(*services: type[Service]) -> tuple[Operation, ...]:
    """The operations of service classes, without opening anything: doors are built from these."""
    marked = (m for cls in services for _, m in inspect.getmembers(cls, lambda m: hasattr(m, "operation")))
    return tuple(sorted((m.operation for m in marked), key=lambda op: op.name))


async def _guarded(
    op: Operation, kernel: Kernel, ctx: Context, request: Request, run: Callable[[Context], Awaitable[A]]
) -> A:
    token = correlation.set(ctx.correlation_id)
    recorded = Recording()
    recorder = recording.set(recorded)
    started = time.perf_counter()
    result = "ok"
    try:
        ctx, target, seconded_by = await _authorised(op, kernel, ctx, request)
        audited = op.effect is not Effect.READ
        if audited:
            await write_audit(kernel, op, ctx, target, request, Phase.INTENT, "begun", seconded_by)
        try:
            answer = await run(ctx)
        except Exception as error:
            if audited:
                known = isinstance(error, StorageError)
                code, detail = (error.code, error.detail) if known else (Internal.code, type(error).__name__)
                await write_audit(kernel, op, ctx, target, request, Phase.OUTCOME, code, detail, recorded)
            raise
        if audited or op.sensitive:
            phase = Phase.OUTCOME if audited else Phase.READ
            await write_audit(kernel, op, ctx, target, request, phase, "ok", recorded=recorded)
        return answer
    except StorageError as error:
        result = error.code
        raise
    except Exception as error:
        # The one place where the unexpected becomes an answer: the log keeps the trace, the caller the id.
        result = "internal"
        log.exception("%s failed unexpectedly", op.name)
        raise Internal(f"{op.name} failed unexpectedly ({type(error).__name__}).") from error
    finally:
        took = (time.perf_counter() - started) * 1000
        diagnostics.debug(
            "%s by %s through %s: %s in %.1f ms", op.name, ctx.actor.name, ctx.door, result, took
        )
        recording.reset(recorder)
        correlation.reset(token)


_CONTEXT: TypeAdapter[Context] = TypeAdapter(Context)


async def _submit(op: Operation, service: Service, ctx: Context, request: Request, accept: Accept) -> Ticket:
    """Write the operation's row, the job and its order, and enqueue: one transaction."""
    job_id = service.kernel.new_id()
    async with service.kernel.catalog.write() as uow:
        accepted = await accept(service, ctx, request, uow, job_id)
        await enqueued(uow, service.kernel, op, ctx, request, accepted, job_id)
    return Ticket(accepted.id, job_id)


async def enqueued(
    uow: UnitOfWork,
    kernel: Kernel,
    op: Operation,
    ctx: Context,
    request: Request,
    accepted: Accepted,
    job_id: str,
) -> None:
    """Write the job of an accepted request and its order, and enqueue it, in the caller's transaction."""
    now = kernel.now()
    job = Job(
        job_id,
        op.name,
        now,
        now,
        ctx.actor.id,
        ctx.actor.name,
        target_id=accepted.id,
        target_name=accepted.name,
        tenant_id=accepted.tenant_id,
        provider_id=accepted.provider_id,
    )
    await uow.jobs.add(job)
    context = _CONTEXT.dump_json(ctx).decode()
    await uow.orders.add(JobOrder(job_id, request.model_dump_json(), context, now))
    await uow.enqueue(job)


def read_order(op: Operation, order: JobOrder) -> tuple[Context, Request]:
    """What the worker runs: the caller's context as it was when the job was accepted, and the request."""
    return _CONTEXT.validate_json(order.context), op.request.model_validate_json(order.request)


async def _authorised(
    op: Operation, kernel: Kernel, ctx: Context, request: Request
) -> tuple[Context, Target, str]:
    """Find the target, refuse what the caller may not do (and audit the refusal).

    Answers the caller's context without what is suspended, the target, and who seconded the call where needed.
    """
    target, seconded_by = unseen(op, request), ""
    try:
        async with kernel.catalog.read() as uow:
            spared = _spared(op, ctx)
            if ctx.tenant_id is not None and not spared:
                await active_tenant(uow, ctx.tenant_id)
            target = await op.target(uow, ctx, request)
            if target.tenant_id == LIST and not spared:
                ctx = await without_suspended(uow, ctx)
            verdict = authorise(op, ctx, target, request, kernel.now())
            if target.tenant_id not in (None, LIST) and not spared:
                await active_tenant(uow, cast("str", target.tenant_id))
            watched = verdict in (Verdict.SECOND, Verdict.WATCHED)
            second = watched and (await options_in(uow)).two_person_rule
        if second:
            seconded_by = await second_person(kernel, op.name, op.permissions(request), ctx, target, request)
    except Unavailable:
        raise
    except StorageError as error:
        await write_refusal(kernel, op, ctx, target, request, error)
        raise
    return ctx, target, seconded_by


def _spared(op: Operation, ctx: Context) -> bool:
    """Whether the caller may call it although a tenant is suspended."""
    if op.while_suspended is Suspended.NOBODY:
        return False
    manager = any(grant.scope.kind is ScopeKind.GLOBAL for grant in ctx.grants)
    person = op.while_suspended is Suspended.PEOPLE and ctx.actor.kind is ActorKind.USER
    return manager or person


def authorise(op: Operation, ctx: Context, target: Target, request: Request, now: datetime) -> Verdict:
    """The one check every door passes: permission, scope, the tenant the call is narrowed to, confirmation.

    Raises what is refused; answers the strictest verdict among what the request needs.
    """
    permissions = op.permissions(request)
    if op.fresh:
        check_fresh(ctx, now)
    if target.tenant_id == LIST:
        # Lists and own things: any grant that holds the permission will do, the service narrows the rows.
        for permission in permissions:
            if not any(MATRIX[permission][g.role] > Rule.DENY for g in ctx.grants):
                raise Forbidden(f"{op.name} needs the permission {permission}.")
        return Verdict.ALLOWED
    if ctx.tenant_id is not None and target.tenant_id not in (None, ctx.tenant_id):
        raise missing(target.kind, target.id or target.name)
    verdicts = [decide(permission, target, ctx.grants, ctx.actor.id) for permission in permissions]
    if Verdict.INVISIBLE in verdicts:
        if target.id is None:
            raise Forbidden(f"{op.name} needs a role that covers this scope.")
        raise missing(target.kind, target.id)
    for permission, verdict in zip(permissions, verdicts, strict=True):
        if verdict is Verdict.FORBIDDEN:
            raise Forbidden(f"{op.name} needs the permission {permission}.")
    if Verdict.CONFIRM in verdicts or Verdict.SECOND in verdicts:
        _check_confirmed(op, target, request)
        check_fresh(ctx, now)
    return next((v for v in (Verdict.SECOND, Verdict.WATCHED) if v in verdicts), verdicts[-1])


def check_fresh(ctx: Context, now: datetime) -> None:
    """SignInAgain where a person's sign-in is older than what danger allows; tokens and programs have none."""
    if ctx.actor.kind is ActorKind.USER and not freshly_signed_in(ctx.signed_in_at, now):
        raise SignInAgain("Your sign-in is older than five minutes.")


def _check_confirmed(op: Operation, target: Target, request: Request) -> None:
    """The exact name must have been typed."""
    if getattr(request, "confirm", None) != target.name:
        raise ConfirmationRequired(
            f"{op.name} needs the exact name of the {target.kind} typed.",
            field="confirm",
            hint=f"Repeat the name as `confirm` (CLI: --confirm {target.name!r}).",
        )


def _signature(method: Callable[..., Any]) -> tuple[type[Request], Any]:
    hints = get_type_hints(method)
    return hints["request"], hints["return"]


def _summary(request: type[Request]) -> str:
    doc = inspect.getdoc(request)
    if not doc:
        raise TypeError(f"{request.__name__} needs a docstring: it is the operation's help")
    return doc


def _refuse_secrets(name: str, request: type[Request]) -> None:
    """A durable request is stored as JSON: a secret in it would be stored, or lost as stars."""
    for field, info in request.model_fields.items():
        if any(kind.__name__ in str(info.annotation) for kind in (SecretStr, SecretBytes)):
            raise TypeError(f"{name}: the field {field} is a secret; pass the id of a vault entry")
