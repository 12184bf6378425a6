"""TinyDB as its documentation shows it: one JSON file, written whole with every change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinydb import TinyDB, where


class RawTiny:
    name = "tinydb"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self) -> None:
        self._db = TinyDB(self._path)
        self._orders = self._db.table("orders")

    async def insert(self, id: str, data: dict[str, Any]) -> Any:
        self._orders.insert({"id": id, "version": 1, **data})

    async def bulk(self, items: Sequence[tuple[str, dict[str, Any]]]) -> Any:
        self._orders.insert_multiple({"id": id, "version": 1, **data} for id, data in items)

    async def get(self, id: str) -> Any:
        assert self._orders.get(where("id") == id) is not None

    async def find(self, user: int, status: str) -> Any:
        return self._orders.search((where("user_id") == user) & (where("status") == status))[:20]

    async def update(self, id: str, version: int, qty: int) -> Any:
        mine = (where("id") == id) & (where("version") == version)
        assert self._orders.update({"qty": qty, "version": version + 1}, mine)

    async def delete(self, id: str) -> Any:
        assert self._orders.remove(where("id") == id)

    async def close(self) -> None:
        self._db.close()
