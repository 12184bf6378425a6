"""The backups page."""

from typing import Any

import reflex as rx

from storage_console.backups.state import Backups, NewBackup
from storage_console.backups.wizard import RESTORE, restoring
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import (
    ago,
    button,
    empty,
    gated,
    link_button,
    mono,
    note,
    status_pill,
)
from storage_console.parts.form import dialog_form, field, select
from storage_console.parts.table import Column, table
from storage_console.shell.layout import page

#: States as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Backups
NEW: Any = NewBackup


@rx.page(route="/backups", title="Backups · Storage Console", on_load=[S.load, S.live])
def backups() -> rx.Component:
    """The page."""
    return page(
        "Backups",
        table(
            S,
            _columns(),
            blank=empty(
                "archive",
                "No backups yet",
                "Each backup is restored into a throw-away target and compared, row by row. Then it counts as proven.",
                _new(),
            ),
            actions=[link_button("Schedules", "/backups/schedules", icon="calendar-clock"), _new()],
            bulk=[gated("backup.run", button("Prove again", icon="shield-check", on_click=S.bulk("verify")))],
            menu=_menu,
            export="backups",
            href=lambda row: f"/backups/{row.id}",
        ),
        _creation(),
        restoring(),
        confirm(S),
        lead="What is stored, and what is proven to come back.",
    )


def _new() -> rx.Component:
    return gated("backup.run", button("Back up", look="primary", icon="plus", on_click=NEW.begin))


def _columns() -> list[Column]:
    def status(row: Any) -> rx.Component:
        pill = rx.el.span(status_pill(status=row.status), title=row.reason)
        busy = rx.link(pill, href=f"/jobs/{row.job}", underline="none", aria_label="Follow its job")
        return rx.cond(row.settled | (row.job == ""), pill, busy)

    def number(value: Any) -> rx.Component:
        return rx.el.span(value, class_name="sc-num")

    return [
        Column("database", "Database", lambda r: mono(r.database), sort="database_name", fixed=True),
        Column("status", "Status", status, sort="status"),
        Column("proven", "Proven", lambda r: ago(at=r.proven, empty="never"), sort="proven_at"),
        Column("rows", "Rows", lambda r: number(r.rows), align="end"),
        Column("raw", "Raw", lambda r: number(r.raw), sort="size_raw", align="end"),
        Column("stored", "Stored", lambda r: number(r.stored), sort="size_stored", align="end"),
        Column("took", "Took", lambda r: number(r.took), align="end"),
        Column("where", "From", lambda r: mono(r.where, class_name="sc-faint")),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    return [
        choice("Restore", "restore.new", "archive-restore", RESTORE.begin(row.id), disabled=~row.restorable),
        choice("Prove again", "backup.run", "shield-check", S.verify(row.id), disabled=~row.restorable),
        rx.menu.separator(),
        choice(
            "Delete", "backup.delete", "trash-2", S.ask_delete(row.id), danger=True, disabled=~row.settled
        ),
    ]


def _creation() -> rx.Component:
    missing = rx.el.div(
        note("There is no database to back up yet.", "warn", "triangle-alert"),
        link_button("Databases", "/databases", icon="database"),
        class_name="sc-stack",
    )
    return dialog_form(
        NEW,
        "Back up a database",
        "Back up now",
        rx.cond(NEW.databases.length() == 0, missing, rx.fragment()),
        select(NEW, "database_id", "Database", NEW.databases),
        field(
            NEW, "note", "Note", hint="Why, for people.", placeholder="before the migration", max_length=500
        ),
        about="Taken in one snapshot, stored encrypted, then proven by a real restore.",
    )
