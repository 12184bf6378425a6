"""All of a database in memory, and what a batch of writes makes of it before it is durable."""

from dataclasses import dataclass, field
from typing import Any

from ...domain.errors import Conflict, NameTaken, NotFound, QuotaExceeded, VersionConflict
from ...domain.record import Quota, checked_collection
from .stored import Change, Dropped, Gone, Indexed, Put, Stored, Unindexed
from .table import Table
from .tree import Key, Tree, lacks


@dataclass(slots=True)
class State:
    """`base` names the checkpoint it grew from; `foreign` is what others put into the database."""

    base: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)
    documents: int = 0
    bytes: int = 0

    def apply(self, change: Change) -> None:
        match change:
            case Put(name, stored):
                table = self._made(name)
                old = table.rows.get(stored.id)
                table.put(stored)
                self._count(old, stored)
            case Gone(name, id):
                if name in self.tables:
                    self._count(self.tables[name].drop(id), None)
            case Dropped(name):
                table = self.tables.pop(name, None) or Table()
                for stored in table.rows.values():
                    self._count(stored, None)
            case Indexed(name, index, tree):
                table = self._made(name)
                table.trees[index.name] = tree or Tree(index, table.rows.values())
            case Unindexed(name, index):
                if name in self.tables:
                    self.tables[name].trees.pop(index, None)

    def add(self, name: str, table: Table) -> None:
        """A collection as a checkpoint kept it."""
        self.tables[name] = table
        for stored in table.rows.values():
            self._count(None, stored)

    def _made(self, name: str) -> Table:
        return self.tables.setdefault(name, Table())

    def _count(self, old: Stored | None, new: Stored | None) -> None:
        self.documents += (new is not None) - (old is not None)
        self.bytes += _size(new) - _size(old)


def _size(stored: Stored | None) -> int:
    return 0 if stored is None else len(stored.raw)


@dataclass(slots=True)
class _Ahead:
    """What a batch changed in one collection: documents, none where one is gone, and keys of unique indexes."""

    rows: dict[str, Stored | None] = field(default_factory=dict)
    keys: dict[tuple[str, Key], str] = field(default_factory=dict)


class Batch:
    """Writes that become durable together, each against what those before it left; readers see none of it yet."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.changes: list[Change] = []
        self._ahead: dict[str, _Ahead] = {}
        self._documents, self._bytes = state.documents, state.bytes

    def get(self, name: str, id: str) -> Stored | None:
        ahead = self._ahead.get(name)
        if ahead is not None and id in ahead.rows:
            return ahead.rows[id]
        table = self.state.tables.get(name)
        return None if table is None else table.rows.get(id)

    def there(self, name: str, id: str, version: int | None) -> Stored:
        """A document that is to be changed."""
        stored = self.get(name, id)
        if stored is None:
            raise NotFound(f"There is no document {id!r}.", field="id")
        if version is not None and version != stored.version:
            raise VersionConflict(
                f"The document {id!r} is at version {stored.version}.",
                field="version",
                hint="Read it again and repeat the change.",
            )
        return stored

    def put(self, name: str, stored: Stored, quota: Quota | None) -> None:
        """:raises NameTaken: a unique index holds the value already. :raises QuotaExceeded: it would be too much."""
        self.claim(name)
        old = self.get(name, stored.id)
        ahead = self._ahead.setdefault(name, _Ahead())
        keys = self._keys(name, stored, ahead)
        documents, size = self._documents + (old is None), self._bytes + _size(stored) - _size(old)
        if quota is not None:
            _admit(quota, self._documents, documents, self._bytes, size)
        self._forget(name, ahead, stored.id)
        ahead.rows[stored.id] = stored
        for key in keys:
            ahead.keys[key] = stored.id
        self._documents, self._bytes = documents, size
        self.changes.append(Put(name, stored))

    def remove(self, name: str, stored: Stored) -> None:
        ahead = self._ahead.setdefault(name, _Ahead())
        self._forget(name, ahead, stored.id)
        ahead.rows[stored.id] = None
        self._documents -= 1
        self._bytes -= _size(stored)
        self.changes.append(Gone(name, stored.id))

    def claim(self, name: str) -> None:
        """Refuse a collection's name that is none, or where something lies that others made."""
        if name in self.state.tables:
            return
        checked_collection(name)
        if name in self.state.foreign:
            raise Conflict(
                f"There is something called {name} in the database that is no collection of this program's.",
                field="collection",
                hint="Take another name, or move the other away.",
            )

    def _keys(self, name: str, stored: Stored, ahead: _Ahead) -> list[tuple[str, Key]]:
        table = self.state.tables.get(name)
        out: list[tuple[str, Key]] = []
        for tree in table.trees.values() if table is not None else ():
            if not tree.index.unique or lacks(key := tree.key(stored)):
                continue
            mark = (tree.index.name, key)
            holder = ahead.keys.get(mark, stored.id)
            if holder != stored.id or any(
                id != stored.id and id not in ahead.rows for id in tree.holders(key)
            ):
                raise NameTaken(
                    f"Another document holds the value that {tree.index.name} keeps unique.",
                    field=tree.index.name,
                )
            out.append(mark)
        return out

    def _forget(self, name: str, ahead: _Ahead, id: str) -> None:
        """Free the keys that this batch gave to a document which it changes once more."""
        before = ahead.rows.get(id)
        if before is None or not ahead.keys:
            return
        for tree in self.state.tables[name].trees.values():
            ahead.keys.pop((tree.index.name, tree.key(before)), None)


