"""What tells people where things stand.

    status_pill(row.status)                           # icon + word + colour; words of storage_core.domain
    ago(row.created)                                  # re-exported from parts.client
    empty("database", "No databases yet", "They appear once …", button("Create database", on_click=S.new))
    problem(S.problem, on_retry=S.load)               # cause, fix, correlation id, retry
    progress(row.stage, row.percent, row.left)        # percent -1: unknown
    skeleton(5)
    button("Save", on_click=S.save, look="primary", icon="check")
    gated("tenant.admin", button("Suspend", on_click=S.suspend))    # disabled and says why without the permission
    toast("success", "Saved")                         # returned from handlers; from storage_console.session

Words a pill knows: see OK, BUSY, WARN, BAD; anything else is shown neutrally.
"""

from typing import Any

import reflex as rx

from storage_console.parts.client import ago
from storage_console.session import Session, allowed_roles, toast

__all__ = [
    "ago", "badge", "button", "empty", "gated", "link_button", "mono", "note", "problem", "progress", "skeleton",
    "status_pill", "toast",
]  # fmt: skip

OK = ("active", "approved", "primary", "online", "ready", "proven", "succeeded", "passed", "healthy")
GOOD = ("stored", "enabled")
BUSY = ("running", "proving", "creating", "deleting", "restoring")
WAIT = ("queued", "pending", "paused")
WARN = ("suspended", "skipped", "unproven", "stale", "degraded")
BAD = ("failed", "offline", "refused", "lost")
Text = str | rx.Var[Any]
ME: Any = Session  # as Vars: type checkers see only the class's fields


@rx.memo
def status_pill(status: rx.Var[str]) -> rx.Component:
    """A status as icon, word and colour."""
    return rx.el.span(
        rx.match(
            status,
            (*OK, rx.icon("circle-check", size=13, aria_hidden="true")),
            (*GOOD, rx.icon("archive", size=13, aria_hidden="true")),
            (*BUSY, rx.icon("loader-circle", size=13, class_name="sc-spin", aria_hidden="true")),
            (*WAIT, rx.icon("clock", size=13, aria_hidden="true")),
            (*WARN, rx.icon("triangle-alert", size=13, aria_hidden="true")),
            (*BAD, rx.icon("circle-x", size=13, aria_hidden="true")),
            rx.icon("circle-dashed", size=13, aria_hidden="true"),
        ),
        rx.el.span(status, class_name="sc-word"),
        class_name="sc-pill",
        data_tone=rx.match(
            status,
            (*OK, "ok"), (*GOOD, "info"), (*BUSY, "busy"), (*WAIT, "off"), (*WARN, "warn"), (*BAD, "bad"), "off",
        ),
    )  # fmt: skip


def badge(text: Text, tone: str = "off") -> rx.Component:
    """A short word in a frame; tone: ok, info, busy, warn, bad or off."""
    return rx.el.span(text, class_name="sc-pill sc-plain", data_tone=tone)


def mono(text: Text, **props: Any) -> rx.Component:
    """Names, ids, paths and addresses of machines."""
    return rx.el.span(text, class_name=f"sc-mono {props.pop('class_name', '')}".strip(), **props)


def button(label: Text, look: str = "", icon: str = "", busy: Any = None, **props: Any) -> rx.Component:
    """A button; look: "" (plain), primary, danger or ghost; `busy` (a var) shows a spinner and disables it."""
    inside: list[Any] = [rx.icon(icon, size=15, aria_hidden="true")] if icon else []
    if busy is not None:
        spinner = rx.icon("loader-circle", size=15, class_name="sc-spin", aria_hidden="true")
        inside = [rx.cond(busy, spinner, inside[0] if inside else rx.fragment())]
        props["disabled"] = busy | props["disabled"] if "disabled" in props else busy
        props["aria_busy"] = busy
    props.setdefault("type", "button")
    kind = f"sc-btn sc-btn-{look}" if look else "sc-btn"
    return rx.el.button(
        *inside, rx.el.span(label), class_name=f"{kind} {props.pop('class_name', '')}".strip(), **props
    )


