"""The state of the channels through which people are told."""

from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.form import Option
from storage_console.parts.listing import Filter, ListState
from storage_console.people import tenant_names
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain.notification import Channel, ChannelKind, Happening
from storage_core.domain.page import Page
from storage_core.services.notifications import (
    DeleteNotification,
    ListNotifications,
    TestNotification,
    UpdateNotification,
)


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel in the list."""

    id: str
    name: str
    kind: str
    address: str
    tells: str
    events: str
    of: str
    status: str
    problem: str
    sent: float
    created: float


class NotificationChannels(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[ChannelRow] = []
    kind: str = ""
    """The kind of the channel whose form is open; none is open while it is empty."""
    places: list[Option] = []

    _acts: ClassVar[dict[str, str]] = {"remove": "Remove channels"}
    _route: ClassVar[str] = "/settings/notifications"
    _noun: ClassVar[str] = "channel"
    _sorts: ClassVar[tuple[str, ...]] = ("name", "kind", "sent_at", "created_at")
    _sort: ClassVar[str] = "name"
    _filters: ClassVar[tuple[Filter, ...]] = (Filter("kind", "Kind", tuple(ChannelKind)),)
    _export: ClassVar[tuple[str, ...]] = (
        "id", "name", "kind", "address", "tenant_id", "events", "enabled", "sent_at", "problem", "created_at",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Channel]:
        return await core().notifications.list(ctx, ListNotifications(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Channel, ...]) -> list[ChannelRow]:
        tenants = await tenant_names(ctx)
        return [
            ChannelRow(
                c.id,
                c.name,
                c.kind.value,
                c.address,
                "all" if set(c.events) == set(Happening) else words.count(len(c.events), "event"),
                ", ".join(c.events),
                "everything" if c.tenant_id is None else tenants.get(c.tenant_id, c.tenant_id),
                _status(c),
                c.problem or "",
                words.epoch(c.sent_at),
                words.epoch(c.created_at),
            )
            for c in items
        ]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().notifications.delete(ctx, DeleteNotification(id=id))
        return "Removed"

    def _closed(self) -> None:
        self.kind = ""
        super()._closed()

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    async def new_show(self, kind: str):
        """Opens the form for a new channel of a kind."""
        if kind in set(ChannelKind):
            self.kind = str(kind)
            names = await tenant_names(await asking(self))
            self.places = [Option("", "Everything"), *(Option(id, f"Tenant {n}") for id, n in names.items())]

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    def new_toggle(self, shown: bool):
        """Closes the form, as dialogs report."""
        if shown is not True:
            self.kind = ""

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    async def made(self):
        """After the browser has created the channel."""
        self.kind = ""
        await self._reload()
        return toast("success", "Channel added", description="Send a test to see that it arrives.")

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    async def test(self, id: str):
        """Sends a notice now."""
        row = await core().notifications.test(await asking(self), TestNotification(id=str(id)))
        return toast("success", f"{row.name} took the notice")

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    async def switch(self, id: str, on: bool):
        """Lets a channel tell, or not."""
        request = UpdateNotification(id=str(id), enabled=on is True)
        row = await core().notifications.update(await asking(self), request)
        await self._reload()
        return toast("success", f"{row.name} is {'on' if row.enabled else 'off'}")

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    def ask_remove(self, id: str):
        """Asks before a channel goes."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = ["Nobody is told through it any more; what waits on it is dropped."]
            self._ask("remove", f"Remove {row.name}", effects, label="Remove channel", ids=[id])

    @rx.event
    @requires(Permission.NOTIFICATION_MANAGE)
    def ask_remove_picked(self):
        """Asks before the selected channels go."""
        many = self.summary if self.all_matching else words.count(len(self.selected), "channel")
        self._ask("bulk", f"Remove {many}", ["What waits on them is dropped."], label="Remove channels")

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        if verb == "bulk":
            return NotificationChannels.bulk("remove")
        row = await core().notifications.delete(await asking(self), DeleteNotification(id=ids[0]))
        await self._reload()
        return toast("success", f"{row.name} removed")


def _status(channel: Channel) -> str:
    if not channel.enabled:
        return "disabled"
    return "failed" if channel.problem else "active"
