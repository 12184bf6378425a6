"""What a page about one thing shares: reading, live refresh, skeleton and error.

class BackupPage(LiveState, rx.State):
    async def _read(self) -> None:            # asks the core, sets the page's vars; may raise
        backup = await core().backups.get(await asking(self), GetBackup(id=self.backup_id))
        self.name = backup.database_name

@rx.page(route="/backups/[backup_id]", on_load=[S.load, S.live])
def backup() -> rx.Component:
    return page(S.name, shown(S, body()), crumbs=[("Backups", "/backups")])
"""

import asyncio
from typing import Any

import reflex as rx

from storage_console.parts.closing import Closing
from storage_console.parts.feedback import problem, skeleton
from storage_console.session import (
    NO_PROBLEM,
    WITHDRAWN,
    Permission,
    Problem,
    attempt,
    changed,
    goto,
    is_open,
    requires,
    signed_in,
)


class LiveState(Closing, mixin=True):
    """See the module's description."""

    phase: str = "loading"  # loading, ready, error
    problem: Problem = NO_PROBLEM

    async def _read(self) -> None:
        """Asks the core and sets the page's vars; each page has its own."""

    def _clear(self) -> None:
        """Forgets what another address showed."""

    async def _reload(self) -> None:
        _, self.problem = await attempt(self._read())
        if not self.problem.code:
            self.phase = "ready"
        elif self.phase != "ready" or self.problem.code in {"not_found", *WITHDRAWN}:
            self.phase = "error"

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def load(self):
        """Reads what the address names."""
        self.phase = "loading"
        self._clear()
        self._closed()
        await self._reload()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def forget(self):
        """Forgets what it showed when the page is left: the next thing's page must not begin as this one's."""
        self.phase = "loading"
        self._clear()

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def refresh(self):
        """Reads it again now."""
        await self._reload()

    @rx.event(background=True)
    @requires(Permission.SIGNED_IN)
    async def live(self):
        """Reads it again whenever something changed, until the page is left or the session ends."""
        sequence = 0
        while is_open():
            sequence = await changed(sequence, 5.0)
            async with self:
                here = await signed_in(self) is not None
                if here:
                    await self._reload()
            if not here:
                yield goto("/login")
                return
            await asyncio.sleep(0.3)


def shown(s: Any, *body: rx.Component) -> rx.Component:
    """The body once it was read; before that a skeleton, or what went wrong."""
    waiting = rx.el.div(
        rx.el.div(rx.el.div(skeleton(5), class_name="sc-body"), class_name="sc-panel"), aria_busy="true", aria_label="Loading"
    )  # fmt: skip
    failed = problem(s.problem, on_retry=s.refresh)
    ready = rx.el.div(rx.cond(s.problem.code != "", failed, rx.fragment()), *body, class_name="sc-column")
    return rx.el.div(rx.match(s.phase, ("loading", waiting), ("error", failed), ready), on_unmount=s.forget)
