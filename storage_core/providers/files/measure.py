"""Counting and hashing a database for the proof, apart from what made the manifest.

It follows the rules written down in `backup`, but reads the files and the journal with code of its own, and nothing
from memory: what it finds is what is on the disk.
"""

import contextlib
import fcntl
import json
import os
import time
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from ...domain.backup import ManifestObject
from ...domain.errors import EngineFailure

_SECONDS = 10.0


@dataclass(slots=True)
class Found:
    """A checkpoint as plain JSON: documents by collection and id, indexes by collection and name."""

    base: str
    replaces: str
    documents: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    indexes: dict[str, dict[str, tuple[Any, bool]]] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


def measured(journal: Path, look: Callable[[], Found]) -> tuple[ManifestObject, ...]:
    """Everything that is in the database now, nobody writing meanwhile."""
    with _quiet(journal) as file:
        found = look()
        if file is not None:
            _replay(found, os.pread(file, os.fstat(file).st_size, 0))
    out = [
        ManifestObject(name, "collection", len(rows), _hash(rows)) for name, rows in found.documents.items()
    ]
    for name, indexes in found.indexes.items():
        for index, (paths, unique) in indexes.items():
            text = json.dumps([paths, unique]).encode()
            out.append(ManifestObject(f"{name}.{index}", "index", 0, blake3(text).hexdigest()))
    for name, table in found.tables.items():
        text = json.dumps(table, sort_keys=True).encode()
        out.append(ManifestObject(name, "table", len(table), blake3(text).hexdigest()))
    return tuple(out)


@contextlib.contextmanager
def _quiet(journal: Path) -> Generator[int | None]:
    """The journal's file, locked; none where there is no journal."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            file = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        with contextlib.closing(os.fdopen(file, "rb")), contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                yield file
                return
        if time.monotonic() > deadline:
            raise EngineFailure(f"{journal.name} is in use without an end.", hint="Try again.")
        time.sleep(0.005)


def _replay(found: Found, text: bytes) -> None:
    lines = text.split(b"\n")[:-1]
    head = json.loads(lines[0].split(b" ", 2)[2])
    if head["base"] != found.base:
        return  # the checkpoint was made after it
    for line in lines[1:]:
        check, size, payload = line.split(b" ", 2)
        if int(size) != len(payload) or int(check, 16) != zlib.crc32(payload):
            return  # cut off by a crash: the engine refuses any other damage
        said = json.loads(payload)
        for change in said if isinstance(said, list) else ():
            _apply(found, *change)


def _apply(found: Found, word: str, name: str, *rest: Any) -> None:
    rows = found.documents
    if word == "put":
        id, version, created, updated, tagged, data = rest
        row = {"version": version, "created_at": created, "updated_at": updated, "data": data}
        rows.setdefault(name, {})[id] = {**row, "tagged": tagged}
    elif word == "gone":
        rows.get(name, {}).pop(rest[0], None)
    elif word == "dropped":
        rows.pop(name, None)
        found.indexes.pop(name, None)
    elif word == "indexed":
        rows.setdefault(name, {})
        found.indexes.setdefault(name, {})[rest[0]] = (rest[1], rest[2])
    elif word == "unindexed":
        found.indexes[name].pop(rest[0])


def _hash(rows: dict[str, dict[str, Any]]) -> str:
    total = 0
    for id, row in rows.items():
        at = [datetime.fromisoformat(row[name]) for name in ("created_at", "updated_at")]
        values = [id, row["version"], *at, bool(row.get("tagged")), row["data"]]
        text = orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
        total += int.from_bytes(blake3(text).digest(length=16), "little")
    return format(total & ((1 << 128) - 1), "032x")
