"""The dashboard: what needs somebody, the figures, the proofs, the work."""

from typing import Any

import reflex as rx

from storage_console.overview.state import Overview
from storage_console.parts.client import ago
from storage_console.parts.feedback import empty, link_button, mono, problem, progress, skeleton, status_pill
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Overview


@rx.page(route="/", title="Dashboard · Storage Console", on_load=[S.load, S.live])
def overview() -> rx.Component:
    """The page."""
    return page(
        "Dashboard",
        rx.match(
            S.phase,
            ("loading", _waiting()),
            ("error", problem(S.problem, on_retry=S.load)),
            ("first", _checklist()),
            _board(),
        ),
    )


def _board() -> rx.Component:
    return rx.fragment(
        _verdict(),
        rx.el.div(rx.foreach(S.tiles, _tile), class_name="sc-tiles"),
        rx.cond(S.left > 0, rx.el.div(_checklist(), class_name="sc-gap"), rx.fragment()),
        rx.el.div(
            rx.el.div(_running(), _recent(), class_name="sc-column"),
            _proofs(),
            class_name="sc-columns",
        ),
    )


def _verdict() -> rx.Component:
    def need(n: Any) -> rx.Component:
        return rx.el.li(rx.link(n.text, href=n.href, class_name="sc-text-link"))

    return rx.el.section(
        rx.match(
            S.tone,
            ("ok", rx.icon("circle-check", size=18, aria_hidden="true")),
            ("warn", rx.icon("triangle-alert", size=18, aria_hidden="true")),
            rx.icon("info", size=18, aria_hidden="true"),
        ),
        rx.el.strong(S.verdict),
        rx.el.ul(rx.foreach(S.needs, need)),
        class_name="sc-verdict",
        data_tone=S.tone,
        aria_label="What needs you",
        aria_live="polite",
    )


def _tile(tile: Any) -> rx.Component:
    return rx.el.a(
        rx.el.span(rx.el.i(class_name="sc-dot", data_tone=tile.tone, aria_hidden="true"), tile.label),
        rx.el.span(tile.figure, class_name="sc-figure"),
        rx.el.span(tile.remark),
        href=tile.href,
        class_name="sc-tile",
    )


def _panel(title: str, *inside: rx.Component, more: str = "", href: str = "") -> rx.Component:
    link = rx.link(more, href=href, class_name="sc-text-link") if more else rx.fragment()
    return rx.el.section(
        rx.el.header(rx.el.h2(title), link), *inside, class_name="sc-panel", aria_label=title
    )


def _running() -> rx.Component:
    def line(job: Any) -> rx.Component:
        return rx.el.li(
            rx.el.div(rx.el.div(job.title), mono(job.target, class_name="sc-faint"), class_name="sc-grow"),
            rx.el.div(progress(job.stage, job.percent, job.left), class_name="sc-half"),
        )

    nothing = rx.el.p("No job is running.", class_name="sc-body sc-faint")
    listed = rx.el.ul(rx.foreach(S.running, line), class_name="sc-feed")
    return _panel(
        "Running jobs", rx.cond(S.running.length() > 0, listed, nothing), more="All jobs", href="/jobs"
    )


def _recent() -> rx.Component:
    def line(job: Any) -> rx.Component:
        return rx.el.li(
            rx.el.div(job.title, " ", mono(job.target, class_name="sc-faint"), class_name="sc-grow"),
            rx.el.span(job.actor, class_name="sc-faint sc-wide"),
            status_pill(status=job.status),
            ago(at=job.at),
        )

    nothing = rx.el.p("Finished jobs appear here.", class_name="sc-body sc-faint")
    listed = rx.el.ul(rx.foreach(S.recent, line), class_name="sc-feed")
    return _panel("Recent activity", rx.cond(S.recent.length() > 0, listed, nothing))


def _proofs() -> rx.Component:
    def line(database: Any) -> rx.Component:
        return rx.el.li(
            rx.el.div(mono(database.name), class_name="sc-grow"),
            status_pill(status=database.status),
            ago(at=database.proven, empty="never"),
        )

    nothing = empty(
        "shield-check", "No databases yet", "Each database's last proven backup is listed here, oldest first."
    )
    listed = rx.el.ul(rx.foreach(S.guarded, line), class_name="sc-feed")
    shown = rx.cond(S.guarded.length() > 0, listed, nothing)
    return _panel("Last proven backup", shown, more="All databases", href="/databases")


def _checklist() -> rx.Component:
    def step(s: Any) -> rx.Component:
        return rx.el.li(
            rx.el.span(
                rx.cond(s.done, rx.icon("check", size=14, aria_label="Done"), rx.el.span(s.number)),
                class_name="sc-mark",
            ),
            rx.el.div(rx.el.strong(s.title), rx.el.p(s.text, class_name="sc-faint"), class_name="sc-grow"),
            rx.cond(s.done, rx.fragment(), link_button(s.verb, s.href)),
            data_done=rx.cond(s.done, "true", "false"),
        )

    return _panel("First steps", rx.el.ol(rx.foreach(S.steps, step), class_name="sc-steps"))


def _waiting() -> rx.Component:
    return rx.el.div(
        rx.el.div(*[rx.el.div(skeleton(3), class_name="sc-tile") for _ in range(5)], class_name="sc-tiles"),
        rx.el.div(rx.el.div(skeleton(5), class_name="sc-body"), class_name="sc-panel"),
        aria_busy="true",
        aria_label="Loading",
    )
