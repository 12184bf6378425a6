"""The schedules page."""

from typing import Any

import reflex as rx

from storage_console.backups.plan_form import PLAN, planning
from storage_console.backups.schedules_state import Schedules
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice, small_table
from storage_console.parts.feedback import ago, button, empty, gated, link_button, mono, status_pill
from storage_console.parts.table import Column, table
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Schedules


@rx.page(route="/backups/schedules", title="Schedules · Storage Console", on_load=[S.load, S.live])
def schedules() -> rx.Component:
    """The page."""
    return page(
        "Schedules",
        table(
            S,
            _columns(),
            blank=empty(
                "calendar-clock",
                "No schedules yet",
                "A schedule backs databases up by the clock, proves each backup, and keeps as many as you say.",
                _new(),
            ),
            actions=[link_button("Backups", "/backups", icon="archive"), _new()],
            bulk=[
                gated("backup.plan", button("Pause", icon="pause", on_click=S.bulk("pause"))),
                gated("backup.plan", button("Resume", icon="play", on_click=S.bulk("resume"))),
            ],
            menu=_menu,
            export="schedules",
        ),
        planning(),
        _turns(),
        confirm(S),
        lead="What is backed up when, and how long it is kept.",
    )


def _new() -> rx.Component:
    return gated("backup.plan", button("New schedule", look="primary", icon="plus", on_click=PLAN.begin))


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.button(row.name, type="button", class_name="sc-row-button", on_click=S.look(row.id))

    def clipped(text: Any, whole: Any) -> rx.Component:
        return rx.el.span(text, title=whole, class_name="sc-clip")

    def following(row: Any) -> rx.Component:
        return rx.cond(
            row.status == "paused", status_pill(status=row.status), ago(at=row.next, empty="never")
        )

    def last(row: Any) -> rx.Component:
        return rx.el.span(
            ago(at=row.last, empty="never"),
            rx.cond(row.skipped != "", rx.el.span(row.skipped, class_name="sc-faint"), rx.fragment()),
            class_name="sc-two",
        )

    return [
        Column("name", "Name", name, sort="name", fixed=True),
        Column("covers", "Covers", lambda r: clipped(r.covers, r.covers)),
        Column("when", "When", lambda r: clipped(r.when, r.cron)),
        Column("zone", "Zone", lambda r: rx.el.span(r.zone, class_name="sc-faint")),
        Column("next", "Next", following, sort="next_at"),
        Column("last", "Last", last, sort="last_at"),
        Column("keeps", "Keeps", lambda r: clipped(r.keeps, r.keeps)),
    ]


def _menu(row: Any) -> list[rx.Component]:
    return [
        choice("Edit", "backup.plan", "pencil", PLAN.edit(row.id)),
        choice("Turns", "inventory.read", "list", S.look(row.id)),
        rx.cond(
            row.status == "paused",
            choice("Resume", "backup.plan", "play", S.resume(row.id)),
            choice("Pause", "backup.plan", "pause", S.suspend(row.id)),
        ),
        rx.menu.separator(),
        choice("Remove", "backup.plan", "trash-2", S.ask_remove(row.id), danger=True),
    ]


def _turns() -> rx.Component:
    """What became of the last turns, newest first."""

    def cells(run: Any) -> list[Any]:
        backup = rx.link("Backup", href=f"/backups/{run.backup}")
        return [
            mono(run.database),
            ago(at=run.due),
            status_pill(status=run.status),
            rx.cond(run.backup != "", backup, rx.el.span(run.reason)),
        ]

    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Turns of " + S.look_name),
            rx.dialog.description("What became of each database's turn, newest first; kept for 30 days."),
            rx.cond(
                S.runs.length() > 0,
                small_table(("Database", "Due", "Status", "What came of it"), S.runs, cells, label="Turns"),
                rx.el.p("There was none yet.", class_name="sc-hint"),
            ),
            rx.el.div(
                button("Close", look="primary", on_click=S.look_toggle(False)), class_name="sc-actions"
            ),
            class_name="sc-dialog",
        ),
        open=S.look_open,
        on_open_change=S.look_toggle,
    )
