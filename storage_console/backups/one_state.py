"""One backup's state: its standing, proof, manifest, and what one does with it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import reflex as rx

from storage_console.backups.state import loss, others_of, took
from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.confirm import ConfirmState
from storage_console.parts.live import LiveState
from storage_console.parts.work import JobLine, line
from storage_console.session import Context, Permission, asking, attempt, requires, toast
from storage_core.domain.backup import Backup, ManifestObject
from storage_core.services.backups import DeleteBackup, GetBackup, VerifyBackup
from storage_core.services.databases import GetDatabase
from storage_core.services.jobs import ListJobs
from storage_core.services.providers import ListProviders

OBJECTS = 300  # lines of the manifest shown
HELD = ("table", "collection")  # kinds that hold rows come first


@dataclass(frozen=True, slots=True)
class ObjectLine:
    """One object of the manifest."""

    name: str
    kind: str
    rows: str
    hash: str
    consistent: bool
    note: str


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """One way in which the restored copy was not what the manifest says."""

    object: str
    what: str
    expected: str
    found: str


def object_line(o: ManifestObject) -> ObjectLine:
    """An object as displayed; only what holds rows has a count."""
    rows = words.number(o.rows) if o.rows or o.kind in HELD else "—"
    return ObjectLine(o.name, o.kind.replace("_", " "), rows, o.hash[:12], o.consistent, o.note)


def verdict(b: Backup) -> tuple[str, str, str]:
    """Tone, headline and explanation of how far a backup can be trusted."""
    rows = words.number(b.proof.rows) if b.proof else ""
    match b.status.value:
        case "proven":
            took = words.span(b.proof.seconds) if b.proof else ""
            return (
                "ok",
                f"Proven, {rows} rows",
                f"Restored into a throw-away target in {took}, counted, hashed and compared: nothing differs.",
            )
        case "stored":
            return "info", "Stored, not proven", b.reason or "Nobody has restored it yet."
        case "failed" if b.manifest is not None:
            return "bad", "The proof failed", b.reason or "The restored copy differs from what was backed up."
        case "failed":
            return "bad", "Failed", b.reason or "There is nothing to restore."
        case "proving":
            return "busy", "Being proven", "It is restored into a throw-away target and compared right now."
        case "queued":
            return "off", "Queued", "A worker takes it up in a moment."
        case _:
            return "busy", "Being taken", "The database is read in one snapshot and stored encrypted."


class BackupPage(ConfirmState, LiveState, rx.State):
    """One backup."""

    id: str = ""
    heading: str = "Backup"
    status: str = ""
    tone: str = "off"
    headline: str = ""
    explanation: str = ""
    note: str = ""
    source_id: str = ""
    database: str = ""
    database_there: bool = False
    provider: str = ""
    proof_provider: str = ""
    engine: str = ""
    created: float = 0
    proven: float = 0
    took: str = ""
    raw: str = ""
    stored: str = ""
    rows: str = ""
    manifest_hash: str = ""
    artifacts: list[str] = []
    objects: list[ObjectLine] = []
    objects_total: int = 0
    objects_said: str = ""
    differences: list[DifferenceLine] = []
    skipped: list[str] = []
    restorable: bool = False
    settled: bool = False
    jobs: list[JobLine] = []

    def _clear(self) -> None:
        self.heading = "Backup"

    async def _read(self) -> None:
        ctx = await asking(self)
        b = await core().backups.get(ctx, GetBackup(id=self.backup_id))  # pyrefly: ignore
        self.id, self.heading = b.id, f"{b.database_name}, {b.created_at:%Y-%m-%d %H:%M} UTC"
        self.status, self.note = b.status.value, b.note
        self.tone, self.headline, self.explanation = verdict(b)
        self.created, self.proven, self.took = words.epoch(b.created_at), words.epoch(b.proven_at), took(b)
        self.settled = self.status in ("stored", "proven", "failed")
        self.restorable = b.manifest is not None and self.status != "proving"
        self.artifacts = list(b.artifacts)
        self._describe_content(b)
        await self._around(ctx, b)

    def _describe_content(self, b: Backup) -> None:
        m, proof = b.manifest, b.proof
        self.engine = f"{m.engine} {m.engine_version}" if m else b.engine or "—"
        self.raw, self.stored = (
            words.size(b.size_raw if m else None),
            words.size(b.size_stored if m else None),
        )
        self.rows, self.manifest_hash = words.number(m.rows) if m else "—", m.hash if m else "—"
        listed = sorted(m.objects, key=lambda o: (o.kind not in HELD, o.kind, o.name)) if m else []
        self.objects_total, self.objects_said = len(listed), words.count(len(listed), "object")
        self.objects = [object_line(o) for o in listed[:OBJECTS]]
        found = proof.differences if proof else ()
        self.differences = [
            DifferenceLine(f"{d.kind} {d.object}", d.what.value, d.expected[:80], d.found[:80]) for d in found
        ]
        self.skipped = list(proof.skipped) if proof else []

    async def _around(self, ctx: Context, b: Backup) -> None:
        providers = await core().providers.list(ctx, ListProviders(limit=500, sort="name"))
        names = {p.id: p.name for p in providers.items}
        self.provider = names.get(b.provider_id, "—")
        self.proof_provider = names.get(b.proof.provider_id, "—") if b.proof else "—"
        there, _ = await attempt(core().databases.get(ctx, GetDatabase(id=b.database_id)))
        self.source_id, self.database, self.database_there = b.database_id, b.database_name, there is not None
        jobs = await core().jobs.list(ctx, ListJobs(limit=20, target_id=b.id))
        now = datetime.now(UTC)
        self.jobs = [line(job, now) for job in jobs.items]

    @rx.event
    @requires(Permission.BACKUP_RUN)
    async def verify(self):
        """Proves it again; the strip on the page follows the job."""
        await core().backups.verify(await asking(self), VerifyBackup(id=self.id))
        await self._reload()
        return toast("success", "Proof started")

    @rx.event
    @requires(Permission.BACKUP_DELETE)
    async def ask_delete(self):
        """Asks before the backup is deleted."""
        ctx = await asking(self)
        b = await core().backups.get(ctx, GetBackup(id=self.id))
        effects = loss(b, await others_of(ctx, b))
        self._ask(
            "delete", "Delete this backup", effects, label="Delete backup", ids=[b.id], name=b.database_name
        )

    async def _confirmed(self, verb: str, ids: tuple[str, ...], typed: str, reason: str) -> Any:
        ctx = replace(await asking(self), reason=reason or None)
        await core().backups.delete(ctx, DeleteBackup(id=ids[0], confirm=typed))
        return [toast("success", "Backup deleted"), rx.redirect("/backups")]
