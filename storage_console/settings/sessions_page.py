"""All users' sign-ins."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, badge, button, empty, mono
from storage_console.parts.table import Column, table
from storage_console.settings.frame import settings
from storage_console.settings.sessions_state import SignIns

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = SignIns


@rx.page(route="/settings/sessions", title="Sign-ins · Storage Console", on_load=[S.load, S.live])
def sessions() -> rx.Component:
    """The page."""
    return settings(
        "/settings/sessions",
        table(
            S,
            _columns(),
            blank=empty(
                "monitor", "Nobody is signed in", "Sign-ins of browsers appear here while they last."
            ),
            bulk=[button("End", icon="log-out", on_click=S.ask_end_picked)],
            menu=lambda row: [
                choice("End", "signed_in", "log-out", S.ask_end(row.id), danger=True),
            ],
            export="settings-sessions",
        ),
        confirm(S),
        lead="Who is signed in, from where; of the users you manage.",
    )


def _columns() -> list[Column]:
    def user(row: Any) -> rx.Component:
        return rx.el.span(
            rx.el.span(row.user),
            rx.cond(row.current, badge("this one", "ok"), rx.fragment()),
            class_name="sc-two",
        )

    return [
        Column("user", "User", user, fixed=True),
        Column("browser", "Browser", lambda r: rx.el.span(r.browser, title=r.agent)),
        Column("address", "Address", lambda r: mono(r.address), sort="address"),
        Column("seen", "Last seen", lambda r: ago(at=r.seen), sort="seen_at"),
        Column("began", "Signed in", lambda r: ago(at=r.began), sort="created_at"),
    ]
