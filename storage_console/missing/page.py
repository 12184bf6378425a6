"""What an unknown address shows: inside the console to whoever is signed in, at its door to anybody else."""

from typing import Any

import reflex as rx

from storage_console.parts.feedback import empty
from storage_console.parts.native import NativeLink
from storage_console.session import Session
from storage_console.shell.door import door
from storage_console.shell.layout import page

TITLE = "There is no such page"
WHY = "The address may be mistyped, or the page has moved."


def _to(text: str, href: str) -> Any:
    return NativeLink.create(text, href=href, class_name="sc-btn sc-btn-primary")


@rx.page(route="404", title="Not found · Storage Console")
def missing() -> rx.Component:
    """The page; it comes with status 404."""
    return rx.cond(
        Session.user != "",
        page(TITLE, empty("map", "Nothing is here", WHY, _to("Go to the dashboard", "/"))),
        door(TITLE, WHY, _to("Go to the sign-in", "/login")),
    )
