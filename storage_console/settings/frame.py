"""The frame of the settings' pages: one heading, a tab for each, each with its own address."""

from collections.abc import Sequence
from typing import Any

import reflex as rx

from storage_console.parts.client import follow
from storage_console.shell.layout import page

TABS = (
    ("Configuration", "/settings"),
    ("Users and roles", "/settings/users"),
    ("Sign-ins", "/settings/sessions"),
    ("API tokens", "/settings/tokens"),
    ("Secrets", "/settings/secrets"),
    ("Approvals", "/settings/approvals"),
    ("Notifications", "/settings/notifications"),
)


def settings(href: str, *children: Any, lead: Any = "", actions: Sequence[rx.Component] = ()) -> rx.Component:
    """The page at `href`, one of TABS."""
    title = {where: label for label, where in TABS}[href]
    crumbs = [] if href == "/settings" else [("Settings", "/settings")]
    return page(
        "Settings" if href == "/settings" else title,
        rx.el.nav(*[_tab(*tab, current=href) for tab in TABS], class_name="sc-subnav", aria_label="Settings"),
        follow(0, ".sc-subnav [aria-current='page']"),
        *children,
        lead=lead,
        actions=actions,
        crumbs=crumbs,
    )


def _tab(label: str, href: str, current: str) -> rx.Component:
    return rx.link(label, href=href, underline="none", aria_current="page" if href == current else "false")
