"""One collection in memory: its documents by id and in order of id, its indexes, and what is found in it."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...domain.query import Node, projected
from ...domain.record import Find, Row, SortKey
from .asking import is_after, orders_of, test_of
from .stored import Stored
from .tree import Tree, conjuncts

T = TypeVar("T")

#: Orders of a table that are kept until it changes: pages of one query ask for the same again and again.
KEPT_ORDERS = 4


@dataclass(slots=True)
class Search(Generic[T]):
    """A question put to a table as it is now. `run` may be called in another thread; `cost` are rows to look at."""

    cost: int
    run: Callable[[], T]


@dataclass(slots=True)
class Table:
    """Changed by `put` and `drop` alone, on one thread; `Search`es keep what they need."""

    rows: dict[str, Stored] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    #: Grows with every change.
    moves: int = 0
    _orders: dict[tuple[SortKey, ...], list[Stored]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Stored]) -> "Table":
        by_id = {stored.id: stored for stored in rows}
        return cls(by_id, {}, sorted(by_id))

    def put(self, stored: Stored) -> None:
        old = self.rows.get(stored.id)
        self.rows[stored.id] = stored
        self.moves += 1
        if old is None:
            if not self.ids or stored.id > self.ids[-1]:
                self.ids.append(stored.id)
            else:
                insort(self.ids, stored.id)
        for tree in self.trees.values():
            if old is not None:
                tree.remove(old)
            tree.add(stored)
        if self._orders:
            self._orders = {}

    def drop(self, id: str) -> Stored | None:
        old = self.rows.pop(id, None)
        if old is not None:
            self.moves += 1
            del self.ids[bisect_left(self.ids, id)]
            for tree in self.trees.values():
                tree.remove(old)
            if self._orders:
                self._orders = {}
        return old

    def find(self, find: Find) -> Search[list[Row]]:
        """A page, or what is left to do for it."""
        chosen = self._chosen(find.where)
        if chosen is None and not find.sort:
            return self._by_id(find)
        rows = chosen if chosen is not None else list(self.rows.values())
        orders = self._orders

        def run() -> list[Row]:
            found = orders.get(find.sort) if chosen is None else None
            if found is None:
                found = _sorted(rows, find.sort)
                if chosen is None and len(orders) < KEPT_ORDERS:
                    orders[find.sort] = found
            start = 0 if find.after is None else _first(found, find)
            return _page(found, start, find)

        return Search(len(rows), run)

    def count(self, where: Node | None) -> Search[int]:
        if where is None:
            size = len(self.rows)
            return Search(0, lambda: size)
        chosen = self._chosen(where)
        rows = chosen if chosen is not None else list(self.rows.values())
        test = test_of(where)
        return Search(len(rows), lambda: sum(map(test, rows)))

    def _by_id(self, find: Find) -> Search[list[Row]]:
        start = 0 if find.after is None else bisect_right(self.ids, find.after[-1])
        end = start + find.limit if find.where is None else len(self.ids)
        rows = list(map(self.rows.__getitem__, self.ids[start:end]))
        return Search(len(rows), lambda: _page(rows, 0, find))

    def _chosen(self, where: Node | None) -> list[Stored] | None:
        """What the index leaves that leaves the least; none where none helps."""
        if not self.trees or where is None:
            return None
        conditions = conjuncts(where)
        best: tuple[int, Tree, list[tuple[int, int]]] | None = None
        for tree in self.trees.values():
            spans = tree.spans(conditions)
            size = sum(high - low for low, high in spans) if spans is not None else 0
            if spans is not None and (best is None or size < best[0]):
                best = (size, tree, spans)
        if best is None:
            return None
        return list(map(self.rows.__getitem__, best[1].ids(best[2])))


def _sorted(rows: list[Stored], sort: tuple[SortKey, ...]) -> list[Stored]:
    found = sorted(rows, key=lambda stored: stored.id)
    for look, down in reversed(orders_of(sort)):
        found.sort(key=look, reverse=down)
    return found


def _first(rows: list[Stored], find: Find) -> int:
    """Where in rows in order those begin that come after a page's end."""
    behind = is_after(find.sort, find.after or ())
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if behind(rows[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def _page(rows: list[Stored], start: int, find: Find) -> list[Row]:
    test = None if find.where is None else test_of(find.where)
    out: list[Row] = []
    for at in range(start, len(rows)):
        if len(out) >= find.limit:
            break
        if test is None or test(rows[at]):
            out.append(rows[at].row())
    for row in out if find.fields is not None else ():
        row.body = projected(row.body, find.fields or ())
    return out
