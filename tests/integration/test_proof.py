"""Whatever goes wrong between a database and its restored copy, the proof finds it and says what."""

# ruff: noqa: ASYNC240 - a test looks at small files of its own

import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from storage_core.bootstrap import Core, open_core, open_worker
from storage_core.domain.backup import Backup, BackupStatus, DifferenceKind, build_manifest
from storage_core.domain.database import Database
from storage_core.domain.errors import (
    Conflict,
    DamagedArtifact,
    EngineFailure,
    MissingPrivilege,
    NameTaken,
    StorageError,
    Unreachable,
    WrongKey,
)
from storage_core.domain.job import Job, JobStatus
from storage_core.domain.naming import artifact_key, scratch_name
from storage_core.domain.page import Query
from storage_core.domain.provider import EngineKind, Provider
from storage_core.ports.backup import Piece
from storage_core.services.backups import (
    CreateBackup,
    DeleteBackup,
    RestoreBackup,
    VerifyBackup,
)
from storage_core.services.databases import AdoptDatabase, ExistingDatabases
from storage_core.services.providers import Connection, CreateProvider
from tests.integration.homes import (
    a_backup,
    a_database,
    a_provider,
    artifacts_in,
    backup_of,
    databases_in,
    ended,
    opened,
    settings_of,
    somebody,
)

Pieces = AsyncIterator[Piece]
Tamper = Callable[[Pieces], Pieces]


@dataclass
class Faults:
    """What goes wrong. Each is asked where the real thing passes by."""

    dumped: Tamper | None = None
    arriving: Tamper | None = None
    restored: Callable[[str], None] | None = None
    manifest: Callable[[Any], Any] | None = None
    sealed: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] | None = None
    engine: dict[str, StorageError] = field(default_factory=dict)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]


class FaultyDump:
    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def pieces(self) -> Pieces:
        pieces: Pieces = self._inner.pieces()
        return self._faults.dumped(pieces) if self._faults.dumped else pieces

    @property
    def manifest(self) -> Any:
        manifest = self._inner.manifest
        return self._faults.manifest(manifest) if self._faults.manifest else manifest


class FaultyBackup:
    def __init__(self, inner: Any, engine: Any, faults: Faults) -> None:
        self._inner, self._engine, self._faults = inner, engine, faults

    @asynccontextmanager
    async def dump(self, name: str, on_progress: Any) -> AsyncIterator[FaultyDump]:
        async with self._inner.dump(name, on_progress) as dump:
            yield FaultyDump(dump, self._faults)

    async def restore(self, pieces: Pieces, name: str, manifest: Any, on_progress: Any) -> Any:
        if error := self._faults.engine.get("restore"):
            raise error
        if self._faults.arriving:
            pieces = self._faults.arriving(pieces)
        report = await self._inner.restore(pieces, name, manifest, on_progress)
        if self._faults.restored:
            self._faults.restored(self._engine.location(name))
        return report

    async def measure(self, name: str, like: Any) -> Any:
        return await self._inner.measure(name, like)

    async def finish(self, name: str) -> tuple[str, ...]:
        return await self._inner.finish(name)


class FaultyDatabases:
    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def drop(self, name: str) -> None:
        if error := self._faults.engine.get("drop"):
            raise error
        await self._inner.drop(name)


class FaultyEngine:
    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner = inner
        self.backup = FaultyBackup(inner.backup, inner, faults)
        self.databases = FaultyDatabases(inner.databases, faults)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FaultyEngines:
    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def engine(self, provider: Provider, password: str | None) -> Any:
        if error := self._faults.engine.get(provider.id):
            raise error
        return FaultyEngine(await self._inner.engine(provider, password), self._faults)


class FaultyArtifacts:
    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, data: Any) -> Any:
        source = self._faults.sealed(aiter(data)) if self._faults.sealed else data
        return await self._inner.put(key, source)


