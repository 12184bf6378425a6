"""The table of a list page: toolbar, filters, rows, selection, pages, keys; cards on small screens.

table(
    Tenants,                                                   # a State with parts.listing.ListState
    [
        Column("name", "Name", lambda r: mono(r.name), sort="name", fixed=True),
        Column("status", "Status", lambda r: status_pill(status=r.status)),
        Column("size", "Size", lambda r: r.size, align="end", sort="size_raw"),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ],
    blank=empty("building-2", "No tenants yet", "A tenant keeps …", button("New tenant", on_click=Tenants.form_show)),
    actions=[button("New tenant", look="primary", icon="plus", on_click=Tenants.form_show)],
    bulk=[button("Suspend", on_click=Tenants.ask_suspend)],    # shown with a selection
    menu=lambda r: [rx.menu.item("Delete", on_click=Tenants.ask_delete(r.id))],   # per row
    export="tenants",                                          # the topic of /export/TOPIC.csv, see parts.export
    href=lambda r: "/tenants/" + r.id,                         # the fixed column becomes a link
)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import reflex as rx

from storage_console.parts.bulk import report
from storage_console.parts.client import address, follow, keys
from storage_console.parts.feedback import button, empty, problem
from storage_console.parts.listing import SIZES
from storage_console.parts.toolbar import Cell, Column, icon_button, selection, toolbar

__all__ = ["Column", "table"]


def table(
    state: Any,
    columns: Sequence[Column],
    *,
    blank: rx.Component,
    actions: Sequence[rx.Component] = (),
    bulk: Sequence[rx.Component] = (),
    menu: Callable[[Any], list[rx.Component]] | None = None,
    export: str = "",
    href: Cell | None = None,
) -> rx.Component:
    """The whole list; see the module's description."""
    nothing = rx.cond(
        state.filtered,
        empty(
            "search-x",
            "Nothing matches",
            "No rows fit these filters.",
            button("Clear filters", on_click=state.clear("")),
        ),
        blank,
    )
    grid = rx.cond(state.total == 0, nothing, _grid(state, columns, menu, href, selectable=bool(bulk)))
    return rx.el.section(
        toolbar(state, columns, actions, export),
        selection(state, bulk) if bulk else rx.fragment(),
        rx.cond(
            (state.problem.code != "") & (state.phase == "ready"),
            problem(state.problem, state.refresh),
            rx.fragment(),
        ),
        rx.match(
            state.phase,
            ("loading", _waiting(len(columns))),
            ("error", problem(state.problem, on_retry=state.refresh)),
            grid,
        ),
        rx.cond((state.phase == "ready") & (state.total > 0), _footer(state), rx.fragment()),
        keys("j k x Enter ? /", state.key),
        address(state.address),
        follow(state.cursor, "[data-cursor='true']"),
        _help(state),
        report(state) if bulk else rx.fragment(),
        class_name="sc-list",
        aria_label="List",
        data_stale=rx.cond(state.problem.code != "", "true", "false"),
    )


def _head(state: Any, column: Column) -> rx.Component:
    if not column.sort:
        cell = rx.el.th(column.label, scope="col", data_align=column.align, role="columnheader")
    else:
        up, down = state.sort == column.sort, state.sort == f"-{column.sort}"
        cell = rx.el.th(
            rx.el.button(
                column.label,
                rx.cond(
                    up,
                    rx.icon("arrow-up", size=13, aria_hidden="true"),
                    rx.cond(down, rx.icon("arrow-down", size=13, aria_hidden="true"), rx.fragment()),
                ),
                on_click=state.order(column.sort),
                type="button",
            ),
            scope="col",
            role="columnheader",
            data_align=column.align,
            aria_sort=rx.cond(up, "ascending", rx.cond(down, "descending", "none")),
        )
    return cell if column.fixed else rx.cond(state.hidden.contains(column.key), rx.fragment(), cell)


