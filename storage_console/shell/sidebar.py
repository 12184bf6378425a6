"""The menu: a column on wide screens, a drawer on small ones."""

from itertools import groupby

import reflex as rx

from storage_console.shell.navigation import MENU, Entry
from storage_console.shell.state import Shell

LOGO = (
    "M3 6.5C3 4.6 7 3 12 3s9 1.6 9 3.5S17 10 12 10 3 8.4 3 6.5Z",
    "M3 11c0 2 4 3.5 9 3.5s9-1.6 9-3.5",
    "M3 15.5C3 17.6 7 19 12 19",
)


def brand() -> rx.Component:
    """The product's mark and name."""
    return rx.link(
        rx.el.svg(
            *[rx.el.path(d=d) for d in LOGO],
            rx.el.path(d="m15.5 18.5 2 2 4-4.5"),
            view_box="0 0 24 24", fill="none", stroke="currentColor", stroke_width="2", stroke_linecap="round",
            stroke_linejoin="round", class_name="sc-logo", aria_hidden="true",
        ),
        rx.el.span("Storage Console"),
        href="/",
        class_name="sc-brand",
        underline="none",
    )  # fmt: skip


def _current(href: str) -> rx.Var[bool]:
    path = rx.State.router.url.path
    return (path == href) | (path == href + "/") | path.startswith(href + "/") if href != "/" else path == "/"


def _entry(entry: Entry) -> rx.Component:
    return rx.link(
        rx.icon(entry.icon, size=16, aria_hidden="true"),
        entry.label,
        href=entry.href,
        underline="none",
        aria_current=rx.cond(_current(entry.href), "page", "false"),
        on_click=Shell.toggle_drawer(False),
    )


def sidebar(label: str) -> rx.Component:
    """The brand and the menu, grouped; `label` tells two of them apart for screen readers."""
    groups = []
    for name, entries in groupby(MENU, key=lambda e: e.group):
        if name:
            groups.append(rx.el.div(name, class_name="sc-group"))
        groups.append(rx.el.div(*[_entry(e) for e in entries], class_name="sc-nav"))
    return rx.el.nav(brand(), *groups, class_name="sc-side", aria_label=label)


def drawer() -> rx.Component:
    """The menu behind a button, on small screens."""
    return rx.drawer.root(
        rx.drawer.trigger(
            rx.el.button(
                rx.icon("menu", size=18, aria_hidden="true"),
                class_name="sc-icon-btn sc-burger", type="button", aria_label="Menu",
            )
        ),
        rx.drawer.overlay(z_index="40"),
        rx.drawer.portal(
            rx.drawer.content(rx.drawer.title("Menu", class_name="sc-hidden"), sidebar("Menu"), class_name="sc-drawer", z_index="50")
        ),
        direction="left",
        open=Shell.drawer,
        on_open_change=Shell.toggle_drawer,
    )  # fmt: skip
