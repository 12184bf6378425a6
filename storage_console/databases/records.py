"""The records tab of a database's page."""

from typing import Any

import reflex as rx

from storage_console.databases.records_state import RecordsTab
from storage_console.parts.client import address
from storage_console.parts.confirm import confirm
from storage_console.parts.details import ME, panel
from storage_console.parts.feedback import button, empty, gated, mono, note, problem, skeleton
from storage_console.parts.toolbar import icon_button

R: Any = RecordsTab

HINT = 'A filter as JSON: {"status": "new", "qty": {"$gte": 2}}. Known: $eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not.'


def records() -> rx.Component:
    """The tab."""
    nothing = empty(
        "table-2", "Nothing to browse yet", "Collections and tables appear here once a program makes them."
    )
    denied = empty("lock", "Not for your role", "Operators and administrators of this scope see its records.")
    return rx.el.div(
        address(R.address),
        panel(
            "Records",
            rx.cond(
                ME.can.contains("records.read"),
                rx.match(
                    R.phase,
                    ("ready", rx.cond(R.places.length() > 0, _browser(), nothing)),
                    ("error", problem(R.problem, on_retry=R.again)),
                    _waiting(),
                ),
                denied,
            ),
            actions=[
                _add(),
                gated("records.read", button("Read again", look="ghost", icon="rotate-cw", on_click=R.again)),
            ],
        ),
        _record(),
        confirm(R),
    )


def _waiting() -> rx.Component:
    return rx.el.div(skeleton(6), class_name="sc-body", aria_busy="true", aria_label="Loading")


def _add() -> rx.Component:
    add = button("New record", icon="plus", on_click=R.new, disabled=R.fixed != "")
    return rx.cond(R.place != "", gated("records.write", add), rx.fragment())


def _place(p: Any) -> rx.Component:
    return rx.el.option(p.label, value=p.name)


def _browser() -> rx.Component:
    chooser = rx.el.select(
        rx.foreach(R.places, _place),
        value=R.place,
        on_change=R.choose,
        aria_label="Collection or table",
        class_name="sc-input sc-records-place",
    )
    filter = rx.el.form(
        rx.el.input(
            name="where",
            default_value=R.where,
            key=R.place + R.where,
            placeholder='{"status": "new"}',
            aria_label="Filter as JSON",
            aria_invalid=rx.cond(R.where_problem != "", "true", "false"),
            aria_describedby="records-filter-note",
            auto_complete="off",
            spell_check=False,
            class_name="sc-input sc-mono",
        ),
        button("Filter", icon="filter", type="submit", busy=R.busy),
        rx.cond(R.where != "", button("Clear", look="ghost", icon="x", on_click=R.unfilter), rx.fragment()),
        on_submit=R.filter,
        class_name="sc-records-filter",
    )
    said = rx.cond(
        R.where_problem != "",
        rx.el.p(
            rx.icon("circle-alert", size=13, aria_hidden="true"),
            R.where_problem,
            class_name="sc-error",
            id="records-filter-note",
            role="alert",
        ),
        rx.el.p(HINT, class_name="sc-hint", id="records-filter-note"),
    )
    failed = rx.cond(R.problem.code != "", problem(R.problem, on_retry=R.read), rx.fragment())
    fixed = rx.cond(R.fixed != "", note("Read only. " + R.fixed, "info", "lock"), rx.fragment())
    return rx.el.div(
        rx.el.div(chooser, filter, class_name="sc-records-bar"),
        rx.el.div(said, fixed, class_name="sc-records-notes"),
        failed,
        rx.cond(
            R.heads.length() > 0, _table(), rx.el.div(skeleton(6), class_name="sc-body", aria_busy="true")
        ),
        _footer(),
    )


def _head(head: Any) -> rx.Component:
    return rx.el.th(
        rx.el.button(
            head.label,
            rx.match(
                head.order,
                ("ascending", rx.icon("arrow-up", size=12, aria_hidden="true")),
                ("descending", rx.icon("arrow-down", size=12, aria_hidden="true")),
                rx.fragment(),
            ),
            type="button",
            title=head.type,
            on_click=R.order(head.name),
        ),
        scope="col",
        role="columnheader",
        aria_sort=head.order,
    )


