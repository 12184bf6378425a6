"""The dialog that makes or changes a schedule: fields, then a preview of its runs and of what its retention takes."""

from typing import Any

import reflex as rx

from storage_console.backups.plan import NUMBERS, Plan
from storage_console.parts.client import zones
from storage_console.parts.feedback import button, note
from storage_console.parts.form import field, select
from storage_console.parts.refused import refused

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
PLAN: Any = Plan

LABELS = {
    "last": "The last",
    "days": "All, days",
    "hourly": "Hourly",
    "daily": "Daily",
    "weekly": "Weekly",
    "monthly": "Monthly",
    "yearly": "Yearly",
}


def planning() -> rx.Component:
    """The dialog that `PLAN.begin` and `PLAN.edit(id)` open."""
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(rx.cond(PLAN.called != "", "Schedule " + PLAN.called, "New schedule")),
            rx.dialog.description("When databases are backed up and proven, and how long that is kept."),
            rx.cond(PLAN.told != "", _preview(), _fields()),
            class_name="sc-dialog",
        ),
        open=PLAN.form_open,
        on_open_change=PLAN.form_toggle,
    )


def _fields() -> rx.Component:
    return rx.el.form(
        field(PLAN, "name", "Name", default_value=PLAN.name, max_length=48, required=True, auto_focus=True,
              placeholder="nightly"),
        rx.cond(PLAN.fixed != "", note("Covers: " + PLAN.fixed + ".", "info", "database"), _covers()),
        rx.el.div(
            field(PLAN, "cron", "When", hint="minute hour day month weekday, or @daily.", default_value=PLAN.cron,
                  required=True, max_length=100),
            field(PLAN, "time_zone", "Time zone", hint="Clock changes are taken care of.", default_value=PLAN.zone,
                  required=True, list="schedule-zones", max_length=64),
            class_name="sc-pair",
        ),
        zones("schedule-zones"),
        field(PLAN, "jitter_minutes", "Spread, minutes", hint="Each database starts up to so much later.",
              default_value=PLAN.jitter, type="number", min=0, max=720),
        _keeps(),
        refused(PLAN.form_problem),
        rx.el.div(
            button("Cancel", on_click=PLAN.form_toggle(False)),
            button("Preview", look="primary", type="submit", icon="eye"),
            class_name="sc-actions",
        ),
        on_submit=PLAN.look_ahead,
        class_name="sc-form",
        auto_complete="off",
        key=PLAN.key,
    )  # fmt: skip


def _covers() -> rx.Component:
    return rx.el.div(
        select(PLAN, "covers", "Covers", PLAN.choices, default_value=PLAN.covers),
        field(PLAN, "label", "Label", hint="Only databases that have it.", default_value=PLAN.label,
              placeholder="any", max_length=48),
        class_name="sc-pair",
    )  # fmt: skip


def _keeps() -> rx.Component:
    boxes = [
        field(PLAN, f"keep_{name}", LABELS[name], default_value=PLAN.numbers[name], type="number", min=0)
        for name in NUMBERS
    ]
    return rx.el.fieldset(
        rx.el.legend("Keeps"),
        rx.el.div(*boxes, class_name="sc-numbers"),
        rx.el.p(
            "A backup goes when none of these keeps it: the last so many, all of the last so many days, one for each of "
            "so many hours, days, weeks, months, years. All 0 keeps everything. The last proven one always stays.",
            class_name="sc-hint",
        ),
        class_name="sc-field sc-keeps",
    )


def _preview() -> rx.Component:
    def run(text: Any) -> rx.Component:
        return rx.el.li(
            rx.icon("calendar-clock", size=14, aria_hidden="true"), rx.el.span(text, class_name="sc-num")
        )

    shortened = rx.el.div(
        note("It keeps less than before.", "warn", "triangle-alert"),
        field(PLAN, "confirm", "Type the schedule's name to confirm", placeholder=PLAN.called),
        class_name="sc-stack",
    )
    return rx.el.form(
        rx.el.p(rx.el.strong(PLAN.told)),
        rx.el.ol(rx.foreach(PLAN.runs, run), class_name="sc-preview", aria_label="Next runs"),
        rx.cond(PLAN.judged != "", rx.el.p(PLAN.judged), rx.fragment()),
        rx.cond(
            PLAN.goes.length() > 0,
            rx.el.ul(rx.foreach(PLAN.goes, rx.el.li), class_name="sc-effects", aria_label="Would go"),
            rx.fragment(),
        ),
        rx.cond(PLAN.shorter, shortened, rx.fragment()),
        refused(PLAN.form_problem),
        rx.el.div(
            button("Back", on_click=PLAN.back),
            button("Save schedule", look="primary", type="submit", icon="check", busy=PLAN.form_busy),
            class_name="sc-actions",
        ),
        on_submit=PLAN.start,
        class_name="sc-form",
        aria_live="polite",
        auto_complete="off",
    )
