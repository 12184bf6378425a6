"""Jobs as every page shows them: a line with title, target, live progress, and its own address.

S.work = [work.line(job, now) for job in page.items]          # in a state
job_feed(S.work, "No job has touched this database yet.")     # on a page
job_strip(S.work)                                             # only those still at work
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import reflex as rx

from storage_console.parts import words
from storage_console.parts.client import ago
from storage_console.parts.feedback import mono, progress, status_pill

TITLES = {
    "backups.create": "Back up",
    "backups.verify": "Prove",
    "backups.restore": "Restore",
    "databases.optimize": "Optimize",
}
ACTIVE = ("queued", "running")


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job as displayed; `percent` below 0 means unknown, `active` that it is not over."""

    id: str
    title: str
    target: str
    status: str
    stage: str
    percent: float
    left: str
    actor: str
    created: float
    took: str
    active: bool


def title(operation: str) -> str:
    """An operation's name for people."""
    noun, _, verb = operation.partition(".")
    return TITLES.get(operation, f"{verb.replace('_', ' ').capitalize()} {noun.removesuffix('s')}")


def left(job: Any, now: datetime) -> str:
    """The time a job still takes at its pace so far; empty while that is anybody's guess."""
    percent = job.progress.percent
    if not percent or percent < 5 or percent >= 100 or job.started_at is None:
        return ""
    spent = (now - job.started_at).total_seconds()
    return words.span(spent * (100 - percent) / percent) if spent > 2 else ""


def percent(job: Any) -> float:
    """How far it is in whole percent; -1 where nobody knows."""
    if job.status == "queued":
        return 0
    done = job.progress
    if done.percent is None or (not done.percent and done.bytes_done and not done.bytes_total):
        return -1  # bytes flow, nobody knows of how many
    return round(done.percent)


def stage(job: Any) -> str:
    """What it is doing, in a word."""
    if job.cancel_requested and job.status in ACTIVE:
        return "Stopping"
    if job.status == "running" and job.progress.stage == "queued":
        return "Starting"
    word, done = job.progress.stage.replace("_", " ").capitalize(), job.progress
    return f"{word}, {words.size(done.bytes_done)}" if done.bytes_done and not done.bytes_total else word


def took(job: Any, now: datetime) -> str:
    """How long it ran, or has run so far."""
    if job.started_at is None:
        return "—"
    return words.span(((job.finished_at or now) - job.started_at).total_seconds())


def line(job: Any, now: datetime) -> JobLine:
    """A job as displayed at `now`."""
    return JobLine(
        job.id,
        title(job.operation),
        job.target_name,
        job.status.value,
        stage(job),
        percent(job),
        left(job, now),
        job.actor_name,
        words.epoch(job.created_at),
        took(job, now),
        job.status in ACTIVE,
    )


def _entry(job: Any) -> rx.Component:
    name = rx.link(job.title, href=f"/jobs/{job.id}", class_name="sc-row-link", underline="none")
    end = rx.cond(
        job.active,
        rx.el.div(progress(job.stage, job.percent, job.left), class_name="sc-half"),
        rx.fragment(
            rx.el.span(job.took, class_name="sc-faint sc-num sc-wide"),
            status_pill(status=job.status),
            ago(at=job.created),
        ),
    )
    what = rx.el.div(name, " ", mono(job.target, class_name="sc-faint"), class_name="sc-grow")
    return rx.el.li(what, end)


def job_feed(jobs: Any, nothing: str) -> rx.Component:
    """A list of jobs, each a link; `nothing` is said when there are none."""
    return rx.cond(
        jobs.length() > 0,
        rx.el.ul(rx.foreach(jobs, _entry), class_name="sc-feed"),
        rx.el.p(nothing, class_name="sc-body sc-faint"),
    )


def _active(job: Any) -> rx.Component:
    return rx.cond(
        job.active,
        rx.link(
            rx.icon("loader-circle", size=15, class_name="sc-spin", aria_hidden="true"),
            rx.el.strong(job.title),
            rx.el.div(progress(job.stage, job.percent, job.left), class_name="sc-grow"),
            rx.icon("chevron-right", size=15, aria_hidden="true"),
            href=f"/jobs/{job.id}",
            class_name="sc-strip",
            underline="none",
        ),
        rx.fragment(),
    )


def job_strip(jobs: Any) -> rx.Component:
    """The jobs still at work, each with its progress and a way to it."""
    return rx.el.div(rx.foreach(jobs, _active), class_name="sc-strips", aria_live="polite")
