"""All users' API tokens."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, button, empty, gated, link_button, mono, status_pill
from storage_console.parts.table import Column, table
from storage_console.settings.frame import settings
from storage_console.settings.tokens_state import AllTokens

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = AllTokens


@rx.page(route="/settings/tokens", title="API tokens · Storage Console", on_load=[S.load, S.live])
def tokens() -> rx.Component:
    """The page."""
    own = link_button("My tokens", "/profile", icon="circle-user-round")
    return settings(
        "/settings/tokens",
        table(
            S,
            _columns(),
            blank=empty("key-round", "No API tokens yet", "Programs sign in with tokens. People make them in their profile.", own),
            actions=[own],
            bulk=[gated("token.own", button("Revoke", icon="ban", on_click=S.ask_revoke_picked))],
            menu=lambda row: [
                choice("Revoke", "token.own", "ban", S.ask_revoke(row.id), danger=True, disabled=row.status != "active"),
            ],
            export="settings-tokens",
        ),
        confirm(S),
        lead="What programs sign in with; of the users you manage.",
    )  # fmt: skip


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.span(row.name, mono(row.prefix + "…", class_name="sc-faint"), class_name="sc-two")

    return [
        Column("name", "Name", name, sort="name", fixed=True),
        Column("user", "User", lambda r: rx.el.span(r.user)),
        Column("status", "Status", lambda r: status_pill(status=r.status)),
        Column("rights", "Rights", lambda r: rx.el.span(r.rights, class_name="sc-faint")),
        Column("used", "Last used", lambda r: ago(at=r.used, empty="never"), sort="used_at"),
        Column("expires", "Ends", lambda r: ago(at=r.expires, empty="never"), sort="expires_at"),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]
