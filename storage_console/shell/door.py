"""The frame of pages outside the console: signing in, the first run."""

from typing import Any

import reflex as rx

from storage_console.shell.sidebar import brand


def door(title: Any, lead: Any, *children: rx.Component, foot: str = "") -> rx.Component:
    """A card with one `h1` in the middle of the screen."""
    return rx.el.div(
        rx.el.main(
            brand(),
            rx.el.div(rx.el.h1(title), rx.el.p(lead), *children, class_name="sc-card"),
            rx.el.p(foot, class_name="sc-door-foot") if foot else rx.fragment(),
        ),
        class_name="sc-door",
    )
