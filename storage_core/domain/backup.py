"""Backups, their manifests and their proofs."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class BackupStatus(StrEnum):
    """How far a backup is: `proven` means a real restore of it was compared and equal."""

    QUEUED = "queued"
    RUNNING = "running"
    STORED = "stored"
    PROVING = "proving"
    PROVEN = "proven"
    FAILED = "failed"


#: A backup that can be restored: its artifact is complete.
RESTORABLE = frozenset({BackupStatus.STORED, BackupStatus.PROVING, BackupStatus.PROVEN})
#: A backup nobody works on any more.
SETTLED = frozenset({BackupStatus.STORED, BackupStatus.PROVEN, BackupStatus.FAILED})


class Compare(StrEnum):
    """How the restored side must relate to the manifest: equal, or not smaller and at `most` (sequences ignore
    snapshots)."""

    EXACT = "exact"
    AT_LEAST = "at_least"


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """One table, collection or definition of a database.

    `rows` counts rows or documents (0 for definitions; the position, for a sequence); `hash` is the canonical
    content hash, independent of physical order unless the kind is ordered; `consistent` is false where the engine
    could not read it in the snapshot of the rest, and `note` says why. `most` is what `rows` may be in the copy where
    it need not be equal; none where nobody looked.
    """

    name: str
    kind: str
    rows: int
    hash: str
    consistent: bool = True
    compare: Compare = Compare.EXACT
    note: str = ""
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, taken inside the snapshot of the data. `method` names the hash rules' version."""

    engine: str
    engine_version: str
    method: str
    objects: tuple[ManifestObject, ...]
    hash: str = ""

    @property
    def rows(self) -> int:
        return sum(o.rows for o in self.objects if o.compare is Compare.EXACT)


def manifest_hash(objects: tuple[ManifestObject, ...]) -> str:
    """One hash over all objects' names, kinds, counts and hashes, in order of kind and name."""
    digest = hashlib.blake2b(digest_size=32)
    for o in sorted(objects, key=lambda o: (o.kind, o.name)):
        for part in (o.kind, o.name, str(o.rows), o.hash, *(() if o.most is None else (str(o.most),))):
            raw = part.encode()
            digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def build_manifest(
    engine: str, engine_version: str, method: str, objects: tuple[ManifestObject, ...]
) -> Manifest:
    """A manifest with its objects in canonical order and its hash filled in."""
    ordered = tuple(sorted(objects, key=lambda o: (o.kind, o.name)))
    return Manifest(engine, engine_version, method, ordered, manifest_hash(ordered))


class DifferenceKind(StrEnum):
    """How a restored copy differs from what was backed up."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    ROWS = "rows"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the restored database is not what the manifest says."""

    object: str
    kind: str
    what: DifferenceKind
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The outcome of a real restore: when, into which provider, how many rows, seconds it took, what differed.

    `skipped` lists what the restore could not bring back by its nature, in words (e.g. an extension an
    administrator must create); a proof with differences is a failed one.
    """

    at: datetime
    provider_id: str
    rows: int
    seconds: float
    differences: tuple[Difference, ...] = ()
    skipped: tuple[str, ...] = ()


def compare(expected: Manifest, found: tuple[ManifestObject, ...]) -> tuple[Difference, ...]:
    """Hold a restored database against the manifest; empty means proven.

    Objects that were read outside the snapshot (``consistent`` false) still compare exactly: the manifest's
    figures come from the very bytes that went into the archive.
    """
    have = {(o.kind, o.name): o for o in found}
    out: list[Difference] = []
    for want in expected.objects:
        got = have.pop((want.kind, want.name), None)
        if got is None:
            out.append(
                Difference(want.name, want.kind, DifferenceKind.MISSING, f"{want.rows} rows", "nothing")
            )
        elif want.compare is Compare.AT_LEAST:
            if got.rows < want.rows or (want.most is not None and got.rows > want.most):
                wanted = f">= {want.rows}" if want.most is None else f"{want.rows} to {want.most}"
                out.append(Difference(want.name, want.kind, DifferenceKind.ROWS, wanted, str(got.rows)))
        elif got.rows != want.rows:
            out.append(Difference(want.name, want.kind, DifferenceKind.ROWS, str(want.rows), str(got.rows)))
        elif got.hash != want.hash:
            out.append(Difference(want.name, want.kind, DifferenceKind.CONTENT, want.hash, got.hash))
    out.extend(
        Difference(o.name, o.kind, DifferenceKind.UNEXPECTED, "nothing", f"{o.rows} rows")
        for o in have.values()
    )
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup of one database. Sizes in bytes; `artifacts` are locations in the store.

    `reason` says why it is only stored, or why it failed. One that a schedule made was `due_at`. What is `pinned`, or
    held (`hold` says why), is neither collected nor deleted. After `deleted_at` it can be taken back for a while.
    """

    id: str
    database_id: str
    provider_id: str
    created_at: datetime
    updated_at: datetime
    tenant_id: str | None = None
    database_name: str = ""
    job_id: str | None = None
    status: BackupStatus = BackupStatus.QUEUED
    note: str = ""
    reason: str | None = None
    engine: str | None = None
    started_at: datetime | None = None
    stored_at: datetime | None = None
    finished_at: datetime | None = None
    size_raw: int = 0
    size_stored: int = 0
    manifest: Manifest | None = None
    proof: Proof | None = None
    proven_at: datetime | None = None
    artifacts: tuple[str, ...] = ()
    deleted_at: datetime | None = None
    schedule_id: str | None = None
    due_at: datetime | None = None
    pinned: bool = False
    hold: str | None = None


def standing(row: Backup) -> BackupStatus:
    """What is known of a backup nobody works on: its last proof decides, else whether it is complete.

    So a proof that is cut off or cannot be made takes nothing away and adds nothing.
    """
    if row.manifest is None:
        return BackupStatus.FAILED
    if row.proof is None:
        return BackupStatus.STORED
    return BackupStatus.FAILED if row.proof.differences else BackupStatus.PROVEN