@dataclass
class World:
    """One home with a worker, a provider and a database, and the faults planted around them."""

    home: Path
    root: Path
    core: Core
    provider: Provider
    database: Database
    faults: Faults

    def file(self, backup: Backup) -> Path:
        return self.home / "store" / artifact_key(backup.tenant_id, backup.database_id, backup.id)

    async def verify(self, backup: Backup) -> tuple[Job, Backup]:
        ticket = await self.core.backups.verify(somebody(), VerifyBackup(id=backup.id))
        return await ended(self.core, ticket.job_id), await backup_of(self.core, backup.id)

    async def restore(self, backup: Backup, name: str | None = None) -> Job:
        request = RestoreBackup(id=backup.id, name=name)
        ticket = await self.core.backups.restore(somebody(), request)
        return await ended(self.core, ticket.job_id)


@pytest.fixture(scope="module")
async def whole_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    home, root = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data")
    faults = Faults()
    async with opened(settings_of(home)) as core:
        # The ports are wrapped where everybody takes them from; everything behind them is real.
        object.__setattr__(core.kernel, "engines", FaultyEngines(core.kernel.engines, faults))
        object.__setattr__(core.kernel, "artifacts", FaultyArtifacts(core.kernel.artifacts, faults))
        async with open_worker(core):
            provider = await a_provider(core, root)
            yield World(home, root, core, provider, await a_database(core, provider), faults)


@pytest.fixture
def world(whole_world: World) -> Iterator[World]:
    before = databases_in(whole_world.root)
    yield whole_world
    whole_world.faults.clear()
    left = databases_in(whole_world.root) - before
    assert not [n for n in left if "scratch" in n], "a proof left its throw-away database"


# Faults between the database and the archive.


async def _dropped(pieces: Pieces) -> Pieces:
    n = 0
    async for piece in pieces:
        n += 1
        if n != 2:
            yield piece


async def _doubled(pieces: Pieces) -> Pieces:
    n = 0
    async for piece in pieces:
        n += 1
        yield piece
        if n == 2:
            yield piece


async def _swapped(pieces: Pieces) -> Pieces:
    held = [p async for p in pieces]
    held[1], held[2] = held[2], held[1]
    for piece in held:
        yield piece


async def _cut(pieces: Pieces) -> Pieces:
    held = [p async for p in pieces]
    held[-1] = Piece(held[-1].member, held[-1].data[:-1])
    for piece in held:
        yield piece


async def _flipped(pieces: Pieces) -> Pieces:
    """One bit of somebody's data, in the middle of a page: the file is as sound as before."""
    n = 0
    async for piece in pieces:
        n += 1
        if n == 2:
            data = bytearray(piece.data)
            data[len(data) // 2 + 1000] ^= 1
            piece = Piece(piece.member, bytes(data))
        yield piece


async def _nothing(pieces: Pieces) -> Pieces:
    async for _ in pieces:
        pass
    return
    yield


async def _renamed(pieces: Pieces) -> Pieces:
    async for piece in pieces:
        yield Piece("other.sqlite3", piece.data)


async def _one_more(pieces: Pieces) -> Pieces:
    async for piece in pieces:
        yield piece
    yield Piece("evil.sh", b"rm -rf /")


async def _in_two_parts(pieces: Pieces) -> Pieces:
    held = [p async for p in pieces]
    yield held[0]
    yield Piece("between", b"x")
    for piece in held[1:]:
        yield piece


async def _zeroed(pieces: Pieces) -> Pieces:
    n = 0
    async for piece in pieces:
        n += 1
        yield Piece(piece.member, bytes(len(piece.data))) if n == 2 else piece


@pytest.mark.parametrize(
    "tamper",
    [_dropped, _doubled, _swapped, _cut, _flipped, _nothing, _renamed, _one_more, _in_two_parts, _zeroed],
)
async def test_a_fault_on_the_way_into_the_archive_is_found(world: World, tamper: Tamper) -> None:
    world.faults.dumped = tamper
    job, backup = await a_backup(world.core, world.database)
    assert backup.status is BackupStatus.FAILED
    assert job.status is JobStatus.FAILED and job.error is not None and job.error.detail
    assert backup.reason
    if backup.manifest is not None:
        assert backup.proof is not None and backup.proof.differences
    else:
        assert backup.artifacts == ()
    with pytest.raises(Conflict):
        await world.core.backups.restore(somebody(), RestoreBackup(id=backup.id))


@pytest.mark.parametrize("tamper", [_dropped, _doubled, _swapped, _cut, _flipped, _nothing, _one_more])
async def test_a_fault_on_the_way_out_of_the_archive_is_found(world: World, tamper: Tamper) -> None:
    world.faults.arriving = tamper
    job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert backup.proof is not None and backup.proof.differences


def _lies(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def manifest(true: Any) -> Any:
        objects = tuple(change(o) if (o.kind, o.name) == ("table", "orders") else o for o in true.objects)
        kept = tuple(o for o in objects if o is not None)
        return build_manifest(true.engine, true.engine_version, true.method, kept)

    return manifest


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda o: replace(o, rows=o.rows + 1), DifferenceKind.ROWS),
        (lambda o: replace(o, hash="0" * len(o.hash)), DifferenceKind.CONTENT),
        (lambda o: replace(o, name="order"), DifferenceKind.MISSING),
        (lambda o: None, DifferenceKind.UNEXPECTED),
    ],
)
async def test_a_manifest_that_does_not_tell_the_truth_is_found(
    world: World, change: Callable[[Any], Any], what: DifferenceKind
) -> None:
    world.faults.manifest = _lies(change)
    job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert job.error is not None and job.error.code == "proof_failed"
    assert backup.proof is not None and what in {d.what for d in backup.proof.differences}


