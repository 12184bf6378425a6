"""The state of users and their roles."""

from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.form import FormState, Option
from storage_console.parts.listing import Filter, ListState
from storage_console.people import provider_names, roles_up_to, scope_names, scope_text, tenant_names
from storage_console.session import (
    NO_PROBLEM,
    Context,
    Permission,
    Problem,
    asking,
    attempt,
    highest,
    requires,
    toast,
)
from storage_core.domain.identity import User, UserGrant
from storage_core.domain.page import Page
from storage_core.domain.permission import Role
from storage_core.services.grants import CreateGrant, ListGrants, RevokeGrant
from storage_core.services.users import DisableUser, ListUsers, UpdateUser


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user in the list; `me` is the reader, who changes nothing of their own here."""

    id: str
    name: str
    status: str
    roles: list[str]
    more: int
    signed_in: float
    created: float
    me: bool


@dataclass(frozen=True, slots=True)
class GrantLine:
    """A role somebody holds somewhere."""

    id: str
    role: str
    scope: str
    since: float


async def grants_of(ctx: Context, users: tuple[str, ...]) -> list[UserGrant]:
    """The roles of these users which the caller may see."""
    if not users:
        return []
    wanted = ListGrants(limit=500, sort="created_at", user_id=",".join(users))
    return list((await core().grants.list(ctx, wanted)).items)


class Users(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[UserRow] = []
    new_open: bool = False
    roles: list[Option] = []
    scopes: list[Option] = []

    _acts: ClassVar[dict[str, str]] = {"disable": "Disable users"}
    _route: ClassVar[str] = "/settings/users"
    _noun: ClassVar[str] = "user"
    _sorts: ClassVar[tuple[str, ...]] = ("username", "status", "last_sign_in_at", "created_at")
    _sort: ClassVar[str] = "username"
    _filters: ClassVar[tuple[Filter, ...]] = (Filter("status", "Status", ("active", "disabled")),)
    _export: ClassVar[tuple[str, ...]] = ("id", "username", "status", "last_sign_in_at", "created_at")

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[User]:
        return await core().users.list(ctx, ListUsers(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[User, ...]) -> list[UserRow]:
        names = await scope_names(ctx)
        held: dict[str, list[str]] = {}
        grants = await grants_of(ctx, tuple(u.id for u in items))
        for grant in sorted(grants, key=lambda g: -g.role.rank):
            text = f"{grant.role.value} {scope_text(grant.scope_kind, grant.scope_id, names)}"
            held.setdefault(grant.user_id, []).append(text)
        return [
            UserRow(
                u.id,
                u.username,
                u.status.value,
                held.get(u.id, [])[:2],
                max(0, len(held.get(u.id, [])) - 2),
                words.epoch(u.last_sign_in_at),
                words.epoch(u.created_at),
                u.id == ctx.actor.id,
            )
            for u in items
        ]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().users.disable(ctx, DisableUser(id=id))
        return "Disabled"

    @staticmethod
    def _label(item: Any) -> str:
        return str(item.name if isinstance(item, UserRow) else item.username)

    def _open(self, id: str) -> Any:
        return Roles.show(id)

    def _closed(self) -> None:
        self.new_open = False
        super()._closed()

    @rx.event
    @requires(Permission.USER_MANAGE)
    async def new_show(self, shown: bool):
        """Opens or closes the form for a new user."""
        self.new_open = shown is True
        if self.new_open:
            self.roles, self.scopes = await given(await asking(self))

    @rx.event
    @requires(Permission.USER_MANAGE)
    async def made(self):
        """After the browser has created the user."""
        self.new_open = False
        await self._reload()
        return toast("success", "User created")

    @rx.event
    @requires(Permission.USER_MANAGE)
    def ask_disable(self, id: str):
        """Asks before a user is disabled."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = [
                f"{row.name} is signed out everywhere at once, and cannot sign in again.",
                "Their API tokens are refused.",
                "Roles, saved filters and history stay; you can enable them again.",
            ]
            self._ask("disable", f"Disable {row.name}", effects, label="Disable user", ids=[id])

    @rx.event
    @requires(Permission.USER_MANAGE)
    def ask_disable_picked(self):
        """Asks before the selected users are disabled."""
        many = self.summary if self.all_matching else words.count(len(self.selected), "user")
        effects = ["They are signed out everywhere at once; their API tokens are refused."]
        self._ask("bulk", f"Disable {many}", effects, label="Disable users")

    @rx.event
    @requires(Permission.USER_MANAGE)
    async def enable(self, id: str):
        """Lets a disabled user sign in again."""
        user = await core().users.update(await asking(self), UpdateUser(id=str(id), status="active"))
        await self._reload()
        return toast("success", f"{user.username} can sign in again")

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        if verb == "bulk":
            return Users.bulk("disable")
        user = await core().users.disable(await asking(self), DisableUser(id=ids[0]))
        await self._reload()
        return toast("success", f"{user.username} is disabled")


