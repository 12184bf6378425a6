"""A database from the disk into memory: its checkpoint, then what its journal says happened since."""

import time
from dataclasses import dataclass
from pathlib import Path

from ...domain.errors import EngineFailure, Locked
from .errors import damaged, nowhere
from .form import Form, Kept
from .journal import Journal, changing
from .state import State
from .stored import Change, Dropped, Gone, Put, Stored, changes_of
from .table import Table
from .tree import Tree

#: How long to wait for another process that writes, and how long between two looks.
PATIENCE, PAUSE = 10.0, 0.002
#: How often a journal may be replaced under our hands before something is wrong.
TRIES = 100


@dataclass(slots=True)
class Loaded:
    """A database in memory with its open journal, which is locked."""

    journal: Journal
    state: State
    stamp: object
    touched: set[tuple[str, str]]


def load(form: Form, path: Path) -> Loaded:
    """Blocking. What a crash left half done is finished: a stale journal replaced, files written that lag behind.

    :raises NotFound: there is no database. :raises Locked: another process does not let go of it.
    :raises EngineFailure: damage.
    """
    journal = locked(form, path)
    try:
        return _loaded(form, path, journal)
    except BaseException:
        journal.close()
        raise


def locked(form: Form, path: Path) -> Journal:
    """The journal that is in force, locked, made where there is none."""
    where = form.journal(path)
    deadline = time.monotonic() + PATIENCE
    for _ in range(TRIES):
        try:
            journal = Journal.open(where)
        except FileNotFoundError:
            try:
                return Journal.make(where, form.base(path), "", over=False)
            except FileExistsError:
                continue
            except (FileNotFoundError, NotADirectoryError) as error:
                raise nowhere(path.name) from error
        if _waited(journal, deadline):
            return journal
    raise EngineFailure(f"The journal of {path.name} does not stay the same.", hint="Try again.")


def _waited(journal: Journal, deadline: float) -> bool:
    """Whether the lock was had, and the journal is still in force."""
    try:
        while not journal.lock():
            if time.monotonic() > deadline:
                raise busy(journal.path)
            time.sleep(PAUSE)
        if not journal.replaced:
            return True
    except BaseException:
        journal.close()
        raise
    journal.close()
    return False


def busy(path: Path) -> Locked:
    return Locked(
        f"Another process has been writing {path.name} for {PATIENCE:g} seconds.", hint="Try again."
    )


def _loaded(form: Form, path: Path, journal: Journal) -> Loaded:
    lines = journal.read() if journal.end == 0 else []
    changes = [change for line in changing(lines) for change in changes_of(line)]
    touched = {(change.collection, id) for change in changes if (id := document_of(change)) is not None}
    try:
        stamp = form.stamp(path)
        kept = form.read(path, {change.collection for change in changes}, touched)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise nowhere(path.name) from error
    if journal.base != kept.base:
        if journal.base != kept.replaces:
            raise damaged(journal.path, f"it does not go on from what is in {path.name}")
        # The checkpoint holds all that is in the journal: whoever made it ended before the journal's turn came.
        fresh = Journal.make(journal.path, kept.base, journal.base, over=True)
        journal.close()
        journal = fresh
        changes.clear()
        touched.clear()
    state = state_of(kept)
    form.spread(path, _replayed(state, changes))
    return Loaded(journal, state, stamp, touched)


def document_of(change: Change) -> str | None:
    """The id of the document a change is about."""
    return change.stored.id if isinstance(change, Put) else change.id if isinstance(change, Gone) else None


def keys_of(change: Change, state: State) -> set[tuple[str, str]]:
    """The documents that a change, which is not applied yet, is about."""
    name = change.collection
    if isinstance(change, Dropped):
        return {(name, id) for id in state.tables[name].rows} if name in state.tables else set()
    id = document_of(change)
    return set() if id is None else {(name, id)}


def found_in(state: State, name: str, id: str) -> Stored | None:
    table = state.tables.get(name)
    return None if table is None else table.rows.get(id)


def state_of(kept: Kept) -> State:
    state = State(kept.base, foreign=kept.foreign)
    for name, rows in kept.tables.items():
        table = Table.of(rows)
        table.trees = {i.name: Tree(i, rows) for i in kept.indexes.get(name, ())}
        state.add(name, table)
    return state


def kept_of(state: State, base: str) -> Kept:
    """A checkpoint of a state as it is now, which later changes do not reach."""
    return Kept(
        base,
        state.base,
        {name: list(table.rows.values()) for name, table in state.tables.items()},
        {name: tuple(tree.index for tree in table.trees.values()) for name, table in state.tables.items()},
        state.foreign,
    )


def _replayed(state: State, changes: list[Change]) -> list[Change]:
    """Apply what a journal holds; answers what of it had not reached the checkpoint."""
    names = {change.collection for change in changes}
    before = {name: dict(table.rows) for name, table in state.tables.items() if name in names}
    dropped = {change.collection for change in changes if isinstance(change, Dropped)}
    keys = {(change.collection, id) for change in changes if (id := document_of(change)) is not None}
    for change in changes:
        state.apply(change)
    gone: list[Change] = [Dropped(name) for name in sorted(dropped - state.tables.keys())]
    for name in dropped & state.tables.keys():
        keys |= {(name, id) for id in (*before.get(name, {}), *state.tables[name].rows)}
    lagging: list[Change] = []
    for name, id in sorted(keys):
        if name in state.tables:
            was, now = before.get(name, {}).get(id), state.tables[name].rows.get(id)
            if now is None and was is not None:
                lagging.append(Gone(name, id))
            elif now is not None and not now.same(was):
                lagging.append(Put(name, now))
    return [*gone, *lagging]
