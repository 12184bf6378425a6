"""`page(title, *children)`: the frame every signed-in page stands in.

@rx.page(route="/tenants", title="Tenants · Storage Console", on_load=[Tenants.load, Tenants.live])
def tenants() -> rx.Component:
    return page("Tenants", table(…), lead="Whose data it is.", actions=[button(…)], crumbs=[("Home", "/")])
"""

from collections.abc import Sequence
from typing import Any

import reflex as rx

from storage_console.parts.client import appearance
from storage_console.parts.native import NativeLink
from storage_console.session import Session
from storage_console.shell.header import banner, down, topbar
from storage_console.shell.palette import palette
from storage_console.shell.sidebar import sidebar

ME: Any = Session  # as Vars: type checkers see only the class's fields


def page(
    title: Any,
    *children: Any,
    lead: Any = "",
    actions: Sequence[rx.Component] = (),
    crumbs: Sequence[tuple[Any, Any]] = (),
) -> rx.Component:
    """The whole page: skip link, navigation, header, one `h1` and the children, once somebody is signed in."""
    head = rx.el.div(
        rx.el.div(rx.el.h1(title), rx.el.p(lead) if lead else rx.fragment()),
        rx.el.span(class_name="sc-grow"),
        *actions,
        class_name="sc-head",
    )
    return rx.el.div(
        NativeLink.create("Skip to content", href="#content", class_name="sc-skip"),
        rx.el.div(sidebar("Main"), class_name="sc-aside"),
        rx.el.div(
            banner(),
            topbar(title, crumbs),
            rx.el.main(
                head,
                rx.cond(Session.user != "", rx.fragment(*children), rx.fragment()),
                id="content",
                tab_index=-1,
                class_name="sc-main",
            ),
            class_name="sc-stage",
        ),
        palette(),
        appearance(ME.look),
        class_name="sc-frame",
        data_density=ME.look.density,
        data_down=rx.cond(down, "true", "false"),
    )
