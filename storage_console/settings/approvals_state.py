"""The state of what waits for a second person."""

from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import Filter, ListState
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain.approval import Approval, ApprovalStatus
from storage_core.domain.page import Page
from storage_core.services.approvals import Approve, ListApprovals, Refuse


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """Something asked for; `mine` by the reader, `open` while it can still be decided, `held` until it is used or over."""

    id: str
    operation: str
    target: str
    requester: str
    reason: str
    status: str
    decided: str
    created: float
    expires: float
    ripe: float
    mine: bool
    open: bool
    held: bool


class Approvals(ConfirmState, ListState, rx.State):
    """The list and what one says to its rows."""

    rows: list[ApprovalRow] = []

    _route: ClassVar[str] = "/settings/approvals"
    _noun: ClassVar[str] = "request"
    _sorts: ClassVar[tuple[str, ...]] = ("operation", "requester_name", "expires_at", "created_at")
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("status", "Status", ("pending", "approved", "refused", "used")),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "operation", "target_kind", "target_id", "target_name", "requester_name", "reason", "status", "created_at",
        "expires_at", "decided_by", "decided_at",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Approval]:
        return await core().approvals.list(ctx, ListApprovals(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Approval, ...]) -> list[ApprovalRow]:
        return [
            ApprovalRow(
                a.id,
                a.operation,
                f"{a.target_kind} {a.target_name}".strip(),
                a.requester_name,
                a.reason or "",
                a.status.value,
                a.decided_by or "",
                words.epoch(a.created_at),
                words.epoch(a.expires_at),
                words.epoch(a.ripe_at),
                a.requester_id == ctx.actor.id,
                a.status is ApprovalStatus.PENDING,
                a.status in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED),
            )
            for a in items
        ]

    @staticmethod
    def _label(item: Any) -> str:
        return f"{item.operation} {item.id[:8]}"

    @rx.event
    @requires(Permission.APPROVAL_DECIDE)
    def ask_approve(self, id: str):
        """Asks before the second person agrees."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = [
                f"{row.requester} may do {row.operation} on {row.target} once, within 30 minutes.",
                "Exactly what was asked for: any other argument, or a change of the target, needs a new request.",
                *([f"Their reason: {row.reason}"] if row.reason else []),
            ]
            self._ask("approve", f"Approve {row.operation}", effects, label="Approve", ids=[id])

    @rx.event
    @requires(Permission.APPROVAL_DECIDE)
    def ask_refuse(self, id: str):
        """Asks before a request is refused, or one's own withdrawn."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = [f"{row.operation} on {row.target} does not happen; it has to be asked for again."]
            label = "Withdraw" if row.mine else "Refuse"
            self._ask("refuse", f"{label} {row.operation}", effects, label=label, ids=[id])

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = await asking(self)
        if verb == "approve":
            row = await core().approvals.approve(ctx, Approve(id=ids[0]))
            said = f"Approved; {row.requester_name} repeats it now"
        else:
            await core().approvals.refuse(ctx, Refuse(id=ids[0]))
            said = "It will not happen"
        await self._reload()
        return toast("success", said)
