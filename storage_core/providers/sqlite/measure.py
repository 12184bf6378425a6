"""Counting and hashing a database for the proof, apart from what made the manifest.

It follows the rules written down in `content`, with its own connection, queries and encoder: the table list comes
with its own SQL, ordered tables are ordered by their key in SQL, and rows are encoded value by value.
"""

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from blake3 import blake3

from ...domain.backup import ManifestObject
from .connect import Halt, quoted, reading, stand_in_for_collations

Value = int | float | str | bytes | None

_COUNT = struct.Struct("<cI")
_INT = struct.Struct("<ci")
_DOUBLE = struct.Struct("<cd")
_PERSISTENT = ("application_id", "auto_vacuum", "encoding", "journal_mode", "page_size", "user_version")


def measured(path: Path, halt: Halt) -> tuple[ManifestObject, ...]:
    """Everything in the file now: tables with rows and content, definitions, pragmas."""
    with reading(path, halt) as db:
        db.text_factory = _decoded
        db.execute("BEGIN")
        stand_in_for_collations(db)
        found: list[ManifestObject] = []
        for kind, name, table, sql, stored in db.execute(
            "SELECT type, name, tbl_name, sql, rootpage > 0 FROM sqlite_schema ORDER BY type, name"
        ).fetchall():
            label = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            word = "virtual table" if kind == "table" and not stored else kind
            digest = blake3(_row((kind, name, table, sql))).hexdigest()
            found.append(ManifestObject(f"{word} {label}", "schema", 0, digest))
            if kind == "table" and stored:
                rows, content = (0, "") if label != name else _content(db.execute, name)
                found.append(ManifestObject(label, "table", rows, content))
        for pragma in _PERSISTENT:
            ((value,),) = db.execute(f"PRAGMA {pragma}").fetchall()
            if pragma == "journal_mode":
                value = "wal" if value == "wal" else "rollback"
            found.append(
                ManifestObject(pragma, "pragma", 0, blake3(f"{pragma}={value}".encode()).hexdigest())
            )
        db.execute("COMMIT")
        return tuple(found)


def _content(execute: Callable[..., Iterable[tuple[Value, ...]]], name: str) -> tuple[int, str]:
    columns: list[str] = []
    keys: list[str] = []
    for _, column, _, _, _, key, hidden in execute(f"PRAGMA table_xinfo({quoted(name)})"):
        if hidden != 2:
            columns.append(quoted(str(column)))
        if key:
            keys.append(quoted(str(column)))
    separate = any(origin == "pk" for _, _, _, origin, _ in execute(f"PRAGMA index_list({quoted(name)})"))
    select = f"SELECT {', '.join(columns)} FROM {quoted(name)}"  # noqa: S608 - quoted names only
    if len(keys) == 1 and not separate:
        return _in_order(execute(f"{select} ORDER BY {keys[0]}"))
    return _in_any_order(execute(select))


def _in_order(rows: Iterable[tuple[Value, ...]]) -> tuple[int, str]:
    digest = blake3()
    count = 0
    run: list[bytes] = []
    for row in rows:
        run.append(_row(row))
        count += 1
        if len(run) == 512:
            digest.update(_COUNT.pack(b"[", len(run)) + b"".join(run))
            run.clear()
    if run:
        digest.update(_COUNT.pack(b"[", len(run)) + b"".join(run))
    return count, digest.hexdigest()


def _in_any_order(rows: Iterable[tuple[Value, ...]]) -> tuple[int, str]:
    total = count = 0
    for row in rows:
        total = (total + int.from_bytes(blake3(_row(row)).digest(length=16), "little")) & ((1 << 128) - 1)
        count += 1
    return count, format(total, "032x")


def _row(row: tuple[Value, ...]) -> bytes:
    return _COUNT.pack(b"(", len(row)) + b"".join([_ENCODE[type(value)](value) for value in row])


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _none(_: None) -> bytes:
    return b"N"


def _integer(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return _INT.pack(b"i", value)
    rest, digits = abs(value), b""
    while rest:
        digits += (rest & 0x7FFF).to_bytes(2, "little")
        rest >>= 15
    count = len(digits) // 2
    return _INT.pack(b"l", count if value > 0 else -count) + digits


def _double(value: float) -> bytes:
    return _DOUBLE.pack(b"g", value)


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return _COUNT.pack(b"u", len(raw)) + raw


def _blob(value: bytes) -> bytes:
    return _COUNT.pack(b"s", len(value)) + value


_ENCODE: dict[type, Callable[..., bytes]] = {
    type(None): _none,
    int: _integer,
    float: _double,
    str: _text,
    bytes: _blob,
}
