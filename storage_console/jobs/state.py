"""The jobs page's state: the list, live."""

from datetime import UTC, datetime
from typing import Any, ClassVar

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.listing import Filter, ListState
from storage_console.parts.work import TITLES, JobLine, line, title
from storage_console.session import Context, Permission, asking, requires, toast
from storage_core.domain.job import Job
from storage_core.domain.page import Page
from storage_core.services.jobs import CancelJob, ListJobs, RetryJob


class Jobs(ConfirmState, ListState, rx.State):
    """The list and what one does to its rows."""

    rows: list[JobLine] = []

    _acts: ClassVar[dict[str, str]] = {"cancel": "Cancel jobs"}
    _route: ClassVar[str] = "/jobs"
    _noun: ClassVar[str] = "job"
    _sorts: ClassVar[tuple[str, ...]] = ("operation", "target_name", "status", "actor_name", "created_at")
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("status", "Status", ("queued", "running", "succeeded", "failed", "cancelled")),
        Filter("operation", "Work", tuple(f"{name}={label}" for name, label in TITLES.items())),
    )
    _export: ClassVar[tuple[str, ...]] = (
        "id", "operation", "target_id", "target_name", "status", "actor_name", "created_at", "started_at",
        "finished_at", "attempts", "error.code", "error.detail",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[Job]:
        return await core().jobs.list(ctx, ListJobs(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[Job, ...]) -> list[JobLine]:
        now = datetime.now(UTC)
        return [line(job, now) for job in items]

    @staticmethod
    async def _act(ctx: Context, verb: str, id: str) -> str:
        await core().jobs.cancel(ctx, CancelJob(id=id))
        return "It is stopping"

    @staticmethod
    def _label(item: Any) -> str:
        if isinstance(item, JobLine):
            return f"{item.title} {item.target}"
        return f"{title(item.operation)} {item.target_name}"

    def _open(self, id: str) -> Any:
        return rx.redirect(f"/jobs/{id}")

    @rx.event
    @requires(Permission.JOB_CONTROL)
    async def retry(self, id: str):
        """Runs a failed or cancelled job's work again, as a new job."""
        ticket = await core().jobs.retry(await asking(self), RetryJob(id=str(id)))
        return [toast("success", "Queued again"), rx.redirect(f"/jobs/{ticket.job_id}")]

    @rx.event
    @requires(Permission.JOB_CONTROL)
    def ask_cancel(self, id: str):
        """Asks before a job is stopped."""
        if row := next((r for r in self.rows if r.id == id), None):
            effects = ["The work stops at its next step.", "What it had half made is taken back."]
            self._ask(
                "cancel", f"Cancel {row.title.lower()} of {row.target}", effects, label="Cancel job", ids=[id]
            )

    @rx.event
    @requires(Permission.JOB_CONTROL)
    def ask_cancel_picked(self):
        """Asks before the selected jobs are stopped."""
        effects = ["Those that are queued or running stop; the others are named and left alone."]
        many = self.summary if self.all_matching else words.count(len(self.selected), "job")
        self._ask("bulk", f"Cancel {many}", effects, label="Cancel jobs")

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = await asking(self)
        if verb == "cancel":
            await core().jobs.cancel(ctx, CancelJob(id=ids[0]))
            await self._reload()
            return toast("success", "The job is stopping")
        return Jobs.bulk("cancel")
