"""Writes audit entries: who did what to what, what was asked for, and what it changed. Secrets only as keyed hashes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretBytes, SecretStr

from ..domain.audit import SYSTEM_CHAIN, AuditEntry, Change, Phase
from ..domain.changes import MAX_CHANGES, SEALED, differences, short, shown
from ..domain.context import Context
from ..domain.errors import AuditUnavailable, StorageError, Unavailable
from ..domain.permission import Permission, Target, covers, reach
from ..ports.catalog import UnitOfWork
from ..ports.notary import Notary
from ..ports.recording import Recording
from .kernel import Kernel
from .request import PEOPLE, Request
from .targets import LIST

if TYPE_CHECKING:
    from .operation import Operation

#: Typed to confirm: the target's own name, no news.
_UNTOLD = frozenset({"confirm"})


async def write_audit(
    kernel: Kernel,
    op: "Operation",
    ctx: Context,
    target: Target,
    request: Request,
    phase: Phase,
    result: str,
    detail: str = "",
    recorded: Recording | None = None,
) -> None:
    """Append to the target's chain; AuditUnavailable refuses the operation when that cannot be done.

    An outcome says what `recorded` has seen change, every other entry what was asked for.
    """
    digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    try:
        if recorded is not None and phase is Phase.OUTCOME:
            changes = await changed(kernel.notary, recorded)
        else:
            changes = await asked(kernel.notary, request)
        entry = audit_entry(kernel, op.name, ctx, target, digest, phase, result, detail, changes)
        async with kernel.catalog.write() as uow:
            await uow.audit.append(entry)
    except Unavailable as error:
        raise AuditUnavailable("The audit log cannot be written.", hint=error.hint) from error


async def write_refusal(
    kernel: Kernel, op: "Operation", ctx: Context, target: Target, request: Request, error: StorageError
) -> None:
    """Append what was refused: to a tenant's chain only where the caller has rights, so that nobody fills another's."""
    try:
        async with kernel.catalog.read() as uow:
            known = await _theirs(uow, ctx, target)
    except Unavailable as away:
        raise AuditUnavailable("The audit log cannot be written.", hint=away.hint) from away
    seen = target if known else unseen(op, request)
    await write_audit(kernel, op, ctx, seen, request, Phase.REFUSED, error.code, error.detail)


async def _theirs(uow: UnitOfWork, ctx: Context, target: Target) -> bool:
    """Whether the target lies where the caller has rights, so that it may be named and its chain written to."""
    if target.tenant_id == LIST:
        return True
    if ctx.tenant_id is not None and target.tenant_id not in (None, ctx.tenant_id):
        return False
    # What is only to be made names its provider and tenant itself: the one says nothing about the other.
    place = replace(target, provider_id=None) if target.id is None and target.tenant_id else target
    if not any(covers(grant.scope, place) for grant in ctx.grants):
        return False
    return target.tenant_id is None or await uow.tenants.get(target.tenant_id) is not None


def unseen(op: "Operation", request: Request) -> Target:
    """A target as the caller asked for it: the same whether it is missing or foreign, in the caller's own chain."""
    return Target(op.noun, getattr(request, "id", None), tenant_id=LIST)


def audit_entry(
    kernel: Kernel,
    operation: str,
    ctx: Context,
    target: Target,
    digest: str,
    phase: Phase,
    result: str,
    detail: str = "",
    changes: tuple[Change, ...] = (),
) -> AuditEntry:
    """An entry of the target's chain, not yet linked; `digest` is the request's hash."""
    tenant_id = target.tenant_id if target.tenant_id != LIST else _own_tenant(ctx)
    return AuditEntry(
        chain=tenant_id or SYSTEM_CHAIN,
        sequence=0,
        at=kernel.now(),
        phase=phase,
        operation=operation,
        actor_id=ctx.actor.id[:80],
        actor_name=_kept(ctx.actor.name, 80),
        role=highest_role(ctx),
        door=ctx.door,
        correlation_id=_kept(ctx.correlation_id, 64),
        result=result,
        target_kind=target.kind,
        target_id=_kept(target.id or "", 64),
        target_name=_kept(target.name, 200),
        tenant_id=tenant_id,
        address=None if ctx.address is None else _kept(ctx.address, 64),
        reason=None if ctx.reason is None else _kept(ctx.reason, 2000),
        detail=_kept(detail, 2000),
        digest=digest,
        changes=changes,
    )


def _own_tenant(ctx: Context) -> str | None:
    """The tenant the call is narrowed to, where the caller has rights: a token may outlive its owner's."""
    seen = reach(Permission.SIGNED_IN, ctx.grants, ctx.tenant_id)
    return None if ctx.tenant_id is None or seen.nothing else ctx.tenant_id


def _kept(text: str, limit: int) -> str:
    """Text from outside, as every catalog can keep it: no NUL, no lone surrogate, not longer than its column."""
    return text[:limit].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def highest_role(ctx: Context) -> str:
    return max((g.role for g in ctx.grants), key=lambda r: r.rank).value if ctx.grants else ""


async def asked(notary: Notary, request: Request) -> tuple[Change, ...]:
    """The fields that were given, as they were given."""
    return await _bounded(notary, _given(request))


async def changed(notary: Notary, recorded: Recording) -> tuple[Change, ...]:
    """Before and after of the rows that were changed."""
    found = ((c.field, c.before, c.after) for c in differences(recorded.rows()))
    return await _bounded(notary, ((f, _sealed(f, was), _sealed(f, now)) for f, was, now in found))


def _given(request: Request, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(request.model_fields_set - _UNTOLD):
        value = getattr(request, name)
        if isinstance(value, Request):
            yield from _given(value, f"{prefix}{name}.")
        elif isinstance(value, (SecretStr, SecretBytes)):
            yield prefix + name, None, value
        elif (text := shown(value)) is not None:
            hidden = PEOPLE in type(request).model_fields[name].metadata
            yield prefix + name, None, SecretStr(text) if hidden else text


def _sealed(field: str, value: str | None) -> Any:
    return SecretStr(value) if value is not None and field.rpartition(".")[2] in SEALED else value


async def _bounded(notary: Notary, found: Iterable[tuple[str, Any, Any]]) -> tuple[Change, ...]:
    out: list[Change] = []
    for field, before, after in found:
        if len(out) == MAX_CHANGES:
            out.append(Change("…", None, "more fields than are kept here"))
            break
        was, now = await _text(notary, before), await _text(notary, after)
        out.append(Change(short(field, 200) or "", short(was), short(now)))
    return tuple(out)


async def _text(notary: Notary, value: Any) -> str | None:
    """A value, or what stands for a secret: equal for equal secrets, and nothing to guess with."""
    if isinstance(value, (SecretStr, SecretBytes)):
        plain = value.get_secret_value()
        return "hmac:" + await notary.fingerprint(plain.encode() if isinstance(plain, str) else plain)
    return None if value is None else str(value)
