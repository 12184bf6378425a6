"""One backup's page."""

from typing import Any

import reflex as rx

from storage_console.backups.one_state import BackupPage
from storage_console.backups.wizard import RESTORE, restoring
from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice, facts, panel, small_table
from storage_console.parts.feedback import ago, badge, button, gated, mono, note
from storage_console.parts.live import shown
from storage_console.parts.work import job_feed, job_strip
from storage_console.shell.layout import page

#: The state as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = BackupPage


@rx.page(route="/backups/[backup_id]", title="Backup · Storage Console", on_load=[S.load, S.live])
def backup() -> rx.Component:
    """The page."""
    return page(
        S.heading,
        shown(
            S,
            job_strip(S.jobs),
            _standing(),
            _differences(),
            _skipped(),
            _manifest(),
            panel("Jobs", job_feed(S.jobs, "No job is known any more.")),
        ),
        restoring(),
        confirm(S),
        actions=[_actions()],
        crumbs=[("Backups", "/backups")],
    )


def _actions() -> rx.Component:
    more = rx.menu.root(
        rx.menu.trigger(
            rx.el.button(
                rx.icon("ellipsis", size=16, aria_hidden="true"), type="button", class_name="sc-icon-btn", aria_label="More"
            )
        ),
        rx.menu.content(
            choice("Delete", "backup.delete", "trash-2", S.ask_delete, danger=True, disabled=~S.settled),
            align="end",
            variant="soft",
        ),
    )  # fmt: skip
    again = button("Prove again", icon="shield-check", on_click=S.verify, disabled=~S.restorable)
    restore = button(
        "Restore",
        look="primary",
        icon="archive-restore",
        on_click=RESTORE.begin(S.id),
        disabled=~S.restorable,
    )
    buttons = rx.el.div(gated("backup.run", again), gated("restore.new", restore), more, class_name="sc-two")
    return rx.cond(S.phase == "ready", buttons, rx.fragment())


def _place(location: Any) -> rx.Component:
    return rx.el.dd(mono(location))


def _standing() -> rx.Component:
    sign = rx.match(
        S.tone,
        ("ok", rx.icon("shield-check", size=22, aria_hidden="true")),
        ("bad", rx.icon("shield-x", size=22, aria_hidden="true")),
        ("busy", rx.icon("loader-circle", size=22, class_name="sc-spin", aria_hidden="true")),
        rx.icon("shield", size=22, aria_hidden="true"),
    )
    database = rx.cond(
        S.database_there,
        rx.link(mono(S.database), href=f"/databases/{S.source_id}", class_name="sc-text-link"),
        rx.el.span(mono(S.database), badge("deleted"), class_name="sc-two"),
    )
    return rx.el.section(
        rx.el.div(
            sign,
            rx.el.div(rx.el.strong(S.headline), rx.el.p(S.explanation)),
            class_name="sc-proof",
            data_tone=S.tone,
            aria_live="polite",
        ),
        facts(
            ("Database", database),
            ("From", mono(S.provider)),
            ("Engine", rx.el.span(S.engine)),
            ("Created", ago(at=S.created)),
            ("Proven", ago(at=S.proven, empty="never")),
            ("Proven on", mono(S.proof_provider)),
            ("Rows", S.rows),
            ("Raw size", S.raw),
            ("Stored size", S.stored),
            ("Took", S.took),
            ("Note", rx.cond(S.note != "", S.note, "—")),
        ),
        rx.cond(
            S.artifacts.length() > 0,
            rx.el.dl(
                rx.el.div(rx.el.dt("Manifest hash"), rx.el.dd(mono(S.manifest_hash))),
                rx.el.div(rx.el.dt("Stored at"), rx.foreach(S.artifacts, _place)),
                class_name="sc-facts sc-wide-facts",
            ),
            rx.fragment(),
        ),
        class_name="sc-panel",
        aria_label="Standing",
    )  # fmt: skip


def _differences() -> rx.Component:
    listed = small_table(
        ("Object", "What", "Backed up", "Restored"),
        S.differences,
        lambda d: (mono(d.object), badge(d.what, "bad"), mono(d.expected), mono(d.found)),
        label="Differences",
    )
    return rx.cond(S.differences.length() > 0, panel("Differences", listed), rx.fragment())


def _skipped() -> rx.Component:
    listed = rx.el.ul(rx.foreach(S.skipped, rx.el.li), class_name="sc-feed")
    about = note("The restore cannot bring these back by their nature.", "warn", "triangle-alert")
    return rx.cond(S.skipped.length() > 0, panel("Left out", about, listed), rx.fragment())


def _manifest() -> rx.Component:
    def cells(o: Any) -> tuple[Any, ...]:
        inside = rx.cond(o.consistent, badge("in the snapshot", "ok"), badge("read apart", "warn"))
        return (
            mono(o.name),
            o.kind,
            rx.el.span(o.rows, class_name="sc-num"),
            mono(o.hash, class_name="sc-faint"),
            rx.el.span(inside, rx.cond(o.note != "", rx.el.span(o.note, class_name="sc-faint"), rx.fragment()), class_name="sc-two"),
        )  # fmt: skip

    table = small_table(
        ("Object", "Kind", "Rows", "Hash", "Read"), S.objects, cells, ends=(2,), label="Objects"
    )
    more = rx.el.p(
        "The first ",
        S.objects.length(),
        " of ",
        S.objects_total,
        " are shown.",
        class_name="sc-body sc-faint",
    )
    nothing = rx.el.p("Known once the database has been read.", class_name="sc-body sc-faint")
    return panel(
        "Manifest",
        rx.cond(S.objects.length() > 0, table, nothing),
        rx.cond(S.objects_total > S.objects.length(), more, rx.fragment()),
        actions=[rx.el.span(S.objects_said, class_name="sc-faint sc-num")],
    )
