"""The way of a backup's bytes: engine to archive to store, and back into a database to prove it."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from ..domain.backup import (
    Backup,
    BackupStatus,
    Difference,
    DifferenceKind,
    Manifest,
    ManifestObject,
    Proof,
    compare,
    standing,
)
from ..domain.database import Database, DatabaseStatus
from ..domain.errors import (
    ArtifactMissing,
    DamagedArtifact,
    MissingPrivilege,
    NotFound,
    ProofFailed,
    StorageError,
    StorageFull,
    StoreFailure,
    ToolMissing,
    Unavailable,
    Unsupported,
    WrongKey,
)
from ..domain.naming import artifact_key, file_name, scratch_name
from ..domain.page import Clause, Query, Test
from ..domain.provider import Provider
from ..domain.secret import WrappedKey, data_key_binding
from ..ports.backup import Backup as BackupPort
from ..ports.backup import OnProgress, Piece
from ..ports.engine import Engine
from .claims import Claims
from .handle import JobHandle
from .kernel import found, insisted, opened, raced, to_its_end

log = logging.getLogger(__name__)

MANIFEST_MEMBER = "manifest.json"

_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)

#: What keeps a proof from being made, without saying anything about the backup.
_NO_PROOF = (Unavailable, MissingPrivilege, Unsupported, ToolMissing, StorageFull)

#: Why no proof could be made, as JSON: code, detail, hint.
NotProven = list[str]

#: Shares of the job's percent: dump, then proof.
_DUMPED, _RESTORED = 55.0, 85.0
#: Share of a restore in which the artifact is read through before anything is made of it.
_CHECKED = 0.15

#: Seconds between the attempts to drop a database that nobody wants.
_DROP_PAUSES = (0.2, 1.0)


class Pipeline:
    """Dump, prove and restore as steps: each may run again from its beginning and leaves one outcome."""

    def __init__(self, service: Claims) -> None:
        self._service = service
        self.kernel = service.kernel

    async def dump(self, job: JobHandle) -> None:
        """Dump the database into a sealed artifact and write its manifest down."""
        row, source, provider = await raced(lambda: self._source(job.target_id))
        if row.stored_at is not None:
            return  # a crash came between this step's end and its record
        engine = await self._service.engine_of(provider)
        port = _backup_port(engine)
        key, label = await self._new_key(row), _label(row.id)
        place = artifact_key(row.tenant_id, row.database_id, row.id)
        job.log(f"dumping {source.name} from {provider.name}")
        guess = await self._last_size(row) or await _size(engine, source.physical_name)
        meter = job.meter("dump", 0, _DUMPED, guess=guess)
        async with port.dump(source.physical_name, meter) as dump:
            sealing = self.kernel.archive.seal(_with_manifest(dump), key, label)
            stored = await self.kernel.artifacts.put(place, sealing)
            manifest = dump.manifest
        now = self.kernel.now()
        await self._change(
            row.id,
            status=BackupStatus.PROVING,
            stored_at=now,
            manifest=manifest,
            size_raw=sealing.raw,
            size_stored=stored.size,
            artifacts=(self.kernel.artifacts.location(place),),
        )
        job.log(f"stored {stored.size} bytes, {manifest.rows} rows in {len(manifest.objects)} objects")

    async def prove(self, job: JobHandle) -> NotProven | None:
        """Restore into a throw-away target, measure it by its own queries, compare with the manifest.

        Answers why no proof could be made (code, detail, hint), nothing when there is one.
        """
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.backups.get(job.target_id), "backup", job.target_id)
        scratch = scratch_name(job.id)
        try:
            provider, engine = await self._prover(row)
            if provider.kind.is_files:
                scratch = file_name(provider.kind, None, scratch)
            await engine.databases.drop(scratch)
        except StorageError as error:
            # Nothing was restored yet, so this says nothing about the backup.
            return await self._unproven(row, job, error)
        job.log(f"restoring into {scratch} on {provider.name}")
        started = time.monotonic()
        try:
            skipped, measured = await self._tried(row, engine, scratch, job)
        except _NO_PROOF as error:
            return await self._unproven(row, job, error)
        except (ArtifactMissing, StoreFailure) as error:
            # Nothing can be said of bytes nobody can read: not green any more, and not condemned.
            why = await self._unproven(row, job, error)
            await self._change(row.id, status=BackupStatus.STORED)
            return why
        except StorageError as error:
            await self._proved(row.id, _refuted(self.kernel.now(), provider.id, error), error)
            raise
        manifest = _manifest_of(row)
        seconds = round(time.monotonic() - started, 3)
        differences = compare(manifest, measured)
        proof = Proof(self.kernel.now(), provider.id, manifest.rows, seconds, differences, skipped)
        await self._proved(row.id, proof)
        if differences:
            first = differences[0]
            raise ProofFailed(
                f"{len(differences)} differences; first: {first.kind} {first.object}: "
                f"{first.what}, expected {first.expected}, found {first.found}."
            )
        job.log(f"proven: {manifest.rows} rows in {seconds} s")
        return None

    async def _tried(
        self, row: Backup, engine: Engine, scratch: str, job: JobHandle
    ) -> tuple[tuple[str, ...], tuple[ManifestObject, ...]]:
        """Restore into the throw-away database and measure it; whatever happens, it is dropped."""
        try:
            skipped = await self._fill(row, engine, scratch, job, (_DUMPED, _RESTORED))
            job.progress("compare", _RESTORED)
            return skipped, await _backup_port(engine).measure(scratch, _manifest_of(row))
        finally:
            await _dropped(engine, scratch)

    async def reserve(self, job: JobHandle) -> None:
        """Make sure that nobody's database has the name, and write down that from here on it is this job's."""
        async with self.kernel.catalog.read() as uow:
            target = await found(uow.databases.get(job.target_id), "database", job.target_id)
            provider = await found(uow.providers.get(target.provider_id), "provider", target.provider_id)
        if target.location is None:
            await self._service.claim(target, await self._service.engine_of(provider))

    async def restore(self, backup_id: str, job: JobHandle) -> None:
        """Fill the reserved database from the backup and check it; on failure nothing of it stays."""
        async with self.kernel.catalog.read() as uow:
            row = await found(uow.backups.get(backup_id), "backup", backup_id)
            target = await found(uow.databases.get(job.target_id), "database", job.target_id)
            provider = await found(uow.providers.get(target.provider_id), "provider", target.provider_id)
        if target.status is DatabaseStatus.READY:
            return  # a crash came between the job's last write and its record
        engine = await self._service.engine_of(provider)
        name = target.physical_name
        if job.job.attempts > 1:
            # The name was free when this job claimed it: only its own earlier run can have left something there.
            await engine.databases.drop(name)
        skipped = await self._fill(row, engine, name, job, (0, 80))
        for line in skipped:
            job.log(f"not restored: {line}")
        try:
            job.progress("compare", 80)
            differences = compare(
                _manifest_of(row), await _backup_port(engine).measure(name, _manifest_of(row))
            )
            if differences:
                raise ProofFailed(
                    f"The restored database differs in {len(differences)} places; it was removed."
                )
            job.progress("finish", 95)
            for note in await _backup_port(engine).finish(name):
                job.log(note)
        except BaseException:
            await _dropped(engine, name)
            raise

    async def _fill(
        self, row: Backup, engine: Engine, name: str, job: JobHandle, span: tuple[float, float]
    ) -> tuple[str, ...]:
        """Restore an artifact into a new database, every byte of it authenticated before the first is used.

        Moves the job through this `span` of percent.
        """
        key = await self._key(row)
        place = artifact_key(row.tenant_id, row.database_id, row.id)
        label = _label(row.id)
        try:
            await self.kernel.artifacts.stat(place)
        except NotFound:
            raise ArtifactMissing(
                f"There is no artifact at {self.kernel.artifacts.location(place)}."
            ) from None
        begin, end = span
        checked = begin + (end - begin) * _CHECKED
        reading = _counted(
            self.kernel.artifacts.get(place), job.meter("check", begin, checked, total=row.size_stored)
        )
        try:
            await self.kernel.archive.verify(reading, key, label)
        except WrongKey as error:
            # The vault vouches for the key, so it is the artifact that is not this backup's.
            raise DamagedArtifact(
                f"The artifact at {self.kernel.artifacts.location(place)} is another backup's: it was sealed with"
                " another key.",
                hint="Put this backup's own artifact back in its place, or restore another backup.",
            ) from error
        pieces = self.kernel.archive.open(self.kernel.artifacts.get(place), key, label)
        manifest = _manifest_of(row)
        meter = job.meter("restore", checked, end, total=row.size_raw)
        report = await _backup_port(engine).restore(_checked(pieces, manifest), name, manifest, meter)
        return report.skipped

    async def remove_artifact(self, row: Backup) -> None:
        """Remove a deleted backup's artifact and key; idempotent."""
        await self.kernel.artifacts.delete(artifact_key(row.tenant_id, row.database_id, row.id))

        async def forget() -> None:
            async with self.kernel.catalog.write() as uow:
                await uow.data_keys.remove(row.id)
                current = await uow.backups.get(row.id)
                if current is not None and current.artifacts:
                    await uow.backups.save(replace(current, artifacts=(), updated_at=self.kernel.now()))

        await raced(forget)

    async def _source(self, backup_id: str) -> tuple[Backup, Database, Provider]:
        now = self.kernel.now()
        async with self.kernel.catalog.write() as uow:
            row = await found(uow.backups.get(backup_id), "backup", backup_id)
            source = await found(uow.databases.get(row.database_id), "database", row.database_id)
            provider = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
            if row.stored_at is not None:
                return row, source, provider
            row = replace(
                row,
                status=BackupStatus.RUNNING,
                engine=provider.kind.value,
                started_at=row.started_at or now,
                updated_at=now,
            )
            await uow.backups.save(row)
        return row, source, provider

    async def _last_size(self, row: Backup) -> int | None:
        """What the newest backup of the same database had to read: the next one will be about as large."""
        same = Clause("database_id", Test.ANY_OF, (row.database_id,))
        stored = Clause("stored_at", Test.NONE_OF, (None,))
        async with self.kernel.catalog.read() as uow:
            found = (await uow.backups.find(Query((same, stored), limit=1))).items
        return found[0].size_raw if found else None

    async def _prover(self, row: Backup) -> tuple[Provider, Engine]:
        async with self.kernel.catalog.read() as uow:
            own = await found(uow.providers.get(row.provider_id), "provider", row.provider_id)
            other = await uow.providers.get(own.proof_provider_id) if own.proof_provider_id else None
        provider = other or own
        engine = await self._service.engine_of(provider)
        _backup_port(engine)
        return provider, engine

    async def _new_key(self, row: Backup) -> bytes:
        """The artifact's data key: made once, found again when the step runs a second time."""
        binding = data_key_binding(row.tenant_id, row.id)

        async def make() -> bytes:
            known = await opened(self.kernel.vault, lambda: self._wrapped(row.id))
            if known is not None:
                return known
            made = await self.kernel.vault.new_data_key(binding)
            async with self.kernel.catalog.write() as uow:
                await uow.data_keys.add(WrappedKey(row.id, row.tenant_id, made.wrapped, self.kernel.now()))
            return made.plain

        return await raced(make)

    async def _key(self, row: Backup) -> bytes:
        key = await opened(self.kernel.vault, lambda: self._wrapped(row.id))
        if key is None:
            raise NotFound(f"There is no data key {row.id!r}.", field="id")
        return key

    async def _wrapped(self, backup_id: str) -> WrappedKey | None:
        async with self.kernel.catalog.read() as uow:
            return await uow.data_keys.get(backup_id)

    async def _proved(self, id: str, proof: Proof, error: StorageError | None = None) -> None:
        """Write down what the proof found: that the backup is good, or why it is not."""
        good, reason = not proof.differences, None
        if error is not None:
            reason = f"The proof failed: {error.detail} {error.hint}".strip()
        elif not good:
            reason = "The restored copy differs from the manifest; see the proof."

        async def write() -> None:
            async with self.kernel.catalog.write() as uow:
                row = await found(uow.backups.get(id), "backup", id)
                row = replace(row, proof=proof, reason=reason, finished_at=proof.at, updated_at=proof.at)
                row = replace(row, status=standing(row), proven_at=proof.at if good else row.proven_at)
                await uow.backups.save(row)
                source = await uow.databases.get(row.database_id)
                if good and source is not None:
                    await uow.databases.save(replace(source, last_proven_at=proof.at, updated_at=proof.at))

        await insisted(write)

    async def _unproven(self, row: Backup, job: JobHandle, error: StorageError) -> NotProven:
        """No proof could be made: what was known of the backup before still stands."""
        reason = f"Not proven: {error.detail} {error.hint}".strip()
        await self._change(row.id, status=standing(row), reason=reason, finished_at=self.kernel.now())
        job.log(f"not proven: {error.detail}")
        return [error.code, error.detail, error.hint]

    async def _change(self, id: str, **changes: Any) -> None:
        async def write() -> None:
            async with self.kernel.catalog.write() as uow:
                row = await found(uow.backups.get(id), "backup", id)
                await uow.backups.save(replace(row, **changes, updated_at=self.kernel.now()))

        await insisted(write)


