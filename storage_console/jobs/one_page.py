"""One job's page."""

from typing import Any

import reflex as rx

from storage_console.jobs.one_state import JobPage
from storage_console.parts.confirm import confirm
from storage_console.parts.details import facts, panel
from storage_console.parts.feedback import (
    ago,
    button,
    gated,
    link_button,
    mono,
    note,
    problem,
    progress,
    status_pill,
)
from storage_console.parts.live import shown
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = JobPage


@rx.page(route="/jobs/[job_id]", title="Job · Storage Console", on_load=[S.load, S.live])
def job() -> rx.Component:
    """The page."""
    return page(
        S.heading,
        shown(S, _standing(), _result(), _log()),
        confirm(S),
        actions=[_actions()],
        crumbs=[("Jobs", "/jobs")],
    )


def _actions() -> rx.Component:
    again = (S.job.status == "failed") | (S.job.status == "cancelled")
    return rx.fragment(
        rx.cond(S.link != "", link_button(S.link_text, S.link), rx.fragment()),
        rx.cond(S.job.active, gated("job.control", button("Cancel", icon="ban", on_click=S.ask_cancel)), rx.fragment()),
        rx.cond(
            again,
            gated("job.control", button("Run again", look="primary", icon="rotate-cw", on_click=S.retry)),
            rx.fragment(),
        ),
    )  # fmt: skip


def _standing() -> rx.Component:
    moving = rx.el.div(
        progress(S.job.stage, S.job.percent, S.job.left),
        rx.el.div(
            status_pill(status=S.job.status),
            rx.cond(S.amount != "", rx.el.span(S.amount, class_name="sc-num sc-faint"), rx.fragment()),
            rx.cond(S.message != "", rx.el.span(S.message, class_name="sc-faint"), rx.fragment()),
            class_name="sc-two",
        ),
        class_name="sc-hero",
        data_live="true",
        aria_live="polite",
    )
    over = rx.el.div(rx.el.div(status_pill(status=S.job.status), class_name="sc-two"), class_name="sc-hero")
    return rx.el.section(
        rx.cond(S.job.active, moving, over),
        rx.cond(
            S.failure.code == "cancelled",
            rx.el.div(note(S.failure.detail, "off", "ban"), class_name="sc-inset"),
            rx.cond(
                S.failure.code != "", rx.el.div(problem(S.failure), class_name="sc-inset"), rx.fragment()
            ),
        ),
        facts(
            ("Started by", S.job.actor),
            ("Created", ago(at=S.job.created)),
            ("Started", ago(at=S.started, empty="not yet")),
            ("Finished", ago(at=S.finished, empty="not yet")),
            ("Took", S.job.took),
            ("Attempts", S.attempts),
            ("Job", mono(S.job.id, class_name="sc-long")),
        ),
        class_name="sc-panel",
        aria_label="Progress",
    )


def _fact(f: Any) -> rx.Component:
    return rx.el.div(rx.el.dt(f.label), rx.el.dd(f.value))


def _result() -> rx.Component:
    listed = rx.el.dl(rx.foreach(S.facts, _fact), class_name="sc-facts")
    return rx.cond(S.facts.length() > 0, panel("Result", listed), rx.fragment())


def _log() -> rx.Component:
    def line(entry: Any) -> rx.Component:
        return rx.el.li(rx.el.span("+", entry.after), rx.el.span(entry.text))

    # a list in a log: an `ol` that is the log itself is no list any more to a screen reader
    lines = rx.el.div(
        rx.el.ol(rx.foreach(S.lines, line), class_name="sc-log", tab_index=0), role="log", aria_label="Log"
    )
    nothing = rx.el.p("Nothing was said yet.", class_name="sc-body sc-faint")
    return panel("Log", rx.cond(S.lines.length() > 0, lines, nothing))
