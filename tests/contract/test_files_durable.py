"""What databases of files promise when processes are killed, disks fill up, and several write at once."""

# ruff: noqa: ASYNC240 - a test looks at small files of its own

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tinydb

from storage_core.domain.errors import Conflict, EngineFailure, InvalidRequest, NotFound, StorageFull
from storage_core.domain.provider import Endpoint
from storage_core.domain.record import Find, Index, Row, Write
from storage_core.ports.collection import Collection
from storage_core.providers.files import journal as journals
from storage_core.providers.files import shelf as shelves
from storage_core.providers.files.engine import FileEngine
from storage_core.providers.files.journal import Journal
from storage_core.providers.localfile.engine import LocalFileEngine
from storage_core.providers.localfile.form import file_of
from storage_core.providers.tinydb.engine import TinyEngine

T0 = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)

KINDS: dict[str, type[FileEngine]] = {"tinydb": TinyEngine, "localfile": LocalFileEngine}

pytestmark = pytest.mark.parametrize("kind", KINDS)


def name_on(kind: str) -> str:
    return "orders.json" if kind == "tinydb" else "orders"


def journal_on(root: Path, kind: str) -> Path:
    return root / ("orders.json-journal" if kind == "tinydb" else "orders/_sc/journal")


@asynccontextmanager
async def opened(kind: str, root: Path) -> AsyncIterator[tuple[FileEngine, Collection]]:
    """An engine with its own eyes and locks, as another process has them."""
    engine = KINDS[kind](Endpoint(path=str(root)), None)
    if name_on(kind) not in {found.physical_name for found in await engine.databases.existing()}:
        await engine.databases.create(name_on(kind), {})
    assert engine.collections is not None
    try:
        yield engine, engine.collections.collection(name_on(kind), "things")
    finally:
        await engine.close()


async def dying(engine: FileEngine) -> None:
    """Let go of everything as a killed process does: nothing is tidied."""
    for shelf in list(engine._shelves.live.values()):
        await shelf.close()
    engine._shelves.live.clear()


async def contents(kind: str, root: Path) -> dict[str, Row]:
    async with opened(kind, root) as (engine, things):
        rows, find = dict[str, Row](), Find(limit=1000)
        while page := await things.find(find):
            rows |= {row.id: row for row in page}
            find = Find(limit=1000, after=(page[-1].id,))
        await dying(engine)
        return rows


WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from storage_core.domain.provider import Endpoint
from storage_core.domain.record import Write
from storage_core.providers.files import shelf
from storage_core.providers.{kind}.engine import {engine} as Engine

shelf.CHECKPOINT_BYTES = 30_000
T0 = datetime(2026, 3, 4, tzinfo=UTC)

async def main(root, name, who, begin):
    engine = Engine(Endpoint(path=root), None)
    things = engine.collections.collection(name, "things")

    async def one(lane):
        for i in range(begin, 10**6):
            id = f"{who}-{lane}-{i}"
            await things.insert(id, {"i": i, "pad": "x" * (i * 37 % 900)}, T0)
            print("insert", id, i, flush=True)
            if i % 3 == 0:
                await things.patch(id, {("j",): i}, T0)
                print("patch", id, i, flush=True)
            if i % 5 == 0:
                await things.delete(id)
                print("delete", id, i, flush=True)
            if i % 7 == 0:
                await things.insert_many([Write(f"{id}-{k}", {"i": i, "k": k}) for k in range(4)], T0)
                print("many", id, i, flush=True)

    await asyncio.gather(*(one(lane) for lane in range(3)))

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


def start(kind: str, root: Path, who: str, begin: int) -> subprocess.Popen[str]:
    script = WRITER.replace("{kind}", kind).replace("{engine}", KINDS[kind].__name__)
    command = [sys.executable, "-c", script, str(root), name_on(kind), who, str(begin)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())


