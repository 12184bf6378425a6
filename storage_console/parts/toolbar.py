"""Above the rows of a table: filters, freshness, columns, export, the selection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import reflex as rx

from storage_console.parts.client import ago
from storage_console.parts.feedback import button
from storage_console.parts.form import typed
from storage_console.parts.native import NativeLink
from storage_console.parts.saved import saved_menu

Cell = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `sort` names the field to sort by, `fixed` columns cannot be hidden, align is "" or "end"."""

    key: str
    label: str
    cell: Cell
    sort: str = ""
    align: str = ""
    fixed: bool = False
    width: str = ""


def toolbar(
    state: Any, columns: Sequence[Column], actions: Sequence[rx.Component], export: str
) -> rx.Component:
    return rx.el.div(
        rx.el.div(
            rx.icon("search", size=15, aria_hidden="true"),
            typed(
                200, value=state.q, on_change=state.search, placeholder="Filter", aria_label="Filter",
                type="search", data_filter="true", auto_complete="off", spell_check=False,
            ),
            rx.el.kbd("/"),
            class_name="sc-search",
        ),
        rx.foreach(state.facets, partial(_facet, state)),
        _typed(state) if any(f.kind != "choice" for f in state._filters) else rx.fragment(),
        rx.cond(state.filtered, button("Clear", look="ghost", icon="x", on_click=state.clear("")), rx.fragment()),
        rx.el.span(class_name="sc-grow"),
        _freshness(state),
        saved_menu(state),
        _columns(state, columns),
        _export(state, export) if export else rx.fragment(),
        *actions,
        class_name="sc-toolbar",
        role="toolbar",
        aria_label="Filters and actions",
    )  # fmt: skip


def _facet(state: Any, f: Any) -> rx.Component:
    def choice(c: Any) -> rx.Component:
        return rx.el.label(
            rx.el.input(
                type="checkbox", class_name="sc-check", checked=c.on, on_change=state.tick(f.key, c.value)
            ),
            rx.el.span(c.label),
            class_name="sc-choice",
        )

    def way(label: str, negated: bool) -> rx.Component:
        pressed = f.negated if negated else ~f.negated
        return rx.el.button(
            label,
            type="button",
            aria_pressed=rx.cond(pressed, "true", "false"),
            on_click=state.negate(f.key, negated),
        )

    ticked = rx.popover.root(
        rx.popover.trigger(
            rx.el.button(
                rx.el.span(f.label),
                rx.cond(
                    f.text != "", rx.el.strong(f.text), rx.icon("chevron-down", size=14, aria_hidden="true")
                ),
                class_name="sc-btn sc-facet",
                data_on=rx.cond(f.text != "", "true", "false"),
                type="button",
            )
        ),
        rx.popover.content(
            rx.el.div(
                way("is", False),
                way("is not", True),
                class_name="sc-segments",
                role="group",
                aria_label="Is or is not",
            ),
            rx.foreach(f.choices, choice),
            button("Any", look="ghost", on_click=state.clear(f.key)),
            class_name="sc-pop",
            align="start",
            custom_attrs={"aria-label": f.label},
        ),
    )
    return rx.cond(f.kind == "choice", ticked, rx.fragment())


def _typed(state: Any) -> rx.Component:
    """The filters one types into, together behind one button; those that narrow the list are named beside it."""

    def told(f: Any) -> rx.Component:
        chip = rx.el.button(
            rx.el.span(f.label),
            rx.el.strong(f.text),
            rx.icon("x", size=13, aria_hidden="true"),
            on_click=state.clear(f.key),
            class_name="sc-btn sc-facet",
            data_on="true",
            type="button",
            title="Remove this filter",
        )
        return rx.cond((f.kind != "choice") & (f.text != ""), chip, rx.fragment())

    return rx.fragment(
        rx.popover.root(
            rx.popover.trigger(
                rx.el.button(
                    rx.icon("sliders-horizontal", size=14, aria_hidden="true"),
                    rx.el.span("More filters"),
                    class_name="sc-btn sc-facet",
                    type="button",
                )
            ),
            rx.popover.content(
                rx.foreach(state.facets, partial(_typed_line, state)),
                class_name="sc-pop sc-pop-wide sc-typed",
                align="start",
                custom_attrs={"aria-label": "More filters"},
            ),
        ),
        rx.foreach(state.facets, told),
    )


