"""The providers page's dialogs: the wizard, a saved provider's test, what exists on an engine."""

from typing import Any

import reflex as rx

from storage_console.parts.client import follow
from storage_console.parts.details import disclosure
from storage_console.parts.feedback import badge, button, link_button, mono, note, problem, skeleton
from storage_console.parts.form import Option, area, field, form, select
from storage_console.providers.adoption import Adoption
from storage_console.providers.paste import take_apart
from storage_console.providers.state import Providers
from storage_console.providers.wizard import ProviderForm

S: Any = Providers
F: Any = ProviderForm
A: Any = Adoption

TLS = [
    Option("disable", "Off"),
    Option("require", "Encrypted, identity unchecked"),
    Option("verify-ca", "Check the authority"),
    Option("verify-full", "Check authority and host name"),
]


def checks(steps: Any) -> rx.Component:
    """A test's steps, each with its status, time and fix."""

    def line(step: Any) -> rx.Component:
        return rx.el.li(
            rx.match(
                step.tone,
                ("ok", rx.icon("circle-check", size=16, aria_label="Passed")),
                ("bad", rx.icon("circle-x", size=16, aria_label="Failed")),
                ("warn", rx.icon("triangle-alert", size=16, aria_label="Warning")),
                rx.icon("circle-dashed", size=16, aria_label="Skipped"),
            ),
            rx.el.strong(step.name),
            rx.el.p(step.detail, class_name="sc-faint"),
            rx.el.span(step.took, class_name="sc-num"),
            rx.cond(step.fix != "", rx.el.p(step.fix, class_name="sc-fix"), rx.fragment()),
            data_tone=step.tone,
        )

    return rx.el.ol(rx.foreach(steps, line), class_name="sc-checks", aria_label="Connection test")


#: Whether the engine is a directory.
_IN_FILES = (F.kind == "sqlite") | (F.kind == "tinydb") | (F.kind == "localfile")


def _kind(value: str, label: str, icon: str) -> rx.Component:
    return rx.el.label(
        rx.el.input(
            type="radio", name="kind", value=value, checked=F.kind == value, on_change=F.choose_kind(value)
        ),
        rx.icon(icon, size=18, aria_hidden="true"),
        rx.el.strong(label),
        class_name="sc-kind",
    )


def _kinds() -> rx.Component:
    return rx.el.fieldset(
        rx.el.legend("Engine"),
        _kind("postgresql", "PostgreSQL", "database"),
        _kind("mongodb", "MongoDB", "leaf"),
        _kind("sqlite", "SQLite", "file"),
        _kind("tinydb", "TinyDB", "file-json"),
        _kind("localfile", "Local files", "folder"),
        class_name="sc-kinds",
    )


def _url() -> rx.Component:
    return rx.el.div(
        rx.el.label("Connection URL", html_for="f-url"),
        rx.el.input(
            custom_attrs={"id": "f-url", "data-url": "true"},
            class_name="sc-input sc-mono",
            placeholder="postgresql://user:password@host:5432/postgres",
            auto_complete="off",
            spell_check=False,
            aria_describedby="f-url-note",
        ),
        rx.el.p("Paste one to fill the fields below. It does not leave this page.", class_name="sc-hint", id="f-url-note"),
        take_apart(F.choose_kind),
        class_name="sc-field",
    )  # fmt: skip


def _text(name: str, label: str, hint: str = "", **props: Any) -> rx.Component:
    return field(F, name, label, hint=hint, default_value=F.given[name], **props)


def _server() -> rx.Component:
    port = rx.match(F.kind, ("mongodb", "27017"), "5432")
    kept = rx.cond(F.editing != "", "Unchanged", "")
    return rx.el.div(
        rx.el.div(
            _text("host", "Host", placeholder="db.example"),
            _text("port", "Port", placeholder=port, input_mode="numeric"),
            class_name="sc-pair sc-pair-wide",
        ),
        rx.el.div(
            _text("user", "User"),
            field(
                F, "password", "Password", hint="Stored sealed, never shown again.", type="password",
                auto_complete="new-password", placeholder=kept,
            ),
            class_name="sc-pair",
        ),
        disclosure(
            "Encryption and details",
            select(F, "tls", "TLS", TLS, default_value=F.given["tls"]),
            area(F, "tls_ca", "Certificate authority", hint="PEM text, for the two checking modes.", rows="3", default_value=F.given["tls_ca"]),
            _text("database", "Database", hint="PostgreSQL: to sign in to. MongoDB: the one that knows the user."),
            rx.el.div(_text("replica_set", "Replica set"), hidden=F.kind != "mongodb"),
            rx.el.div(
                _text("pooler_host", "PgBouncer", hint="In transaction mode: sessions of programs go through it."),
                _text("pooler_port", "Its port", placeholder="6432", input_mode="numeric"),
                class_name="sc-pair sc-pair-wide",
                hidden=F.kind != "postgresql",
            ),
        ),
        hidden=_IN_FILES | F.private,
        class_name="sc-form",
    )  # fmt: skip


