"""The databases page."""

from typing import Any

import reflex as rx

from storage_console.databases.dialogs import NEW, SET, configuration, creation
from storage_console.databases.state import Databases
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, badge, button, empty, gated, mono, status_pill
from storage_console.parts.table import Column, table
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Databases


@rx.page(route="/databases", title="Databases · Storage Console", on_load=[S.load, S.measure, S.live])
def databases() -> rx.Component:
    """The page."""
    return page(
        "Databases",
        table(
            S,
            _columns(),
            blank=empty(
                "database",
                "No databases yet",
                "Create one on a provider, or adopt one that exists there: on Providers, in the row's menu.",
                _new(),
            ),
            actions=[_new()],
            bulk=[gated("backup.run", button("Back up", icon="archive", on_click=S.bulk("back_up")))],
            menu=_menu,
            export="databases",
            href=lambda row: f"/databases/{row.id}",
        ),
        creation(),
        configuration(),
        confirm(S, last_backup(S)),
        lead="What your tenants keep, and when it was last proven to come back.",
    )


def last_backup(state: Any) -> rx.Component:
    """Inside the question before a deletion: the offer of a last backup."""
    offer = rx.el.div(
        button("Back it up first", icon="archive", on_click=state.back_up_first), class_name="sc-two sc-gap"
    )
    return rx.cond(state.deleting != "", offer, rx.fragment())


def _new() -> rx.Component:
    return gated("database.write", button("New database", look="primary", icon="plus", on_click=NEW.begin))


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.span(
            mono(row.name),
            rx.cond(row.is_default, badge("default"), rx.fragment()),
            rx.cond(row.protected, rx.icon("lock", size=13, aria_label="Protected"), rx.fragment()),
            class_name="sc-two",
        )

    def status(row: Any) -> rx.Component:
        return rx.el.span(status_pill(status=row.status), title=row.problem)

    def engine(row: Any) -> rx.Component:
        return rx.el.span(row.engine, " ", mono(row.provider, class_name="sc-faint"))

    def size(row: Any) -> rx.Component:
        known = S.sizes[row.id].to(str)
        return rx.cond(S.sizes.contains(row.id), rx.el.span(known), rx.el.span("—", class_name="sc-faint"))

    return [
        Column("name", "Name", name, sort="name", fixed=True),
        Column("status", "Status", status, sort="status"),
        Column("tenant", "Tenant", lambda r: rx.el.span(r.tenant)),
        Column("engine", "Engine", engine),
        Column("size", "Size", size, align="end"),
        Column("proven", "Last proven", lambda r: ago(at=r.proven, empty="never"), sort="last_proven_at"),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    unready = row.status != "ready"
    return [
        choice("Back up now", "backup.run", "archive", S.back_up(row.id), disabled=unready),
        choice("Optimize", "database.write", "sparkles", S.optimize(row.id), disabled=unready),
        choice("Configure", "database.write", "sliders-horizontal", SET.edit(row.id), disabled=unready),
        rx.menu.separator(),
        choice("Delete", "database.delete", "trash-2", S.ask_delete(row.id), danger=True),
    ]
