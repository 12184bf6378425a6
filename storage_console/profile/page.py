"""The profile page."""

from typing import Any

import reflex as rx

from storage_console.parts.client import same, zones
from storage_console.parts.confirm import confirm
from storage_console.parts.details import panel
from storage_console.parts.feedback import ago, badge, button, gated, mono, status_pill
from storage_console.parts.form import Option, field, form, select
from storage_console.parts.live import shown
from storage_console.parts.once import once
from storage_console.profile.state import PreferencesForm, Profile
from storage_console.session import Session
from storage_console.shell.layout import page
from storage_console.shell.navigation import MENU

#: States as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Profile
PREFERENCES: Any = PreferencesForm
ME: Any = Session
THEMES = (Option("system", "As the system"), Option("light", "Light"), Option("dark", "Dark"))
DENSITIES = (Option("comfortable", "Comfortable"), Option("compact", "Compact"))
MOTIONS = (Option("system", "As the system"), Option("none", "None"))
LANGUAGES = (
    Option("", "As the browser"), Option("en-GB", "English (United Kingdom)"), Option("en-US", "English (United States)"),
    Option("de-DE", "Deutsch"), Option("es-ES", "Español"), Option("fr-FR", "Français"), Option("it-IT", "Italiano"),
    Option("nl-NL", "Nederlands"), Option("pl-PL", "Polski"), Option("pt-BR", "Português (Brasil)"),
    Option("sv-SE", "Svenska"), Option("uk-UA", "Українська"), Option("zh-CN", "中文"), Option("ja-JP", "日本語"),
    Option("ko-KR", "한국어"),
)  # fmt: skip
STARTS = tuple(Option(entry.href, entry.label) for entry in MENU)
LIVES = (
    Option("7", "7 days"), Option("30", "30 days"), Option("90", "90 days"), Option("365", "1 year"), Option("", "Never"),
)  # fmt: skip


@rx.page(route="/profile", title="Profile · Storage Console", on_load=[S.load, S.live])
def profile() -> rx.Component:
    """The page."""
    body = rx.el.div(
        rx.el.div(_sessions(), _tokens(), _password(), class_name="sc-column"),
        rx.el.div(_roles(), _preferences(), class_name="sc-column"),
        class_name="sc-columns",
    )
    return page(
        "Profile",
        shown(S, body),
        _new_token(),
        confirm(S),
        lead=rx.el.span("Signed in as ", rx.el.strong(ME.user), "."),
    )


def _roles() -> rx.Component:
    def line(row: Any) -> rx.Component:
        return rx.el.li(badge(row.role, "info"), rx.el.span(row.scope, class_name="sc-grow"))

    return panel("Roles", rx.el.ul(rx.foreach(S.roles, line), class_name="sc-feed"))


def _sessions() -> rx.Component:
    def line(row: Any) -> rx.Component:
        end = rx.cond(
            row.current,
            badge("this one", "ok"),
            button("End", on_click=S.end_session(row.id), aria_label="End the sign-in from " + row.address),
        )
        about = rx.el.div(
            rx.el.strong(row.browser, title=row.agent),
            rx.el.div(
                mono(row.address), " · signed in ", ago(at=row.began), " · last seen ", ago(at=row.seen),
                class_name="sc-faint sc-small-text",
            ),
            class_name="sc-grow",
        )  # fmt: skip
        return rx.el.li(rx.icon("monitor", size=17, aria_hidden="true"), about, end)

    others = rx.cond(S.others > 0, button("End all others", on_click=S.ask_end_others), rx.fragment())
    return panel(
        "Sign-ins", rx.el.ul(rx.foreach(S.sessions, line), class_name="sc-feed sc-people"), actions=[others]
    )