def link_button(label: Text, href: Text, look: str = "", icon: str = "", **props: Any) -> rx.Component:
    """A link that looks like a button."""
    inside: list[Any] = [rx.icon(icon, size=15, aria_hidden="true")] if icon else []
    kind = f"sc-btn sc-btn-{look}" if look else "sc-btn"
    return rx.link(*inside, rx.el.span(label), href=href, class_name=kind, underline="none", **props)


def gated(permission: str, control: rx.Component) -> rx.Component:
    """The control for those whose role holds the permission; for others disabled, with the reason on hover."""
    why = rx.el.span(
        rx.el.span(
            "Your role, ",
            ME.role,
            ", does not allow this. ",
            _who(permission),
            class_name="sc-tip",
            role="tooltip",
        ),
        rx.el.span(control, inert=True, aria_hidden="true", class_name="sc-denied-inner"),
        class_name="sc-denied",
        tab_index=0,
        aria_disabled="true",
        role="button",
        aria_label="Not allowed for your role",
    )
    return rx.cond(ME.can.contains(permission), control, why)


def _who(permission: str) -> str:
    roles = allowed_roles(permission)
    return f"It takes {roles}." if roles else "Nobody's does."


def empty(icon: str, title: Text, why: Text, *next_step: Any) -> rx.Component:
    """Nothing to show: why, and the one next step."""
    return rx.el.div(
        rx.el.div(rx.icon(icon, size=20, aria_hidden="true"), class_name="sc-empty-icon"),
        rx.el.h2(title),
        rx.el.p(why),
        *next_step,
        class_name="sc-empty",
    )


def problem(of: Any, on_retry: Any = None) -> rx.Component:
    """A failure in place: what happened, what to do, the correlation id, retry. `of` is a Problem var."""
    retry = [button("Try again", icon="rotate-cw", on_click=on_retry)] if on_retry is not None else []
    return rx.el.div(
        rx.icon("circle-x", size=16, aria_hidden="true"),
        rx.el.div(
            rx.el.strong(of.title),
            rx.el.p(of.detail),
            rx.cond(of.hint != "", rx.el.p(of.hint, class_name="sc-faint"), rx.fragment()),
            rx.el.p(
                rx.el.span(of.code, class_name="sc-mono"),
                rx.cond(
                    of.correlation_id != "",
                    rx.el.span(" · ", of.correlation_id, class_name="sc-mono"),
                    rx.fragment(),
                ),
                class_name="sc-faint",
            ),
            *retry,
            class_name="sc-stack",
        ),
        class_name="sc-problem",
        role="alert",
    )


def note(text: Text, tone: str = "info", icon: str = "info") -> rx.Component:
    """A remark in a frame; tone as in `badge`."""
    return rx.el.div(
        rx.icon(icon, size=16, aria_hidden="true"),
        rx.el.div(text),
        class_name="sc-note",
        data_tone=tone,
        role="status",
    )


def progress(stage: Text, percent: Any, left: Text = "") -> rx.Component:
    """A job's progress: stage in words, bar, percent, time left. A percent below 0 means unknown."""
    known = percent >= 0
    return rx.el.div(
        rx.el.div(
            rx.el.span(stage),
            rx.el.span(
                rx.cond(known, rx.el.span(percent, " %"), rx.el.span("working")),
                rx.cond(left != "", rx.el.span(" · ", left, " left"), rx.fragment()),
                class_name="sc-num sc-faint",
            ),
            class_name="sc-progress-text",
        ),
        rx.el.div(
            rx.el.div(style={"width": rx.cond(known, f"{percent}%", "100%")}, data_unknown=~known),
            class_name="sc-bar",
            role="progressbar",
            aria_label="Progress",
            aria_valuenow=rx.cond(known, percent, 0),
            aria_valuemin=0,
            aria_valuemax=100,
        ),
        class_name="sc-progress",
    )


def skeleton(lines: int = 3) -> rx.Component:
    """Grey lines of differing lengths while something loads, still for those who asked for no motion."""
    widths = ("72%", "54%", "88%", "63%", "46%")
    return rx.el.div(
        *[
            rx.el.div(class_name="sc-skeleton", style={"width": widths[n % len(widths)]})
            for n in range(lines)
        ],
        class_name="sc-stack",
        aria_hidden="true",
    )
