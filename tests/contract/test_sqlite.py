"""SQLite holds the engine contract, and what is particular to files."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage_core.domain.backup import compare
from storage_core.domain.errors import DamagedArtifact, InvalidRequest, NotFound, StorageError
from storage_core.domain.provider import Endpoint, EngineKind, StepStatus
from storage_core.ports.backup import Backup, Piece
from storage_core.providers.files import place
from storage_core.providers.files.place import private_file
from storage_core.providers.sqlite.engine import SqliteEngine
from storage_core.providers.sqlite.place import publish
from tests.contract.engine_contract import EngineContract, dumped, no_progress, replay

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, customer TEXT NOT NULL, total REAL, qty,
  doubled AS (qty * 2) VIRTUAL, stored AS (total * 2) STORED);
CREATE INDEX orders_by_customer ON orders (customer) WHERE customer <> '';
CREATE TABLE "awk""ward 'table' ü" ("select" ANY, "a b" BLOB, typed);
CREATE TABLE keyless (a, b);
CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE backwards (k INTEGER PRIMARY KEY DESC, v);
CREATE TABLE log (at TEXT, what TEXT);
CREATE VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
CREATE TRIGGER noted AFTER DELETE ON orders BEGIN INSERT INTO log VALUES (datetime(), old.customer); END;
CREATE VIRTUAL TABLE found USING fts5(body);
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, y0, y1);
"""

AWKWARD = [
    (None, b"", 1),
    (1, b"\x00\xff", 1.0),
    (1.0, bytes(range(256)), "1"),
    ("1", None, b"1"),
    (float("inf"), float("-inf"), -0.0),
    (2**63 - 1, -(2**63), 2**31),
    (-(2**31), -(2**31) - 1, 2**31 - 1),
    (5e-324, 1.7976931348623157e308, 0.1 + 0.2),
    ("", "with\x00nul", "emoji \N{GRINNING FACE} \u0301 e\u0301 é"),
    ("'quote\"", "\ufeffbom", "x" * 5000),
    (float("nan"), 0, 0.0),
]


def fill_file(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(SCHEMA)
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO orders (customer, total, qty) VALUES (?, ?, ?)",
            [(f"customer {n % 97}", n / 7, n) for n in range(1500)],
        )
        db.executemany('INSERT INTO "awk""ward \'table\' ü" VALUES (?, ?, ?)', AWKWARD)
        db.execute(
            "INSERT INTO \"awk\"\"ward 'table' ü\" VALUES (CAST(x'ff00fe41' AS TEXT), zeroblob(70000), 3)"
        )
        db.executemany("INSERT INTO keyless VALUES (?, ?)", [(1, "one"), (2, "two"), (3, "three")])
        db.executemany("INSERT INTO keyed VALUES (?, ?)", [(f"k{n}", n) for n in range(600)])
        db.executemany("INSERT INTO backwards VALUES (?, ?)", [(3, "c"), (1, "a"), (2, "b")])
        db.executemany("INSERT INTO found VALUES (?)", [("a quick fox",), ("a lazy dog",)])
        db.execute("INSERT INTO boxes VALUES (1, 0, 1, 0, 1), (2, 5, 6, 5, 6)")
        db.execute("DELETE FROM orders WHERE id % 50 = 0")
        db.execute("COMMIT")
        db.execute("ANALYZE")
        db.execute("PRAGMA user_version = 41")
        db.execute("PRAGMA application_id = 1234567")
    return {"orders": 1470, "awk\"ward 'table' ü": 12, "keyless": 3, "keyed": 600, "backwards": 3, "log": 30}


FAULTS = {
    "flipped_row": "UPDATE orders SET total = total + 0.0000001 WHERE id = 701",
    "extra_row": "INSERT INTO keyless VALUES (4, 'four')",
    "lost_row": "DELETE FROM keyed WHERE k = 'k300'",
    "duplicated_pair": "INSERT INTO keyless VALUES (9, 'twin'), (9, 'twin')",
    "swapped_values": "UPDATE keyless SET b = CASE a WHEN 1 THEN 'two' WHEN 2 THEN 'one' ELSE b END",
    "changed_type": "UPDATE keyless SET a = CAST(a AS REAL) WHERE a = 1",
    "lost_table": "DROP TABLE backwards",
    "extra_table": "CREATE TABLE surplus (a)",
    "lost_index": "DROP INDEX orders_by_customer",
}


