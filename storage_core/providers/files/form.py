"""How an engine of files keeps a database on the disk, beside its journal."""

import os
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...domain.provider import EngineKind
from ...domain.record import Index
from .names import Shape
from .stored import Change, Stored, index_of

#: Documents as they must be, by collection and id; none where one is gone.
Told = Mapping[tuple[str, str], Stored | None]


@dataclass(slots=True)
class Kept:
    """A checkpoint: a database as of one moment. `base` is its own name, `replaces` the one before.

    `foreign` is what others put there, by name.
    """

    base: str = ""
    replaces: str = ""
    tables: dict[str, list[Stored]] = field(default_factory=dict)
    indexes: dict[str, tuple[Index, ...]] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)


class Form(Protocol):
    """The checkpoint's form; `lags` is whether people miss in it what is in the journal. Every method blocks; errors of the system pass, damage is EngineFailure.

    Whoever calls `read`, `write`, `spread` and `remove` holds the journal's lock.
    """

    kind: EngineKind
    version: str
    shape: Shape
    lags: bool

    def journal(self, path: Path) -> Path:
        """Where a database's journal lies."""
        ...

    def stamp(self, path: Path) -> object:
        """Differs when somebody else has changed the checkpoint; FileNotFoundError when there is none."""
        ...

    def base(self, path: Path) -> str:
        """The checkpoint's own name; looked at without the lock. FileNotFoundError when there is none."""
        ...

    def read(self, path: Path, names: Collection[str], touched: Collection[tuple[str, str]]) -> Kept:
        """`names` are collections that the journal knows; of `touched` documents it has the last word, so what lies
        there may be anything."""
        ...

    def spread(self, path: Path, changes: Sequence[Change]) -> None:
        """Write durable changes to where people look for them, as far as that is not the checkpoint alone."""
        ...

    def settle(self, path: Path, touched: Iterable[tuple[str, str]]) -> None:
        """Make durable what `spread` wrote of these documents; without the lock, while others write."""
        ...

    def write(self, path: Path, kept: Kept, touched: Iterable[tuple[str, str]], told: Told) -> None:
        """Make a checkpoint durable, all at once. `touched` are the documents changed since the one before; `told`
        those that others changed, who may not have come to spread them."""
        ...

    def make(self, path: Path, kept: Kept) -> None:
        """Write a new database to a path where nothing is, durably but for its name."""
        ...

    def publish(self, made: Path, target: Path) -> None:
        """Give what was made its name, never over anything; NameTaken, durable."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a database with all that belongs to it; idempotent."""
        ...

    def size(self, path: Path) -> int: ...

    def is_database(self, path: Path) -> bool:
        """Whether what lies there is one, by a look into it."""
        ...


def new_base() -> str:
    """A name for a checkpoint that no other has."""
    return secrets.token_hex(8)


def size_of(path: Path) -> int:
    """Bytes of a file, none where there is none."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def index_as_json(index: Index) -> dict[str, Any]:
    return {"name": index.name, "paths": index.paths, "unique": index.unique}


def index_from_json(found: dict[str, Any]) -> Index:
    return index_of(found["name"], found["paths"], found["unique"])
