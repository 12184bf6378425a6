"""The bar above every page: where one is, search, tenant, connection, appearance, account."""

from collections.abc import Sequence
from typing import Any

import reflex as rx
from reflex_components_core.core.banner import has_connection_errors as down

from storage_console.parts.native import NativeForm, NativeLink
from storage_console.session import Session
from storage_console.shell.sidebar import drawer
from storage_console.shell.state import Shell

TENANT: Any = rx.cond(Session.tenant_name != "", Session.tenant_name, "All tenants")
ME: Any = Session
SHELL: Any = Shell  # as Vars: type checkers see only the class's fields


def topbar(title: Any, crumbs: Sequence[tuple[Any, Any]]) -> rx.Component:
    """The bar."""
    trail: list[Any] = []
    for label, href in crumbs:
        trail += [rx.link(label, href=href, underline="none"), rx.el.span("/", aria_hidden="true")]
    return rx.el.header(
        drawer(),
        rx.el.nav(
            *trail, rx.el.span(title, aria_current="page"), class_name="sc-crumbs", aria_label="Breadcrumb"
        ),
        rx.el.span(class_name="sc-grow"),
        rx.el.button(
            rx.icon("search", size=15, aria_hidden="true"),
            rx.el.span("Go to"),
            rx.el.kbd("Ctrl K"),
            class_name="sc-find",
            on_click=Shell.toggle_palette(True),
            type="button",
        ),
        _tenant(),
        _live(),
        rx.el.button(
            rx.color_mode_cond(rx.icon("moon", size=16), rx.icon("sun", size=16)),
            class_name="sc-icon-btn",
            on_click=switch_theme(),
            type="button",
            aria_label="Switch light and dark",
            title="Switch light and dark",
        ),
        _account(),
        class_name="sc-top",
    )


def switch_theme() -> list[Any]:
    """The other one of light and dark, at once in the browser and kept for the next."""
    other = rx.color_mode_cond("dark", "light")
    return [rx.toggle_color_mode, Shell.keep_theme(other)]


def banner() -> rx.Component:
    """Says that the display is old while the connection is away."""
    text = rx.el.span("Reconnecting. What you see may be out of date.")
    return rx.cond(
        down,
        rx.el.div(
            rx.icon("cloud-off", size=15, aria_hidden="true"), text, class_name="sc-banner", role="status"
        ),
        rx.fragment(),
    )


def _live() -> rx.Component:
    return rx.el.span(
        rx.el.i(aria_hidden="true"),
        rx.el.span(rx.cond(down, "Offline", "Live")),
        class_name="sc-live",
        data_down=rx.cond(down, "true", "false"),
        title=rx.cond(down, "Reconnecting", "Changes appear by themselves"),
    )


def _switch_to(tenant: Any) -> rx.Component:
    return rx.menu.item(tenant.title, on_click=Shell.choose_tenant(tenant.id))


def _tenant() -> rx.Component:
    return rx.menu.root(
        rx.menu.trigger(
            rx.el.button(
                rx.icon("building-2", size=15, aria_hidden="true"),
                rx.el.span(
                    TENANT,
                    class_name="sc-tenant-name",
                ),
                rx.icon("chevrons-up-down", size=13, aria_hidden="true"),
                class_name="sc-btn sc-btn-ghost",
                type="button",
                aria_label="Tenant: " + TENANT,
            )
        ),
        rx.menu.content(
            rx.menu.item("All tenants", on_click=Shell.choose_tenant("")),
            rx.cond(SHELL.tenants.length() > 0, rx.menu.separator(), rx.fragment()),
            rx.foreach(SHELL.tenants, _switch_to),
            align="end",
            variant="soft",
        ),
        on_open_change=Shell.offer_tenants,
    )


def _account() -> rx.Component:
    return rx.popover.root(
        rx.popover.trigger(
            rx.el.button(
                rx.icon("circle-user-round", size=17, aria_hidden="true"),
                class_name="sc-icon-btn",
                type="button",
                aria_label="Account",
            )
        ),
        rx.popover.content(
            rx.el.p(rx.el.strong(Session.user), rx.el.br(), Session.role, class_name="sc-hint"),
            rx.link(
                rx.icon("circle-user-round", size=15, aria_hidden="true"),
                "Profile",
                href="/profile",
                class_name="sc-option",
                underline="none",
            ),
            rx.cond(
                ME.can.contains("admin.views"),
                NativeLink.create(
                    rx.icon("table-properties", size=15, aria_hidden="true"),
                    "Administration",
                    href="/admin/",
                    class_name="sc-option",
                ),
                rx.fragment(),
            ),
            rx.el.button(
                rx.icon("rows-3", size=15, aria_hidden="true"),
                rx.cond(ME.look.density == "compact", "Comfortable rows", "Compact rows"),
                class_name="sc-option",
                on_click=Shell.switch_density,
                type="button",
            ),
            sign_out(),
            class_name="sc-pop",
            align="end",
            custom_attrs={"aria-label": "Account"},
        ),
    )


def sign_out(**props: Any) -> rx.Component:
    """A button that ends the session: a plain form, so that the cookie goes too."""
    return NativeForm.create(
        rx.el.button(
            rx.icon("log-out", size=15, aria_hidden="true"),
            "Sign out",
            class_name="sc-option",
            type="submit",
            **props,
        ),
        action="/api/auth/logout",
        method="post",
    )
