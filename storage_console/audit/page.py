"""The audit page."""

from typing import Any

import reflex as rx

from storage_console.audit.state import Audit
from storage_console.parts.client import ago
from storage_console.parts.feedback import button, empty, mono, note, status_pill
from storage_console.parts.native import NativeLink
from storage_console.parts.table import Column, table
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Audit
SIGNED = "/api/storage/audit/export"


@rx.page(route="/audit", title="Audit · Storage Console", on_load=[S.load, S.standing, S.live])
def audit() -> rx.Component:
    """The page."""
    return page(
        "Audit",
        _verdict(),
        table(
            S,
            _columns(),
            blank=empty(
                "scroll-text", "Nothing was done yet", "Every change and every refusal is written here."
            ),
            actions=[_signed()],
            export="audit",
            href=lambda row: f"/audit/{row.id}",
        ),
        lead="Who did what, when, from where, and what it changed.",
    )


def _verdict() -> rx.Component:
    """How far the log is verified, and whether its heads leave the house."""
    said = rx.match(
        S.verdict,
        ("ok", _pill("ok", "shield-check", S.verified)),
        ("lost", _pill("warn", "shield-alert", S.verified)),
        ("bad", _pill("bad", "shield-alert", S.verified)),
        _pill("off", "shield-question-mark", rx.cond(S.checking, "Verifying…", "Not verified since this page was opened")),
    )  # fmt: skip
    bar = rx.el.section(
        said,
        rx.el.p(rx.cond(S.verdict != "", S.anchored, "Hashes every entry again and compares it with the signed heads.")),
        rx.el.span(class_name="sc-grow"),
        button("Verify", icon="shield-check", on_click=S.verify, busy=S.checking),
        class_name="sc-verified",
        aria_label="Verification",
        aria_live="polite",
    )  # fmt: skip
    lost = note(
        "The signed heads outside the catalog need a look. "
        + S.place_problem
        + " The log itself goes on; what no head outside guards can be cut unseen.",
        "warn",
        "triangle-alert",
    )
    return rx.fragment(bar, rx.cond(S.place_problem != "", lost, rx.fragment()))


def _pill(tone: str, icon: str, text: Any) -> rx.Component:
    return rx.el.span(
        rx.icon(icon, size=14, aria_hidden="true"), rx.el.span(text), class_name="sc-pill", data_tone=tone
    )


def _signed() -> rx.Component:
    return NativeLink.create(
        rx.icon("file-check-2", size=15, aria_hidden="true"),
        rx.el.span("Signed export"),
        href=SIGNED,
        download="",
        class_name="sc-btn",
        title="The whole log you may read, as signed JSON lines that verify without a console",
    )


def _columns() -> list[Column]:
    def faint(text: Any) -> rx.Component:
        return rx.el.span(text, class_name="sc-faint")

    def who(row: Any) -> rx.Component:
        return rx.el.span(row.actor, " ", faint(row.role))

    def about(row: Any) -> rx.Component:
        return rx.el.span(faint(row.kind), " ", mono(row.target))

    def result(row: Any) -> rx.Component:
        code = rx.cond(row.code != "", mono(row.code, class_name="sc-faint"), rx.fragment())
        return rx.el.span(status_pill(status=row.status), " ", code)

    def changed(row: Any) -> rx.Component:
        return rx.el.span(row.changed, class_name="sc-changed", title=row.changed)

    def short(text: Any) -> rx.Component:
        return mono(text, class_name="sc-faint")

    return [
        Column("at", "When", lambda r: ago(at=r.at), sort="at", fixed=True),
        Column("actor", "Actor", who, sort="actor_name"),
        Column("action", "Action", lambda r: mono(r.action), sort="operation"),
        Column("target", "Resource", about, sort="target_name"),
        Column("tenant", "Tenant", lambda r: rx.el.span(r.tenant), sort="tenant_id"),
        Column("result", "Result", result, sort="result"),
        Column("changed", "Changed", changed),
        Column("address", "Address", lambda r: short(r.address), sort="address"),
        Column("reason", "Reason", lambda r: rx.el.span(r.reason, class_name="sc-changed", title=r.reason)),
        Column("correlation", "Correlation id", lambda r: short(r.correlation), sort="correlation_id"),
    ]