def _line(line: Any) -> rx.Component:
    def cell(c: Any) -> rx.Component:
        return rx.el.td(
            rx.el.span(c.text, class_name=rx.match(c.tone, ("num", "sc-num"), ("mono", "sc-mono"), ("faint", "sc-faint"), "")),
            data_label=c.head,
            role="cell",
        )  # fmt: skip

    opener = rx.el.td(
        rx.cond(
            line.id != "",
            icon_button("maximize-2", "Open record", on_click=R.open(line.id)),
            rx.fragment(),
        ),
        class_name="sc-more",
        role="cell",
    )
    return rx.el.tr(opener, rx.foreach(line.cells, cell), role="row", on_double_click=R.open(line.id))


def _table() -> rx.Component:
    opener = rx.el.th(rx.el.span("Open", class_name="sc-hidden"), scope="col", role="columnheader")
    table = rx.el.table(
        rx.el.thead(rx.el.tr(opener, rx.foreach(R.heads, _head), role="row"), role="rowgroup"),
        rx.el.tbody(rx.foreach(R.rows, _line), role="rowgroup"),
        class_name="sc-table",
        role="table",
        aria_busy=rx.cond(R.busy, "true", "false"),
    )
    none = empty("search-x", "Nothing matches", "Change the filter, or clear it to see everything.")
    return rx.cond(
        (R.rows.length() == 0) & ~R.busy,
        none,
        rx.el.div(table, class_name="sc-scroll", tab_index=0, role="region", aria_label="Rows"),
    )


def _footer() -> rx.Component:
    return rx.el.div(
        rx.el.span(R.first, "\u2013", R.last, " of ", R.summary, class_name="sc-num sc-faint", aria_live="polite"),
        rx.el.span(class_name="sc-grow"),
        icon_button("chevron-left", "Previous page", on_click=R.turn(False), disabled=~R.has_before | R.busy),
        icon_button("chevron-right", "Next page", on_click=R.turn(True), disabled=~R.has_next | R.busy),
        class_name="sc-footer",
    )  # fmt: skip


def _record() -> rx.Component:
    what = rx.cond(R.kind == "collection", "document", "row")
    own_id = rx.el.div(
        rx.el.label("Id", html_for="record-id"),
        rx.el.input(id="record-id", name="id", placeholder="made for you", class_name="sc-input sc-mono", auto_complete="off"),
        class_name="sc-field",
    )  # fmt: skip
    editor = rx.el.form(
        rx.cond((R.mode == "new") & (R.kind == "collection"), own_id, rx.fragment()),
        rx.el.div(
            rx.el.label("JSON", html_for="record-text"),
            rx.el.textarea(
                id="record-text",
                name="text",
                default_value=R.text,
                rows="16",
                spell_check=False,
                class_name="sc-input sc-mono",
            ),
            class_name="sc-field",
        ),
        rx.cond(R.saving_problem.code != "", problem(R.saving_problem), rx.fragment()),
        rx.el.div(
            button("Cancel", on_click=R.toggle(False)),
            button("Save", look="primary", type="submit", busy=R.saving),
            class_name="sc-actions",
        ),
        on_submit=R.save,
        class_name="sc-form",
        auto_complete="off",
    )
    unfixed = R.fixed == ""
    reader = rx.el.div(
        rx.el.pre(R.text, tab_index=0, class_name="sc-record", aria_label="The record as JSON"),
        rx.el.div(
            rx.cond(unfixed, gated("records.write", button("Delete", look="danger", icon="trash-2", on_click=R.ask_delete)), rx.fragment()),
            rx.el.span(class_name="sc-grow"),
            button("Close", on_click=R.toggle(False)),
            rx.cond(unfixed, gated("records.write", button("Edit", look="primary", icon="pencil", on_click=R.edit)), rx.fragment()),
            class_name="sc-actions",
        ),
    )  # fmt: skip
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(
                rx.match(R.mode, ("new", rx.fragment("New ", what)), rx.fragment(mono(R.record)))
            ),
            rx.dialog.description(
                rx.cond(
                    R.mode == "new",
                    "What JSON does not hold is written as a tag.",
                    rx.fragment(R.place, rx.cond(R.about != "", " · " + R.about, "")),
                )
            ),
            rx.cond(R.mode == "read", reader, editor),
            class_name="sc-dialog sc-dialog-list",
        ),
        open=R.opened,
        on_open_change=R.toggle,
    )
