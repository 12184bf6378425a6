"""TinyDB and local files hold the engines' contract and the collections', by the same code and two forms on the disk."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tinydb

from storage_core.domain.errors import InvalidRequest
from storage_core.domain.provider import Endpoint, EngineKind
from storage_core.domain.record import Index, Write
from storage_core.ports.collection import Collections
from storage_core.ports.engine import Engine
from storage_core.providers.files.engine import FileEngine
from storage_core.providers.localfile.engine import LocalFileEngine
from storage_core.providers.tinydb.engine import TinyEngine
from tests.contract.collection_contract import DELICATE, MIXED, CollectionContract
from tests.contract.engine_contract import EngineContract

T0 = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may take its time: what is durable, and when, is looked at in `test_files_durable`."""
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda _: None)


class FileEngineContract(EngineContract):
    made: ClassVar[type[FileEngine]]
    ending: ClassVar[str]
    good_setting = EngineContract.bad_setting  # there are none
    hostile_names: ClassVar[tuple[str, ...]] = (
        "",
        "a\x00b",
        "../outside.json",
        "a/../../outside.json",
        "/etc/passwd",
        "a//b.json",
        "./a.json",
        ".sc-hidden.json",
        "x" * 300 + ".json",
    )

    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[FileEngine]:
        self.root = tmp_path / "root"
        self.now = engine = self.made(Endpoint(path=str(self.root)), None)
        yield engine
        await engine.close()
        assert [path for path in self.root.rglob(".sc-*")] == []

    @pytest.fixture
    async def unreachable(self, tmp_path: Path) -> AsyncIterator[FileEngine]:
        (tmp_path / "file").touch()
        yield self.made(Endpoint(path=str(tmp_path / "file" / "root")), None)

    def fresh(self, readable: str = "db") -> str:
        return f"tenant-t1/{super().fresh(readable)}{self.ending}"

    def path(self, name: str) -> Path:
        return self.root / name

    @property
    def collections(self) -> Collections:
        assert self.now.collections is not None
        return self.now.collections

    async def fill(self, name: str) -> dict[str, int]:
        orders = self.collections.collection(name, "orders")
        await orders.insert_many(
            [Write(f"o-{n}", {"n": n, "customer": f"customer {n % 97}", "total": n / 7}) for n in range(200)],
            T0,
        )
        await orders.create_index(Index("by_customer", (("customer",),)))
        await orders.create_index(Index("by_n", (("n",),), unique=True))
        await orders.change_many([Write(f"o-{n}", {"n": n, "changed": True}) for n in range(50)], T0)
        await orders.change_many([Write(f"o-{n}") for n in range(50, 60)], T0)
        awkward = self.collections.collection(name, "awkward")
        await awkward.insert("delicate", DELICATE, T0)
        await awkward.insert("Größe/../x", {"sc_": 1, "sc__": 2}, T0, tagged=True)
        await awkward.insert_many([Write(f"m{n}", body) for n, body in enumerate(MIXED)], T0)
        keyless = self.collections.collection(name, "keyless")
        await keyless.insert_many([Write(str(n), {"a": n, "b": f"b{n}"}) for n in (1, 2, 3)], T0)
        return {"orders": 190, "awkward": len(MIXED) + 2, "keyless": 3}

    async def test_configure_accepts_a_known_setting(self, engine: Engine, database: str) -> None:
        await engine.databases.configure(database, {})
        with pytest.raises(InvalidRequest):
            await engine.databases.configure(database, {"journal_mode": "wal"})

    async def prepare_writes(self, name: str) -> None:
        for side in "lr":
            await self.collections.collection(name, side).insert("0", {}, T0)
            await self.collections.collection(name, side).delete("0")

    async def write_pair(self, name: str, number: int) -> None:
        async with self.collections.transaction(name) as session:
            for side in "lr":
                await session.collection(side).insert(str(number), {"pad": secrets.token_hex(1500)}, T0)

    async def leftovers(self, name: str) -> list[str]:
        beside = self.path(name).parent
        if not beside.exists():
            return []
        await asyncio.sleep(0)
        own = [path.name for path in beside.glob(".sc-*")]
        return own + [p.name for p in beside.iterdir() if p.name.startswith(self.path(name).name + "-")]


