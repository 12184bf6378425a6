"""The state of all users' sign-ins."""

from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import ListState
from storage_console.people import user_names
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain.identity import Session
from storage_core.domain.page import Page
from storage_core.services.sessions import ListSessions, RevokeSession


@dataclass(frozen=True, slots=True)
class SessionRow:
    """An open sign-in in the list; `current` is the reader's own."""

    id: str
    user: str
    browser: str
    agent: str
    address: str
    began: float
    seen: float
    current: bool


class SignIns(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[SessionRow] = []

    _acts: ClassVar[dict[str, str]] = {"end": "End sign-ins"}
    _route: ClassVar[str] = "/settings/sessions"
    _noun: ClassVar[str] = "sign-in"
    _sorts: ClassVar[tuple[str, ...]] = ("created_at", "seen_at", "address")
    _sort: ClassVar[str] = "-seen_at"
    _export: ClassVar[tuple[str, ...]] = ("id", "user_id", "created_at", "seen_at", "address", "agent")

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Session]:
        return await core().sessions.list(ctx, ListSessions(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Session, ...]) -> list[SessionRow]:
        names = await user_names(ctx)
        return [
            SessionRow(
                s.id,
                names.get(s.user_id, "—"),
                words.browser(s.agent),
                s.agent,
                s.address or "—",
                words.epoch(s.created_at),
                words.epoch(s.seen_at),
                s.id == ctx.session_id,
            )
            for s in items
        ]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().sessions.revoke(ctx, RevokeSession(id=id))
        return "Ended"

    @staticmethod
    def _label(item: Any) -> str:
        if isinstance(item, SessionRow):
            return f"{item.user}, {item.browser}"
        return f"{item.address or item.id[:8]}, {words.browser(item.agent)}"

    @rx.event
    @requires(Permission.SIGNED_IN)
    def ask_end(self, id: str):
        """Asks before somebody's sign-in ends."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = [
                f"{row.user} has to sign in again in {row.browser} at {row.address}.",
                "Open pages close at once.",
            ]
            if row.current:
                effects.insert(0, "This is your own sign-in: you are signed out.")
            self._ask("end", f"End the sign-in of {row.user}", effects, label="End sign-in", ids=[id])

    @rx.event
    @requires(Permission.SIGNED_IN)
    def ask_end_picked(self):
        """Asks before the selected sign-ins end."""
        many = self.summary if self.all_matching else words.count(len(self.selected), "sign-in")
        self._ask("bulk", f"End {many}", ["Open pages of theirs close at once."], label="End sign-ins")

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        if verb == "bulk":
            return SignIns.bulk("end")
        await core().sessions.revoke(await asking(self), RevokeSession(id=ids[0]))
        await self._reload()
        return toast("success", "The sign-in has ended")