def _typed_line(state: Any, f: Any) -> rx.Component:
    text = typed(
        400, value=f.typed, on_change=state.enter(f.key), aria_label=f.label,
        class_name="sc-input", auto_complete="off", spell_check=False,
    )  # fmt: skip
    time = rx.el.input(
        type="datetime-local", value=f.typed, on_change=state.enter(f.key),
        aria_label=f.label, class_name="sc-input",
    )  # fmt: skip
    turned = rx.el.label(
        rx.el.input(
            type="checkbox",
            class_name="sc-check",
            checked=f.negated,
            on_change=state.negate(f.key, ~f.negated),
            disabled=f.typed == "",
        ),
        rx.el.span("is not"),
        class_name="sc-inline sc-faint",
    )
    line = rx.el.div(
        rx.el.div(
            rx.el.span(f.label), rx.cond(f.kind == "text", turned, rx.el.span("UTC", class_name="sc-faint"))
        ),
        rx.cond(f.kind == "text", text, time),
        class_name="sc-typed-line",
    )
    return rx.cond(f.kind == "choice", rx.fragment(), line)


def _freshness(state: Any) -> rx.Component:
    return rx.el.div(
        rx.el.span(
            rx.cond(state.paused, "Paused, ", "Updated "),
            ago(at=state.loaded, empty="…"),
            class_name="sc-faint sc-updated",
        ),
        rx.el.button(
            rx.cond(state.paused, rx.icon("play", size=14), rx.icon("pause", size=14)),
            on_click=state.pause,
            class_name="sc-icon-btn",
            type="button",
            aria_label=rx.cond(state.paused, "Follow changes", "Pause"),
            title=rx.cond(state.paused, "Follow changes", "Pause"),
        ),
        class_name="sc-fresh",
    )


def _columns(state: Any, columns: Sequence[Column]) -> rx.Component:
    def item(column: Column) -> rx.Component:
        return rx.el.label(
            rx.el.input(
                type="checkbox", class_name="sc-check", checked=~state.hidden.contains(column.key),
                on_change=state.column(column.key),
            ),
            rx.el.span(column.label),
            class_name="sc-choice",
        )  # fmt: skip

    return rx.popover.root(
        rx.popover.trigger(icon_button("columns-3", "Columns")),
        rx.popover.content(
            *[item(c) for c in columns if not c.fixed],
            class_name="sc-pop",
            align="end",
            custom_attrs={"aria-label": "Columns"},
        ),
    )


def _export(state: Any, topic: str) -> rx.Component:
    def item(kind: str) -> rx.Component:
        href = f"/export/{topic}.{kind}?" + state.export_query
        return NativeLink.create(kind.upper(), href=href, download=f"{topic}.{kind}", class_name="sc-choice")

    return rx.popover.root(
        rx.popover.trigger(icon_button("download", "Export")),
        rx.popover.content(
            rx.el.p("Export what the filters leave", class_name="sc-hint"), item("csv"), item("xlsx"), item("json"),
            class_name="sc-pop", align="end", custom_attrs={"aria-label": "Export"},
        ),
    )  # fmt: skip


def icon_button(icon: str, label: str, **props: Any) -> rx.Component:
    return rx.el.button(
        rx.icon(icon, size=15, aria_hidden="true"), class_name="sc-icon-btn", type="button", aria_label=label, title=label,
        **props,
    )  # fmt: skip


def selection(state: Any, bulk: Sequence[rx.Component]) -> rx.Component:
    bar = rx.el.div(
        rx.cond(
            state.all_matching,
            rx.el.strong("All ", state.summary, " selected"),
            rx.el.strong(state.selected.length(), " selected"),
        ),
        rx.cond(
            ~state.all_matching & (state.total > state.rows.length()),
            button("Select all " + state.summary, look="ghost", on_click=state.pick_all),
            rx.fragment(),
        ),
        rx.el.span(class_name="sc-grow"),
        *bulk,
        button("Clear selection", look="ghost", on_click=state.pick_none),
        class_name="sc-selection",
        role="region",
        aria_label="Selection",
    )
    return rx.cond(state.selected.length() > 0, bar, rx.fragment())
