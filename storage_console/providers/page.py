"""The providers page."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, badge, button, gated, mono, status_pill
from storage_console.parts.table import Column, table
from storage_console.providers.adoption import Adoption
from storage_console.providers.dialogs import adoption, checking, wizard
from storage_console.providers.state import Providers
from storage_console.providers.wizard import ProviderForm
from storage_console.shell.layout import page

#: States as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Providers
FORM: Any = ProviderForm
ADOPT: Any = Adoption


@rx.page(route="/providers", title="Providers · Storage Console", on_load=[S.load, S.live])
def providers() -> rx.Component:
    """The page."""
    return page(
        "Providers",
        table(
            S,
            _columns(),
            blank=_first(),
            actions=[_start(), _add()],
            bulk=[gated("provider.inspect", button("Test", icon="plug", on_click=S.bulk("test")))],
            menu=_menu,
            export="providers",
        ),
        wizard(),
        checking(),
        adoption(),
        confirm(S),
        lead="The engines this console reaches.",
    )


def _add() -> rx.Component:
    return gated(
        "provider.write",
        button("Add provider", look="primary", icon="plus", on_click=FORM.begin("postgresql")),
    )


def _start() -> rx.Component:
    """A menu of private servers; shown once the list is no longer empty."""
    trigger = rx.menu.trigger(
        button(
            "Private server", icon="hard-drive", busy=S.starting != "", aria_label="Start a private server"
        )
    )
    menu = rx.menu.root(
        trigger,
        rx.menu.content(
            rx.menu.item("Start a private PostgreSQL", on_click=S.start_server("postgresql", "")),
            rx.menu.item("Start a private MongoDB", on_click=S.start_server("mongodb", "")),
            align="end",
            variant="soft",
        ),
    )
    return rx.cond(S.total > 0, gated("server.manage", menu), rx.fragment())


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        private = rx.cond(row.server != "", badge("private"), rx.fragment())
        return rx.el.span(mono(row.name), private, class_name="sc-two")

    def status(row: Any) -> rx.Component:
        return rx.el.span(status_pill(status=row.status), title=row.problem)

    def endpoint(row: Any) -> rx.Component:
        hidden = rx.el.span("not for your role", class_name="sc-faint")
        return rx.cond(
            row.endpoint != "", mono(row.endpoint, title=row.endpoint, class_name="sc-faint"), hidden
        )

    return [
        Column("name", "Name", name, sort="name", fixed=True),
        Column("engine", "Engine", lambda r: rx.el.span(r.engine), sort="kind"),
        Column("status", "Status", status, sort="status"),
        Column("endpoint", "Endpoint", endpoint),
        Column("tls", "TLS", lambda r: rx.el.span(r.tls, class_name="sc-faint")),
        Column("latency", "Latency", lambda r: rx.el.span(r.latency), sort="latency_ms", align="end"),
        Column("databases", "Databases", lambda r: rx.el.span(r.databases), align="end"),
        Column("checked", "Last check", lambda r: ago(at=r.checked, empty="never"), sort="checked_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    server = rx.cond(
        row.status == "offline",
        choice("Start server", "server.manage", "play", S.start_server(row.kind, row.server)),
        choice("Stop server", "server.manage", "square", S.ask_stop(row.id)),
    )
    return [
        choice("Test connection", "provider.inspect", "plug-zap", S.check(row.id)),
        choice("Edit", "provider.write", "pencil", FORM.edit(row.id)),
        choice("Existing databases", "database.adopt", "search", ADOPT.look(row.id), here=row.adopts),
        rx.cond(row.server != "", server, rx.fragment()),
        rx.menu.separator(),
        choice("Delete", "provider.delete", "trash-2", S.ask_delete(row.id), danger=True),
    ]


def _offer(icon: str, title: str, text: str, control: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.icon(icon, size=20, aria_hidden="true"),
        rx.el.strong(title),
        rx.el.p(text),
        control,
        class_name="sc-offer",
    )


def _private(kind: str, label: str) -> rx.Component:
    start = button(
        f"Start a private {label}",
        icon="play",
        on_click=S.start_server(kind, ""),
        busy=S.starting == kind,
        disabled=S.starting != "",
    )
    return _offer(
        "hard-drive",
        f"Private {label}",
        "A real server on this machine, only for this console, with a password of its own. Ready in seconds.",
        gated("server.manage", start),
    )


def _first() -> rx.Component:
    """What an empty page offers: the three ways to a first provider."""
    return rx.el.div(
        rx.el.div(rx.icon("server", size=20, aria_hidden="true"), class_name="sc-empty-icon"),
        rx.el.h2("No providers yet"),
        rx.el.p("A provider is an engine that holds databases. Register one you run, or start a private one."),
        rx.el.div(
            _offer("plug", "An engine you run", "PostgreSQL, MongoDB, or a directory for SQLite, TinyDB or plain files. Tested before it is saved.", _add()),
            _private("postgresql", "PostgreSQL"),
            _private("mongodb", "MongoDB"),
            class_name="sc-offers",
        ),
        class_name="sc-empty",
    )  # fmt: skip