class Draft(Batch):
    """A batch that grows over several calls, while others write: it remembers what it looked at."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._seen: dict[tuple[str, str], Stored | None] = {}
        self._searched: dict[str, tuple[Table | None, int]] = {}

    def get(self, name: str, id: str) -> Stored | None:
        stored = Batch.get(self, name, id)
        ahead = self._ahead.get(name)
        if ahead is None or id not in ahead.rows:
            self._seen.setdefault((name, id), stored)
        return stored

    def searched(self, name: str) -> Table:
        """The collection as it is with this batch's changes; looked at as a whole."""
        found = self.state.tables.get(name)
        table = found or Table()
        self._searched.setdefault(name, (found, table.moves))
        ahead = self._ahead.get(name)
        if ahead is None:
            return table
        rows = {**table.rows, **ahead.rows}
        return Table.of(stored for stored in rows.values() if stored is not None)

    def settled(self, state: State, quota: Quota | None) -> list[Change]:
        """The changes, made anew upon what is there now; Conflict where what was looked at is not the same."""
        batch = Batch(state)
        for (name, id), stored in self._seen.items():
            if batch.get(name, id) is not stored:
                raise _collision(f"The document {id!r} of {name}")
        for name, (table, moves) in self._searched.items():
            if state.tables.get(name) is not table or (table is not None and table.moves != moves):
                raise _collision(f"The collection {name}")
        for change in self.changes:
            match change:
                case Put(name, stored):
                    batch.put(name, stored, quota)
                case Gone(name, id):
                    batch.remove(name, batch.there(name, id, None))
                case _:
                    batch.changes.append(change)
        return batch.changes


def _collision(what: str) -> Conflict:
    return Conflict(f"{what} was changed by somebody else meanwhile.", hint="Repeat the whole transaction.")


def _admit(quota: Quota, documents: int, more: int, size: int, bigger: int) -> None:
    if quota.documents is not None and more > documents and more > quota.documents:
        raise QuotaExceeded(f"The database may hold {quota.documents} documents.", field="documents")
    if quota.bytes is not None and bigger > size and bigger > quota.bytes:
        raise QuotaExceeded(f"The database may hold {quota.bytes} bytes of documents.", field="bytes")
