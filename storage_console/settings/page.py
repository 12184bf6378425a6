"""The settings page: configuration."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import panel
from storage_console.parts.feedback import ago, badge, button, gated, mono
from storage_console.parts.form import typed
from storage_console.parts.live import shown
from storage_console.settings.frame import settings
from storage_console.settings.state import Configuration

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Configuration


@rx.page(route="/settings", title="Settings · Storage Console", on_load=[S.load, S.live])
def configuration() -> rx.Component:
    """The page."""
    return settings(
        "/settings",
        shown(S, _options(), _started()),
        confirm(S, _value()),
        lead="Every setting, its value, and where that value comes from.",
    )


def _about(row: Any) -> rx.Component:
    return rx.el.div(
        rx.el.div(rx.el.strong(row.title), mono(row.id, class_name="sc-faint"), class_name="sc-two"),
        rx.el.p(row.text, class_name="sc-hint"),
        class_name="sc-grow",
    )


def _source(row: Any) -> rx.Component:
    return rx.el.div(
        rx.cond(
            row.raw != "",
            mono(row.value, class_name="sc-setting-value"),
            rx.el.span(row.value, class_name="sc-faint"),
        ),
        badge(row.source, row.tone),
        class_name="sc-setting-now",
    )


def _options() -> rx.Component:
    def line(row: Any) -> rx.Component:
        stored = row.source == "set here"
        since = rx.cond(
            stored,
            rx.el.p(
                "Set ",
                row.note,
                " ",
                ago(at=row.changed),
                "; the default is ",
                mono(row.default),
                class_name="sc-hint",
            ),
            rx.fragment(),
        )
        return rx.el.li(
            rx.el.div(_about(row), since, class_name="sc-grow"),
            _source(row),
            rx.el.div(
                rx.cond(
                    stored,
                    gated("settings.write", button("Reset", look="ghost", on_click=S.ask_reset(row.id),
                                                   aria_label="Reset " + row.title)),
                    rx.fragment(),
                ),
                gated("settings.write", button("Change", on_click=S.change(row.id), aria_label="Change " + row.title)),
                class_name="sc-setting-do",
            ),
        )  # fmt: skip

    return panel(
        "While it runs",
        rx.el.ul(rx.foreach(S.options, line), class_name="sc-settings"),
        actions=[rx.el.span("No restart needed", class_name="sc-faint")],
    )


def _started() -> rx.Component:
    def line(row: Any) -> rx.Component:
        return rx.el.li(_about(row), _source(row))

    restart = rx.el.span(
        rx.icon("rotate-cw", size=14, aria_hidden="true"),
        "A change needs a restart",
        class_name="sc-inline sc-faint",
    )
    return panel(
        "At the start",
        rx.el.p(
            "Set in the environment, or in ", mono("settings.toml"), " in the home; the environment wins.",
            class_name="sc-hint sc-settings-lead",
        ),
        rx.el.ul(rx.foreach(S.started, line), class_name="sc-settings"),
        actions=[restart],
    )  # fmt: skip


def _value() -> rx.Component:
    """Inside the question: the new value, checked while it is typed."""

    def choice(text: str, label: str) -> rx.Component:
        return rx.el.button(
            label,
            type="button",
            aria_pressed=rx.cond(S.value == text, "true", "false"),
            on_click=S.type_value(text),
        )

    on_off = rx.el.div(
        choice("true", "On"),
        choice("false", "Off"),
        class_name="sc-segments",
        role="group",
        aria_label="Value",
    )
    written = typed(
        value=S.value, on_change=S.type_value, class_name="sc-input sc-mono", id="setting-value", auto_complete="off",
        spell_check=False,
    )  # fmt: skip
    said = rx.cond(
        S.check_problem.code != "",
        rx.el.p(S.check_problem.detail, class_name="sc-error", role="alert"),
        rx.el.p(S.check_said, class_name="sc-hint", aria_live="polite"),
    )
    box = rx.el.div(
        rx.el.label("New value", html_for="setting-value"),
        rx.cond(S.editing.kind == "boolean", on_off, written),
        said,
        class_name="sc-field sc-gap",
    )
    return rx.cond(S.editing.kind != "", box, rx.fragment())
