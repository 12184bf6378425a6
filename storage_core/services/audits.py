"""The audit log, read and verified."""

from pydantic import Field

from ..domain.audit import GENESIS, AuditEntry, Verification, first_broken
from ..domain.context import Context
from ..domain.page import Clause, Page, Reach, Test
from ..domain.permission import Permission
from .kernel import Service
from .operation import Effect, operation
from .request import ListRequest, Request
from .targets import a_list, everything

RUN = 2000


class ListAudit(ListRequest):
    """List audit entries, newest first."""

    sort: str = Field("-at", max_length=64, examples=["-at"])
    """A field to sort by; with a leading minus, downwards."""
    operation: str | None = Field(None, examples=["backups.create"])
    """Filter: the operation."""
    actor_name: str | None = None
    """Filter: who."""
    result: str | None = Field(None, examples=["ok"])
    """Filter: ok, begun, or an error's code."""
    phase: str | None = Field(None, examples=["outcome"])
    """Filter: intent, outcome, refused, read."""
    tenant_id: str | None = None
    """Filter: the tenant."""
    correlation_id: str | None = None
    """Filter: one request from door to end."""


class VerifyAudit(Request):
    """Hash every entry of every chain again and name the first that does not hold."""


class Audits(Service):
    """The audit log's operations."""

    @operation("audit.list", needs=Permission.AUDIT_READ, on=a_list("audit"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListAudit) -> Page[AuditEntry]:
        seen, own = self.reach(ctx, Permission.AUDIT_READ), ()
        if seen.nothing:
            # Whoever may not read a scope's log still reads what they did themselves.
            seen, own = Reach(everything=True), _own(ctx)
        async with self.kernel.catalog.read() as uow:
            return await uow.audit.find(request.query(seen, own))

    @operation("audit.verify", needs=Permission.AUDIT_READ, on=everything("audit"), effect=Effect.READ)
    async def verify(self, ctx: Context, request: VerifyAudit) -> Verification:
        count, first_bad = 0, None
        async with self.kernel.catalog.read() as uow:
            for chain in await uow.audit.chains():
                previous, sequence = GENESIS, 0
                while entries := await uow.audit.run(chain, sequence, RUN):
                    bad = first_broken(entries, previous, sequence + 1)
                    if bad is not None:
                        first_bad = first_bad or f"{chain}:{bad}"
                        break
                    count += len(entries)
                    previous, sequence = entries[-1].hash, entries[-1].sequence
                head = await uow.audit.head(chain)
                if first_bad is None and head != (sequence, previous):
                    first_bad = f"{chain}:{sequence + 1}"
        return Verification(first_bad is None, count, first_bad)


def _own(ctx: Context) -> tuple[Clause, ...]:
    mine = Clause("actor_id", Test.ANY_OF, (ctx.actor.id,))
    return (mine,) if ctx.tenant_id is None else (mine, Clause("tenant_id", Test.ANY_OF, (ctx.tenant_id,)))
