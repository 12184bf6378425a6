"""What every engine must hold, whatever it is: inherit `EngineContract`, fill in the hooks, and run.

A subclass gives the fixture `engine` and the hooks below it; everything else is the same for all engines. The
tests use only the ports, so an engine that passes can be swapped for another behind the services.
"""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import ClassVar

import pytest

from storage_core.domain.backup import Manifest, ManifestObject, compare
from storage_core.domain.errors import InvalidRequest, NameTaken, NotFound, StorageError
from storage_core.domain.provider import EngineKind, StepStatus
from storage_core.ports.backup import Backup, Piece
from storage_core.ports.engine import Engine

#: Ways in which a restored database may differ from what was backed up; `plant` makes each.
FAULTS = (
    "flipped_row",  # one value of one row is another
    "extra_row",
    "lost_row",
    "duplicated_pair",  # two more rows (documents), equal to each other: an xor of hashes would not see them
    "swapped_values",  # two rows have exchanged one of their values
    "changed_type",  # the same value as another type, e.g. 1 as 1.0 or '1'
    "lost_table",
    "extra_table",
    "lost_index",
)

STEPS = ("name", "tcp", "tls", "sign_in", "privileges")


def no_progress(done: int, expected: int | None) -> None: ...


async def replay(pieces: Iterable[Piece]) -> AsyncIterator[Piece]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


async def dumped(backup: Backup, name: str) -> tuple[list[Piece], Manifest]:
    """A whole dump in memory, with its manifest."""
    async with backup.dump(name, no_progress) as dump:
        pieces = [piece async for piece in dump.pieces()]
        return pieces, dump.manifest


