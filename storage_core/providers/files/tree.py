"""An index in memory: documents in order of some of their values."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Any

from ...domain.query import All, Compare, Member, Node, Op, order_of
from ...domain.record import Index
from .asking import look_at
from .stored import Stored

Key = tuple[tuple[int, Any], ...]


class _Top:
    """Above everything that a key may hold."""

    def __lt__(self, _: object) -> bool:
        return False

    def __gt__(self, _: object) -> bool:
        return True


TOP: Any = _Top()


class Tree:
    """Entries are the values' places in an order of kinds, then the id."""

    def __init__(self, index: Index, rows: Iterable[Stored]) -> None:
        self.index = index
        self._looks = [look_at(path) for path in index.paths]
        self._entries: list[tuple[Any, ...]] = sorted(self._entry(stored) for stored in rows)

    def key(self, stored: Stored) -> Key:
        return tuple(order_of(look(stored)) for look in self._looks)

    def add(self, stored: Stored) -> None:
        insort(self._entries, self._entry(stored))

    def remove(self, stored: Stored) -> None:
        at = bisect_left(self._entries, self._entry(stored))
        del self._entries[at]

    def holders(self, key: Key) -> Iterator[str]:
        """Ids of the documents with this key."""
        at = bisect_left(self._entries, key)
        while at < len(self._entries) and self._entries[at][:-1] == key:
            yield self._entries[at][-1]
            at += 1

    def first_twice(self) -> Key | None:
        """A key that two documents have which lack none of its values; none where all differ."""
        before: Key | None = None
        for entry in self._entries:
            key = entry[:-1]
            if key == before and not lacks(key):
                return key
            before = key
        return None

    def spans(self, conditions: list[Node]) -> list[tuple[int, int]] | None:
        """Where everything lies that these conditions, all at once, leave; none where the index is no help."""
        prefix: Key = ()
        for path in self.index.paths:
            mine = [c for c in conditions if isinstance(c, Compare | Member) and c.path == path]
            equal = next((c for c in mine if isinstance(c, Compare) and c.op is Op.EQ), None)
            if equal is not None:
                prefix = (*prefix, order_of(equal.value))
                continue
            among = next((c for c in mine if isinstance(c, Member)), None)
            if among is not None:
                return [self._span((*prefix, one)) for one in {order_of(v) for v in among.values}]
            bounds = [c for c in mine if isinstance(c, Compare)]
            return [self._range(prefix, bounds)] if bounds else [self._span(prefix)] if prefix else None
        return [self._span(prefix)]

    def ids(self, spans: list[tuple[int, int]]) -> list[str]:
        return [entry[-1] for low, high in spans for entry in self._entries[low:high]]

    def _span(self, prefix: Key) -> tuple[int, int]:
        return bisect_left(self._entries, prefix), bisect_right(self._entries, (*prefix, TOP))

    def _range(self, prefix: Key, bounds: list[Compare]) -> tuple[int, int]:
        low, high = 0, len(self._entries)
        for bound in bounds:
            kind, value = order_of(bound.value)
            at = (*prefix, (kind, value))
            begin, end = (*prefix, (kind,)), (*prefix, (kind + 1,))
            if bound.op in (Op.GT, Op.GTE):
                begin = (*at, TOP) if bound.op is Op.GT else at
            else:
                end = at if bound.op is Op.LT else (*at, TOP)
            low = max(low, bisect_left(self._entries, begin))
            high = min(high, bisect_left(self._entries, end))
        return low, max(low, high)

    def _entry(self, stored: Stored) -> tuple[Any, ...]:
        return (*self.key(stored), stored.id)


def lacks(key: Key) -> bool:
    """Whether one of a key's values is not there, or null: a unique index does not compare such a document."""
    return any(kind == 0 for kind, _ in key)


def conjuncts(node: Node | None) -> list[Node]:
    """Conditions that all must hold."""
    return [] if node is None else list(node.nodes) if isinstance(node, All) else [node]