async def _size(engine: Engine, name: str) -> int | None:
    """About how much a dump will read; none where the engine does not say."""
    try:
        return (await engine.databases.stats(name)).size_bytes
    except StorageError:
        return None


def _backup_port(engine: Engine) -> BackupPort:
    if engine.backup is None:
        raise Unsupported(f"{engine.kind} cannot be backed up.")
    return engine.backup


async def _dropped(engine: Engine, name: str) -> None:
    """Drop what is not wanted any more, also while we are being cancelled.

    An engine that cannot do it at once (a session does not end) is asked again; then it is left to the reaper. A
    failure never hides why we are here.
    """

    async def drop() -> None:
        for pause in _DROP_PAUSES:
            try:
                return await engine.databases.drop(name)
            except StorageError as error:
                log.info("%s cannot be dropped yet: %s", name, error.detail)
            await asyncio.sleep(pause)
        try:
            await engine.databases.drop(name)
        except StorageError as error:
            log.warning("%s stays for the reaper: %s", name, error.detail)

    await to_its_end(drop())


def _refuted(at: datetime, provider_id: str, error: StorageError) -> Proof:
    """The proof of a backup that could not be restored at all."""
    what = DifferenceKind.MISSING if isinstance(error, NotFound) else DifferenceKind.CONTENT
    return Proof(at, provider_id, 0, 0.0, (Difference("artifact", "artifact", what, "intact", error.detail),))


