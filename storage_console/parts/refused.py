"""What stands in the way of a dangerous thing: a sign-in to renew, a second person, or a plain problem."""

from typing import Any

import reflex as rx

from storage_console.parts.client import renew
from storage_console.parts.feedback import link_button, problem

#: Codes of the core's errors that have an answer of their own.
SIGN_IN_AGAIN, APPROVAL_REQUIRED = "sign_in_again", "approval_required"


def refused(found: Any, again: Any = None) -> rx.Component:
    """The way on for a Problem var: after a renewed sign-in `again` is called (or the form around it sent again)."""
    return rx.fragment(
        rx.match(
            found.code,
            ("", rx.fragment()),
            (SIGN_IN_AGAIN, renew(again)),
            (APPROVAL_REQUIRED, second_person(found)),
            problem(found),
        )
    )


def second_person(found: Any) -> rx.Component:
    """Says that somebody else was asked, and where that waits."""
    return rx.el.div(
        rx.icon("user-round-check", size=16, aria_hidden="true"),
        rx.el.div(
            rx.el.strong("A second person approves this."),
            rx.el.p(found.detail),
            rx.el.p(
                rx.cond(
                    found.hint != "", found.hint, "Once they did, ask for it again: it then passes, once."
                ),
                class_name="sc-faint",
            ),
            link_button("See what waits", "/settings/approvals", icon="user-round-check"),
            class_name="sc-stack",
        ),
        class_name="sc-note",
        data_tone="warn",
        role="status",
    )
