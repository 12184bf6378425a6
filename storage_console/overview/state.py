"""The dashboard's state: everything at a glance, kept fresh."""

import asyncio
import time
from datetime import UTC, datetime

import reflex as rx

from storage_console.core import changed, core, is_open
from storage_console.overview import rows
from storage_console.session import (
    NO_PROBLEM,
    WITHDRAWN,
    Context,
    Permission,
    Problem,
    asking,
    attempt,
    goto,
    requires,
    signed_in,
)
from storage_core.domain.database import Database
from storage_core.domain.page import Page
from storage_core.domain.provider import Provider, ProviderStatus
from storage_core.services.databases import ListDatabases
from storage_core.services.jobs import ListJobs
from storage_core.services.providers import ListProviders
from storage_core.services.tenants import ListTenants

SHOWN = 6  # lines of each list
SAMPLE = 500  # rows read to decide; the most a list gives at once


class Overview(rx.State):
    """The dashboard."""

    phase: str = "loading"  # loading, first, ready, error
    problem: Problem = NO_PROBLEM
    loaded: float = 0
    needs: list[rows.Need] = []
    verdict: str = ""
    tone: str = "off"
    tiles: list[rows.Tile] = []
    running: list[rows.Running] = []
    recent: list[rows.Done] = []
    guarded: list[rows.Guarded] = []
    steps: list[rows.Step] = []
    left: int = 0

    async def _read(self) -> None:
        ctx = await asking(self)
        now = datetime.now(UTC)
        providers, tenants, databases, failed, active, recent = await _lists(ctx)
        failing = rows.failed_lately(failed.items, now)
        ready = rows.ready(databases.items)
        self.needs = rows.needs(providers.items, databases.items, len(failing), now)
        self.running = [rows.running(job, now) for job in active.items]
        self.recent = [rows.done(job) for job in recent.items]
        self.guarded = [rows.guarded(d, now) for d in ready[:SHOWN]]
        proven = any(d.last_proven_at for d in databases.items)
        self.steps = rows.steps(providers.total, tenants.total, databases.total, proven)
        self.left = sum(not step.done for step in self.steps)
        self.tiles = self._figures(providers, databases, active.total, len(failing), now)
        self.phase, self.loaded = "ready" if providers.total else "first", time.time()
        self._judge()

    def _judge(self) -> None:
        if self.needs:
            verb = "thing needs you" if len(self.needs) == 1 else "things need you"
            self.verdict, self.tone = f"{len(self.needs)} {verb}", "warn"
        elif self.left:
            self.verdict, self.tone = (
                f"{self.left} of {len(self.steps)} steps left to a proven backup",
                "info",
            )
        else:
            self.verdict, self.tone = "Nothing needs you", "ok"

    @staticmethod
    def _figures(
        providers: Page[Provider], databases: Page[Database], active: int, failing: int, now: datetime
    ) -> list[rows.Tile]:
        online = sum(p.status is ProviderStatus.ONLINE for p in providers.items)
        ready = rows.ready(databases.items)
        fresh = sum(not rows.late(d, now) for d in ready)
        down = sum(p.status is ProviderStatus.OFFLINE for p in providers.items)
        return [
            rows.Tile(
                "Providers", f"{online}/{providers.total}", "online", "bad" if down else "ok", "/providers"
            ),
            rows.Tile("Databases", str(databases.total), "in your scope", "off", "/databases"),
            rows.Tile(
                "Proven within 24 h",
                f"{fresh}/{len(ready)}",
                "databases",
                "ok" if fresh == len(ready) else "warn",
                "/backups",
            ),
            rows.Tile(
                "Running jobs",
                str(active),
                "queued or at work",
                "busy" if active else "off",
                "/jobs?status=queued,running",
            ),
            rows.Tile(
                "Failed jobs", str(failing), "in 24 hours", "bad" if failing else "ok", "/jobs?status=failed"
            ),
        ]

    async def _reload(self) -> None:
        _, self.problem = await attempt(self._read())
        if self.problem.code and (self.phase == "loading" or self.problem.code in WITHDRAWN):
            self.phase = "error"

    @rx.event
    @requires(Permission.SIGNED_IN)
    async def load(self):
        """Reads everything."""
        await self._reload()

    @rx.event(background=True)
    @requires(Permission.SIGNED_IN)
    async def live(self):
        """Reads it again whenever something changed, until the page is left or the session ends."""
        sequence = 0
        while is_open():
            sequence = await changed(sequence)
            async with self:
                here = await signed_in(self) is not None
                if here:
                    await self._reload()
            if not here:
                yield goto("/login")
                return
            await asyncio.sleep(0.5)


async def _lists(ctx: Context):
    opened = core()
    return await asyncio.gather(
        opened.providers.list(ctx, ListProviders(limit=SAMPLE)),
        opened.tenants.list(ctx, ListTenants(limit=1)),
        opened.databases.list(ctx, ListDatabases(limit=SAMPLE)),
        opened.jobs.list(ctx, ListJobs(limit=SAMPLE, status="failed")),
        opened.jobs.list(ctx, ListJobs(limit=SHOWN, status="queued,running")),
        opened.jobs.list(ctx, ListJobs(limit=SHOWN, status="!queued,running")),
    )
