"""The two-person rule on the server: a call is noted, somebody else approves it, the same call then passes once."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr

from ..domain.approval import ALONE_DELAY, APPROVAL_LIFE, Approval, ApprovalStatus, standing
from ..domain.context import Context
from ..domain.errors import ApprovalRequired
from ..domain.identity import UserStatus
from ..domain.page import MAX_LIMIT, Clause, Query, Test
from ..domain.permission import MATRIX, Grant, Permission, Role, Rule, Scope, Target, Verdict, covers, decide
from ..ports.catalog import UnitOfWork
from .kernel import Kernel, every, raced
from .request import Request
from .scopes import grants_of, scope_of

log = logging.getLogger(__name__)

#: What people add to a call to confirm or explain it; it is no part of what is approved.
_BESIDE = {"confirm", "reason"}


async def second_person(
    kernel: Kernel,
    operation: str,
    permissions: tuple[Permission, ...],
    ctx: Context,
    target: Target,
    request: Request,
) -> str:
    """Let the call pass if it was approved, and use that approval up; answers by whom, in words.

    ApprovalRequired otherwise: the call is noted, once, for others to decide.
    """
    digest = await _call_digest(kernel, operation, target, request)
    return await raced(lambda: _decided(kernel, operation, permissions, ctx, target, digest))


async def _call_digest(kernel: Kernel, operation: str, target: Target, request: Request) -> str:
    """What an approval is bound to: operation, arguments (secrets as keyed hashes) and the target's version."""
    parts = [operation, request.model_dump_json(exclude=_BESIDE), target.id or target.name, target.version]
    parts += [await kernel.notary.fingerprint(value.encode()) for value in _secrets(request)]
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def _secrets(request: Request) -> Iterator[str]:
    """The secrets in a request, in the order of its fields: its JSON has stars for them."""
    for name in type(request).model_fields:
        value = getattr(request, name)
        if isinstance(value, SecretStr):
            yield f"{name}={value.get_secret_value()}"
        elif isinstance(value, Request):
            yield from _secrets(value)


async def _decided(
    kernel: Kernel,
    operation: str,
    permissions: tuple[Permission, ...],
    ctx: Context,
    target: Target,
    digest: str,
) -> str:
    now = kernel.now()
    async with kernel.catalog.write() as uow:
        row = await _noted(uow, ctx, digest, now)
        if row is not None and not await _still_seconded(uow, row, target):
            await uow.approvals.save(replace(row, status=ApprovalStatus.EXPIRED))
            row = None
        if row is not None and standing(row, now) is ApprovalStatus.APPROVED:
            await uow.approvals.save(replace(row, status=ApprovalStatus.USED))
            return f"approval {row.id} by {row.decided_by or 'time: nobody else could approve'}"
        if row is None:
            row = Approval(
                kernel.new_id(), operation, digest, ctx.actor.id, ctx.actor.name, now, now + APPROVAL_LIFE,
                target.kind, target.id, target.name, target.tenant_id, target.provider_id, ctx.reason,
                tuple(permissions), ctx.maker_id,
            )  # fmt: skip
            if not await _somebody_else(uow, permissions, ctx, target):
                ripe = now + ALONE_DELAY
                row = replace(row, ripe_at=ripe, expires_at=ripe + APPROVAL_LIFE)
                await uow.publish("alerts", "approval_alone", row.id, target.tenant_id)
                log.warning(
                    "%s by %s: nobody else can approve, it may go on at %s", operation, ctx.actor.name, ripe
                )
            await uow.approvals.add(row)
    raise ApprovalRequired(_waits(row), hint=_way_out(row))


async def _noted(uow: UnitOfWork, ctx: Context, digest: str, now: datetime) -> Approval | None:
    """The caller's own open note of exactly this call."""
    where = (
        Clause("digest", Test.ANY_OF, (digest,)),
        Clause("requester_id", Test.ANY_OF, (ctx.actor.id,)),
        Clause("status", Test.ANY_OF, (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)),
    )
    rows = (await uow.approvals.find(Query(where, limit=MAX_LIMIT))).items
    return next((r for r in rows if standing(r, now) is not ApprovalStatus.EXPIRED), None)


async def _still_seconded(uow: UnitOfWork, row: Approval, target: Target) -> bool:
    """Whether whoever approved could do so now: with somebody's role goes what they let pass."""
    if row.decided_by is None:
        return True
    user = await uow.users.one(username=row.decided_by)
    if user is None or user.status is not UserStatus.ACTIVE:
        return False
    held = tuple(Grant(g.role, scope_of(g)) for g in await grants_of(uow, user.id))
    needed = (*(Permission(p) for p in row.permissions), Permission.APPROVAL_DECIDE)
    return may_decide(needed, target, held)


async def _somebody_else(
    uow: UnitOfWork, permissions: tuple[Permission, ...], ctx: Context, target: Target
) -> bool:
    """Whether any other active user could approve."""
    able = tuple(r.value for r in Role if all(MATRIX[p][r] >= Rule.SECOND for p in permissions))
    async for row in every(uow.grants, (Clause("role", Test.ANY_OF, able),)):
        if row.user_id in (ctx.actor.id, ctx.maker_id) or not covers(
            Scope(row.scope_kind, row.scope_id), target
        ):
            continue
        user = await uow.users.get(row.user_id)
        if user is not None and user.status is UserStatus.ACTIVE:
            return True
    return False


def may_decide(permissions: tuple[Permission, ...], target: Target, grants: tuple[Grant, ...]) -> bool:
    """Whoever may do a thing themselves, with a second person or without, may be the second person."""
    verdicts = {decide(p, target, grants, "") for p in permissions}
    return verdicts <= {Verdict.ALLOWED, Verdict.CONFIRM, Verdict.WATCHED, Verdict.SECOND}


def _waits(row: Approval) -> str:
    if row.ripe_at is not None:
        return f"{row.operation} waits until {row.ripe_at:%Y-%m-%d %H:%M} UTC: nobody else could approve it."
    return f"{row.operation} waits for a second person (approval {row.id})."


def _way_out(row: Approval) -> str:
    if row.ripe_at is None:
        return ""
    return f"Repeat it between {row.ripe_at:%Y-%m-%d %H:%M} and {row.expires_at:%Y-%m-%d %H:%M} UTC, or withdraw it."
