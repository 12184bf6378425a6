"""Secrets: keys, passwords, data keys; write-only."""

from typing import Any

import reflex as rx

from storage_console.parts.client import same
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import (
    ago,
    badge,
    button,
    empty,
    gated,
    link_button,
    mono,
    problem,
    status_pill,
)
from storage_console.parts.form import field
from storage_console.parts.once import once
from storage_console.parts.table import Column, table
from storage_console.settings.frame import settings
from storage_console.settings.secrets_state import MASTER_NAME, Secrets

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Secrets


@rx.page(route="/settings/secrets", title="Secrets · Storage Console", on_load=[S.load, S.live])
def secrets() -> rx.Component:
    """The page."""
    return settings(
        "/settings/secrets",
        table(
            S,
            _columns(),
            blank=empty("vault", "No secrets yet", "A provider's password is sealed here when you register it.",
                        link_button("Providers", "/providers", icon="server")),
            menu=_menu,
            export="settings-secrets",
        ),
        _recovery(),
        _replacing(),
        confirm(S),
        actions=[_master(), _check()],
        lead="What is sealed, by which key, for how long. Nobody reads a secret back.",
    )  # fmt: skip


def _menu(row: Any) -> list[rx.Component]:
    return [
        rx.cond(
            row.kind == "password",
            choice(
                "New credentials",
                "provider.write",
                "refresh-cw",
                S.replace_show(row.id),
                disabled=row.provider == "",
            ),
            choice(
                "Rotate this key",
                "secret.manage",
                "refresh-cw",
                S.ask_rotate(row.id),
                disabled=~row.rotatable,
            ),
        )
    ]


def _check() -> rx.Component:
    return gated(
        "secret.manage", button("Check all", look="primary", icon="shield-check", on_click=S.check_all)
    )


def _master() -> rx.Component:
    menu = rx.menu.root(
        rx.menu.trigger(button("Master key", icon="key-round")),
        rx.menu.content(
            rx.menu.item("Export a recovery key", on_click=S.recovery_show(True)),
            rx.menu.item("Rotate the master key", on_click=S.ask_rotate_master, color_scheme="red"),
            align="end",
            variant="soft",
        ),
    )
    return gated("master_key", menu)


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.span(rx.el.span(row.name), badge(row.version), class_name="sc-two")

    return [
        Column("kind", "Secret", name, sort="kind", fixed=True),
        Column("owner", "Of", lambda r: rx.el.span(r.owner), sort="owner_name"),
        Column("state", "State", lambda r: status_pill(status=r.state), sort="state"),
        Column("sealed", "Sealed by", lambda r: mono(r.sealed, class_name="sc-faint", title=r.sealed_by)),
        Column(
            "used", "Used by", lambda r: rx.el.span(r.used, class_name="sc-num"), sort="used_by", align="end"
        ),
        Column("since", "Unchanged since", lambda r: ago(at=r.since), sort="updated_at"),
    ]


def _recovery() -> rx.Component:
    secret: dict[str, Any] = {
        "type": "password",
        "required": True,
        "min_length": 12,
        "auto_complete": "new-password",
    }
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Export a recovery key"),
            rx.dialog.description(
                "The master key as a text that only a passphrase opens. Print it, keep both apart from this machine."
            ),
            once(
                "/api/storage/secrets/export_recovery",
                "Export",
                field(None, "passphrase", "Passphrase", hint="At least 12 characters. Without it the text is worth nothing.",
                      **secret),
                field(None, "repeat", "Repeat the passphrase", **secret),
                field(None, "confirm", f"Type {MASTER_NAME} to confirm", required=True),
                show="text",
                told="Print or copy it now: it is shown this once.",
                on_done=S.recovery_show(False),
                on_cancel=S.recovery_show(False),
            ),
            same("#f-passphrase", "#f-repeat", "The two passphrases differ."),
            class_name="sc-dialog",
        ),
        open=S.recovery_open,
        on_open_change=S.recovery_show,
    )  # fmt: skip


def _replacing() -> rx.Component:
    """Another password for a provider: one that is on the engine already, or a second login made there."""
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("New credentials of ", S.replace_name),
            rx.dialog.description("Tested step by step before the switch; there is no moment in which nothing works."),
            once(
                "/api/storage/secrets/" + S.replace_id + "/credentials",
                "Test and use",
                field(None, "user", "User", hint="As before, if empty."),
                field(None, "password", "Password", type="password", hint="The one this user has on the engine already.",
                      auto_complete="new-password", required=True),
                method="PUT",
                on_done=S.replaced,
                on_cancel=S.replace_toggle(False),
            ),
            rx.el.h2("Or let it be made", class_name="sc-dialog-part"),
            rx.el.p(
                "A second login with the same rights takes over; the one before is locked out later.", class_name="sc-hint"
            ),
            rx.cond(S.replace_problem.code != "", problem(S.replace_problem), rx.fragment()),
            rx.el.div(
                button("Generate", icon="refresh-cw", on_click=S.generate, busy=S.replace_busy), class_name="sc-actions"
            ),
            class_name="sc-dialog",
        ),
        open=S.replace_open,
        on_open_change=S.replace_toggle,
    )  # fmt: skip
