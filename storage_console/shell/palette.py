"""The command palette: Ctrl+K, type, arrow keys, Enter."""

from typing import Any

import reflex as rx

from storage_console.parts.client import follow, keys
from storage_console.parts.form import typed
from storage_console.parts.native import NativeForm
from storage_console.shell.header import switch_theme
from storage_console.shell.navigation import COMMANDS, Command
from storage_console.shell.state import Shell

SHELL: Any = Shell  # as Vars: type checkers see only the class's fields


def palette() -> rx.Component:
    """The dialog and its keys; once per page."""
    return rx.fragment(
        keys("mod+k", Shell.hot),
        rx.dialog.root(
            rx.dialog.content(
                rx.dialog.title("Go to", class_name="sc-hidden"),
                rx.dialog.description("Pages and actions.", class_name="sc-hidden"),
                typed(
                    30,
                    value=Shell.typed,
                    on_change=Shell.type,
                    placeholder="Go to a page or run an action",
                    aria_label="Go to a page or run an action",
                    data_palette="true",
                    auto_focus=True,
                    auto_complete="off",
                    spell_check=False,
                    role="combobox",
                    aria_expanded="true",
                    aria_controls="palette-options",
                ),
                rx.el.div(
                    *[_option(n, c) for n, c in enumerate(COMMANDS)],
                    rx.cond(
                        SHELL.found.length() == 0,
                        rx.el.p("Nothing is called that.", class_name="sc-hint"),
                        rx.fragment(),
                    ),
                    id="palette-options",
                    class_name="sc-options",
                    role="group",
                    aria_label="Pages and actions",
                ),
                rx.el.footer(
                    rx.el.span(rx.el.kbd("↑"), " ", rx.el.kbd("↓"), " move"),
                    rx.el.span(rx.el.kbd("Enter"), " open"),
                    rx.el.span(rx.el.kbd("Esc"), " close"),
                ),
                keys("ArrowDown ArrowUp Enter", Shell.move, within="[data-palette]"),
                follow(SHELL.at, ".sc-option[data-active='true']"),
                class_name="sc-dialog sc-palette",
                custom_attrs={"align": "start"},
            ),
            open=Shell.palette,
            on_open_change=Shell.toggle_palette,
        ),
    )


def _option(position: int, command: Command) -> rx.Component:
    inside = [
        rx.icon(command.icon, size=16, aria_hidden="true"),
        rx.el.span(command.label),
        rx.el.small(command.kind),
    ]
    active = rx.cond((SHELL.found.length() > 0) & (SHELL.found[SHELL.at] == position), "true", "false")
    if command.href:
        made = rx.link(
            *inside,
            href=command.href,
            class_name="sc-option",
            data_active=active,
            underline="none",
            on_click=Shell.toggle_palette(False),
        )
    elif command.verb == "out":
        button = rx.el.button(*inside, class_name="sc-option", data_active=active, type="submit")
        made = NativeForm.create(button, action="/api/auth/logout", method="post")
    else:
        does = {"theme": switch_theme(), "density": [Shell.switch_density]}[command.verb]
        made = rx.el.button(
            *inside,
            class_name="sc-option",
            data_active=active,
            type="button",
            on_click=[*does, Shell.toggle_palette(False)],
        )
    return rx.cond(SHELL.found.contains(position), made, rx.fragment())  # fmt: skip
