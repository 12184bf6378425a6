"""The frame's own state: palette, drawer, density, tenant switch."""

from dataclasses import dataclass

import reflex as rx

from storage_console.parts.closing import Closing
from storage_console.personal import keep_look
from storage_console.session import Permission, Session, asking, requires, switchable_tenants, toast
from storage_console.shell.navigation import COMMANDS, matching

DENSITIES = ("comfortable", "compact")


@dataclass(frozen=True, slots=True)
class Switchable:
    """A tenant one may narrow the console to."""

    id: str
    name: str
    title: str


class Shell(Closing, rx.State):
    """What the frame around the pages remembers."""

    palette: bool = False
    typed: str = ""
    found: list[int] = list(range(len(COMMANDS)))
    at: int = 0
    drawer: bool = False
    tenants: list[Switchable] = []

    def _closed(self) -> None:
        self.palette = self.drawer = False
        super()._closed()

    @rx.event
    @requires(Permission.SIGNED_IN)
    def toggle_palette(self, shown: bool):
        """Opens or closes the palette, empty."""
        self.palette, self.typed, self.at = shown is True, "", 0
        self.found = matching("")

    @rx.event
    @requires(Permission.SIGNED_IN)
    def hot(self, name: str):
        """Ctrl+K, from anywhere."""
        return Shell.toggle_palette(not self.palette)

    @rx.event
    @requires(Permission.SIGNED_IN)
    def type(self, text: str):
        """Narrows the palette."""
        self.typed, self.at = str(text)[:80], 0
        self.found = matching(self.typed)

    @rx.event
    @requires(Permission.SIGNED_IN)
    def move(self, name: str):
        """Arrow keys inside the palette; Enter clicks the active line in the browser."""
        step = {"ArrowDown": 1, "ArrowUp": -1}.get(name, 0)
        self.at = (self.at + step) % len(self.found) if self.found else 0

    @rx.event
    @requires(Permission.SIGNED_IN)
    def toggle_drawer(self, shown: bool):
        """Opens or closes the menu on small screens."""
        self.drawer = shown is True

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def switch_density(self):
        """Comfortable rows, or compact ones."""
        session = await self.get_state(Session)
        wanted = DENSITIES[session.look.density == DENSITIES[0]]
        session.look = await keep_look(await asking(self), density=wanted)

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def keep_theme(self, theme: str):
        """Remembers what the browser was just switched to."""
        if theme in ("light", "dark"):
            session = await self.get_state(Session)
            session.look = await keep_look(await asking(self), theme=theme)

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def offer_tenants(self, shown: bool):
        """Lists the tenants to switch to, when the menu opens."""
        if shown is True:
            ctx = await asking(self)
            self.tenants = [Switchable(t.id, t.name, t.title) for t in await switchable_tenants(ctx)]

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def choose_tenant(self, id: str):
        """Narrows the console to one tenant, or widens it again for an empty id."""
        chosen = next((t for t in self.tenants if t.id == id), None)
        if id and chosen is None:
            return toast("error", "No such tenant")
        session = await self.get_state(Session)
        session.tenant_id, session.tenant_name = (chosen.id, chosen.name) if chosen else ("", "")
        path = self.router.url.path
        return rx.redirect(path if path.startswith("/") else "/")
