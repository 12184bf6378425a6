"""One job's state: followed live at its own address."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.live import LiveState
from storage_console.parts.work import JobLine, line
from storage_console.session import NO_PROBLEM, Permission, Problem, asking, requires, toast
from storage_core.domain.job import Job, JobStatus
from storage_core.services.jobs import CancelJob, GetJob, RetryJob


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log, with the time since the job began."""

    after: str
    text: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure of the job's result."""

    label: str
    value: str


NO_JOB = JobLine("", "", "", "", "", 0, "", "", 0, "", active=False)


def result_facts(job: Job) -> list[Fact]:
    """What came of a job, in words: the figures people ask for, of whatever operation it was."""
    found: dict[str, Any] = job.result or {}
    facts = []
    if found.get("size_raw"):
        facts.append(Fact("Raw size", words.size(found["size_raw"])))
        facts.append(Fact("Stored size", words.size(found.get("size_stored"))))
    if isinstance(proof := found.get("proof"), dict):
        facts.append(Fact("Rows proven", words.number(proof.get("rows", 0))))
        facts.append(Fact("Differences", str(len(proof.get("differences") or ()))))
    if "size_before" in found:
        facts.append(Fact("Size before", words.size(found["size_before"])))
        facts.append(Fact("Size after", words.size(found.get("size_after"))))
    facts += [Fact("Step", str(step)) for step in found.get("steps") or ()]
    if found.get("location"):
        facts.append(Fact("Location", str(found["location"])))
    return facts


def about(job: Job) -> tuple[str, str]:
    """Where the thing lives that the job is about, and what to call it; empty where it is not there (yet)."""
    noun = job.operation.partition(".")[0]
    if job.operation == "backups.restore":
        there = job.status is JobStatus.SUCCEEDED
        return (f"/databases/{job.target_id}", "Open the restored database") if there else ("", "")
    if noun in ("backups", "databases") and job.target_id:
        return f"/{noun}/{job.target_id}", f"Open the {noun.removesuffix('s')}"
    return "", ""


class JobPage(ConfirmState, LiveState, rx.State):
    """One job: progress, log, how it ended."""

    job: JobLine = NO_JOB
    heading: str = "Job"
    failure: Problem = NO_PROBLEM
    lines: list[Line] = []
    facts: list[Fact] = []
    amount: str = ""
    message: str = ""
    worker: str = ""
    attempts: int = 0
    started: float = 0
    finished: float = 0
    link: str = ""
    link_text: str = ""
    retry_of: str = ""

    def _clear(self) -> None:
        self.heading, self.job, self.link = "Job", NO_JOB, ""

    async def _read(self) -> None:
        job = await core().jobs.get(await asking(self), GetJob(id=self.job_id))  # pyrefly: ignore
        self.job = line(job, datetime.now(UTC))
        self.heading = f"{self.job.title} {job.target_name}".strip()
        begun = job.started_at or job.created_at
        self.lines = [Line(words.span((entry.at - begun).total_seconds()), entry.text) for entry in job.log]
        error = job.error
        self.failure = (
            Problem(code=error.code, title=_ended(job), detail=error.detail, hint=error.hint)
            if error
            else NO_PROBLEM
        )
        self.facts = result_facts(job)
        done, of = job.progress.bytes_done, job.progress.bytes_total
        self.amount = f"{words.size(done)} of {words.size(of)}" if of else ""
        self.message, self.worker, self.attempts = job.progress.message, job.worker or "", job.attempts
        self.started, self.finished = words.epoch(job.started_at), words.epoch(job.finished_at)
        self.link, self.link_text = about(job)
        self.retry_of = job.retry_of or ""

    @rx.event
    @requires(Permission.JOB_CONTROL)
    def ask_cancel(self):
        """Asks before the job is stopped."""
        effects = ["The work stops at its next step.", "What it had half made is taken back."]
        self._ask("cancel", f"Cancel {self.heading}", effects, label="Cancel job", ids=[self.job.id])

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        await core().jobs.cancel(await asking(self), CancelJob(id=ids[0]))
        await self._reload()
        return toast("success", "The job is stopping")

    @rx.event
    @requires(Permission.JOB_CONTROL)
    async def retry(self):
        """Runs the work again, as a new job."""
        ticket = await core().jobs.retry(await asking(self), RetryJob(id=self.job.id))
        return [toast("success", "Queued again"), rx.redirect(f"/jobs/{ticket.job_id}")]


def _ended(job: Job) -> str:
    return "Cancelled" if job.status is JobStatus.CANCELLED else "It failed"
