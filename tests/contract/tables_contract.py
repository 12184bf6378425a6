"""What every engine's tables must hold: rows that others made, browsed, filtered and mended."""

import secrets
from typing import Any, ClassVar

import pytest

from storage_core.domain.errors import Conflict, InvalidRequest, NameTaken, NotFound, VersionConflict
from storage_core.domain.query import parse_where
from storage_core.domain.table import CUT, RowsFind, TableRow
from storage_core.domain.value import Mode, operand
from storage_core.ports.engine import Engine
from storage_core.ports.tables import Tables

#: number, label, amount, note; `id` counts from 1.
ROWS = [
    (10, "c", 1.5, None),
    (1, "a", None, "x" * (CUT + 5)),
    (2, "b", -2.0, "line\nbreak"),
    (2, "B", 0.25, ""),
    (None, "'quote\"", None, "ü"),
]


class TablesContract:
    """The suite. Hooks: the fixture `engine`, and `made`, which fills `things` and `keyless` in a database."""

    things: ClassVar[str] = "things"
    keyless: ClassVar[str] = "keyless"

    async def made(self, engine: Engine, name: str) -> None:
        raise NotImplementedError

    @pytest.fixture
    async def place(self, engine: Engine) -> tuple[Tables, str]:
        name = self.name()
        await engine.databases.create(name, {})
        await self.made(engine, name)
        assert engine.tables is not None
        return engine.tables, name

    def name(self) -> str:
        return f"sc_tables_{secrets.token_hex(4)}"

    async def ids(
        self, place: tuple[Tables, str], where: dict[str, Any] | None = None, sort: str = ""
    ) -> list[Any]:
        tables, name = place
        keys = tuple((key.removeprefix("-"), key.startswith("-")) for key in sort.split(",") if key)
        rows = await tables.find(
            name, self.things, RowsFind(parse_where(where, operand(Mode.STRICT), ()), keys)
        )
        return [row.data["id"] for row in rows]

    async def only(self, place: tuple[Tables, str], id: int) -> TableRow:
        tables, name = place
        [row] = await tables.find(
            name, self.things, RowsFind(parse_where({"id": id}, operand(Mode.STRICT), ()))
        )
        return row

    async def test_a_table_is_described(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        table = await tables.describe(name, self.things)
        assert [(c.name, c.key) for c in table.columns] == [
            ("id", True), ("number", False), ("label", False), ("amount", False), ("note", False)
        ]  # fmt: skip
        assert table.fixed == ""
        for missing in ("nothing", "", "no.such.thing", 'a"b', "things; drop table things"):
            with pytest.raises(NotFound):
                await tables.describe(name, missing)

    async def test_rows_come_with_their_values(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        rows = await tables.find(name, self.things, RowsFind(sort=(("id", False),)))
        shown = [tuple(row.data[c] for c in ("number", "label", "amount")) for row in rows]
        assert shown == [row[:3] for row in ROWS]
        assert [row.cut for row in rows] == [(), ("note",), (), (), ()]
        assert rows[1].data["note"] == "x" * CUT
        assert rows[1].key is not None
        whole = await tables.get(name, self.things, rows[1].key)
        assert whole.data["note"] == ROWS[1][3] and whole.cut == ()

    async def test_filters_and_orders(self, place: tuple[Tables, str]) -> None:
        assert await self.ids(place, {"number": {"$gte": 2}}) == [1, 3, 4]
        assert await self.ids(place, {"number": None}) == [5]
        assert await self.ids(place, {"number": {"$ne": 2}}) == [1, 2, 5]
        assert await self.ids(place, {"label": {"$in": ["a", "'quote\""]}}) == [2, 5]
        assert await self.ids(place, {"$or": [{"note": "line\nbreak"}, {"amount": {"$lt": 0.5}}]}) == [3, 4]
        assert await self.ids(place, {"$not": {"note": {"$exists": True}}}) == [1]
        assert await self.ids(place, sort="number") == [5, 2, 3, 4, 1]
        assert await self.ids(place, sort="-number,-id") == [1, 4, 3, 2, 5]
        tables, name = place
        with pytest.raises(InvalidRequest) as refused:
            await tables.find(
                name, self.things, RowsFind(parse_where({"nothing": 1}, operand(Mode.STRICT), ()))
            )
        assert refused.value.field == "where.nothing"
        assert await tables.count(name, self.things, None, 100) == 5
        assert await tables.count(name, self.things, None, 3) == 3

    @pytest.mark.parametrize("sort", ["", "number", "-number", "amount,-label", "-note"])
    async def test_pages_follow_each_other(self, place: tuple[Tables, str], sort: str) -> None:
        tables, name = place
        whole = await self.ids(place, sort=sort)
        keys = tuple((key.removeprefix("-"), key.startswith("-")) for key in sort.split(",") if key)
        seen: list[Any] = []
        after = None
        while rows := await tables.find(name, self.things, RowsFind(None, keys, 2, after)):
            seen += [row.data["id"] for row in rows]
            after = rows[-1].place
        assert seen == whole and len(seen) == len(ROWS)

    async def test_rows_are_added_changed_and_deleted(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        made = await tables.insert(name, self.things, {"number": 9, "label": "new"})
        assert made.key is not None and made.data["label"] == "new" and made.data["note"] is None
        changed = await tables.update(
            name, self.things, made.key, {"note": "n", "number": None}, {"label": "new", "number": 9}
        )
        assert (changed.data["note"], changed.data["number"]) == ("n", None)
        with pytest.raises(VersionConflict):
            await tables.update(name, self.things, made.key, {"note": "m"}, {"number": 9})
        with pytest.raises(VersionConflict):
            await tables.delete(name, self.things, made.key, {"note": "m"})
        await tables.delete(name, self.things, made.key, {"note": "n"})
        with pytest.raises(NotFound):
            await tables.get(name, self.things, made.key)
        with pytest.raises(NotFound):
            await tables.update(name, self.things, made.key, {"note": "m"}, {})
        with pytest.raises(NotFound):
            await tables.delete(name, self.things, "nonsense", {})
        assert len(await self.ids(place)) == len(ROWS)

    async def test_wrong_values_are_refused_and_nothing_changes(self, place: tuple[Tables, str]) -> None:
        tables, name = place
        row = await self.only(place, 1)
        assert row.key is not None
        with pytest.raises(InvalidRequest):
            await tables.update(name, self.things, row.key, {"nothing": 1}, {})
        with pytest.raises(InvalidRequest):
            await tables.update(name, self.things, row.key, {}, {})
        with pytest.raises(NameTaken):
            await tables.insert(name, self.things, {"id": 1, "label": "x"})
        with pytest.raises(Conflict):
            await tables.insert(name, self.things, {"label": None})
        assert (await self.only(place, 1)).data == row.data

    async def test_rows_that_cannot_be_told_apart_are_shown_and_left_alone(
        self, place: tuple[Tables, str]
    ) -> None:
        tables, name = place
        assert (await tables.describe(name, self.keyless)).fixed
        rows = await tables.find(name, self.keyless, RowsFind())
        assert len(rows) == 2 and rows[0].key is None
        with pytest.raises(Conflict):
            await tables.insert(name, self.keyless, {})