def _fields() -> rx.Component:
    return rx.fragment(
        rx.cond(F.editing == "", rx.fragment(_kinds(), rx.cond(_IN_FILES, rx.fragment(), _url())), rx.fragment()),
        _text("name", "Name", hint="a-z, 0-9, _ and -.", placeholder="main-postgres", max_length=48),
        _server(),
        rx.el.div(
            _text("path", "Directory", hint="Absolute; the databases lie below it.", placeholder="/srv/storage"),
            hidden=~_IN_FILES | F.private,
        ),
        rx.cond(F.private, note("A private server keeps its own connection."), rx.fragment()),
        rx.cond(
            F.proofs.length() > 1,
            select(F, "proof_provider_id", "Prove backups", F.proofs, default_value=F.given["proof_provider_id"],
                   hint="Every backup is restored there and compared."),
            rx.fragment(),
        ),
    )  # fmt: skip


def _outcome() -> rx.Component:
    waiting = rx.el.p(
        rx.icon("loader-circle", size=15, class_name="sc-spin", aria_hidden="true"),
        "Testing name, connection, TLS, sign-in and privileges",
        class_name="sc-two sc-faint",
    )
    return rx.el.div(
        rx.cond(F.testing, waiting, rx.fragment()),
        follow(rx.cond(F.steps.length() > 0, F.steps.length(), -1), ".sc-dialog-wide .sc-actions"),
        rx.cond(F.steps.length() > 0, checks(F.steps), rx.fragment()),
        rx.cond(F.form_problem.code != "", problem(F.form_problem), rx.fragment()),
        aria_live="polite",
        class_name="sc-form",
    )


def wizard() -> rx.Component:
    """Registers or changes a provider: fields, test, save."""
    passed = F.tested == "passed"
    save = rx.cond(F.editing != "", "Save", "Save provider")
    # The first submit button is what Enter presses: the test, until it has passed.
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(rx.cond(F.editing != "", "Edit " + F.editing, "Add provider")),
            rx.dialog.description("The connection is tested step by step before it is saved."),
            rx.el.form(
                _fields(),
                _outcome(),
                rx.el.div(
                    button("Cancel", on_click=F.form_toggle(False)),
                    button(
                        rx.cond(F.steps.length() > 0, "Test again", "Test connection"),
                        icon="plug-zap",
                        type="submit",
                        on_click=F.intend("test"),
                        busy=F.testing,
                        disabled=F.form_busy,
                    ),
                    button(
                        save,
                        look="primary",
                        type="submit",
                        on_click=F.intend("save"),
                        busy=F.form_busy,
                        disabled=~passed & (F.editing == ""),
                        title=rx.cond(passed | (F.editing != ""), "", "Test the connection first"),
                    ),
                    class_name="sc-actions",
                ),
                on_submit=F.submit,
                class_name="sc-form",
                auto_complete="off",
                key=F.key,
            ),
            class_name="sc-dialog sc-dialog-wide",
        ),
        open=F.form_open,
        on_open_change=F.form_toggle,
    )


def checking() -> rx.Component:
    """A saved provider's test."""
    body = rx.cond(
        S.check_busy,
        skeleton(5),
        rx.cond(S.check_problem.code != "", problem(S.check_problem), checks(S.check_steps)),
    )
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Connection test"),
            rx.dialog.description(mono(S.check_name)),
            rx.el.div(body, aria_busy=S.check_busy, aria_live="polite"),
            rx.el.div(
                button("Test again", icon="rotate-cw", on_click=S.check_again, busy=S.check_busy),
                button("Close", look="primary", on_click=S.check_toggle(False)),
                class_name="sc-actions",
            ),
            class_name="sc-dialog sc-dialog-wide",
        ),
        open=S.check_open,
        on_open_change=S.check_toggle,
    )


def adoption() -> rx.Component:
    """What exists on a provider, and the form that adopts one of it."""

    def line(found: Any) -> rx.Component:
        return rx.el.li(
            mono(found.name, class_name="sc-grow"),
            rx.el.span(found.size, class_name="sc-num sc-faint"),
            rx.cond(
                found.known != "",
                rx.fragment(
                    badge("known", "ok"), link_button("Open", f"/databases/{found.known}", look="ghost")
                ),
                button("Adopt", on_click=A.pick(found.name), aria_pressed=A.picked == found.name),
            ),
        )

    listed = rx.cond(
        A.found.length() > 0,
        rx.el.ul(rx.foreach(A.found, line), class_name="sc-found"),
        rx.el.p("There is no database on this provider.", class_name="sc-faint"),
    )
    picked = rx.el.div(
        rx.el.p("Adopt ", mono(A.picked), ". Nothing in it changes.", class_name="sc-faint"),
        form(
            A,
            "Adopt database",
            field(
                A,
                "name",
                "Name here",
                hint="a-z, 0-9, _ and -.",
                default_value=A.name,
                key=A.picked,
                required=True,
            ),
            select(A, "tenant_id", "Tenant", A.tenants),
            cancel=A.form_toggle(False),
        ),
        class_name="sc-form",
    )
    close = rx.el.div(button("Close", look="primary", on_click=A.form_toggle(False)), class_name="sc-actions")
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Existing databases"),
            rx.dialog.description("On ", mono(A.provider), ", known here or not."),
            rx.el.div(
                rx.cond(
                    A.reading,
                    skeleton(4),
                    rx.cond(A.found_problem.code != "", problem(A.found_problem), listed),
                ),
                rx.cond(A.picked != "", picked, close),
                class_name="sc-form",
                aria_busy=A.reading,
            ),
            class_name="sc-dialog sc-dialog-wide",
        ),
        open=A.form_open,
        on_open_change=A.form_toggle,
    )
