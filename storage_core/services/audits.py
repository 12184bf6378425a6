"""The audit log, read and verified."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from ..domain.audit import AuditEntry, ChainCheck, Verification
from ..domain.context import Context
from ..domain.errors import StorageError
from ..domain.heads import Exported
from ..domain.page import Clause, Page, Query, Reach, Test, clause
from ..domain.permission import MATRIX, Permission, Rule, ScopeKind, Target, reach
from ..ports.catalog import UnitOfWork
from .audit_export import AuditFile, ExportFormat
from .download import Download
from .heads import Anchors, again_words, anchors, exported, first_noted, lost_words, place_key
from .kernel import Service, missing
from .operation import Effect, Suspended, operation
from .request import LINES, ById, ListRequest, Request
from .targets import a_list, everything

RUN = 2000


class AuditFilter(Request):
    """What entries are meant. Filters read ``a``, ``a,b`` (any of) or ``!a`` (none of)."""

    since: datetime | None = Field(None, examples=["2026-01-31T00:00:00Z"])
    """Filter: from this time on; without a zone it is UTC."""
    until: datetime | None = Field(None, examples=["2026-02-28T00:00:00Z"])
    """Filter: before this time."""
    operation: str | None = Field(None, max_length=500, examples=["backups.create"])
    """Filter: the operation."""
    actor_id: str | None = Field(None, max_length=500)
    """Filter: who, by id."""
    actor_name: str | None = Field(None, max_length=500)
    """Filter: who, by name."""
    role: str | None = Field(None, max_length=500, examples=["Admin"])
    """Filter: the role it was done with."""
    target_kind: str | None = Field(None, max_length=500, examples=["database"])
    """Filter: the kind of thing it was about."""
    target_id: str | None = Field(None, max_length=500)
    """Filter: the thing, by id."""
    target_name: str | None = Field(None, max_length=500, examples=["orders"])
    """Filter: the thing, by name."""
    tenant_id: str | None = Field(None, max_length=500)
    """Filter: the tenant."""
    result: str | None = Field(None, max_length=500, examples=["ok"])
    """Filter: ok, begun, or an error's code."""
    address: str | None = Field(None, max_length=500, examples=["127.0.0.1"])
    """Filter: where it came from."""
    correlation_id: str | None = Field(None, max_length=500)
    """Filter: one request from door to end."""
    door: str | None = Field(None, max_length=500, examples=["rest"])
    """Filter: rest, cli, console, admin, worker, sdk, system."""
    phase: str | None = Field(None, max_length=500, examples=["outcome"])
    """Filter: intent, outcome, refused, read."""
    chain: str | None = Field(None, max_length=500, examples=["system"])
    """Filter: the chain: a tenant's id, or system."""

    def filters(self) -> tuple[tuple[Clause, ...], ...]:
        """The clauses of the filters that are set."""
        times = (("since", Test.FROM), ("until", Test.BEFORE))
        at = tuple(Clause("at", test, (_utc(v),)) for n, test in times if (v := getattr(self, n)) is not None)
        names = sorted(AuditFilter.model_fields.keys() - {"since", "until"})
        return (at, *(clause(name, getattr(self, name)) for name in names))


