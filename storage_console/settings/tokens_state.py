"""The state of all users' API tokens."""

from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import ListState
from storage_console.people import tenant_names, token_rights, token_status, user_names
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain.identity import ListedToken
from storage_core.domain.page import Page
from storage_core.services.tokens import ListTokens, RevokeToken


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token in the list."""

    id: str
    name: str
    prefix: str
    user: str
    rights: str
    status: str
    used: float
    expires: float
    created: float


class AllTokens(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[TokenRow] = []

    _acts: ClassVar[dict[str, str]] = {"revoke": "Revoke tokens"}
    _route: ClassVar[str] = "/settings/tokens"
    _noun: ClassVar[str] = "token"
    _sorts: ClassVar[tuple[str, ...]] = ("name", "used_at", "expires_at", "created_at")
    _export: ClassVar[tuple[str, ...]] = (
        "id", "name", "prefix", "user_id", "role", "acts_as", "tenant_id", "created_at", "used_at", "expires_at", "revoked_at",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[ListedToken]:
        return await core().tokens.list(ctx, ListTokens(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[ListedToken, ...]) -> list[TokenRow]:
        users, tenants = await user_names(ctx), await tenant_names(ctx)
        return [
            TokenRow(
                t.id,
                t.name,
                t.prefix,
                users.get(t.user_id, "—"),
                token_rights(t, tenants),
                token_status(t),
                words.epoch(t.used_at),
                words.epoch(t.expires_at),
                words.epoch(t.created_at),
            )
            for t in items
        ]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().tokens.revoke(ctx, RevokeToken(id=id))
        return "Revoked"

    @rx.event
    @requires(Permission.TOKEN_OWN)
    def ask_revoke(self, id: str):
        """Asks before a token ends."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = [
                f"Programs of {row.user} that show it are refused from now on.",
                "It does not come back.",
            ]
            self._ask("revoke", f"Revoke {row.name}", effects, label="Revoke token", ids=[id])

    @rx.event
    @requires(Permission.TOKEN_OWN)
    def ask_revoke_picked(self):
        """Asks before the selected tokens end."""
        many = self.summary if self.all_matching else words.count(len(self.selected), "token")
        self._ask("bulk", f"Revoke {many}", ["Programs that show them are refused."], label="Revoke tokens")

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        if verb == "bulk":
            return AllTokens.bulk("revoke")
        await core().tokens.revoke(await asking(self), RevokeToken(id=ids[0]))
        await self._reload()
        return toast("success", "Token revoked")
