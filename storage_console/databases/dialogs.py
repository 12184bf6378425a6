"""The dialogs both pages of this folder open."""

from typing import Any

import reflex as rx

from storage_console.databases.forms import ConfigureForm, NewDatabase
from storage_console.parts.details import disclosure
from storage_console.parts.feedback import link_button, note
from storage_console.parts.form import Option, area, dialog_form, field, select, switch

NEW: Any = NewDatabase
SET: Any = ConfigureForm

ISOLATION = (Option("database", "A database of its own"), Option("schema", "A schema in the shared database"))
SETTINGS = "One a line, in the engine's own names. An unknown one is refused and nothing changes."


def creation() -> rx.Component:
    """Creates a database."""
    missing = rx.el.div(
        note("There is no provider yet; a database needs one to live on.", "warn", "triangle-alert"),
        link_button("Add a provider", "/providers", icon="server"),
        class_name="sc-stack",
    )
    return dialog_form(
        NEW,
        "New database",
        "Create database",
        rx.cond(NEW.providers.length() == 0, missing, rx.fragment()),
        field(NEW, "name", "Name", hint="a-z, 0-9, _ and -. Unique within its tenant.", placeholder="orders",
              max_length=48, required=True, auto_focus=True),
        select(NEW, "tenant_id", "Tenant", NEW.tenants),
        select(NEW, "provider_id", "Provider", NEW.providers),
        switch("default", "The tenant's default database", hint="What programs get that name none."),
        disclosure(
            "Namespace, isolation and settings",
            field(NEW, "namespace", "Namespace", hint="A part of the tenant's storage with names of its own.",
                  placeholder="eu", max_length=48),
            select(NEW, "isolation", "Isolation", ISOLATION,
                   hint="On PostgreSQL many small tenants can share one database, each in a schema of its own."),
            area(NEW, "settings", "Engine settings", hint=SETTINGS, placeholder="work_mem = 16MB", rows="3"),
        ),
        about="Made empty on the provider, under a name nobody else can have.",
    )  # fmt: skip


def configuration() -> rx.Component:
    """Changes a database's settings."""
    return dialog_form(
        SET,
        "Configure database",
        "Save settings",
        area(SET, "settings", "Engine settings", hint=SETTINGS + " What is left out stays as it is.", default_value=SET.settings, key=SET.name, rows="5",
             placeholder="statement_timeout = 30s"),
        rx.cond(
            SET.owned,
            switch("default", "The tenant's default database", hint="What programs get that name none.",
                   default_checked=SET.is_default),
            rx.fragment(),
        ),
        about="They take effect on the engine at once, for new connections.",
    )  # fmt: skip
