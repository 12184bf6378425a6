"""The first-run page: user name and password of the administrator."""

import reflex as rx

from storage_console.parts.client import same
from storage_console.parts.feedback import button, note
from storage_console.parts.form import field
from storage_console.parts.native import NativeForm, NativeLink
from storage_console.setup.state import Setup
from storage_console.shell.door import door


@rx.page(route="/setup", title="First start · Storage Console", on_load=Setup.load)
def setup() -> rx.Component:
    """The form, or why there is none."""
    missing = note(
        "Open the setup link that the console printed when it started. It works once, for 15 minutes.",
        "warn",
        "link",
    )
    return rx.cond(
        Setup.over,
        _over(),
        door(
            "Create the administrator",
            "This account may do everything. You can add others later.",
            rx.cond(
                Setup.message != "",
                rx.el.div(note(Setup.message, "bad", "circle-x"), class_name="sc-gap"),
                rx.fragment(),
            ),
            rx.cond(Setup.loaded & (Setup.token == ""), missing, _form()),
            foot="No e-mail, no telemetry, no network.",
        ),
    )


def _over() -> rx.Component:
    return door(
        "This setup link is over",
        "It was used already or is too old.",
        rx.el.div(
            rx.el.p("If the administrator was made, sign in."),
            rx.el.p(
                "If nobody was, start the console again: it prints a new link, which works for 15 minutes."
            ),
            NativeLink.create("Go to the sign-in", href="/login", class_name="sc-btn sc-btn-primary"),
            class_name="sc-form",
        ),
    )


def _form() -> rx.Component:
    secret = {
        "type": "password",
        "auto_complete": "new-password",
        "required": True,
        "min_length": Setup.minimum,
    }
    return NativeForm.create(
        rx.el.input(type="hidden", name="token", value=Setup.token, read_only=True),
        field(
            None,
            "username",
            "User name",
            auto_complete="username",
            required=True,
            max_length=64,
            auto_capitalize="none",
        ),
        field(
            None,
            "password",
            "Password",
            hint="At least 12 characters. A few unrelated words are strong.",
            **secret,
        ),
        field(None, "repeat", "Repeat password", **secret),
        same("#f-password", "#f-repeat", "The two passwords differ."),
        # not before the token is there: a quick hand would send the form without it
        button("Create administrator", look="primary", type="submit", disabled=Setup.token == ""),
        action="/api/auth/setup",
        method="post",
        class_name="sc-form",
    )