def _tokens() -> rx.Component:
    def line(row: Any) -> rx.Component:
        expires = rx.cond(row.expires > 0, ago(at=row.expires, prefix="ends "), rx.el.span("never ends"))
        about = rx.el.div(
            rx.el.strong(row.name),
            " ",
            mono(row.prefix + "…", class_name="sc-faint"),
            rx.el.div(
                row.rights, " · ", expires, " · used ", ago(at=row.used, empty="never"),
                class_name="sc-faint sc-small-text",
            ),
            class_name="sc-grow",
        )  # fmt: skip
        end = rx.cond(
            row.status == "active",
            button("Revoke", on_click=S.ask_revoke(row.id), aria_label="Revoke " + row.name),
            status_pill(status=row.status),
        )
        return rx.el.li(rx.icon("key-round", size=17, aria_hidden="true"), about, end)

    nothing = rx.el.div(
        rx.el.p("No tokens yet. A program signs in with one: "),
        mono("Authorization: Bearer …"),
        class_name="sc-body sc-faint",
    )
    new = gated("token.own", button("New token", icon="plus", on_click=S.token_show(True)))
    return panel(
        "API tokens",
        rx.cond(
            S.tokens.length() > 0,
            rx.el.ul(rx.foreach(S.tokens, line), class_name="sc-feed sc-people"),
            nothing,
        ),
        actions=[new],
    )


def _new_token() -> rx.Component:
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("New API token"),
            rx.dialog.description("It acts with your rights, never with more, and only while you have them."),
            once(
                "/api/storage/tokens/create",
                "Create token",
                field(
                    None,
                    "name",
                    "Name",
                    hint="What it is for.",
                    required=True,
                    max_length=64,
                    auto_focus=True,
                ),
                select(None, "scopes[role]", "Rights", S.token_roles),
                select(None, "scopes[tenant]", "Tenant", S.token_tenants),
                select(None, "expires_at@days", "Ends after", LIVES, default_value="90"),
                show="token",
                told="Copy it now: it is shown this once. Only its hash is kept.",
                on_done=S.token_made,
                on_cancel=S.token_show(False),
            ),
            class_name="sc-dialog",
        ),
        open=S.token_form,
        on_open_change=S.token_show,
    )


def _password() -> rx.Component:
    secret: dict[str, Any] = {"type": "password", "required": True}
    change = rx.el.div(
        once(
            "/api/storage/users/password",
            "Change password",
            field(None, "current", "Current password", auto_complete="current-password", **secret),
            field(None, "password", "New password", hint="At least 12 characters. Your other sign-ins end.",
                  auto_complete="new-password", min_length=12, **secret),
            field(None, "repeat", "Repeat the new one", auto_complete="new-password", **secret),
            on_done=S.password_changed,
        ),
        same("#f-password", "#f-repeat", "The two passwords differ."),
        class_name="sc-body sc-narrow",
    )  # fmt: skip
    elsewhere = rx.el.p(
        "You sign in with your identity provider; it keeps your password.", class_name="sc-body sc-faint"
    )
    return panel("Password", rx.cond(S.has_password, change, elsewhere))


def _preferences() -> rx.Component:
    look = ME.look
    fields = rx.fragment(
        rx.el.div(
            select(PREFERENCES, "theme", "Theme", THEMES, default_value=look.theme),
            select(PREFERENCES, "density", "Rows", DENSITIES, default_value=look.density),
            class_name="sc-pair",
        ),
        rx.el.div(
            select(PREFERENCES, "motion", "Motion", MOTIONS, default_value=look.motion),
            select(PREFERENCES, "start_page", "Start page", STARTS, default_value=look.start_page),
            class_name="sc-pair",
        ),
        field(PREFERENCES, "time_zone", "Time zone", hint="Of exact times. The browser's, if empty.",
              list="time-zones", placeholder="Europe/Berlin", default_value=look.time_zone),
        select(PREFERENCES, "language", "Language of dates", LANGUAGES, default_value=look.language),
        zones("time-zones"),
    )  # fmt: skip
    key = look.theme + look.density + look.motion + look.start_page + look.time_zone + look.language
    return panel(
        "Preferences", rx.el.div(form(PREFERENCES, "Save preferences", fields), class_name="sc-body", key=key)
    )
