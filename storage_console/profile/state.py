"""The profile page's state: who one is, own sessions and tokens, preferences."""

from dataclasses import dataclass
from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.form import FormState, Option
from storage_console.parts.live import LiveState
from storage_console.people import (
    roles_up_to,
    scope_names,
    scope_text,
    tenant_names,
    token_rights,
    token_status,
)
from storage_console.personal import keep_look
from storage_console.session import Context, Permission, Session, asking, highest, requires, toast
from storage_core.domain.identity import ListedToken
from storage_core.domain.identity import Session as SignIn
from storage_core.services.sessions import ListSessions, RevokeSession
from storage_core.services.tokens import ListTokens, RevokeToken

SHOWN = 200


@dataclass(frozen=True, slots=True)
class RoleLine:
    """A role and where it holds."""

    role: str
    scope: str


@dataclass(frozen=True, slots=True)
class SessionLine:
    """An open sign-in; `current` is the one this page came with."""

    id: str
    browser: str
    agent: str
    address: str
    began: float
    seen: float
    current: bool


@dataclass(frozen=True, slots=True)
class TokenLine:
    """An API token, without what makes it one."""

    id: str
    name: str
    prefix: str
    rights: str
    created: float
    used: float
    expires: float
    status: str


def session_line(row: SignIn, current: str | None) -> SessionLine:
    """A sign-in as displayed."""
    return SessionLine(
        row.id,
        words.browser(row.agent),
        row.agent,
        row.address or "—",
        words.epoch(row.created_at),
        words.epoch(row.seen_at),
        row.id == current,
    )


def token_line(row: ListedToken, names: dict[str, str]) -> TokenLine:
    """A token as displayed."""
    return TokenLine(
        row.id,
        row.name,
        row.prefix,
        token_rights(row, names),
        words.epoch(row.created_at),
        words.epoch(row.used_at),
        words.epoch(row.expires_at),
        token_status(row),
    )


class Profile(ConfirmState, LiveState, rx.State):
    """Oneself."""

    has_password: bool = True
    roles: list[RoleLine] = []
    sessions: list[SessionLine] = []
    others: int = 0
    tokens: list[TokenLine] = []
    token_roles: list[Option] = []
    token_tenants: list[Option] = []
    token_form: bool = False

    async def _read(self) -> None:
        ctx = await asking(self)
        names = await scope_names(ctx)
        self.has_password = await core().auth.has_password(ctx.actor.id)
        self.roles = [RoleLine(g.role.value, scope_text(g.scope.kind, g.scope.id, names)) for g in ctx.grants]
        open_ones = await self._open_sessions(ctx)
        self.sessions = sorted(
            (session_line(row, ctx.session_id) for row in open_ones), key=lambda s: not s.current
        )
        self.others = sum(not s.current for s in self.sessions)
        mine = ListTokens(limit=SHOWN, sort="-created_at", user_id=ctx.actor.id)
        self.tokens = [token_line(row, names) for row in (await core().tokens.list(ctx, mine)).items]

    def _closed(self) -> None:
        self.token_form = False
        super()._closed()

    async def _open_sessions(self, ctx: Context) -> list[SignIn]:
        mine = ListSessions(limit=SHOWN, sort="-seen_at", user_id=ctx.actor.id)
        return list((await core().sessions.list(ctx, mine)).items)

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def end_session(self, id: str):
        """Ends one of one's own sign-ins."""
        await core().sessions.revoke(await asking(self), RevokeSession(id=str(id)))
        await self._reload()
        return toast("success", "That sign-in has ended")

    @rx.event
    @requires(Permission.SIGNED_IN)
    def ask_end_others(self):
        """Asks before all of one's other sign-ins end."""
        effects = [
            f"{words.count(self.others, 'other sign-in')} end at once, wherever they are.",
            "This one stays.",
        ]
        self._ask("others", "End all other sign-ins", effects, label="End them")

    @rx.event
    @requires(Permission.SIGNED_IN)
    def ask_revoke(self, id: str):
        """Asks before a token ends."""
        if row := next((t for t in self.tokens if t.id == id), None):
            effects = [
                "Programs that show it are refused from now on.",
                "It does not come back; make a new one instead.",
            ]
            self._ask("revoke", f"Revoke {row.name}", effects, label="Revoke token", ids=[id])

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = await asking(self)
        if verb == "revoke":
            await core().tokens.revoke(ctx, RevokeToken(id=ids[0]))
            said = "Token revoked"
        else:
            ended = [row for row in await self._open_sessions(ctx) if row.id != ctx.session_id]
            for row in ended:
                await core().sessions.revoke(ctx, RevokeSession(id=row.id))
            said = f"{words.count(len(ended), 'sign-in')} ended"
        await self._reload()
        return toast("success", said)

    @rx.event
    @requires(Permission.TOKEN_OWN)
    async def token_show(self, shown: bool):
        """Opens or closes the form for a new token."""
        self.token_form = shown is True
        if self.token_form:
            ctx = await asking(self)
            self.token_roles = [
                Option("", "All of my rights"),
                *(Option(f"role:{role}", f"{role} at most") for role in roles_up_to(highest(ctx))),
            ]
            names = await tenant_names(ctx)
            self.token_tenants = [
                Option("", "Wherever I may"),
                *(Option(f"tenant:{id}", title) for id, title in names.items()),
            ]

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def token_made(self):
        """Closes the form once the token was seen, and lists it."""
        self.token_form = False
        await self._reload()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def password_changed(self):
        """Says so, once the browser has changed it."""
        await self._reload()
        return toast("success", "Password changed", description="Your other sign-ins have ended.")


class PreferencesForm(FormState, rx.State):
    """One's preferences; applied as soon as they are saved."""

    async def _save(self, data: dict[str, Any]) -> Any:
        names = ("theme", "density", "motion", "time_zone", "language", "start_page")
        wanted = {name: str(data[name]).strip() for name in names if data.get(name) is not None}
        session = await self.get_state(Session)
        session.look = await keep_look(await asking(self), **wanted)
        return toast("success", "Preferences saved")