# Faults of the restore.


def _sql(statement: str) -> Callable[[str], None]:
    def run(location: str) -> None:
        with closing(sqlite3.connect(location)) as db:
            db.execute(statement)
            db.commit()

    return run


@pytest.mark.parametrize(
    ("statement", "object", "what"),
    [
        ("delete from orders where id = 7", "orders", DifferenceKind.ROWS),
        ("insert into lines values (1, 1)", "lines", DifferenceKind.ROWS),
        ("update orders set word = 'Word 7' where id = 7", "orders", DifferenceKind.CONTENT),
        ("update lines set qty = 'x' where order_id = 1", "lines", DifferenceKind.CONTENT),
        ("update lines set qty = null where order_id = 2", "lines", DifferenceKind.CONTENT),
        ("drop index by_word", "by_word", DifferenceKind.MISSING),
        ("drop table lines", "lines", DifferenceKind.MISSING),
        ("drop view busy", "busy", DifferenceKind.MISSING),
        ("create table extra (a)", "extra", DifferenceKind.UNEXPECTED),
        ("create trigger t after insert on lines begin select 1; end", "t", DifferenceKind.UNEXPECTED),
        ("alter table lines add column note", "lines", None),
        ("pragma user_version = 9", "", None),
    ],
)
async def test_a_restore_that_does_not_bring_back_the_same_is_found(
    world: World, statement: str, object: str, what: DifferenceKind | None
) -> None:
    world.faults.restored = _sql(statement)
    job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert job.error is not None and job.error.code == "proof_failed"
    assert backup.proof is not None
    named = [d for d in backup.proof.differences if object in d.object]
    assert named
    if what is not None:
        assert what in {d.what for d in named}


async def test_a_restore_into_a_new_database_is_compared_and_taken_back_when_it_differs(world: World) -> None:
    job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN)
    before = databases_in(world.root)
    world.faults.restored = _sql("delete from lines where order_id = 3")
    job = await world.restore(backup, "crooked")
    assert job.status is JobStatus.FAILED and job.error is not None and job.error.code == "proof_failed"
    assert databases_in(world.root) == before
    async with world.core.kernel.catalog.read() as uow:
        assert await uow.databases.one(name="crooked") is None
    world.faults.clear()
    job = await world.restore(backup, "crooked")
    assert job.status is JobStatus.SUCCEEDED


# Faults in the store.