def _utc(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


class ListAudit(AuditFilter, ListRequest):
    """List audit entries, newest first. Filters read ``a``, ``a,b`` (any of) or ``!a`` (none of)."""

    sort: str = Field("-at", max_length=64, examples=["-at"])
    """A field to sort by; with a leading minus, downwards."""


class GetAudit(ById):
    """Get one audit entry: ``chain:sequence``."""

    id: str = Field(min_length=3, max_length=84, examples=["system:1"])
    """The entry: its chain, a colon, its number in it."""


class VerifyAudit(Request):
    """Hash every entry of every chain again, compare with the exported heads, and name the first that does not hold."""


class AuditHeads(Request):
    """Show where the signed heads of the audit log are exported to, and how far."""


class ExportAudit(AuditFilter):
    """Export audit entries, oldest first, chain by chain: as signed JSON lines, or as a table."""

    format: ExportFormat = ExportFormat.JSONL
    """jsonl (signed, every field), csv or xlsx."""
    q: Annotated[str, LINES] = Field("", max_length=200, examples=[""])
    """Free text to look for."""


async def _entry_target(uow: UnitOfWork, _ctx: Context, request: GetAudit) -> Target:
    entry = await _entry(uow, request.id)
    return Target("audit", request.id, entry.operation, entry.tenant_id, owner_id=entry.actor_id)


async def _entry(uow: UnitOfWork, id: str) -> AuditEntry:
    chain, _, number = id.rpartition(":")
    known = number.isascii() and number.isdigit() and len(number) < 19
    entry = await uow.audit.get(chain, int(number)) if known else None
    if entry is None:
        raise missing("audit", id)
    return entry


class Audits(Service):
    """The audit log's operations."""

    @operation("audit.list", needs=Permission.AUDIT_READ, on=a_list("audit"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListAudit) -> Page[AuditEntry]:
        seen, own = self._seen(ctx)
        async with self.kernel.catalog.read() as uow:
            return await uow.audit.find(request.query(seen, own))

    @operation(
        "audit.get",
        needs=Permission.AUDIT_READ,
        on=_entry_target,
        effect=Effect.READ,
        while_suspended=Suspended.MANAGERS,
    )
    async def get(self, ctx: Context, request: GetAudit) -> AuditEntry:
        async with self.kernel.catalog.read() as uow:
            return await _entry(uow, request.id)

    @operation("audit.verify", needs=Permission.AUDIT_READ, on=a_list("audit"), effect=Effect.READ)
    async def verify(self, ctx: Context, request: VerifyAudit) -> Verification:
        # First what is known outside: whatever was exported by then, the catalog must have.
        mine = _chains(ctx)
        known, lost, problem = await self._anchors(mine)
        count, first_bad, used = 0, None, 0
        async with self.kernel.catalog.read() as uow:
            # Chains that somebody else remembers come first: an entry moved elsewhere is missing there.
            remembered = {*(h.chain for h in await uow.audit.heads()), *known.by_chain}
            for chain in sorted(
                {*await uow.audit.chains(), *remembered}, key=lambda c: (c not in remembered, c)
            ):
                if mine is None or chain in mine:
                    points = known.by_chain.get(chain, {})
                    check = await self._followed(uow, ChainCheck(chain, points))
                    bad = check.close(await uow.audit.head(chain))
                    count, used = count + check.sequence, used + len(points)
                    if bad is not None:
                        first_bad = first_bad or f"{chain}:{bad}"
        at = known.at if used else None
        return Verification(first_bad is None, count, first_bad, used, at, problem, lost)

    async def _anchors(self, mine: frozenset[str] | None) -> tuple[Anchors, bool, str]:
        """What is known outside, whether some of it is not to be found, and what is to be said about that."""
        async with self.kernel.catalog.read() as uow:
            all_of_them = await uow.audit.remembered(place_key(self.kernel))
            noted = await first_noted(uow, place_key(self.kernel))
        remembered = [one for one in all_of_them if mine is None or one.head.chain in mine]
        try:
            known = await anchors(self.kernel)
        except StorageError as error:
            return Anchors({}), noted or bool(remembered), error.detail
        reached = {chain: max(at) for chain, at in known.by_chain.items()}
        if lost := lost_words(remembered, reached, noted=noted):
            return known, True, lost
        again = again_words(remembered, self.kernel.now())
        return known, False, again if known.count else "No heads were exported yet."

    async def _followed(self, uow: UnitOfWork, check: ChainCheck) -> ChainCheck:
        """The chain, entry by entry; hashing is done beside the loop, while the next entries are read."""
        after: int | None = None
        checking: asyncio.Task[bool] | None = None
        while rows := await uow.audit.raw(check.chain, after, RUN):
            if checking is not None and not await checking:
                return check
            checking = asyncio.create_task(asyncio.to_thread(check.feed, rows))
            after = (0 if after is None else after) + RUN
        if checking is not None:
            await checking
        return check

    @operation("audit.heads", needs=Permission.AUDIT_READ, on=everything("audit"), effect=Effect.READ)
    async def heads(self, ctx: Context, request: AuditHeads) -> Exported:
        return await exported(self.kernel)

    @operation(
        "audit.export",
        needs=Permission.AUDIT_READ,
        on=a_list("audit"),
        effect=Effect.READ,
        sensitive=True,
        stream=True,
    )
    async def export(self, ctx: Context, request: ExportAudit) -> Download:
        seen, own = self._seen(ctx)
        where = tuple(c for group in (*request.filters(), own) for c in group)
        query = Query(where, request.q, "chain", RUN, reach=seen)
        mine = frozenset[str]() if own else _chains(ctx)
        return await AuditFile(self.kernel, ctx, query, mine).open(request.format)

    def _seen(self, ctx: Context) -> tuple[Reach, tuple[Clause, ...]]:
        """What the caller may read: the logs of some scopes, or else what they did themselves."""
        seen = self.reach(ctx, Permission.AUDIT_READ)
        return (Reach(everything=True), _own(ctx)) if seen.nothing else (seen, ())


def _own(ctx: Context) -> tuple[Clause, ...]:
    mine = Clause("actor_id", Test.ANY_OF, (ctx.actor.id,))
    return (mine,) if ctx.tenant_id is None else (mine, Clause("tenant_id", Test.ANY_OF, (ctx.tenant_id,)))


def _chains(ctx: Context) -> frozenset[str] | None:
    """The chains a caller may have checked, none for all: also those that hold only their own entries."""
    able = [g for g in ctx.grants if MATRIX[Permission.AUDIT_READ][g.role] > Rule.DENY]
    if ctx.tenant_id is None and any(g.scope.kind is ScopeKind.GLOBAL for g in able):
        return None
    seen = reach(Permission.AUDIT_READ, ctx.grants, ctx.tenant_id).tenants
    held = {g.scope.id for g in able if g.scope.kind is ScopeKind.TENANT and g.scope.id}
    return frozenset(seen | {t for t in held if ctx.tenant_id in (None, t)})
