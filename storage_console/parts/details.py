"""Pages about one thing: panels, facts, small tables, menu entries that say why they are denied.

panel("Proof", facts(("Rows", S.rows), ("Took", S.took)))
small_table(("Object", "Rows"), S.objects, lambda o: (mono(o.name), o.rows), ends=(1,))
choice("Delete", "provider.delete", "trash-2", Providers.ask_delete(r.id), danger=True)
tabs(S, ("overview", "Overview", overview()), ("schema", "Schema", schema()))      # S.tab, S.show_tab
"""

from collections.abc import Callable, Sequence
from typing import Any

import reflex as rx

from storage_console.session import Session

ME: Any = Session  # as Vars: type checkers see only the class's fields


def panel(title: Any, *inside: Any, actions: Sequence[rx.Component] = ()) -> rx.Component:
    """A framed part of a page with a heading."""
    return rx.el.section(
        rx.el.header(rx.el.h2(title), *actions), *inside, class_name="sc-panel", aria_label=title
    )


def facts(*pairs: tuple[str, Any]) -> rx.Component:
    """Labels with their values, in columns as wide as there is room."""
    return rx.el.dl(
        *[rx.el.div(rx.el.dt(label), rx.el.dd(value)) for label, value in pairs], class_name="sc-facts"
    )


def small_table(
    heads: Sequence[str],
    rows: Any,
    cells: Callable[[Any], Sequence[Any]],
    *,
    ends: Sequence[int] = (),
    label: str = "Rows",
) -> rx.Component:
    """A table without controls inside a panel; columns in `ends` are aligned to the end."""
    align = ["end" if n in ends else "" for n in range(len(heads))]

    def line(row: Any) -> rx.Component:
        made = [
            rx.el.td(cell, data_label=heads[n], data_align=align[n], data_fixed=n == 0, role="cell")
            for n, cell in enumerate(cells(row))
        ]
        return rx.el.tr(*made, role="row")

    head = [rx.el.th(h, scope="col", data_align=align[n], role="columnheader") for n, h in enumerate(heads)]
    table = rx.el.table(
        rx.el.thead(rx.el.tr(*head, role="row"), role="rowgroup"),
        rx.el.tbody(rx.foreach(rows, line), role="rowgroup"),
        class_name="sc-table",
        role="table",
    )
    return rx.el.div(table, class_name="sc-scroll", tab_index=0, role="region", aria_label=label)


def choice(
    label: Any,
    permission: str,
    icon: str,
    on_click: Any,
    *,
    danger: bool = False,
    disabled: Any = False,
    here: Any = True,
) -> rx.Component:
    """An entry of a row's menu, for those whose role holds the permission, and `here`; for others it says why not."""
    look: dict[str, Any] = {"color_scheme": "red"} if danger else {}
    sign = rx.icon(icon, size=15, aria_hidden="true")
    return rx.cond(
        ME.can.contains(permission) & here,
        rx.menu.item(sign, label, on_click=on_click, disabled=disabled, class_name="sc-menu-item", **look),
        rx.menu.item(
            sign,
            label,
            rx.el.small("not for your role", class_name="sc-faint"),
            disabled=True,
            class_name="sc-menu-item",
        ),
    )


def tabs(state: Any, *parts: tuple[str, str, rx.Component]) -> rx.Component:
    """Tabs over parts of a page; the state has `tab` and the event `show_tab(name)`."""
    return rx.tabs.root(
        rx.tabs.list(*[rx.tabs.trigger(label, value=key) for key, label, _ in parts], class_name="sc-tabs"),
        *[rx.tabs.content(inside, value=key, class_name="sc-tab") for key, _, inside in parts],
        value=state.tab,
        on_change=state.show_tab,
    )


def disclosure(label: str, *inside: rx.Component) -> rx.Component:
    """What few people need, folded away."""
    return rx.el.details(
        rx.el.summary(rx.icon("chevron-right", size=14, aria_hidden="true"), label),
        rx.el.div(*inside, class_name="sc-form"),
        class_name="sc-more-fields",
    )