async def _sealed_flipped(sealed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    n = 0
    async for part in sealed:
        n += 1
        if n == 2:
            part = bytes([part[0] ^ 1]) + part[1:]
        yield part


async def _sealed_cut(sealed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = [p async for p in sealed]
    for part in held[:-1]:
        yield part


@pytest.mark.parametrize("tamper", [_sealed_flipped, _sealed_cut])
async def test_what_the_store_does_to_the_bytes_is_found(world: World, tamper: Any) -> None:
    world.faults.sealed = tamper
    job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert job.error is not None and job.error.code == "damaged_artifact"


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def _truncate(path: Path, by: int) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - by)


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda path: _flip(path, 10), "damaged_artifact"),
        (lambda path: _flip(path, 40_000), "damaged_artifact"),
        (lambda path: _flip(path, path.stat().st_size - 1), "damaged_artifact"),
        (lambda path: _truncate(path, 1), "damaged_artifact"),
        (lambda path: _truncate(path, 1 << 20), "damaged_artifact"),
        (lambda path: path.write_bytes(b""), "damaged_artifact"),
    ],
)
async def test_a_damaged_artifact_is_found_and_a_mended_one_is_proven_again(
    world: World, harm: Callable[[Path], Any], code: str
) -> None:
    _, backup = await a_backup(world.core, world.database)
    assert backup.status is BackupStatus.PROVEN
    path = world.file(backup)
    assert str(path) in backup.artifacts
    good = path.read_bytes()
    harm(path)
    assert (await world.restore(backup)).status is JobStatus.FAILED
    job, backup = await world.verify(backup)
    assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert job.error is not None and job.error.code == code
    assert backup.reason is not None and job.error.detail in backup.reason
    with pytest.raises(Conflict):
        await world.core.backups.restore(somebody(), RestoreBackup(id=backup.id))
    path.write_bytes(good)
    job, backup = await world.verify(backup)
    assert (job.status, backup.status, backup.reason) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN, None)


async def test_a_store_that_is_away_condemns_nothing(world: World) -> None:
    _, backup = await a_backup(world.core, world.database)
    path = world.file(backup)
    away = path.rename(path.with_suffix(".away"))
    job = await world.restore(backup)
    assert job.error is not None and job.error.code == "artifact_missing"
    job, backup = await world.verify(backup)
    assert job.error is not None and job.error.code == "artifact_missing"
    assert backup.status is BackupStatus.STORED  # not green any more, and still a source
    away.rename(path)
    assert (await world.restore(backup)).status is JobStatus.SUCCEEDED
    job, backup = await world.verify(backup)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN)


async def test_what_is_managed_already_is_not_adopted_through_a_second_provider(world: World) -> None:
    door = somebody()
    twin = await world.core.providers.create(
        door,
        CreateProvider(
            name="twin", kind=EngineKind.SQLITE, connection=Connection(path=world.provider.endpoint.path)
        ),
    )
    seen = await world.core.databases.existing(door, ExistingDatabases(provider_id=twin.id))
    assert {d.adopted_as for d in seen if d.physical_name == world.database.physical_name} == {
        world.database.id
    }
    with pytest.raises(Conflict):
        await world.core.databases.adopt(
            door,
            AdoptDatabase(provider_id=twin.id, name="stolen", physical_name=world.database.physical_name),
        )


async def test_another_backups_artifact_in_its_place_is_found(world: World) -> None:
    _, one = await a_backup(world.core, world.database)
    _, other = await a_backup(world.core, world.database)
    shutil.copyfile(world.file(other), world.file(one))
    job, one = await world.verify(one)
    assert (job.status, one.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert job.error is not None and job.error.code == DamagedArtifact.code
    assert "another backup's" in job.error.detail
    assert "master key" not in job.error.hint
    _, other = await world.verify(other)
    assert other.status is BackupStatus.PROVEN


# What keeps a proof from being made says nothing about the backup.


@pytest.mark.parametrize(
    "error",
    [Unreachable("The server cannot be reached."), MissingPrivilege("The user may not create databases.")],
)
async def test_a_backup_that_cannot_be_proven_is_stored_with_the_reason(
    world: World, error: StorageError
) -> None:
    world.faults.engine["restore"] = error
    job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status, backup.proof) == (JobStatus.SUCCEEDED, BackupStatus.STORED, None)
    assert backup.reason is not None and error.detail in backup.reason
    job, backup = await world.verify(backup)
    assert job.error is not None and job.error.code == error.code
    assert backup.status is BackupStatus.STORED
    world.faults.clear()
    job, backup = await world.verify(backup)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN)
    world.faults.engine["restore"] = error
    job, backup = await world.verify(backup)
    assert job.status is JobStatus.FAILED
    assert backup.status is BackupStatus.PROVEN, "the earlier proof still stands"
    assert backup.reason is not None and error.detail in backup.reason


