"""What waits for a second person."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, badge, empty, link_button, mono, status_pill
from storage_console.parts.table import Column, table
from storage_console.settings.approvals_state import Approvals
from storage_console.settings.frame import settings

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Approvals


@rx.page(route="/settings/approvals", title="Approvals · Storage Console", on_load=[S.load, S.live])
def approvals() -> rx.Component:
    """The page."""
    return settings(
        "/settings/approvals",
        table(
            S,
            _columns(),
            blank=empty(
                "user-round-check",
                "Nothing waits",
                "With the two-person rule on, what destroys data waits here for somebody else's word.",
                link_button("Two-person rule", "/settings"),
            ),
            menu=_menu,
            export="settings-approvals",
        ),
        confirm(S),
        lead="What somebody asked for and somebody else decides.",
    )


def _columns() -> list[Column]:
    def what(row: Any) -> rx.Component:
        return rx.el.span(
            mono(row.operation), rx.cond(row.mine, badge("yours"), rx.fragment()), class_name="sc-two"
        )

    def until(row: Any) -> rx.Component:
        alone = rx.el.span(
            "alone ", ago(at=row.ripe), title="Nobody else can approve it: it may go on by then."
        )
        return rx.cond(
            row.open,
            rx.cond(row.ripe > 0, alone, ago(at=row.expires)),
            rx.el.span(row.decided, class_name="sc-faint"),
        )

    return [
        Column("operation", "What", what, sort="operation", fixed=True),
        Column("target", "On", lambda r: rx.el.span(r.target)),
        Column("requester", "Asked by", lambda r: rx.el.span(r.requester), sort="requester_name"),
        Column("reason", "Reason", lambda r: rx.el.span(r.reason, class_name="sc-faint", title=r.reason)),
        Column("status", "Status", lambda r: status_pill(status=r.status)),
        Column("until", "Until, or by", until, sort="expires_at"),
        Column("created", "Asked", lambda r: ago(at=r.created), sort="created_at"),
    ]  # fmt: skip


def _menu(row: Any) -> list[rx.Component]:
    return [
        choice("Approve", "approval.decide", "check", S.ask_approve(row.id), disabled=~row.open | row.mine),
        rx.cond(
            row.mine,
            choice("Withdraw", "approval.decide", "undo-2", S.ask_refuse(row.id), disabled=~row.held),
            choice("Refuse", "approval.decide", "ban", S.ask_refuse(row.id), danger=True, disabled=~row.held),
        ),
    ]
