"""Approvals: what waits for a second person, approved or refused."""

from dataclasses import replace

from pydantic import Field

from ..domain.approval import APPROVAL_LIFE, Approval, ApprovalStatus, standing
from ..domain.context import ActorKind, Context
from ..domain.errors import Conflict, Forbidden
from ..domain.page import Page
from ..domain.permission import Permission, Target
from ..ports.catalog import UnitOfWork
from .kernel import Service, found
from .operation import Effect, operation
from .request import ById, ListRequest
from .second_person import may_decide
from .targets import a_list


class ListApprovals(ListRequest):
    """List what waits, or waited, for a second person."""

    status: str | None = Field(None, examples=["pending"])
    """Filter: pending, approved, refused, used, expired."""
    operation: str | None = Field(None, examples=["backups.delete"])
    """Filter: the operation."""
    requester_name: str | None = None
    """Filter: who asked."""


class Approve(ById):
    """Approve somebody else's dangerous operation: they repeat it, and it passes once, within 30 minutes."""


class Refuse(ById):
    """Refuse somebody's dangerous operation, take back its approval before it is used, or withdraw one's own."""


async def _approval(uow: UnitOfWork, _ctx: Context, request: ById) -> Target:
    row = await found(uow.approvals.get(request.id), "approval", request.id)
    return Target("approval", row.id, row.target_name, row.tenant_id, row.provider_id)


class Approvals(Service):
    """The approvals' operations."""

    @operation("approvals.list", needs=Permission.APPROVAL_DECIDE, on=a_list("approval"), effect=Effect.READ)
    async def list(self, ctx: Context, request: ListApprovals) -> Page[Approval]:
        now = self.kernel.now()
        async with self.kernel.catalog.read() as uow:
            page = await uow.approvals.find(request.query(self.reach(ctx, Permission.APPROVAL_DECIDE)))
        return replace(page, items=tuple(replace(a, status=standing(a, now)) for a in page.items))

    @operation("approvals.approve", needs=Permission.APPROVAL_DECIDE, on=_approval, fresh=True)
    async def approve(self, ctx: Context, request: Approve) -> Approval:
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            row = await self._open(uow, request.id, ApprovalStatus.PENDING)
            if ctx.actor.kind is not ActorKind.USER:
                # Whoever makes a token for somebody else could be both persons.
                raise Forbidden(
                    "Only a person who is signed in can be the second one.",
                    hint="Sign in to the console; tokens and the command line cannot approve.",
                )
            if ctx.actor.id in (row.requester_id, row.maker_id):
                raise Forbidden("Nobody approves their own request.", hint="Ask another administrator.")
            self._check_able(ctx, row)
            row = replace(
                row,
                status=ApprovalStatus.APPROVED,
                decided_by=ctx.actor.name,
                decided_at=now,
                expires_at=now + APPROVAL_LIFE,
                ripe_at=None,
            )
            await uow.approvals.save(row)
        return row

    @operation("approvals.refuse", needs=Permission.APPROVAL_DECIDE, on=_approval)
    async def refuse(self, ctx: Context, request: Refuse) -> Approval:
        async with self.kernel.catalog.write() as uow:
            row = await self._open(uow, request.id, ApprovalStatus.PENDING, ApprovalStatus.APPROVED)
            if ctx.actor.id != row.requester_id:
                self._check_able(ctx, row)
            row = replace(
                row,
                status=ApprovalStatus.REFUSED,
                decided_by=ctx.actor.name,
                decided_at=self.kernel.now(),
            )
            await uow.approvals.save(row)
        return row

    async def _open(self, uow: UnitOfWork, id: str, *kept: ApprovalStatus) -> Approval:
        row = await found(uow.approvals.get(id), "approval", id)
        status = standing(row, self.kernel.now())
        if row.status not in kept or status is ApprovalStatus.EXPIRED:
            raise Conflict(f"It is {status} already.", hint="Ask for the operation again.")
        return row

    def _check_able(self, ctx: Context, row: Approval) -> None:
        """The second person needs what the operation itself needs, on the very target."""
        target = Target(row.target_kind, row.target_id, row.target_name, row.tenant_id, row.provider_id)
        if not may_decide(tuple(Permission(p) for p in row.permissions), target, ctx.grants):
            raise Forbidden(f"Deciding over {row.operation} needs its own permission on the target.")