def _grid(
    state: Any,
    columns: Sequence[Column],
    menu: Callable[[Any], list[rx.Component]] | None,
    href: Cell | None,
    selectable: bool,
) -> rx.Component:
    picker = rx.el.th(
        rx.el.input(
            type="checkbox",
            class_name="sc-check",
            aria_label="Select this page",
            checked=(state.selected.length() > 0) & (state.selected.length() >= state.rows.length()),
            on_change=state.pick_page,
        ),
        class_name="sc-pick",
        scope="col",
        role="columnheader",
    )
    more = rx.el.th(
        rx.el.span("Actions", class_name="sc-hidden"), scope="col", class_name="sc-more", role="columnheader"
    )
    return rx.el.div(
        rx.el.table(
            rx.el.thead(
                rx.el.tr(
                    *([picker] if selectable else []),
                    *[_head(state, c) for c in columns],
                    *([more] if menu else []),
                    role="row",
                ),
                role="rowgroup",
            ),
            rx.el.tbody(
                rx.foreach(state.rows, partial(_row, state, columns, menu, href, selectable)),
                role="rowgroup",
            ),
            class_name="sc-table",
            role="table",
        ),
        class_name="sc-scroll",
        tab_index=0,
        role="region",
        aria_label="Rows",
    )


def _row(
    state: Any, columns: Sequence[Column], menu: Callable[[Any], list[rx.Component]] | None, href: Cell | None,
    selectable: bool, row: Any, index: Any,
) -> rx.Component:  # fmt: skip
    def cell(column: Column) -> rx.Component:
        inside = column.cell(row)
        if href is not None and column.fixed:
            inside = rx.link(inside, href=href(row), class_name="sc-row-link", underline="none")
        made = rx.el.td(
            inside, data_label=column.label, data_align=column.align, data_fixed=column.fixed, role="cell"
        )
        return made if column.fixed else rx.cond(state.hidden.contains(column.key), rx.fragment(), made)

    chosen = state.selected.contains(row.id)
    picker = rx.el.td(
        rx.el.input(
            type="checkbox",
            class_name="sc-check",
            aria_label="Select row",
            checked=chosen,
            on_change=state.pick(row.id),
        ),
        class_name="sc-pick",
        role="cell",
    )
    more: list[rx.Component] = []
    if menu:
        content = rx.menu.content(*menu(row), align="end", variant="soft")
        trigger = rx.menu.trigger(icon_button("ellipsis", "Actions"))
        more = [rx.el.td(rx.menu.root(trigger, content), class_name="sc-more", role="cell")]
    return rx.el.tr(
        *([picker] if selectable else []),
        *[cell(c) for c in columns],
        *more,
        key=row.id,
        role="row",
        data_cursor=rx.cond(state.cursor == index, "true", "false"),
        data_chosen=rx.cond(chosen, "true", "false"),
    )


def _footer(state: Any) -> rx.Component:
    return rx.el.div(
        rx.el.span(
            state.first,
            "\u2013",
            state.last,
            " of ",
            state.summary,
            class_name="sc-num sc-faint",
            aria_live="polite",
        ),
        rx.el.span(class_name="sc-grow"),
        rx.el.label(
            rx.el.span("Rows", class_name="sc-faint sc-label"),
            rx.el.select(
                *[rx.el.option(str(n), value=str(n)) for n in SIZES],
                value=state.size.to_string(),
                on_change=state.resize,
                class_name="sc-input sc-small",
            ),
            class_name="sc-inline",
        ),
        _step(state, "chevron-left", "Previous page", -1, state.page <= 1),
        rx.el.span(state.page, " / ", state.pages, class_name="sc-num"),
        _step(state, "chevron-right", "Next page", 1, state.page >= state.pages),
        class_name="sc-footer",
    )


def _step(state: Any, icon: str, label: str, pages: int, disabled: Any) -> rx.Component:
    return icon_button(icon, label, on_click=state.turn(pages), disabled=disabled)


def _waiting(columns: int) -> rx.Component:
    row = rx.el.div(
        *[rx.el.div(class_name="sc-skeleton") for _ in range(min(columns, 5))], class_name="sc-wait-row"
    )
    return rx.el.div(*[row] * 8, class_name="sc-wait", aria_busy="true", aria_label="Loading")


def _help(state: Any) -> rx.Component:
    listed = (
        ("/", "Filter"), ("j", "Next row"), ("k", "Previous row"), ("x", "Select row"), ("Enter", "Open row"),
        ("Ctrl K", "Go anywhere"), ("?", "This list"),
    )  # fmt: skip
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Keys"),
            rx.dialog.description("They work whenever you are not typing.", class_name="sc-hint"),
            rx.el.dl(
                *[rx.el.div(rx.el.dt(rx.el.kbd(k)), rx.el.dd(what)) for k, what in listed],
                class_name="sc-keys",
            ),
            rx.el.div(button("Close", on_click=state.show_help(False)), class_name="sc-actions"),
            class_name="sc-dialog",
        ),
        open=state.help_open,
        on_open_change=state.show_help,
    )