def _manifest_of(row: Backup) -> Manifest:
    if row.manifest is None:
        raise DamagedArtifact("The backup has no manifest.")
    return row.manifest


def _label(backup_id: str) -> bytes:
    return f"backup:{backup_id}".encode()


async def _with_manifest(dump: Any) -> AsyncIterator[Piece]:
    """The dump's pieces, then its manifest: an artifact explains itself without the catalog."""
    async for piece in dump.pieces():
        yield piece
    yield Piece(MANIFEST_MEMBER, _MANIFEST.dump_json(dump.manifest))


async def _counted(sealed: AsyncIterator[bytes], on_progress: OnProgress) -> AsyncIterator[bytes]:
    """The same bytes, counted as they pass."""
    done = 0
    async for part in sealed:
        done += len(part)
        on_progress(done, None)
        yield part


async def _checked(pieces: AsyncIterator[Piece], manifest: Manifest) -> AsyncIterator[Piece]:
    """The engine's own pieces; the manifest inside must be the catalog's."""
    inside = b""
    async for piece in pieces:
        if piece.member == MANIFEST_MEMBER:
            inside += piece.data
        else:
            yield piece
    try:
        same = _MANIFEST.validate_python(json.loads(inside), strict=False).hash == manifest.hash
    except ValueError:
        same = False
    if not same:
        raise DamagedArtifact("The manifest inside the artifact is not the catalog's.")
