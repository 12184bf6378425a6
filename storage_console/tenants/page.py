"""The tenants page."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice, facts
from storage_console.parts.feedback import (
    ago,
    button,
    empty,
    gated,
    link_button,
    mono,
    note,
    problem,
    skeleton,
    status_pill,
)
from storage_console.parts.form import dialog_form, field, group, switch
from storage_console.parts.table import Column, table
from storage_console.parts.words import KINDS
from storage_console.shell.layout import page
from storage_console.tenants.state import EditPolicy, EditTenant, NewTenant, Tenants

#: States as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Tenants
NEW: Any = NewTenant
EDIT: Any = EditTenant
POLICY: Any = EditPolicy


@rx.page(route="/tenants", title="Tenants · Storage Console", on_load=[S.load, S.live])
def tenants() -> rx.Component:
    """The page."""
    return page(
        "Tenants",
        table(
            S,
            _columns(),
            blank=empty(
                "building-2",
                "No tenants yet",
                "A tenant is whose data it is. Its databases, backups and keys are kept apart from everybody else's.",
                _new(),
            ),
            actions=[_new()],
            bulk=[gated("tenant.admin", button("Resume", icon="play", on_click=S.bulk("resume")))],
            menu=_menu,
            export="tenants",
        ),
        _usage(),
        dialog_form(
            NEW,
            "New tenant",
            "Create tenant",
            field(NEW, "name", "Name", hint="a-z, 0-9, _ and -. Used in scopes and headers; it never changes.",
                  auto_focus=True, required=True, max_length=48, placeholder="acme"),
            field(NEW, "title", "Title", hint="What people read; the name, if empty.", placeholder="Acme Corporation"),
            about="Whose data it is. Isolation follows from it.",
        ),
        dialog_form(
            EDIT,
            "Edit tenant",
            "Save",
            field(EDIT, "title", "Title", default_value=EDIT.title, key=EDIT.name, required=True, auto_focus=True),
            about="What people read. The name in scopes and headers stays.",
        ),
        _policy_form(),
        confirm(S),
        lead="Whose data it is.",
    )  # fmt: skip


def _new() -> rx.Component:
    return gated("tenant.admin", button("New tenant", look="primary", icon="plus", on_click=NEW.form_show))


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.button(
            mono(row.name), type="button", class_name="sc-row-button", on_click=S.look(row.id)
        )

    def status(row: Any) -> rx.Component:
        return rx.el.span(status_pill(status=row.status), title=row.reason)

    def databases(row: Any) -> rx.Component:
        return rx.el.span(row.databases, class_name="sc-num")

    return [
        Column("name", "Name", name, sort="name", fixed=True),
        Column("title", "Title", lambda r: rx.el.span(r.title), sort="title"),
        Column("status", "Status", status, sort="status"),
        Column("databases", "Databases", databases, align="end"),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    over = row.status == "deleted"
    return [
        choice("Usage and policy", "status.read", "gauge", S.look(row.id)),
        choice("Edit title", "tenant.update", "pencil", EDIT.edit(row.id), disabled=over),
        choice("Edit policy", "tenant.admin", "sliders-horizontal", POLICY.edit(row.id), disabled=over),
        rx.cond(
            row.status == "suspended",
            choice("Resume", "tenant.admin", "play", S.resume(row.id)),
            choice("Suspend", "tenant.danger", "pause", S.ask_suspend(row.id), disabled=over),
        ),
        rx.menu.separator(),
        choice("Delete", "tenant.danger", "trash-2", S.ask_delete(row.id), danger=True, disabled=over),
    ]


def _usage() -> rx.Component:
    used = rx.fragment(
        facts(
            ("Databases", S.usage.databases),
            ("On the engines", S.usage.live),
            ("Backups", S.usage.backups),
            ("Stored backups", S.usage.stored),
        ),
        rx.cond(
            S.usage.unmeasured != "",
            note("Not measured, their engine did not answer: " + S.usage.unmeasured, "warn", "triangle-alert"),
            rx.fragment(),
        ),
        rx.el.h2("What it may have"),
        facts(
            ("Engines", S.policy.engines),
            ("Encrypted collections", S.policy.encryption),
            ("Databases", S.policy.databases),
            ("Documents per database", S.policy.documents),
            ("Size per database", S.policy.bytes),
            ("Connections per database", S.policy.connections),
        ),
    )  # fmt: skip
    body = rx.cond(
        S.look_busy, skeleton(3), rx.cond(S.look_problem.code != "", problem(S.look_problem), used)
    )
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(S.look_title),
            rx.dialog.description(mono(S.look_name)),
            rx.el.div(body, aria_busy=S.look_busy, aria_live="polite", class_name="sc-dialog-body"),
            rx.el.div(
                gated(
                    "tenant.admin", button("Edit policy", icon="sliders-horizontal", on_click=S.change_policy)
                ),
                link_button("All databases", "/databases"),
                button("Close", look="primary", on_click=S.look_toggle(False)),
                class_name="sc-actions",
            ),
            class_name="sc-dialog",
        ),
        open=S.look_open,
        on_open_change=S.look_toggle,
    )


def _policy_form() -> rx.Component:
    def number(name: str, label: str, hint: str, value: Any, **props: Any) -> rx.Component:
        return field(
            POLICY, name, label, hint=hint, default_value=value, key=f"{name}-{POLICY.name}",
            input_mode="numeric", **{"placeholder": "no limit", **props},
        )  # fmt: skip

    f = POLICY.fields
    kinds = [
        switch(f"engine_{kind}", label, default_checked=f.engines.contains(kind), key=f"{kind}-{POLICY.name}")
        for kind, label in KINDS.items()
    ]
    return dialog_form(
        POLICY,
        "Edit policy",
        "Save policy",
        mono(POLICY.name),
        group(POLICY, "engines", "Engines", *kinds, hint="For new databases. Those it has already stay."),
        switch("encryption", "Encrypted collections only", default_checked=f.encryption, key=f"e-{POLICY.name}",
               hint="Programs are refused everything else at once, also what is stored in clear already."),
        number("databases", "Databases", "How many it may have.", f.databases),
        number("documents", "Documents per database", "In its collections.", f.documents),
        number("bytes", "Size per database", "Of its documents as JSON: 500 MB, 10 GB.", f.bytes, max_length=24),
        number("connections", "Connections per database", "Of each program.", f.connections, placeholder="4"),
        about="Programs and pages hold to it within two seconds. What is left empty has no limit.",
    )  # fmt: skip