def check(said: list[str], rows: dict[str, Row]) -> None:
    """Every acknowledged write is there; what was not acknowledged is absent or whole."""
    last: dict[str, list[str]] = {}
    for line in said:
        word, id, _ = line.split()
        last.setdefault(id, []).append(word)
    for id, words in last.items():
        row = rows.get(id)
        if "delete" in words:
            assert row is None, id
        elif row is None:  # only a delete that nobody heard of may have been done
            assert int(id.rsplit("-", 1)[1]) % 15 == 0 or int(id.rsplit("-", 1)[1]) % 5 == 0, id
        elif "patch" in words:
            assert row.body["j"] == row.body["i"] and row.version == 2
        if "many" in words:
            assert all(f"{id}-{k}" in rows for k in range(4)), id
    for row in rows.values():
        body = dict(row.body)
        body.pop("j", None)
        i = body["i"]
        assert body in ({"i": i, "pad": "x" * (i * 37 % 900)}, {"i": i, "k": body.get("k")}), row.id
    many = [id.rsplit("-", 1)[0] for id in rows if id.count("-") == 3]
    assert all(many.count(id) == 4 for id in set(many)), "a call is done whole or not at all"


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.torture)])
async def test_kill_9_loses_nothing_acknowledged(kind: str, tmp_path: Path, kills: int) -> None:
    async with opened(kind, tmp_path):
        pass
    dice, said, begin = random.Random(kills), list[str](), 0
    for round in range(kills):
        pair = [start(kind, tmp_path, who, begin) for who in ("a", "b")]
        for child in pair:
            assert child.stdout is not None
            line = await asyncio.to_thread(child.stdout.readline)
            assert line
            said.append(line)
        await asyncio.sleep(dice.random() * 0.5)
        for child in pair:
            child.send_signal(signal.SIGKILL)
        for child in pair:
            assert child.stdout is not None
            out = await asyncio.to_thread(child.stdout.read)
            child.wait()
            said += [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
        begin = 1000 + max(int(line.split()[2]) for line in said)
        rows = await contents(kind, tmp_path)
        check(said, rows)
        assert len(rows) > round


async def test_nothing_is_told_or_seen_before_it_is_durable(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, let, synced = threading.Event(), threading.Event(), list[int]()

    def slow(file: int, real: Any = os.fdatasync) -> None:
        syncing.set()
        let.wait(20)
        real(file)
        synced.append(file)

    async with opened(kind, tmp_path) as (_, things):
        await things.insert("a", {"n": 1}, T0)
        monkeypatch.setattr(os, "fdatasync", slow)
        writes = [
            asyncio.ensure_future(things.patch("a", {("n",): 2}, T0)),
            asyncio.ensure_future(things.insert("b", {}, T0)),
        ]
        assert await asyncio.to_thread(syncing.wait, 20)
        row = await things.get("a")
        assert row is not None and row.version == 1 and await things.get("b") is None
        assert await things.count(None) == 1
        assert not any(write.done() for write in writes)
        later = [asyncio.ensure_future(things.insert(f"{n}", {}, T0)) for n in range(50)]
        let.set()
        await asyncio.gather(*writes, *later)
        assert len(synced) <= 3, "writes that wait become durable together"
        assert await things.count(None) == 52


async def test_a_crash_between_any_two_steps_of_a_checkpoint_changes_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, copies, one = tmp_path / "root", list[Path](), threading.RLock()
    root.mkdir()

    def copied() -> None:
        with one:
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(root, copies[-1])

    for module in (os, Path):
        for call in ("replace", "rename", "fsync", "fdatasync", "link", "unlink"):
            if (real := getattr(module, call, None)) is not None:

                def watched(*args: Any, real: Any = real, **more: Any) -> Any:
                    copied()
                    return real(*args, **more)

                monkeypatch.setattr(module, call, watched)
    async with opened(kind, root) as (engine, things):
        await things.insert_many([Write(f"{n}", {"n": n}) for n in range(5)], T0)
        await things.create_index(Index("by_n", (("n",),), unique=True))
        await things.delete("3")
        await things.patch("4", {("x",): "y"}, T0)
        first = len(copies)
        await engine.databases.optimize(name_on(kind))
        copied()
        monkeypatch.undo()
        await things.insert("after", {"n": 9}, T0)
        expected = {row.id: row for row in await things.find(Find())}
        await dying(engine)
    copies = copies[first:]
    assert len(copies) > 4
    del expected["after"]
    for copy in copies:
        async with opened(kind, copy) as (engine, things):
            assert {row.id: row for row in await things.find(Find())} == expected, copy
            assert await things.indexes() == (Index("by_n", (("n",),), unique=True),)
            await things.insert("more", {"n": 10}, T0)
            await dying(engine)
        assert len(await contents(kind, copy)) == len(expected) + 1


async def test_a_torn_tail_is_cut_and_damage_is_refused(kind: str, tmp_path: Path) -> None:
    root, file = tmp_path / "root", journal_on(tmp_path / "root", kind)
    root.mkdir()
    async with opened(kind, root) as (engine, things):
        await things.insert("a", {"n": 1}, T0)
        await things.insert("b", {"n": 2}, T0)
        before = file.stat().st_size
        shutil.copytree(root, tmp_path / "two")
        await things.insert("c", {"n": 3}, T0)
        await dying(engine)
    whole = file.read_bytes()
    base = tmp_path / "two"  # the tree without c, as if its file had not been written yet
    for at in [*range(before, len(whole), 7), len(whole) - 1]:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base, copy)
        journal_on(copy, kind).write_bytes(whole[:at] + bytes(at % 3 * 10))
        assert set(await contents(kind, copy)) == {"a", "b"}, at
        async with opened(kind, copy) as (engine, things):
            await things.insert("d", {}, T0)
            await dying(engine)
        assert set(await contents(kind, copy)) == {"a", "b", "d"}
    for at in (before - 5, before + 20, len(whole) - 5):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base, copy)
        journal_on(copy, kind).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(EngineFailure, match="damaged"):
            await contents(kind, copy)