async def test_an_unreachable_proof_provider_leaves_the_backup_stored(world: World, tmp_path: Path) -> None:
    core = world.core
    prover = await a_provider(core, tmp_path / "prover")
    async with core.kernel.catalog.write() as uow:
        own = await uow.providers.get(world.provider.id)
        assert own is not None
        await uow.providers.save(replace(own, proof_provider_id=prover.id))
    try:
        _, proven = await a_backup(core, world.database)
        assert proven.proof is not None and proven.proof.provider_id == prover.id
        world.faults.engine[prover.id] = Unreachable("The prover is away.")
        job, backup = await a_backup(core, world.database)
        assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.STORED)
        assert backup.reason is not None and "The prover is away." in backup.reason
    finally:
        async with core.kernel.catalog.write() as uow:
            own = await uow.providers.get(world.provider.id)
            assert own is not None
            await uow.providers.save(replace(own, proof_provider_id=None))


@pytest.mark.parametrize(("refusals", "leaves"), [(1, 0), (2, 0), (9, 1)])
async def test_a_throw_away_database_that_cannot_be_dropped_does_not_hide_a_good_proof(
    world: World, refusals: int, leaves: int
) -> None:
    dropped = 0
    real = FaultyDatabases.drop

    async def drop(self: FaultyDatabases, name: str) -> None:
        nonlocal dropped
        dropped += 1
        if 1 < dropped <= 1 + refusals:
            raise EngineFailure("The engine has had enough.")
        await real(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaultyDatabases, "drop", drop)
        job, backup = await a_backup(world.core, world.database)
    assert (job.status, backup.status) == (JobStatus.SUCCEEDED, BackupStatus.PROVEN)
    left = [n for n in databases_in(world.root) if "scratch" in n]
    assert len(left) == leaves
    for name in left:
        (world.root / "system" / name).unlink()


async def test_a_leftover_under_the_throw_away_name_is_in_nobodys_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(["11111111-2222-4333-8444-555555555555"])
    real = world.core.kernel.new_id
    async with world.core.kernel.catalog.read() as uow:
        assert await uow.jobs.get("11111111-2222-4333-8444-555555555555") is None
    left = world.root / "system" / f"{scratch_name('11111111-2222-4333-8444-555555555555')}.sqlite3"
    shutil.copyfile(str(world.database.location), left)
    object.__setattr__(world.core.kernel, "new_id", lambda: next(ids, None) or real())
    try:
        job, backup = await a_backup(world.core, world.database)
    finally:
        object.__setattr__(world.core.kernel, "new_id", real)
    assert job.id == "11111111-2222-4333-8444-555555555555"
    assert backup.status is BackupStatus.PROVEN
    assert not left.exists()


# Restores and their names.


async def test_a_restore_brings_back_the_same_into_a_new_database(world: World) -> None:
    _, backup = await a_backup(world.core, world.database)
    job = await world.restore(backup)
    assert job.status is JobStatus.SUCCEEDED and job.result is not None
    assert job.result["status"] == "ready"

    def content(location: str) -> list[Any]:
        with closing(sqlite3.connect(location)) as db:
            return [db.execute(f"select * from {t} order by 1").fetchall() for t in ("orders", "busy")]

    assert content(job.result["location"]) == content(str(world.database.location))


