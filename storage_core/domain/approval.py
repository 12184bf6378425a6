"""The two-person rule: what somebody asked for, and what somebody else said to it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: How long a request waits for a second person, and how long their approval holds.
APPROVAL_LIFE = timedelta(minutes=30)
#: Where nobody else could approve, time and an alert stand for the second person.
ALONE_DELAY = timedelta(hours=24)


class ApprovalStatus(StrEnum):
    """`used` and `refused` are the ends people make; time makes the other one (see `standing`)."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    USED = "used"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Approval:
    """One call that needs a second person. `digest` binds it to operation, arguments and the target's version;
    `maker_id` is who made the token the requester came with, where that was somebody else.
    `permissions` are what the operation needs, so what whoever decides must hold on the target.

    `ripe_at` is set where nobody else can approve: from then on until `expires_at` the requester may go on alone.
    """

    id: str
    operation: str
    digest: str
    requester_id: str
    requester_name: str
    created_at: datetime
    expires_at: datetime
    target_kind: str = ""
    target_id: str | None = None
    target_name: str = ""
    tenant_id: str | None = None
    provider_id: str | None = None
    reason: str | None = None
    permissions: tuple[str, ...] = ()
    maker_id: str | None = None
    status: ApprovalStatus = ApprovalStatus.PENDING
    ripe_at: datetime | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


def standing(approval: Approval, now: datetime) -> ApprovalStatus:
    """Where it stands at `now`: an undecided or unused one ends by itself, one left alone ripens."""
    if approval.status not in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED):
        return approval.status
    if now >= approval.expires_at:
        return ApprovalStatus.EXPIRED
    if approval.ripe_at is not None and now >= approval.ripe_at:
        return ApprovalStatus.APPROVED
    return approval.status
