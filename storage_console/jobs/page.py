"""The jobs page."""

from typing import Any

import reflex as rx

from storage_console.jobs.state import Jobs
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, button, empty, gated, link_button, mono, progress, status_pill
from storage_console.parts.table import Column, table
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Jobs


@rx.page(route="/jobs", title="Jobs · Storage Console", on_load=[S.load, S.live])
def jobs() -> rx.Component:
    """The page."""
    return page(
        "Jobs",
        table(
            S,
            _columns(),
            blank=empty(
                "list-checks",
                "No jobs yet",
                "Long work, like a backup and its proof, appears here and goes on without this page.",
                link_button("Databases", "/databases"),
            ),
            bulk=[gated("job.control", button("Cancel jobs", icon="ban", on_click=S.ask_cancel_picked))],
            menu=_menu,
            export="jobs",
            href=lambda row: f"/jobs/{row.id}",
        ),
        confirm(S),
        lead="Long work: what runs, what ran, and how it ended.",
    )


def _columns() -> list[Column]:
    def status(row: Any) -> rx.Component:
        moving = rx.el.div(progress(row.stage, row.percent, row.left), class_name="sc-cell-progress")
        return rx.cond(row.status == "running", moving, status_pill(status=row.status))

    return [
        Column("title", "Work", lambda r: rx.el.span(r.title), sort="operation", fixed=True),
        Column("target", "About", lambda r: mono(r.target), sort="target_name"),
        Column("status", "Status", status, sort="status"),
        Column("took", "Took", lambda r: rx.el.span(r.took, class_name="sc-num"), align="end"),
        Column(
            "actor", "Started by", lambda r: rx.el.span(r.actor, class_name="sc-faint"), sort="actor_name"
        ),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    again = (row.status == "failed") | (row.status == "cancelled")
    return [
        choice("Run again", "job.control", "rotate-cw", S.retry(row.id), disabled=~again),
        choice("Cancel", "job.control", "ban", S.ask_cancel(row.id), danger=True, disabled=~row.active),
    ]
