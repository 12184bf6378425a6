"""Whom the console tells what happened."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, button, empty, gated, mono, status_pill
from storage_console.parts.form import Option, area, field, select
from storage_console.parts.once import once
from storage_console.parts.table import Column, table
from storage_console.settings.frame import settings
from storage_console.settings.notifications_state import NotificationChannels
from storage_core.domain.notification import ChannelKind, Happening, MailSecurity

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = NotificationChannels

KINDS = {
    ChannelKind.WEBHOOK: ("Web hook", "Signed JSON, to any program."),
    ChannelKind.SLACK: ("Slack", "A message, to Slack and what takes its web hooks."),
    ChannelKind.EMAIL: ("Mail", "A mail, handed in at a server of yours."),
}


@rx.page(route="/settings/notifications", title="Notifications · Storage Console", on_load=[S.load, S.live])
def notifications() -> rx.Component:
    """The page."""
    return settings(
        "/settings/notifications",
        table(
            S,
            _columns(),
            blank=empty("bell", "Nobody is told yet", "A channel tells people who are not looking when a backup fails or an engine is away.", _new()),
            actions=[_new()],
            bulk=[gated("notification.manage", button("Remove", icon="trash-2", on_click=S.ask_remove_picked))],
            menu=_menu,
            export="settings-notifications",
        ),
        _creation(),
        confirm(S),
        lead="Whom the console tells what happened: web hooks, Slack, mail.",
    )  # fmt: skip


def _new() -> rx.Component:
    menu = rx.menu.root(
        rx.menu.trigger(button("New channel", look="primary", icon="plus")),
        rx.menu.content(
            *[rx.menu.item(label, on_click=S.new_show(kind.value)) for kind, (label, _) in KINDS.items()],
            align="end",
            variant="soft",
        ),
    )
    return gated("notification.manage", menu)


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.span(rx.el.span(row.name), mono(row.address, class_name="sc-faint"), class_name="sc-two")

    return [
        Column("name", "Channel", name, sort="name", fixed=True),
        Column("kind", "Kind", lambda r: rx.el.span(r.kind), sort="kind"),
        Column("status", "Status", lambda r: rx.el.span(status_pill(status=r.status), title=r.problem)),
        Column("of", "Scope", lambda r: rx.el.span(r.of)),
        Column("tells", "Events", lambda r: rx.el.span(r.tells, class_name="sc-faint", title=r.events)),
        Column("sent", "Last sent", lambda r: ago(at=r.sent, empty="never"), sort="sent_at"),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    return [
        choice("Send a test", "notification.manage", "send", S.test(row.id)),
        rx.cond(
            row.status == "disabled",
            choice("Switch on", "notification.manage", "bell", S.switch(row.id, True)),
            choice("Switch off", "notification.manage", "bell-off", S.switch(row.id, False)),
        ),
        rx.menu.separator(),
        choice("Remove", "notification.manage", "trash-2", S.ask_remove(row.id), danger=True),
    ]


def _creation() -> rx.Component:
    """One dialog, with the fields of the kind that was chosen."""
    return rx.dialog.root(
        rx.dialog.content(
            rx.match(S.kind, *[(kind.value, _of_kind(kind)) for kind in KINDS], rx.fragment()),
            class_name="sc-dialog",
        ),
        open=S.kind != "",
        on_open_change=S.new_toggle,
    )


def _of_kind(kind: ChannelKind) -> rx.Component:
    label, about = KINDS[kind]
    shown = {"show": "signing_secret", "told": "The secret that proves who posts. It is shown this once."}
    return rx.fragment(
        rx.dialog.title(f"New channel: {label}"),
        rx.dialog.description(about),
        once(
            "/api/storage/notifications/create",
            "Add channel",
            rx.el.input(type="hidden", name="kind", value=kind.value, read_only=True),
            field(None, "name", "Name", hint="Lower case, digits, dashes.", required=True, max_length=48),
            *_leading(kind),
            select(None, "tenant_id", "Scope", S.places),
            _events(),
            on_done=S.made,
            on_cancel=S.new_toggle(False),
            **(shown if kind is ChannelKind.WEBHOOK else {}),
        ),
    )


def _leading(kind: ChannelKind) -> list[rx.Component]:
    """Where it leads."""
    secret = {"type": "password", "auto_complete": "off"}
    if kind is not ChannelKind.EMAIL:
        hint = "Kept sealed, never shown again: who knows it may post there."
        url = field(None, "url", "Address", hint=hint, required=True, **secret)
        if kind is ChannelKind.SLACK:
            return [url]
        template = area(
            None, "template", "Template", hint="JSON with ${title}, ${text} … in its strings; the whole notice if empty.", rows=3
        )  # fmt: skip
        return [url, template]
    security = [
        Option(s.value, s.value) for s in (MailSecurity.STARTTLS, MailSecurity.TLS, MailSecurity.NONE)
    ]
    return [
        rx.el.div(
            field(None, "recipients[]", "To", type="email", required=True),
            field(None, "sender", "From", type="email", required=True),
            class_name="sc-pair",
        ),
        rx.el.div(
            field(None, "server.host", "Mail server", required=True),
            field(None, "server.port", "Port", type="number", default_value="587", required=True),
            class_name="sc-pair",
        ),
        rx.el.div(
            field(None, "server.user", "User", hint="Nobody signs in, if empty."),
            field(None, "server.password", "Password", type="password", auto_complete="new-password"),
            class_name="sc-pair",
        ),
        select(None, "server.security", "Security", security),
    ]


def _events() -> rx.Component:
    def one(event: Happening) -> rx.Component:
        box = rx.el.input(
            type="checkbox", name="events[]", value=event.value, default_checked=True, class_name="sc-check"
        )
        return rx.el.label(box, rx.el.span(event.value), class_name="sc-switch")

    return rx.el.fieldset(
        rx.el.legend("Events", class_name="sc-legend"),
        rx.el.div(*[one(event) for event in Happening], class_name="sc-pair"),
        class_name="sc-field",
    )
