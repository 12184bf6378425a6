"""The restore wizard, as both pages of this folder show it."""

from typing import Any

import reflex as rx

from storage_console.backups.restore import Restore
from storage_console.parts.feedback import button, mono, problem
from storage_console.parts.form import field, select

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
RESTORE: Any = Restore


def _fields() -> rx.Component:
    return rx.el.form(
        field(RESTORE, "name", "New database", hint="a-z, 0-9, _ and -. It stands beside the old one.",
              default_value=RESTORE.name, max_length=48, required=True, auto_focus=True),
        select(RESTORE, "provider_id", "Provider", RESTORE.providers, hint="Any of the same engine.",
               default_value=RESTORE.provider_id),
        rx.cond(RESTORE.form_problem.code != "", problem(RESTORE.form_problem), rx.fragment()),
        rx.el.div(
            button("Cancel", on_click=RESTORE.form_toggle(False)),
            button("Preview", look="primary", type="submit", icon="eye"),
            class_name="sc-actions",
        ),
        on_submit=RESTORE.look_ahead,
        class_name="sc-form",
        auto_complete="off",
        key=RESTORE.key,
    )  # fmt: skip


def _preview() -> rx.Component:
    def line(text: Any) -> rx.Component:
        return rx.el.li(rx.icon("check", size=14, aria_hidden="true"), rx.el.span(text))

    return rx.el.div(
        rx.el.p("This will happen:"),
        rx.el.ol(rx.foreach(RESTORE.preview, line), class_name="sc-preview"),
        rx.cond(RESTORE.form_problem.code != "", problem(RESTORE.form_problem), rx.fragment()),
        rx.el.div(
            button("Back", on_click=RESTORE.back),
            button("Start restore", look="primary", icon="archive-restore", on_click=RESTORE.start, busy=RESTORE.form_busy),
            class_name="sc-actions",
        ),
        class_name="sc-form",
        aria_live="polite",
    )  # fmt: skip


def restoring() -> rx.Component:
    """The dialog that `RESTORE.begin(backup_id)` opens."""
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Restore"),
            rx.dialog.description("A backup of ", mono(RESTORE.source), ", into a new database."),
            rx.cond(RESTORE.preview.length() > 0, _preview(), _fields()),
            class_name="sc-dialog",
        ),
        open=RESTORE.form_open,
        on_open_change=RESTORE.form_toggle,
    )