async def given(ctx: Context) -> tuple[list[Option], list[Option]]:
    """The roles the caller may give and where: everywhere, in a tenant, on a provider."""
    able = [Option(role, role) for role in roles_up_to(highest(ctx))]
    places = [Option("global", "Everywhere")]
    places += [Option(f"tenant:{id}", f"Tenant {name}") for id, name in (await tenant_names(ctx)).items()]
    places += [
        Option(f"provider:{id}", f"Provider {name}") for id, name in (await provider_names(ctx)).items()
    ]
    return able, places


class Roles(FormState, rx.State):
    """One user's roles: taken away one by one, given by a form."""

    id: str = ""
    name: str = ""
    grants: list[GrantLine] = []
    problem: Problem = NO_PROBLEM
    roles: list[Option] = []
    scopes: list[Option] = []

    async def _read(self) -> None:
        ctx = await asking(self)
        names = await scope_names(ctx)
        self.grants = [
            GrantLine(
                g.id, g.role.value, scope_text(g.scope_kind, g.scope_id, names), words.epoch(g.created_at)
            )
            for g in await grants_of(ctx, (self.id,))
        ]

    @rx.event
    @requires(Permission.USER_MANAGE)
    async def show(self, id: str):
        """Opens the roles of one user."""
        users = await self.get_state(Users)
        row = next((r for r in users.rows if r.id == id), None)
        if row is None:
            return
        self._form_reset(shown=True)
        self.id, self.name, self.problem = row.id, row.name, NO_PROBLEM
        self.roles, self.scopes = await given(await asking(self))
        await self._read()

    @rx.event
    @requires(Permission.USER_MANAGE)
    async def revoke(self, id: str):
        """Takes a role away."""
        _, self.problem = await attempt(self._revoke(str(id)))
        await self._read()
        return Users.refresh

    async def _revoke(self, id: str) -> None:
        await core().grants.revoke(await asking(self), RevokeGrant(id=id))

    async def _save(self, data: dict[str, Any]) -> Any:
        wanted = CreateGrant(
            user_id=self.id,
            role=Role(data["role"]) if data.get("role") in set(Role) else Role.VIEWER,
            scope=str(data.get("scope") or "global"),
            confirm=str(data.get("confirm") or ""),
        )
        await core().grants.create(await asking(self), wanted)
        await self._read()
        return [Users.refresh, Roles.shown_again, toast("success", f"{self.name} is {wanted.role.value} now")]

    @rx.event
    @requires(Permission.USER_MANAGE)
    def shown_again(self):
        """Keeps the roles open after one was given."""
        self.form_open = True


class EditUser(FormState, rx.State):
    """The form that renames a user, and the place of the one that sets a new password."""

    id: str = ""
    name: str = ""

    @rx.event
    @requires(Permission.USER_MANAGE)
    def edit(self, id: str, name: str):
        """Opens the form for one user."""
        self._form_reset(shown=True)
        self.id, self.name = str(id), str(name)[:64]

    @rx.event
    @requires(Permission.USER_MANAGE)
    def password_set(self):
        """After the browser has set it."""
        self._form_reset(shown=False)
        return toast("success", f"{self.name} has a new password", description="Their sign-ins have ended.")

    async def _save(self, data: dict[str, Any]) -> Any:
        wanted = UpdateUser(id=self.id, username=str(data.get("username") or "").strip())
        await core().users.update(await asking(self), wanted)
        return [toast("success", "Renamed"), Users.refresh]