async def test_a_restore_into_a_name_that_exists_is_refused_and_nothing_changes(world: World) -> None:
    _, backup = await a_backup(world.core, world.database)
    before = databases_in(world.root)
    with pytest.raises(NameTaken):
        request = RestoreBackup(id=backup.id, name=world.database.name)
        await world.core.backups.restore(somebody(), request)
    assert databases_in(world.root) == before


async def test_a_file_of_somebody_elses_under_the_new_name_is_never_touched(world: World) -> None:
    _, backup = await a_backup(world.core, world.database)
    job = await world.restore(backup, "theirs")
    assert job.status is JobStatus.SUCCEEDED and job.result is not None
    file = Path(job.result["location"])
    async with world.core.kernel.catalog.write() as uow:
        await uow.databases.remove(job.result["id"])
    theirs = file.read_bytes()
    job = await world.restore(backup, "theirs")
    assert job.status is JobStatus.SUCCEEDED and job.result is not None
    assert Path(job.result["location"]) != file and file.read_bytes() == theirs
    file.unlink()


async def test_a_deleted_backup_is_no_source_for_a_restore(world: World) -> None:
    _, backup = await a_backup(world.core, world.database)
    request = DeleteBackup(id=backup.id, confirm=world.database.name)
    await world.core.backups.delete(somebody(), request)
    with pytest.raises(StorageError):
        await world.core.backups.restore(somebody(), RestoreBackup(id=backup.id))


async def test_the_source_is_never_changed_by_any_of_this(world: World) -> None:
    path = Path(str(world.database.location))
    before = path.read_bytes()
    await a_backup(world.core, world.database)
    world.faults.restored = _sql("delete from orders")
    await a_backup(world.core, world.database)
    assert path.read_bytes() == before


# Keys and space.


async def test_a_wrong_or_missing_master_key_is_locked_and_nothing_is_made_anew(
    world: World, tmp_path: Path
) -> None:
    key = world.home / "master.key"
    assert key.stat().st_mode & 0o777 == 0o600
    true = key.read_text()
    settings = settings_of(world.home)
    try:
        key.write_text("ab" * 32 + "\n")
        with pytest.raises(WrongKey):
            async with open_core(settings):
                pass
        assert key.read_text() == "ab" * 32 + "\n"
        key.unlink()
        with pytest.raises(WrongKey, match="missing"):
            async with open_core(settings):
                pass
        assert not key.exists()
    finally:
        key.write_text(true)
        key.chmod(0o600)
    async with open_core(settings):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_full_store_fails_job_and_backup_and_keeps_nothing(world: World, small_disk: Path) -> None:
    from storage_core.backing.artifacts import store_from_url

    real = world.core.kernel.artifacts
    object.__setattr__(world.core.kernel, "artifacts", store_from_url(f"file://{small_disk}"))
    try:
        job, backup = await a_backup(world.core, world.database)
    finally:
        object.__setattr__(world.core.kernel, "artifacts", real)
    assert job.error is not None and job.error.code == "storage_full"
    assert backup.status is BackupStatus.FAILED and backup.artifacts == ()
    assert backup.reason is not None and "no space" in backup.reason.lower()
    assert not [p for p in small_disk.rglob("*") if p.is_file()]


async def test_nothing_half_made_lies_in_the_store(world: World) -> None:
    """After every fault above: whatever lies there belongs to a row that says so."""
    async with world.core.kernel.catalog.read() as uow:
        rows = (await uow.backups.find(Query(limit=500))).items
    listed = {Path(a).name for row in rows for a in row.artifacts}
    present = artifacts_in(world.home)
    assert not [n for n in present if n.startswith(".")]
    assert present <= listed


async def test_a_backup_of_a_database_that_is_gone_fails_with_words(world: World, tmp_path: Path) -> None:
    database = await a_database(world.core, world.provider, rows=5)
    Path(str(database.location)).unlink()
    ticket = await world.core.backups.create(somebody(), CreateBackup(database_id=database.id))
    job = await ended(world.core, ticket.job_id)
    backup = await backup_of(world.core, ticket.id)
    assert (job.status, backup.status) == (JobStatus.FAILED, BackupStatus.FAILED)
    assert job.error is not None and job.error.code == "not_found"
