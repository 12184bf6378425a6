"""The sign-in page."""

import reflex as rx

from storage_console.login.state import Login
from storage_console.parts.feedback import button, note
from storage_console.parts.form import field
from storage_console.parts.native import NativeForm, NativeLink
from storage_console.shell.door import door


@rx.page(route="/login", title="Sign in · Storage Console", on_load=Login.load)
def login() -> rx.Component:
    """User name, password, one button; and the way to the identity provider where one is configured."""
    return door(
        "Sign in",
        "To this console's storage.",
        rx.cond(
            Login.message != "",
            rx.el.div(note(Login.message, "bad", "circle-x"), class_name="sc-gap"),
            rx.fragment(),
        ),
        NativeForm.create(
            field(
                None,
                "username",
                "User name",
                auto_complete="username",
                auto_focus=True,
                required=True,
                auto_capitalize="none",
            ),
            field(
                None, "password", "Password", type="password", auto_complete="current-password", required=True
            ),
            button("Sign in", look="primary", type="submit"),
            action=Login.action,
            method="post",
            class_name="sc-form",
        ),
        rx.cond(
            Login.provider != "",
            NativeLink.create(
                "Sign in with ", Login.provider, href=Login.provider_action, class_name="sc-btn sc-door-other"
            ),
            rx.fragment(),
        ),
    )
