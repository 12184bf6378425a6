"""One database's page."""

from typing import Any

import reflex as rx

from storage_console.databases.dialogs import SET, configuration
from storage_console.databases.one_state import DatabasePage
from storage_console.databases.records import R, records
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice, facts, panel, small_table, tabs
from storage_console.parts.feedback import (
    ago,
    badge,
    button,
    empty,
    gated,
    mono,
    note,
    problem,
    skeleton,
    status_pill,
)
from storage_console.parts.live import shown
from storage_console.parts.work import job_feed, job_strip
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = DatabasePage


@rx.page(
    route="/databases/[database_id]",
    title="Database · Storage Console",
    on_load=[S.load, R.begin, S.begin, S.measure, S.live],
)
def database() -> rx.Component:
    """The page."""
    body = tabs(
        S,
        ("overview", "Overview", _overview()),
        ("schema", "Schema", _schema()),
        ("records", "Records", records()),
        ("backups", "Backups", _backups()),
        ("jobs", "Jobs", panel("Jobs", job_feed(S.jobs, "No job has touched this database yet."))),
    )
    trouble = rx.cond(S.trouble != "", note(S.trouble, "bad", "circle-x"), rx.fragment())
    offer = rx.el.div(
        button("Back it up first", icon="archive", on_click=S.back_up_first), class_name="sc-two sc-gap"
    )
    return page(
        S.name,
        shown(S, trouble, job_strip(S.jobs), body),
        configuration(),
        confirm(S, rx.cond(S.deleting != "", offer, rx.fragment())),
        actions=[_actions()],
        crumbs=[("Databases", "/databases")],
    )


def _actions() -> rx.Component:
    unready = S.status != "ready"
    more = rx.menu.root(
        rx.menu.trigger(
            rx.el.button(
                rx.icon("ellipsis", size=16, aria_hidden="true"), type="button", class_name="sc-icon-btn", aria_label="More"
            )
        ),
        rx.menu.content(
            choice("Optimize", "database.write", "sparkles", S.optimize, disabled=unready),
            choice("Configure", "database.write", "sliders-horizontal", SET.edit(S.id), disabled=unready),
            rx.menu.separator(),
            choice("Delete", "database.delete", "trash-2", S.ask_delete, danger=True),
            align="end",
            variant="soft",
        ),
    )  # fmt: skip
    now = button("Back up now", look="primary", icon="archive", on_click=S.back_up, disabled=unready)
    return rx.cond(
        S.phase == "ready", rx.el.div(gated("backup.run", now), more, class_name="sc-two"), rx.fragment()
    )


def _figure(f: Any) -> rx.Component:
    return rx.el.div(
        rx.el.span(f.label), rx.el.span(f.value, class_name="sc-figure"), class_name="sc-tile sc-tile-short"
    )


def _pairs(listed: Any) -> rx.Component:
    def pair(f: Any) -> rx.Component:
        return rx.el.div(rx.el.dt(f.label), rx.el.dd(f.value))

    return rx.el.dl(rx.foreach(listed, pair), class_name="sc-facts")


def _overview() -> rx.Component:
    waiting = rx.el.div(
        *[rx.el.div(skeleton(2), class_name="sc-tile sc-tile-short") for _ in range(4)], class_name="sc-tiles"
    )
    figures = rx.match(
        S.stats_phase,
        ("loading", waiting),
        ("error", rx.el.div(problem(S.stats_problem, on_retry=S.measure), class_name="sc-gap")),
        rx.el.div(rx.foreach(S.figures, _figure), class_name="sc-tiles"),
    )
    known = facts(
        ("Status", status_pill(status=S.status)),
        ("Last proven backup", ago(at=S.proven, empty="never")),
        ("Engine", rx.el.span(S.engine)),
        ("Provider", mono(S.provider)),
        ("Tenant", rx.el.span(S.tenant, rx.cond(S.is_default, badge("default"), rx.fragment()), class_name="sc-two")),
        ("Namespace", mono(S.namespace)),
        ("Created", ago(at=S.created)),
        ("Origin", rx.cond(S.adopted, "Adopted", "Created here")),
        ("Name on the engine", mono(S.physical)),
        ("Location", mono(S.location, class_name="sc-long")),
    )  # fmt: skip
    return rx.el.div(
        figures,
        rx.el.div(
            panel("About", known),
            rx.cond(S.settings.length() > 0, panel("Settings", _pairs(S.settings)), rx.fragment()),
            rx.cond(S.details.length() > 0, panel("From the engine", _pairs(S.details)), rx.fragment()),
            class_name="sc-column",
        ),
    )


def _object(o: Any) -> rx.Component:
    columns = small_table(
        ("Column", "Type", "Nullable", "Default"),
        o.columns,
        lambda c: (mono(c.name), mono(c.type), c.nullable, mono(c.default)),
        label="Columns",
    )
    indexes = small_table(
        ("Index", "Definition", "Unique"),
        o.indexes,
        lambda i: (mono(i.name), mono(i.definition), rx.cond(i.unique, "yes", "no")),
        label="Indexes",
    )
    return rx.el.details(
        rx.el.summary(
            rx.icon("chevron-right", size=14, aria_hidden="true"),
            mono(o.name, class_name="sc-grow"),
            badge(o.kind),
            rx.el.span(o.rows, class_name="sc-num sc-faint sc-wide"),
            rx.el.span(o.size, class_name="sc-num sc-faint"),
        ),
        rx.el.div(
            rx.cond(o.columns.length() > 0, columns, rx.fragment()),
            rx.cond(o.indexes.length() > 0, indexes, rx.fragment()),
            rx.cond(o.definition != "", rx.el.pre(o.definition, tab_index=0), rx.fragment()),
        ),
        class_name="sc-object",
    )


def _schema() -> rx.Component:
    more = rx.el.p(
        "The first ",
        S.objects.length(),
        " of ",
        S.objects_total,
        " are shown.",
        class_name="sc-body sc-faint",
    )
    listed = rx.el.div(
        rx.foreach(S.objects, _object),
        rx.cond(S.objects_total > S.objects.length(), more, rx.fragment()),
    )
    nothing = empty(
        "table-2", "Nothing in it yet", "Tables or collections appear here once a program makes them."
    )
    return panel(
        "Schema",
        rx.match(
            S.schema_phase,
            ("ready", rx.cond(S.objects.length() > 0, listed, nothing)),
            ("error", problem(S.schema_problem, on_retry=S.read_schema)),
            rx.el.div(skeleton(5), class_name="sc-body", aria_busy="true"),
        ),
        actions=[button("Read again", look="ghost", icon="rotate-cw", on_click=S.read_schema)],
    )


def _backups() -> rx.Component:
    def cells(b: Any) -> tuple[Any, ...]:
        return (
            rx.link(ago(at=b.created), href=f"/backups/{b.id}", class_name="sc-row-link", underline="none"),
            status_pill(status=b.status),
            rx.el.span(b.rows, class_name="sc-num"),
            rx.el.span(b.raw, class_name="sc-num"),
            rx.el.span(b.stored, class_name="sc-num"),
            ago(at=b.proven, empty="never"),
        )

    heads = ("Created", "Status", "Rows", "Raw", "Stored", "Proven")
    nothing = empty("archive", "No backups yet", "A backup counts once it was restored and compared.")
    listed = small_table(heads, S.backups, cells, ends=(2, 3, 4), label="Backups")
    return panel("Backups", rx.cond(S.backups.length() > 0, listed, nothing))