class TestSqlite(EngineContract):
    kind = EngineKind.SQLITE
    good_setting = ("user_version", "7")
    awkward_names: ClassVar[tuple[str, ...]] = (
        'tenant-1/it\'s "quoted".sqlite3',
        "host=x dbname=y",
        "zürich ☃ 数据.db",
        "a b/c d/e f",
        "%41?mode=memory&cache=shared#x",
        "x" * 63,
        "-rf",
        "back\\slash",
    )
    hostile_names: ClassVar[tuple[str, ...]] = (
        "",
        "a\x00b",
        "../outside.db",
        "a/../../outside.db",
        "/etc/passwd",
        "a//b",
        "./a",
        ":memory:/..",
        ".sc-hidden",
        "orders-wal",
        "x" * 300,
    )

    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[SqliteEngine]:
        self.root = tmp_path / "root"
        engine = SqliteEngine(Endpoint(path=str(self.root)), None)
        yield engine
        await engine.close()
        assert [path for path in self.root.rglob(".sc-*")] == []

    def fresh(self, readable: str = "db") -> str:
        return f"tenant-t1/{super().fresh(readable)}.sqlite3"

    def path(self, name: str) -> Path:
        return self.root / name

    @pytest.fixture
    async def unreachable(self, tmp_path: Path) -> AsyncIterator[SqliteEngine]:
        (tmp_path / "file").touch()
        yield SqliteEngine(Endpoint(path=str(tmp_path / "file" / "root")), None)

    async def fill(self, name: str) -> dict[str, int]:
        return fill_file(self.path(name))

    async def plant(self, name: str, fault: str) -> None:
        with closing(sqlite3.connect(self.path(name), isolation_level=None)) as db:
            db.execute(FAULTS[fault])

    async def prepare_writes(self, name: str) -> None:
        with closing(sqlite3.connect(self.path(name))) as db:
            db.executescript("CREATE TABLE l (n INTEGER PRIMARY KEY, x); CREATE TABLE r (n, x);")

    async def write_pair(self, name: str, number: int) -> None:
        await asyncio.to_thread(self._write_pair, name, number)

    def _write_pair(self, name: str, number: int) -> None:
        with closing(sqlite3.connect(self.path(name), isolation_level=None, timeout=20)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO l VALUES (?, randomblob(3000))", (number,))
            db.execute("INSERT INTO r VALUES (?, randomblob(3000))", (number,))
            db.execute("COMMIT")

    async def pairs(self, name: str) -> tuple[int, int]:
        with closing(sqlite3.connect(self.path(name))) as db:
            return db.execute("SELECT (SELECT count(*) FROM l), (SELECT count(*) FROM r)").fetchone()

    async def leftovers(self, name: str) -> list[str]:
        beside = self.path(name).parent
        if not beside.exists():
            return []
        own = [path.name for path in beside.glob(".sc-*")]
        return own + [
            path.name for path in beside.iterdir() if path.name.startswith(self.path(name).name + "-")
        ]

    # -- what is particular to files --------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", ["wal", "delete"])
    async def test_the_whole_file_comes_back(
        self, engine: SqliteEngine, backup: Backup, target: str, mode: str
    ) -> None:
        source = self.fresh()
        settings = {"journal_mode": mode, "page_size": "8192", "auto_vacuum": "incremental"}
        await engine.databases.create(source, settings)
        await self.fill(source)
        manifest = await self.restored(backup, source, target)
        assert compare(manifest, await backup.measure(target, manifest)) == ()
        with closing(sqlite3.connect(self.path(target))) as db:
            pragmas = (
                "user_version",
                "application_id",
                "page_size",
                "auto_vacuum",
                "journal_mode",
                "encoding",
            )
            got = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
            assert got == [41, 1234567, 8192, 2, mode, "UTF-8"]
            assert db.execute("SELECT count(*) FROM found WHERE found MATCH 'fox'").fetchone() == (1,)
            assert db.execute("SELECT id FROM boxes WHERE x0 > 3").fetchall() == [(2,)]
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with (
            closing(sqlite3.connect(self.path(source))) as a,
            closing(sqlite3.connect(self.path(target))) as b,
        ):
            assert _contents(a) == _contents(b)

    async def test_utf16_databases_round_trip(
        self, engine: SqliteEngine, backup: Backup, target: str
    ) -> None:
        source = self.fresh()
        await engine.databases.create(source, {})
        self.path(source).unlink()
        with closing(sqlite3.connect(self.path(source))) as db:
            db.executescript(
                "PRAGMA encoding='UTF-16le'; CREATE TABLE t (a); INSERT INTO t VALUES ('ü☃'), ('z');"
            )
        manifest = await self.restored(backup, source, target)
        assert compare(manifest, await backup.measure(target, manifest)) == ()

    async def test_a_dump_does_not_stop_writers_in_wal_mode(
        self, engine: SqliteEngine, backup: Backup, database: str
    ) -> None:
        await self.prepare_writes(database)
        await self.write_pair(database, 0)
        async with backup.dump(database, no_progress) as dump:
            await asyncio.wait_for(self.write_pair(database, 1), 2)
            _ = [piece async for piece in dump.pieces()]
            rows = {found.name: found.rows for found in dump.manifest.objects}
        assert (rows["l"], rows["r"]) == (1, 1)

    async def test_a_dump_in_rollback_mode_is_one_moment(
        self, engine: SqliteEngine, backup: Backup, database: str, target: str
    ) -> None:
        await engine.databases.configure(database, {"journal_mode": "delete"})
        await self.test_a_dump_under_concurrent_writes_is_one_moment(backup, database, target)

    async def test_a_read_only_file_can_be_backed_up(
        self, engine: SqliteEngine, backup: Backup, database: str, target: str
    ) -> None:
        await engine.databases.configure(database, {"journal_mode": "delete"})
        await self.fill(database)
        self.path(database).chmod(0o400)
        manifest = await self.restored(backup, database, target)
        assert compare(manifest, await backup.measure(target, manifest)) == ()

    async def test_files_of_applications_with_functions_of_their_own(
        self, engine: SqliteEngine, backup: Backup, target: str
    ) -> None:
        await engine.health()
        with closing(sqlite3.connect(self.root / "app.db")) as db:
            db.create_function("ff", 1, lambda value: value, deterministic=True)
            db.create_collation("zz", lambda a, b: (a > b) - (a < b))
            db.executescript(
                "CREATE TABLE c (a TEXT COLLATE zz PRIMARY KEY, b CHECK (ff(b) > 0)) WITHOUT ROWID;"
                "CREATE TABLE g (a, b AS (ff(a)), s AS (ff(a)) STORED); CREATE INDEX gi ON g (ff(a));"
                "INSERT INTO c VALUES ('x', 1), ('y', 2); INSERT INTO g (a) VALUES (1), (2);"
            )
        pieces, manifest = await dumped(backup, "app.db")
        report = await backup.restore(replay(pieces), target, manifest, no_progress)
        assert compare(manifest, await backup.measure(target, manifest)) == ()
        assert report.skipped

    async def test_hash_does_not_depend_on_physical_order(
        self, engine: SqliteEngine, backup: Backup, database: str, target: str
    ) -> None:
        await engine.databases.create(target, {})
        for name, order in ((database, (1, 2, 3, 4)), (target, (3, 1, 4, 2))):
            with closing(sqlite3.connect(self.path(name), isolation_level=None)) as db:
                db.executescript(
                    "CREATE TABLE a (k INTEGER PRIMARY KEY, v); CREATE TABLE b (k TEXT PRIMARY KEY)"
                )
                for n in order:
                    db.execute("INSERT INTO a VALUES (?, ?)", (n, n * n))
                    db.execute("INSERT INTO b VALUES (?)", (str(n),))
        _, manifest = await dumped(backup, database)
        assert compare(manifest, await backup.measure(target, manifest)) == ()

    async def test_flat_memory(self, engine: SqliteEngine, backup: Backup, database: str) -> None:
        with closing(sqlite3.connect(self.path(database), isolation_level=None)) as db:
            db.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v)")
            db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) "
                "INSERT INTO t SELECT i, randomblob(1000) FROM n"
            )
        before, peak = _resident(), 0
        async with backup.dump(database, no_progress) as dump:
            async for piece in dump.pieces():
                assert len(piece.data) <= 1 << 20
                peak = max(peak, _resident())
        assert peak - before < 30 << 20

    async def test_existing_sees_databases_only(self, engine: SqliteEngine, database: str) -> None:
        (self.root / "text.db").write_bytes(b"x" * 4096)
        (self.root / "nothing").write_bytes(b"")
        (self.root / ".sc-leftover").write_bytes(self.path(database).read_bytes())
        (self.root / "link.db").symlink_to(self.path(database))
        outside = self.root.parent / "outside"
        outside.mkdir()
        (outside / "foreign.db").write_bytes(self.path(database).read_bytes())
        (self.root / "linked").symlink_to(outside)
        deep = self.root / "/".join("abcdefghijk")
        deep.mkdir(parents=True)
        (deep / "deep.db").write_bytes(self.path(database).read_bytes())
        found = {found.physical_name for found in await engine.databases.existing()}
        (self.root / ".sc-leftover").unlink()
        assert found == {database}

    async def test_a_file_without_a_byte_is_an_empty_database(self, engine: SqliteEngine) -> None:
        await engine.databases.existing()
        (self.root / "empty.db").touch()
        assert [found.physical_name for found in await engine.databases.existing()] == ["empty.db"]
        assert (await engine.databases.schema("empty.db")).objects == ()

    async def test_looking_for_databases_keeps_the_locks_of_this_process(
        self, engine: SqliteEngine, database: str
    ) -> None:
        await engine.databases.configure(database, {"journal_mode": "delete"})
        await self.fill(database)
        write = f"import sqlite3; sqlite3.connect({str(self.path(database))!r}, timeout=0.1).executescript('DELETE FROM log')"
        with closing(sqlite3.connect(self.path(database), isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM log").fetchone()
            await engine.databases.existing()
            await engine.databases.stats(database)
            done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", write], capture_output=True)
        assert b"locked" in done.stderr

    async def test_links_are_refused(self, engine: SqliteEngine, database: str, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "x.db").write_bytes(self.path(database).read_bytes())
        (self.root / "folder").symlink_to(outside)
        (self.root / "x.db").symlink_to(outside / "x.db")
        for name in ("folder/x.db", "x.db"):
            with pytest.raises(InvalidRequest):
                await engine.databases.stats(name)
        with pytest.raises(StorageError):
            await engine.databases.create("folder/new.db", {})
        assert not (outside / "new.db").exists()
        (tmp_path / "linked").symlink_to(self.root)
        linked = SqliteEngine(Endpoint(path=str(tmp_path / "linked")), None)
        with pytest.raises(InvalidRequest):
            await linked.databases.existing()

    async def test_drop_leads_nowhere_else(self, engine: SqliteEngine, tmp_path: Path) -> None:
        victim = tmp_path / "victim.db"
        victim.write_text("precious")
        await engine.health()
        (self.root / "folder").symlink_to(tmp_path)
        for name in ("../victim.db", "folder/victim.db"):
            with pytest.raises(InvalidRequest):
                await engine.databases.drop(name)
        assert victim.read_text() == "precious"

    async def test_modes_are_private(self, engine: SqliteEngine, database: str) -> None:
        for path, mode in (
            (self.root, 0o700),
            (self.path(database).parent, 0o700),
            (self.path(database), 0o600),
        ):
            assert stat.S_IMODE(path.stat().st_mode) == mode

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            (None, "invalid_request"),
            ("relative", "invalid_request"),
            ("/nowhere/at/all", "engine_unreachable"),
            ("/proc/no-folder-can-be-made-here", "missing_privilege"),
        ],
    )
    async def test_check_explains_a_bad_root(self, path: str | None, code: str) -> None:
        engine = SqliteEngine(Endpoint(path=path), None)
        steps = await engine.check()
        assert (steps[0].status, steps[0].code) == (StepStatus.FAILED, code)
        assert steps[0].fix
        assert all(step.status is StepStatus.SKIPPED for step in steps[1:])
        assert not (await engine.health()).online

    async def test_configure_is_all_or_none(self, engine: SqliteEngine, database: str) -> None:
        await engine.databases.configure(
            database, {"page_size": "1024", "auto_vacuum": "full", "user_version": "3"}
        )
        details = dict((await engine.databases.stats(database)).details)
        assert (details["page_size"], details["auto_vacuum"], details["journal_mode"]) == (1024, 1, "wal")
        for bad in ({"page_size": "1000"}, {"user_version": "1; DROP TABLE x"}, {"journal_mode": "off"}):
            with pytest.raises(InvalidRequest) as caught:
                await engine.databases.configure(database, {"application_id": "9", **bad})
            assert caught.value.field == f"settings.{next(iter(bad))}"
        with closing(sqlite3.connect(self.path(database))) as db:
            assert db.execute("PRAGMA application_id").fetchone() == (0,)
            assert db.execute("PRAGMA user_version").fetchone() == (3,)

    async def test_optimize_gives_space_back(self, engine: SqliteEngine, database: str) -> None:
        await self.fill(database)
        with closing(sqlite3.connect(self.path(database))) as db:
            db.execute("DROP TABLE orders")
            db.commit()
        report = await engine.databases.optimize(database)
        assert report.size_after < report.size_before

    async def test_a_hostile_file_is_refused(self, backup: Backup, database: str, target: str) -> None:
        await self.fill(database)
        pieces, manifest = await dumped(backup, database)
        whole = b"".join(piece.data for piece in pieces)
        broken = bytearray(whole)
        broken[4096 * 3 : 4096 * 3 + 600] = os.urandom(600)
        for data in (b"#!/bin/sh\n" * 1000, whole[:-4096], whole + bytes(4096), bytes(broken)):
            with pytest.raises(DamagedArtifact):
                await backup.restore(replay([Piece("database.sqlite3", data)]), target, manifest, no_progress)
            assert await self.leftovers(target) == []

    async def test_a_stale_journal_is_not_replayed_into_a_new_file(
        self, engine: SqliteEngine, backup: Backup, database: str, target: str
    ) -> None:
        await self.fill(database)
        pieces, manifest = await dumped(backup, database)
        with closing(sqlite3.connect(self.path(database))) as db:
            db.execute("CREATE TABLE from_the_journal (a)")
            journal = self.path(database + "-wal").read_bytes()
        assert journal
        self.path(target + "-wal").write_bytes(journal)
        await backup.restore(replay(pieces), target, manifest, no_progress)
        assert compare(manifest, await backup.measure(target, manifest)) == ()
        await engine.databases.drop(target)
        self.path(target + "-wal").write_bytes(journal)
        await engine.databases.create(target, {})
        assert (await engine.databases.schema(target)).objects == ()

    async def test_cancelled_while_it_gets_its_name_it_is_gone_too(
        self,
        engine: SqliteEngine,
        backup: Backup,
        database: str,
        target: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        named = threading.Event()

        def slow(made: Path, path: Path) -> None:
            publish(made, path)
            named.set()
            time.sleep(0.1)

        monkeypatch.setattr("storage_core.providers.sqlite.restore.publish", slow)
        pieces, manifest = await dumped(backup, database)
        work = asyncio.create_task(backup.restore(replay(pieces), target, manifest, no_progress))
        await asyncio.to_thread(named.wait, 10)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert target not in await self.names(engine)

    async def test_private_files_of_dead_processes_are_reaped(
        self, engine: SqliteEngine, database: str
    ) -> None:
        folder = self.path(database).parent
        dead, alive, young = (folder / f".sc-{name}" for name in ("dead", "alive", "young"))
        files = [private_file(path) for path in (dead, alive, young)]
        os.close(files[0])
        os.close(files[2])
        for path in (dead, alive):
            os.utime(path, (1, 1))
        await engine.databases.existing()
        assert [path.exists() for path in (dead, alive, young)] == [False, True, True]
        os.close(files[1])
        alive.unlink()
        young.unlink()

    async def test_dropped_files_take_their_journals_along(self, engine: SqliteEngine, database: str) -> None:
        await self.fill(database)
        with closing(sqlite3.connect(self.path(database))) as db:
            db.execute("DELETE FROM log")
            db.commit()
            assert self.path(database + "-wal").exists()
            await engine.databases.drop(database)
        assert await self.leftovers(database) == []

    async def test_a_cancelled_dump_ends_its_threads(
        self, engine: SqliteEngine, backup: Backup, database: str
    ) -> None:
        await self.fill(database)

        async def work() -> None:
            async with backup.dump(database, no_progress) as dump:
                async for _ in dump.pieces():
                    await asyncio.sleep(30)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        with closing(sqlite3.connect(self.path(database), isolation_level=None, timeout=0.1)) as db:
            db.execute("PRAGMA journal_mode=delete")  # needs the file alone

    async def test_a_directory_is_no_database(self, engine: SqliteEngine, database: str) -> None:
        with pytest.raises(StorageError):
            await engine.databases.stats("tenant-t1")
        with pytest.raises(NotFound):
            await engine.databases.stats(database + "/below")


def _contents(db: sqlite3.Connection) -> list[object]:
    db.text_factory = bytes
    names = [
        row[0].decode()
        for row in db.execute("SELECT name FROM sqlite_schema WHERE type='table' AND rootpage")
    ]
    return [
        (name, db.execute(f'SELECT * FROM "{name.replace(chr(34), chr(34) * 2)}"').fetchall())
        for name in names
    ]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


value = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(value, value), max_size=12), raw=st.binary(max_size=20))
def test_any_values_round_trip(tmp_path: Path, rows: list[tuple[object, object]], raw: bytes) -> None:
    """Whatever can be stored measures equal after a restore, and unequal once one value's type is another."""

    async def check() -> None:
        root = tmp_path / os.urandom(4).hex()
        engine = SqliteEngine(Endpoint(path=str(root)), None)
        await engine.databases.create("a", {})
        with closing(sqlite3.connect(root / "a")) as db:
            db.execute("CREATE TABLE t (a, b)")
            db.execute("CREATE TABLE k (a, b, n INTEGER PRIMARY KEY)")
            db.executemany("INSERT INTO t VALUES (?, ?)", rows)
            db.executemany("INSERT INTO k (a, b) VALUES (?, ?)", rows)
            db.execute("INSERT INTO k (a, b) VALUES (CAST(? AS TEXT), 1)", (raw,))
            db.commit()
        assert engine.backup is not None
        pieces, manifest = await dumped(engine.backup, "a")
        await engine.backup.restore(replay(pieces), "b", manifest, no_progress)
        assert compare(manifest, await engine.backup.measure("b", manifest)) == ()
        with closing(sqlite3.connect(root / "b")) as db:
            db.execute("UPDATE k SET b = '1' WHERE n = (SELECT max(n) FROM k)")
            db.commit()
        (difference,) = compare(manifest, await engine.backup.measure("b", manifest))
        assert difference.object == "k"

    with ThreadPoolExecutor(
        1
    ) as pool:  # Hypothesis is synchronous, and pytest's own loop may be running here
        pool.submit(asyncio.run, check()).result()


async def test_a_file_that_goes_while_all_are_listed_is_simply_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SqliteEngine(Endpoint(path=str(tmp_path)), None)
    for name in ("goes.sqlite3", "stays.sqlite3"):
        await engine.databases.create(name, {})
    real = place.entries

    def entries(folder: Path) -> list[os.DirEntry[str]]:
        found = real(folder)
        (folder / "goes.sqlite3").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(place, "entries", entries)
    assert [one.physical_name for one in await engine.databases.existing()] == ["stays.sqlite3"]