class TestTinyDb(FileEngineContract):
    kind = EngineKind.TINYDB
    made = TinyEngine
    ending = ".json"
    awkward_names: ClassVar[tuple[str, ...]] = (
        'tenant-1/it\'s "quoted".json',
        "host=x dbname=y.json",
        "zürich ☃ 数据.json",
        "a b/c d/e f.json",
        "x" * 58 + ".json",
        "-rf.json",
        "back\\slash.json",
        ".json",
    )

    async def fill(self, name: str) -> dict[str, int]:
        with tinydb.TinyDB(self.path(name)) as db:
            db.table("of others").insert_multiple([{"n": 2**70}, {"x": [1, {"y": None}]}])
        return {**await super().fill(name), "of others": 2}

    async def leftovers(self, name: str) -> list[str]:
        return [
            found
            for found in await super().leftovers(name)
            if not self.path(name).exists() or found.startswith(".sc-")
        ]

    async def plant(self, name: str, fault: str) -> None:
        with tinydb.TinyDB(self.path(name)) as db:
            table, where = db.table("keyless"), tinydb.where
            if fault == "flipped_row":
                table.update({"b": "b9"}, where("a") == 1)
            elif fault in ("extra_row", "duplicated_pair"):
                for _ in range(2 if fault == "duplicated_pair" else 1):
                    table.insert({"a": 1, "b": "twin"})
            elif fault == "lost_row":
                table.remove(where("a") == 2)
            elif fault == "swapped_values":
                table.update({"b": "b2"}, where("a") == 1)
                table.update({"b": "b1"}, where("a") == 2)
            elif fault == "changed_type":
                table.update({"a": 1.0}, where("b") == "b1")
            elif fault == "lost_table":
                db.drop_table("keyless")
            elif fault == "extra_table":
                db.table("surplus").insert({})
            else:
                about = db.table("_sc").all()[0]["collections"]
                about["orders"]["indexes"] = about["orders"]["indexes"][1:]
                db.table("_sc").update({"collections": about})

    async def pairs(self, name: str) -> tuple[int, int]:
        with tinydb.TinyDB(self.path(name)) as db:
            return len(db.table("l")), len(db.table("r"))


class TestLocalFiles(FileEngineContract):
    kind = EngineKind.LOCALFILE
    made = LocalFileEngine
    ending = ""
    awkward_names: ClassVar[tuple[str, ...]] = (
        'tenant-1/it\'s "quoted"',
        "host=x dbname=y",
        "zürich ☃ 数据",
        "a b/c d/e f",
        "x" * 63,
        "-rf",
        "back\\slash",
    )

    async def plant(self, name: str, fault: str) -> None:
        folder = self.path(name) / "keyless"
        files = {json.loads(p.read_text())["id"]: p for p in folder.rglob("*.json")}

        def edit(id: str, **data: Any) -> None:
            found = json.loads(files[id].read_text())
            found["data"] |= data
            files[id].write_text(json.dumps(found))

        def add(id: str) -> None:
            found = json.loads(files["1"].read_text()) | {"id": id, "data": {"twin": 1}}
            (folder / "00" / f"{id}.json").parent.mkdir(exist_ok=True)
            (folder / "00" / f"{id}.json").write_text(json.dumps(found))

        if fault == "flipped_row":
            edit("1", b="b9")
        elif fault == "extra_row":
            add("one")
        elif fault == "duplicated_pair":
            add("one")
            add("two")
        elif fault == "lost_row":
            files["2"].unlink()
        elif fault == "swapped_values":
            edit("1", b="b2")
            edit("2", b="b1")
        elif fault == "changed_type":
            edit("1", a=1.0)
        else:
            about = self.path(name) / "_sc" / "about.json"
            found = json.loads(about.read_text())
            if fault == "lost_table":
                del found["collections"]["keyless"]
            elif fault == "extra_table":
                found["collections"]["surplus"] = {"indexes": []}
            else:
                del found["collections"]["orders"]["indexes"][0]
            about.write_text(json.dumps(found))

    async def pairs(self, name: str) -> tuple[int, int]:
        left, right = (len(list((self.path(name) / side).rglob("*.json"))) for side in "lr")
        return left, right


class FileCollectionContract(CollectionContract):
    made: ClassVar[type[FileEngine]]

    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[FileEngine]:
        engine = self.made(Endpoint(path=str(tmp_path)), None)
        yield engine
        await engine.close()

    @pytest.fixture
    def collections(self, engine: FileEngine) -> Collections:
        assert engine.collections is not None
        return engine.collections

    @pytest.fixture
    async def database(self, engine: FileEngine) -> AsyncIterator[str]:
        name = f"tenant-t1/sc_{secrets.token_hex(5)}" + (".json" if self.made is TinyEngine else "")
        await engine.databases.create(name, {})
        yield name
        await engine.databases.drop(name)


class TestTinyCollections(FileCollectionContract):
    made = TinyEngine


class TestLocalFileCollections(FileCollectionContract):
    made = LocalFileEngine
