"""One audit entry's page: its permalink."""

from typing import Any

import reflex as rx

from storage_console.audit.one_state import AuditPage
from storage_console.parts.client import ago
from storage_console.parts.details import disclosure, facts, panel, small_table
from storage_console.parts.feedback import link_button, mono, status_pill
from storage_console.parts.live import shown
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = AuditPage
SEALED = "A secret shows as a keyed hash: equal for equal secrets, and nothing to guess with."


@rx.page(route="/audit/[entry_id]", title="Audit entry · Storage Console", on_load=[S.load])
def entry() -> rx.Component:
    """The page."""
    return page(
        S.heading,
        shown(S, _facts(), _changes(), _related()),
        actions=[rx.cond(S.link != "", link_button("Open the resource", S.link), rx.fragment())],
        crumbs=[("Audit", "/audit")],
    )


def _or_none(value: Any) -> rx.Component:
    return rx.cond(value != "", rx.el.span(value), rx.el.span("—", class_name="sc-faint"))


def _long(value: Any) -> rx.Component:
    return rx.cond(value != "", mono(value, class_name="sc-long"), rx.el.span("—", class_name="sc-faint"))


def _facts() -> rx.Component:
    code = rx.cond(S.entry.code != "", mono(S.entry.code), rx.fragment())
    hashes = disclosure(
        "Hashes",
        facts(
            ("Hash of this entry", mono(S.hash, class_name="sc-long")),
            ("Hash of the entry before", mono(S.previous, class_name="sc-long")),
            ("Hash of the request", _long(S.digest)),
            ("Chain", mono(S.chain, class_name="sc-long")),
        ),
    )
    return panel(
        "Entry",
        facts(
            ("When", ago(at=S.entry.at)),
            ("Actor", rx.el.span(S.entry.actor)),
            ("Role", _or_none(S.entry.role)),
            ("Actor id", _long(S.actor_id)),
            ("Action", mono(S.entry.action)),
            ("Phase", S.phase_word),
            ("Result", rx.el.span(status_pill(status=S.entry.status), " ", code)),
            ("Resource", rx.el.span(S.entry.kind, " ", mono(S.entry.target))),
            ("Resource id", _long(S.target_id)),
            ("Tenant", _or_none(S.entry.tenant)),
            ("Address", _or_none(S.entry.address)),
            ("Door", S.door),
            ("Correlation id", _long(S.entry.correlation)),
            ("Reason", _or_none(S.entry.reason)),
            ("Said", _or_none(S.detail)),
        ),
        rx.el.div(hashes, class_name="sc-body"),
    )


def _changes() -> rx.Component:
    def value(text: Any) -> rx.Component:
        return rx.cond(text != "", mono(text, class_name="sc-value"), rx.el.span("—", class_name="sc-faint"))

    asked = S.phase_word != "outcome"
    listed = small_table(
        ("Field", "Before", "After"),
        S.changes,
        lambda c: (mono(c.field), value(c.before), value(c.after)),
        label="Fields",
    )
    nothing = rx.el.p("It says nothing about fields.", class_name="sc-body sc-faint")
    return panel(
        rx.cond(asked, "What was asked for", "What it changed"),
        rx.cond(S.changes.length() > 0, listed, nothing),
        rx.cond(S.sealed, rx.el.p(SEALED, class_name="sc-body sc-hint"), rx.fragment()),
    )


def _related() -> rx.Component:
    def cells(row: Any) -> tuple[Any, ...]:
        return (
            rx.link(row.number, href=f"/audit/{row.id}", class_name="sc-text-link"),
            mono(row.action),
            status_pill(status=row.status),
            ago(at=row.at),
        )

    listed = small_table(
        ("Entry", "Action", "Result", "When"), S.related, cells, label="Entries of the same request"
    )
    return rx.cond(S.related.length() > 0, panel("The same request", listed), rx.fragment())