async def test_processes_see_each_other_s_writes_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "CHECKPOINT_BYTES", 2_000)
    async with opened(kind, tmp_path) as (_, one), opened(kind, tmp_path) as (other_engine, two):
        for n in range(60):
            writer, reader = (one, two) if n % 2 else (two, one)
            await writer.insert(f"{n}", {"n": n, "pad": "x" * 100}, T0)
            row = await reader.get(f"{n}")
            assert row is not None and row.body["n"] == n
            await reader.delete(f"{n}", version=1)
            assert await writer.get(f"{n}") is None
            assert await writer.count(None) == 0
        await one.create_index(Index("u", (("n",),), unique=True))
        assert await two.indexes() == (Index("u", (("n",),), unique=True),)
        await two.insert("n", {"n": 0}, T0)

        async def increment(things: Collection) -> None:
            for _ in range(25):
                while True:
                    row = await things.get("n")
                    assert row is not None
                    try:
                        await things.patch("n", {("n",): row.body["n"] + 1}, T0, version=row.version)
                        break
                    except Conflict:
                        continue

        await asyncio.gather(*(increment(things) for things in (one, two, one, two)))
        row = await one.get("n")
        assert row is not None and row.body["n"] == 100 == row.version - 1
        await other_engine.databases.drop(name_on(kind))
        for call in (one.get("n"), one.insert("x", {}, T0), one.count(None)):
            with pytest.raises(NotFound):
                await call


