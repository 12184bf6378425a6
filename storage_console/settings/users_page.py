"""Users and roles."""

from typing import Any

import reflex as rx

from storage_console.parts.confirm import confirm
from storage_console.parts.details import choice
from storage_console.parts.feedback import ago, badge, button, empty, gated, problem, status_pill
from storage_console.parts.form import field, form, select
from storage_console.parts.once import once
from storage_console.parts.table import Column, table
from storage_console.settings.frame import settings
from storage_console.settings.users_state import EditUser, Roles, Users

#: States as Vars: Reflex makes them of the class's fields, which type checkers cannot see.
S: Any = Users
ROLES: Any = Roles
EDIT: Any = EditUser


@rx.page(route="/settings/users", title="Users and roles · Storage Console", on_load=[S.load, S.live])
def users() -> rx.Component:
    """The page."""
    return settings(
        "/settings/users",
        table(
            S,
            _columns(),
            blank=empty("users", "No users yet", "Whoever signs in here is a user with a role.", _new()),
            actions=[_new()],
            bulk=[gated("user.manage", button("Disable", icon="user-x", on_click=S.ask_disable_picked))],
            menu=_menu,
            export="settings-users",
        ),
        _creation(),
        _roles(),
        _edit(),
        confirm(S),
        lead="Who may sign in, and what they may do where.",
    )


def _new() -> rx.Component:
    return gated("user.manage", button("New user", look="primary", icon="plus", on_click=S.new_show(True)))


def _columns() -> list[Column]:
    def name(row: Any) -> rx.Component:
        return rx.el.span(
            rx.el.button(row.name, type="button", class_name="sc-row-button", on_click=ROLES.show(row.id)),
            rx.cond(row.me, badge("you", "ok"), rx.fragment()),
            class_name="sc-two",
        )

    def roles(row: Any) -> rx.Component:
        more = rx.cond(row.more > 0, rx.el.span("+", row.more, class_name="sc-faint"), rx.fragment())
        none = rx.el.span("none", class_name="sc-faint")
        shown = rx.el.span(rx.foreach(row.roles, badge), more, class_name="sc-two")
        return rx.cond(row.roles.length() > 0, shown, none)

    return [
        Column("username", "User", name, sort="username", fixed=True),
        Column("status", "Status", lambda r: status_pill(status=r.status), sort="status"),
        Column("roles", "Roles", roles),
        Column(
            "signed_in", "Last sign-in", lambda r: ago(at=r.signed_in, empty="never"), sort="last_sign_in_at"
        ),
        Column("created", "Created", lambda r: ago(at=r.created), sort="created_at"),
    ]


def _menu(row: Any) -> list[rx.Component]:
    return [
        choice("Roles", "user.manage", "shield", ROLES.show(row.id)),
        choice("Name and password", "user.manage", "pencil", EDIT.edit(row.id, row.name), disabled=row.me),
        rx.menu.separator(),
        rx.cond(
            row.status == "disabled",
            choice("Enable", "user.manage", "user-check", S.enable(row.id)),
            choice("Disable", "user.manage", "user-x", S.ask_disable(row.id), danger=True, disabled=row.me),
        ),
    ]


def _where(roles: Any, scopes: Any, state: Any = None) -> rx.Component:
    """Role and scope, and the name once more where the role is the highest one."""
    return rx.fragment(
        rx.el.div(
            select(state, "role", "Role", roles), select(state, "scope", "Where", scopes), class_name="sc-pair"
        ),
        rx.el.div(
            field(state, "confirm", "Type the user name to confirm",
                  hint="A SuperAdmin may do everything, everywhere."),
            class_name="sc-when-super",
        ),
    )  # fmt: skip


def _creation() -> rx.Component:
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("New user"),
            rx.dialog.description("Tell them the password yourself; they change it in their profile."),
            once(
                "/api/storage/users/create",
                "Create user",
                field(None, "username", "User name", required=True, max_length=64, auto_focus=True, auto_capitalize="none"),
                field(None, "password", "Password", type="password", hint="At least 12 characters.",
                      auto_complete="new-password", required=True, min_length=12),
                _where(S.roles, S.scopes),
                on_done=S.made,
                on_cancel=S.new_show(False),
            ),
            class_name="sc-dialog",
        ),
        open=S.new_open,
        on_open_change=S.new_show,
    )  # fmt: skip


def _roles() -> rx.Component:
    def line(grant: Any) -> rx.Component:
        return rx.el.li(
            badge(grant.role, "info"),
            rx.el.span(grant.scope, class_name="sc-grow"),
            ago(at=grant.since, prefix="since "),
            button(
                "Take away",
                on_click=ROLES.revoke(grant.id),
                aria_label="Take away " + grant.role + " " + grant.scope,
            ),
        )

    none = rx.el.p("No roles: they may sign in and see nothing.", class_name="sc-hint")
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title("Roles of ", ROLES.name),
            rx.dialog.description("The highest role that covers a thing counts. A change counts from the next click on."),
            rx.cond(
                ROLES.grants.length() > 0,
                rx.el.ul(rx.foreach(ROLES.grants, line), class_name="sc-found sc-grants"),
                none,
            ),
            rx.cond(ROLES.problem.code != "", problem(ROLES.problem), rx.fragment()),
            rx.el.h2("Give a role", class_name="sc-dialog-part"),
            form(ROLES, "Give role", _where(ROLES.roles, ROLES.scopes, ROLES), cancel=ROLES.form_toggle(False)),
            class_name="sc-dialog sc-dialog-wide",
        ),
        open=ROLES.form_open,
        on_open_change=ROLES.form_toggle,
    )  # fmt: skip


def _edit() -> rx.Component:
    return rx.dialog.root(
        rx.dialog.content(
            rx.dialog.title(EDIT.name),
            rx.dialog.description("A new name, or a new password."),
            form(
                EDIT,
                "Rename",
                field(EDIT, "username", "User name", default_value=EDIT.name, key=EDIT.id, required=True, max_length=64),
            ),
            rx.el.h2("New password", class_name="sc-dialog-part"),
            once(
                "/api/storage/users/" + EDIT.id + "/update",
                "Set password",
                field(None, "password", "Password", type="password", hint="All their sign-ins end.",
                      auto_complete="new-password", required=True, min_length=12),
                method="PUT",
                on_done=EDIT.password_set,
                on_cancel=EDIT.form_toggle(False),
            ),
            class_name="sc-dialog",
        ),
        open=EDIT.form_open,
        on_open_change=EDIT.form_toggle,
    )  # fmt: skip
