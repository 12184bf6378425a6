"""Orders and pages: kinds in the order of `domain.query`, ties by id, each page from where the one before ended.

MongoDB's own order differs from ours in three ways: booleans come after dictionaries, dictionaries and lists are told
apart, and a list sorts by one of its items. A page in its order is right all the same, and can use an index, where
every field of the body in it ascends and no value among its rows is a boolean, a dictionary or a list: those belong
behind whatever is on the page. `Sorted.plain` says whether that may be tried; else fields with each value's rank are
computed and sorted by, which reads whatever matches.
"""

import math
from dataclasses import dataclass
from typing import Any

from ...domain.query import Path, kind_of, order_of, value_at
from ...domain.record import Find, Row, SortKey
from .collection_filter import NO_LIST, OWN_KEYS, Condition, condition, own_value, walked
from .collection_form import BODY, is_simple, key_of

Stage = dict[str, Any]

#: The kinds that MongoDB's order and ours agree on: null or absent, numbers, texts.
AGREED = 3
SCALARS = 4
RANK = "rank"
#: The least value of each agreed kind beside null.
LEAST: tuple[Any, ...] = (None, -math.inf, "")


@dataclass(frozen=True, slots=True)
class Sorted:
    """An order without keys that decide nothing, and the place in it to begin behind."""

    keys: tuple[SortKey, ...]
    after: tuple[Any, ...] | None

    @classmethod
    def of(cls, find: Find) -> "Sorted":
        if not find.sort and find.after is None:
            return BY_ID
        keys: list[SortKey] = []
        places: list[Any] = []
        seen: set[tuple[str | None, Path | None]] = set()
        places_of = (None,) * (len(find.sort) + 1) if find.after is None else find.after
        for key, place in zip((*find.sort, SortKey(None, "id")), places_of, strict=True):
            named = (key.own, key.path)
            if named not in seen and ("id", None) not in seen:
                seen.add(named)
                keys.append(key)
                places.append(place)
        return cls(tuple(keys), None if find.after is None else tuple(places))

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(key.path for key in self.keys if key.path is not None)

    @property
    def plain(self) -> bool:
        """Whether MongoDB's own order may be tried."""
        if any(k.path is not None and (k.descending or len(k.path) > 1) for k in self.keys):
            return False
        if not all(is_simple(path) for path in self.paths):
            return False
        places = zip(self.keys, self.after or (), strict=False)
        return all(key.path is None or kind_of(place) < AGREED for key, place in places)

    def right(self, rows: list[Row], limit: int) -> list[Row] | None:
        """Rows that MongoDB's own order gave, in ours; none where they may not be the right ones."""
        paths = self.paths
        if not paths:
            return rows
        whole = len(rows) < limit
        if whole and self.after is not None:
            return None  # what stands behind all agreed kinds was left out, and may belong here
        if all(kind_of(row.body.get(path[0])) < AGREED for row in rows for path in paths):
            return rows
        return self._in_order(rows) if whole else None

    def _in_order(self, rows: list[Row]) -> list[Row]:
        for key in reversed(self.keys):
            if key.path is None:
                name = key.own or "id"
                rows.sort(key=lambda row, name=name: getattr(row, name), reverse=key.descending)
            else:
                path = key.path
                rows.sort(
                    key=lambda row, path=path: order_of(value_at(row.body, path)), reverse=key.descending
                )
        return rows

    def natural(self) -> dict[str, int]:
        """MongoDB's own sort."""
        return {_name(key): -1 if key.descending else 1 for key in self.keys}

    def behind(self, found: Condition) -> Condition:
        """A condition, and that a row stands behind `after`; by the first key, among rows of agreed kinds."""
        if self.after is None:
            return found
        if len(self.keys) == 1:
            later = _later(self.keys[0], self.after[0])[0]
        else:
            later = {"$or": list(self._places(self._later, _same))}
        return {"$and": [found, later]} if found else later

    def ranked(self, find: Find, project: Stage | None) -> list[Stage]:
        """A pipeline that reads the page by computed ranks."""
        named = [(key, f"{RANK}.{at}") for at, key in enumerate(self.keys) if key.path is not None]
        ranks: dict[str, Any] = {}
        for key, name in named:
            ranks[f"{name}.v"] = walked(key.path or ())
        stages: list[Stage] = [{"$match": condition(find.where)}, {"$set": ranks}]
        kinds = {f"{name}.k": _kind(f"${name}.v") for _, name in named}
        comparable = {
            f"{name}.v": {"$cond": [{"$in": [f"${name}.k", [1, 2, 3]]}, f"${name}.v", None]}
            for _, name in named
        }
        stages += [{"$set": kinds}, {"$set": comparable}]
        if self.after is not None:
            stages.append({"$match": {"$or": list(self._places(self._rank_later, self._rank_same))}})
        order: dict[str, int] = {}
        for at, key in enumerate(self.keys):
            down = -1 if key.descending else 1
            if key.path is None:
                order[_name(key)] = down
            else:
                order |= {f"{RANK}.{at}.k": down, f"{RANK}.{at}.v": down}
        return [*stages, {"$sort": order}, {"$limit": find.limit}, {"$project": project or {RANK: 0}}]

    def _places(self, later: Any, same: Any) -> Any:
        """One condition for each key: as `after` in those before it, later in this one."""
        before: list[Condition] = []
        for key, place in zip(self.keys, self.after or (), strict=True):
            for one in later(key, place):
                yield {"$and": [*before, one]} if before else one
            before.append(same(key, place))

    def _later(self, key: SortKey, place: Any) -> list[Condition]:
        found = _later(key, place)
        if key.path is None or key is self.keys[0]:
            return found
        return [*found, {_name(key): {"$type": ["bool", "object", "array"]}}]

    def _rank_later(self, key: SortKey, place: Any) -> list[Condition]:
        if key.path is None:
            return _later(key, place)
        beyond, kind = "$lt" if key.descending else "$gt", kind_of(place)
        name = f"{RANK}.{self.keys.index(key)}"
        found: list[Condition] = [{f"{name}.k": {beyond: kind}}]
        if 0 < kind < SCALARS:
            found.append({f"{name}.k": kind, f"{name}.v": {beyond: place}})
        return found

    def _rank_same(self, key: SortKey, place: Any) -> Condition:
        if key.path is None:
            return _same(key, place)
        kind, name = kind_of(place), f"{RANK}.{self.keys.index(key)}"
        same: Condition = {f"{name}.k": kind}
        return {**same, f"{name}.v": place} if 0 < kind < SCALARS else same