async def test_what_a_process_had_no_time_to_spread_another_takes_into_its_checkpoint(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as (engine, one), opened(kind, tmp_path) as (other, two):
        assert engine.collections is not None
        gone = engine.collections.collection(name_on(kind), "gone")
        await one.insert_many([Write(id, {"n": 1}) for id in "abc"], T0)
        await gone.insert_many([Write(id, {}) for id in "xy"], T0)
        await two.count(None)

        def dead(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        engine._form.spread = dead  # type: ignore[method-assign]  # as if it were killed there, every time
        await one.insert("d", {"n": 4}, T0)
        await one.patch("a", {("n",): 2}, T0)
        await one.delete("b")
        await engine.collections.drop(name_on(kind), "gone")
        await two.insert("e", {}, T0)
        expected = {row.id: row for row in await two.find(Find())}
        assert set(expected) == {"a", "c", "d", "e"}
        await other._shelves.live[name_on(kind)].checkpoint()
        await dying(other)
        await dying(engine)
    assert await contents(kind, tmp_path) == expected
    async with opened(kind, tmp_path) as (engine, _):
        assert engine.collections is not None
        assert await engine.collections.names(name_on(kind)) == ("things",)
        await engine.collections.collection(name_on(kind), "gone").insert("z", {}, T0)
        assert await engine.collections.collection(name_on(kind), "gone").count(None) == 1


async def test_a_full_disk_refuses_the_write_and_keeps_the_rest(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(kind, tmp_path) as (_, things):
        await things.insert("a", {}, T0)

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(journals.os, "pwrite", full)
            with pytest.raises(StorageFull):
                await things.insert("b", {}, T0)
        assert await things.get("b") is None
        await things.insert("c", {}, T0)
        assert [row.id for row in await things.find(Find())] == ["a", "c"]


async def test_a_journal_of_another_database_is_refused(kind: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        root.mkdir()
        async with opened(kind, root) as (engine, things):
            await things.insert("a", {}, T0)
            await dying(engine)
    shutil.copy(journal_on(one, kind), journal_on(two, kind))
    with pytest.raises(EngineFailure, match="go on from"):
        await contents(kind, two)


async def test_what_others_put_there_stays_theirs(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as (engine, things):
        await things.insert("a", {"n": 1}, T0)
        if kind == "tinydb":
            await engine.databases.optimize(name_on(kind))
            with tinydb.TinyDB(tmp_path / "orders.json") as db:
                assert db.table("things").all() == [{"n": 1, "sc_": db.table("things").all()[0]["sc_"]}]
                db.table("theirs").insert({"big": 2**70})
                db.table("things").insert({"by": "TinyDB", "n": 2**70})
        else:
            (tmp_path / "orders" / "theirs").mkdir()
            (tmp_path / "orders" / ".sc-half-dropped" / "00").mkdir(parents=True)
            (tmp_path / "orders" / "theirs" / "x.json").write_text("{}")
        await engine.databases.optimize(name_on(kind))
        assert engine.collections is not None
        with pytest.raises(Conflict, match="theirs"):
            await engine.collections.collection(name_on(kind), "theirs").insert("x", {}, T0)
        assert await engine.collections.names(name_on(kind)) == ("things",)
        await things.insert("b", {}, T0)
    if kind == "tinydb":
        with tinydb.TinyDB(tmp_path / "orders.json") as db:
            assert db.table("theirs").all() == [{"big": 2**70}]
            assert {doc["sc_"]["id"] for doc in db.table("things")} == {"a", "b", "2"}
    else:
        assert (tmp_path / "orders" / "theirs" / "x.json").read_text() == "{}"
        assert not (tmp_path / "orders" / ".sc-half-dropped").exists()


async def test_a_hostile_journal_or_list_leads_nowhere(kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with opened(kind, root) as (engine, _):
        await dying(engine)
    journal = Journal.open(journal_on(root, kind)) if journal_on(root, kind).exists() else None
    if journal is None:
        async with opened(kind, root) as (engine, things):
            await things.count(None)
            await dying(engine)
        journal = Journal.open(journal_on(root, kind))
    journal.read()
    line = ["put", "../../outside", "x", 1, T0.isoformat(), T0.isoformat(), False, {}]
    journal.append(json.dumps([line]).encode())
    journal.close()
    with pytest.raises(EngineFailure):
        await contents(kind, root)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


async def test_documents_can_be_read_and_mended_with_an_editor(kind: str, tmp_path: Path) -> None:
    if kind == "tinydb":
        pytest.skip("one file")
    file = tmp_path / "orders" / "things" / file_of("o-1")
    async with opened(kind, tmp_path) as (engine, things):
        await things.insert("o-1", {"n": 1}, T0)
        found = json.loads(file.read_text())
        assert (found["id"], found["version"], found["data"]) == ("o-1", 1, {"n": 1})
        await engine.databases.optimize(name_on(kind))
        found["data"]["n"] = 2
        file.write_text(json.dumps(found))
        with pytest.raises(EngineFailure, match="edited"):
            await engine.databases.optimize(name_on(kind))
        del found["hash"]
        file.write_text(json.dumps(found))
        row = await things.get("o-1")
        assert row is not None and row.body == {"n": 2}


async def test_links_are_not_followed(kind: str, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    async with opened(kind, root) as (engine, things):
        await things.insert("a", {}, T0)
        await dying(engine)
    if kind == "tinydb":
        shutil.move(root / "orders.json", outside / "orders.json")
        (root / "orders.json").symlink_to(outside / "orders.json")
    else:
        shutil.move(root / "orders" / "things", outside / "things")
        (root / "orders" / "things").symlink_to(outside / "things")
    engine = KINDS[kind](Endpoint(path=str(root)), None)
    assert engine.collections is not None
    with pytest.raises((InvalidRequest, EngineFailure)):
        await engine.collections.collection(name_on(kind), "things").insert("b", {}, T0)
    await engine.close()
    assert not list(outside.rglob("*b.json"))


async def test_more_databases_than_may_be_open(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage_core.providers.files.shelves.MAX_OPEN", 3)
    engine = KINDS[kind](Endpoint(path=str(tmp_path)), None)
    names = [f"{n}{'.json' if kind == 'tinydb' else ''}" for n in range(8)]
    assert engine.collections is not None
    for name in names:
        await engine.databases.create(name, {})

    async def work(name: str) -> None:
        assert engine.collections is not None
        things = engine.collections.collection(name, "things")
        for n in range(10):
            await things.insert(f"{n}", {"name": name}, T0)
            assert await things.count(None) == n + 1

    await asyncio.gather(*map(work, names))
    await engine.databases.create(f"last-{names[0]}", {})
    await engine.collections.collection(f"last-{names[0]}", "things").count(None)
    assert len(engine._shelves.live) == 3, "what rests makes room"
    assert await engine.collections.collection(names[0], "things").count(None) == 10
    await engine.close()