class EngineContract:
    """The suite. Names of databases are physical names, as the services make them for this engine."""

    kind: ClassVar[EngineKind]
    #: A setting `configure` must refuse (unknown), and one it must accept.
    bad_setting: ClassVar[tuple[str, str]] = ("no_such_setting", "1")
    good_setting: ClassVar[tuple[str, str]]
    #: Names that are legal on this engine and invite mistakes: quotes, conninfo, unicode, blanks, 63 bytes.
    awkward_names: ClassVar[tuple[str, ...]]
    #: Names that must be refused, or simply not be found; never reach anything else.
    hostile_names: ClassVar[tuple[str, ...]] = ("", "a\x00b")
    #: Faults this engine cannot have, with the reason.
    exempt: ClassVar[Mapping[str, str]] = {}

    # -- hooks ------------------------------------------------------------------------------------------------

    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        """A live engine; closed afterwards."""
        raise NotImplementedError
        yield

    def fresh(self, readable: str = "db") -> str:
        """A physical name that nobody uses."""
        return f"sc_{readable}_{secrets.token_hex(5)}"

    @pytest.fixture
    async def unreachable(self) -> AsyncIterator[Engine]:
        """An engine nobody answers for; where it can wait, it waits half a second."""
        raise NotImplementedError
        yield

    async def fill(self, name: str) -> dict[str, int]:
        """Fill an empty database with every awkward value and definition the engine has.

        Answers how many rows each table (collection) must count in the manifest, by object name. At least two
        tables, one of them with an index that `plant` can drop.
        """
        raise NotImplementedError

    async def plant(self, name: str, fault: str) -> None:
        """Make one of `FAULTS` in a filled database, with a plain driver, not through the engine."""
        raise NotImplementedError

    async def prepare_writes(self, name: str) -> None:
        """Make two empty tables that `write_pair` fills."""
        raise NotImplementedError

    async def write_pair(self, name: str, number: int) -> None:
        """In one transaction (or causally ordered writes) put one row into each of the two tables."""
        raise NotImplementedError

    async def pairs(self, name: str) -> tuple[int, int]:
        """How many rows the two tables have, read with a plain driver."""
        raise NotImplementedError

    async def leftovers(self, name: str) -> list[str]:
        """What a failed restore of `name` has left behind beyond the database itself (files, processes)."""
        return []

    # -- fixtures ---------------------------------------------------------------------------------------------

    @pytest.fixture
    def backup(self, engine: Engine) -> Backup:
        assert engine.backup is not None
        return engine.backup

    @pytest.fixture
    async def database(self, engine: Engine) -> AsyncIterator[str]:
        """An empty database."""
        name = self.fresh()
        await engine.databases.create(name, {})
        yield name
        await engine.databases.drop(name)

    @pytest.fixture
    async def target(self, engine: Engine) -> AsyncIterator[str]:
        """The name of a database that does not exist yet, dropped afterwards."""
        name = self.fresh("target")
        yield name
        await engine.databases.drop(name)

    _saved: ClassVar[tuple[list[Piece], Manifest] | None] = None

    @pytest.fixture
    async def saved(self, engine: Engine, backup: Backup) -> tuple[list[Piece], Manifest]:
        """A dump of a filled database, made once for all tests that only restore."""
        cls = type(self)
        if cls._saved is None:
            name = self.fresh("saved")
            await engine.databases.create(name, {})
            try:
                await self.fill(name)
                cls._saved = await dumped(backup, name)
            finally:
                await engine.databases.drop(name)
        return cls._saved

    async def names(self, engine: Engine) -> set[str]:
        return {found.physical_name for found in await engine.databases.existing()}

    async def restored(self, backup: Backup, source: str, target: str) -> Manifest:
        pieces, manifest = await dumped(backup, source)
        await backup.restore(replay(pieces), target, manifest, no_progress)
        return manifest

    # -- the engine itself ------------------------------------------------------------------------------------

    async def test_check_names_every_step_and_passes(self, engine: Engine) -> None:
        steps = await engine.check()
        assert tuple(step.name for step in steps) == STEPS
        assert all(step.status is not StepStatus.FAILED for step in steps), steps
        assert all(step.detail for step in steps)

    async def test_health_and_info_name_the_version(self, engine: Engine) -> None:
        health, info = await engine.health(), await engine.info()
        assert health.online
        assert health.milliseconds >= 0
        assert health.version == info.version
        assert info.version[0].isdigit()
        assert all(ability.present or ability.reason for ability in info.capabilities)

    async def test_an_engine_that_cannot_be_reached_is_an_answer(self, unreachable: Engine) -> None:
        began = time.monotonic()
        health = await unreachable.health()
        assert time.monotonic() - began < 5.5
        assert not health.online
        failed = next(step for step in await unreachable.check() if step.status is StepStatus.FAILED)
        assert failed.detail and failed.fix
        assert health.problem == f"{failed.detail} {failed.fix}", "what happened, then the way out"
        await unreachable.close()

    async def test_close_is_idempotent(self, engine: Engine) -> None:
        await engine.health()
        await engine.close()
        await engine.close()

    # -- databases --------------------------------------------------------------------------------------------

    async def test_create_makes_a_database_where_location_says(self, engine: Engine, target: str) -> None:
        location = await engine.databases.create(target, {})
        assert location == engine.location(target)
        assert target in await self.names(engine)

    async def test_create_refuses_a_name_in_use(self, engine: Engine, database: str) -> None:
        await self.fill(database)
        with pytest.raises(NameTaken):
            await engine.databases.create(database, {})
        assert (await engine.databases.stats(database)).objects > 0

    async def test_drop_is_idempotent(self, engine: Engine, target: str) -> None:
        await engine.databases.drop(target)
        await engine.databases.create(target, {})
        await engine.databases.drop(target)
        assert target not in await self.names(engine)
        await engine.databases.drop(target)

    async def test_awkward_names_name_exactly_that_database(self, engine: Engine) -> None:
        before = await self.names(engine)
        made: list[str] = []
        try:
            for name in self.awkward_names:
                await engine.databases.create(name, {})
                made.append(name)
                assert (await self.names(engine)) - before == set(made)
            for name in self.awkward_names:
                await engine.databases.stats(name)
                await engine.databases.schema(name)
        finally:
            for name in made:
                await engine.databases.drop(name)
        assert await self.names(engine) == before

    async def test_awkward_names_can_be_backed_up(self, engine: Engine, backup: Backup, target: str) -> None:
        for name in self.awkward_names:
            await engine.databases.create(name, {})
            try:
                await self.prepare_writes(name)
                await self.write_pair(name, 1)
                manifest = await self.restored(backup, name, target)
                assert await self.pairs(target) == (1, 1)
                assert compare(manifest, await backup.measure(target, manifest)) == ()
            finally:
                await engine.databases.drop(name)
                await engine.databases.drop(target)

    async def test_hostile_names_reach_nothing(self, engine: Engine) -> None:
        before = await self.names(engine)
        for name in self.hostile_names:
            with pytest.raises(StorageError) as caught:
                await engine.databases.stats(name)
            assert caught.value.status < 500, name
            with pytest.raises(StorageError):
                await engine.databases.create(name, {})
        assert await self.names(engine) == before

    async def test_stats_count_objects_and_bytes(self, engine: Engine, database: str) -> None:
        rows = await self.fill(database)
        stats = await engine.databases.stats(database)
        assert stats.size_bytes > 0
        assert stats.objects >= len(rows)

    async def test_schema_shows_tables_and_indexes(self, engine: Engine, database: str) -> None:
        rows = await self.fill(database)
        schema = await engine.databases.schema(database)
        assert set(rows) <= {found.name for found in schema.objects}
        assert any(found.indexes for found in schema.objects)

    async def test_configure_accepts_a_known_setting(self, engine: Engine, database: str) -> None:
        await engine.databases.configure(database, dict([self.good_setting]))

    async def test_configure_refuses_an_unknown_setting_and_names_it(
        self, engine: Engine, database: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await engine.databases.configure(database, dict([self.good_setting, self.bad_setting]))
        assert self.bad_setting[0] in (caught.value.field or "")

    async def test_create_with_an_unknown_setting_makes_nothing(self, engine: Engine, target: str) -> None:
        with pytest.raises(InvalidRequest):
            await engine.databases.create(target, dict([self.bad_setting]))
        assert target not in await self.names(engine)

    async def test_optimize_reports_what_it_did(self, engine: Engine, database: str) -> None:
        await self.prepare_writes(database)
        await self.write_pair(database, 1)
        report = await engine.databases.optimize(database)
        assert report.steps
        assert report.size_before > 0
        assert report.size_after > 0

    async def test_an_unknown_database_is_not_found(
        self, engine: Engine, backup: Backup, target: str
    ) -> None:
        manifest = Manifest(str(self.kind), "0", "none", ())
        calls = (
            lambda: engine.databases.stats(target),
            lambda: engine.databases.schema(target),
            lambda: engine.databases.optimize(target),
            lambda: engine.databases.configure(target, dict([self.good_setting])),
            lambda: dumped(backup, target),
            lambda: backup.measure(target, manifest),
            lambda: backup.finish(target),
        )
        for call in calls:
            with pytest.raises(NotFound):
                await call()
        assert target not in await self.names(engine)

    # -- backup and proof -------------------------------------------------------------------------------------

    async def test_a_restored_database_measures_as_the_manifest_says(
        self, backup: Backup, database: str, target: str
    ) -> None:
        await self.fill(database)
        manifest = await self.restored(backup, database, target)
        assert compare(manifest, await backup.measure(target, manifest)) == ()
        assert compare(manifest, await backup.measure(database, manifest)) == ()

    async def test_the_manifest_counts_every_table(self, backup: Backup, database: str) -> None:
        rows = await self.fill(database)
        _, manifest = await dumped(backup, database)
        counted = {found.name: found.rows for found in manifest.objects if found.name in rows}
        assert counted == rows
        assert manifest.engine == str(self.kind)
        assert manifest.engine_version[0].isdigit()
        assert manifest.hash
        keys = [(found.kind, found.name) for found in manifest.objects]
        assert len(keys) == len(set(keys))

    async def test_an_empty_database_round_trips(self, backup: Backup, database: str, target: str) -> None:
        manifest = await self.restored(backup, database, target)
        assert manifest.rows == 0
        assert compare(manifest, await backup.measure(target, manifest)) == ()

    async def test_two_dumps_of_the_same_data_agree(self, backup: Backup, database: str) -> None:
        await self.fill(database)
        _, first = await dumped(backup, database)
        _, second = await dumped(backup, database)
        assert compare(first, second.objects) == ()

    async def test_finishing_changes_nothing_that_is_measured(
        self, backup: Backup, saved: tuple[list[Piece], Manifest], target: str
    ) -> None:
        pieces, manifest = saved
        await backup.restore(replay(pieces), target, manifest, no_progress)
        assert compare(manifest, await backup.measure(target, manifest)) == ()
        _, before = await dumped(backup, target)
        assert compare(manifest, before.objects) == (), (
            "a copy not yet finished can be backed up without a loss"
        )
        assert await backup.finish(target) == ()
        assert compare(manifest, await backup.measure(target, manifest)) == ()
        assert await backup.finish(target) == ()
        _, after = await dumped(backup, target)
        assert compare(manifest, after.objects) == ()

    @pytest.mark.parametrize("fault", FAULTS)
    async def test_a_planted_fault_is_found(
        self, backup: Backup, saved: tuple[list[Piece], Manifest], target: str, fault: str
    ) -> None:
        if fault in self.exempt:
            pytest.skip(self.exempt[fault])
        pieces, manifest = saved
        await backup.restore(replay(pieces), target, manifest, no_progress)
        await self.plant(target, fault)
        assert compare(manifest, await backup.measure(target, manifest)) != ()

    @pytest.mark.parametrize("damage", ("cut_last", "no_pieces", "foreign_member"))
    async def test_a_damaged_stream_never_passes(
        self,
        engine: Engine,
        backup: Backup,
        saved: tuple[list[Piece], Manifest],
        target: str,
        damage: str,
    ) -> None:
        pieces, manifest = saved
        last = pieces[-1]
        damaged = {
            "cut_last": [*pieces[:-1], Piece(last.member, last.data[: len(last.data) // 2])],
            "no_pieces": [],
            "foreign_member": [Piece("../../etc/passwd", piece.data) for piece in pieces],
        }[damage]
        measured: tuple[ManifestObject, ...] = ()
        try:
            await backup.restore(replay(damaged), target, manifest, no_progress)
            measured = await backup.measure(target, manifest)
        except StorageError:
            assert target not in await self.names(engine)
            assert await self.leftovers(target) == []
        else:
            assert compare(manifest, measured) != ()

    async def test_a_dump_under_concurrent_writes_is_one_moment(
        self, backup: Backup, database: str, target: str
    ) -> None:
        await self.prepare_writes(database)
        for number in range(50):
            await self.write_pair(database, number)
        stop = asyncio.Event()

        async def write() -> int:
            for number in itertools.count(50):
                if stop.is_set():
                    return number
                await self.write_pair(database, number)
            return 0

        writer = asyncio.create_task(write())
        try:
            for _ in range(3):
                pieces, manifest = await dumped(backup, database)
        finally:
            stop.set()
            written = await writer
        assert written > 50, "nobody wrote meanwhile"
        await backup.restore(replay(pieces), target, manifest, no_progress)
        left, right = await self.pairs(target)
        assert left == right >= 50
        assert compare(manifest, await backup.measure(target, manifest)) == ()

    async def test_restore_refuses_a_name_in_use(
        self, backup: Backup, saved: tuple[list[Piece], Manifest], database: str
    ) -> None:
        rows = await self.fill(database)
        pieces, manifest = saved
        with pytest.raises(NameTaken):
            await backup.restore(replay(pieces), database, manifest, no_progress)
        measured = {found.name: found.rows for found in await backup.measure(database, manifest)}
        assert {name: measured[name] for name in rows} == rows

    async def test_a_cancelled_restore_leaves_nothing(
        self, engine: Engine, backup: Backup, saved: tuple[list[Piece], Manifest], target: str
    ) -> None:
        pieces, manifest = saved
        reached = asyncio.Event()

        async def stuck() -> AsyncIterator[Piece]:
            yield Piece(pieces[0].member, pieces[0].data[: max(1, len(pieces[0].data) // 2)])
            reached.set()
            await asyncio.Event().wait()

        work = asyncio.create_task(backup.restore(stuck(), target, manifest, no_progress))
        await asyncio.wait_for(reached.wait(), 20)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert target not in await self.names(engine)
        assert await self.leftovers(target) == []

    async def test_a_failing_source_leaves_nothing(
        self, engine: Engine, backup: Backup, saved: tuple[list[Piece], Manifest], target: str
    ) -> None:
        pieces, manifest = saved

        async def broken() -> AsyncIterator[Piece]:
            yield pieces[0]
            raise StorageError("the store went away")

        with pytest.raises(StorageError):
            await backup.restore(broken(), target, manifest, no_progress)
        assert target not in await self.names(engine)
        assert await self.leftovers(target) == []

    async def test_a_dump_left_early_leaves_nothing(
        self, engine: Engine, backup: Backup, database: str
    ) -> None:
        await self.fill(database)
        with contextlib.suppress(RuntimeError):
            async with backup.dump(database, no_progress) as dump:
                async for _ in dump.pieces():
                    raise RuntimeError("had enough")
        assert await self.leftovers(database) == []
        await engine.databases.drop(database)
        assert database not in await self.names(engine)

    async def test_progress_is_told(self, backup: Backup, database: str, target: str) -> None:
        await self.fill(database)
        told: list[tuple[int, int | None]] = []
        async with backup.dump(database, lambda done, total: told.append((done, total))) as dump:
            pieces = [piece async for piece in dump.pieces()]
            manifest = dump.manifest
        assert told
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        told.clear()
        await backup.restore(replay(pieces), target, manifest, lambda done, total: told.append((done, total)))
        assert told