BY_ID = Sorted((SortKey(None, "id"),), None)


def projection(fields: tuple[Path, ...] | None, also: tuple[Path, ...]) -> Stage | None:
    """What the server leaves out; the rest is cut off by `query.projected`. None where it should send everything."""
    if fields is None:
        return None
    heads = {path[0] for path in (*fields, *also)}
    if not all(is_simple((head,)) for head in heads):
        return None
    kept: Stage = {"version": 1, "created_at": 1, "updated_at": 1, "tagged": 1}
    if not heads:
        return {**kept, BODY: {"$literal": {}}}
    return kept | {key_of((head,)): 1 for head in heads}


def _name(key: SortKey) -> str:
    return OWN_KEYS[key.own or "id"] if key.path is None else key_of(key.path)


def _later(key: SortKey, place: Any) -> list[Condition]:
    if key.path is None:
        operator = "$lt" if key.descending else "$gt"
        return [{_name(key): {operator: own_value(key.own or "id", place)}}]
    name, kind = _name(key), kind_of(place)
    found = [{name: {"$gt": place, **NO_LIST}}] if kind else []
    return found + [{name: {"$gte": least, **NO_LIST}} for least in LEAST[kind + 1 :]]


def _same(key: SortKey, place: Any) -> Condition:
    if key.path is None:
        return {_name(key): own_value(key.own or "id", place)}
    return {_name(key): {"$eq": place, **NO_LIST}}


def _kind(value: str) -> Any:
    """An expression for `query.kind_of`."""
    kind = {"$type": value}
    return {
        "$switch": {
            "branches": [
                {"case": {"$in": [kind, ["int", "long", "double"]]}, "then": 1},
                {"case": {"$eq": [kind, "string"]}, "then": 2},
                {"case": {"$in": [kind, ["missing", "null"]]}, "then": 0},
                {"case": {"$eq": [kind, "bool"]}, "then": 3},
            ],
            "default": 4,
        }
    }
