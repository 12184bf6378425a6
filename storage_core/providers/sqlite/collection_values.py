"""How values of documents compare in SQL: one expression per path, whose own order is the order of `domain.query`.

What lies at a path becomes, by its kind: minus infinity (null, or nothing there; no number of a body is that), the
number, the text, a blob of one byte (``00`` false, ``01`` true, ``02`` anything else). SQLite sorts these numbers <
texts < blobs, compares integers with doubles exactly, and texts by their UTF-8 bytes, which is by code points. It is
never NULL, so that comparisons are never unknown, and it needs no function of ours, so that it can be indexed and any
other program may go on writing to the file.
"""

import json
import math
import sqlite3
import threading
from functools import lru_cache
from itertools import product
from typing import Any

import orjson

from ...domain.errors import Unsupported
from ...domain.query import Path, kind_of, value_at

ABSENT, FALSE, TRUE, REST = -math.inf, b"\x00", b"\x01", b"\x02"
MAX_NUMBERS = 5
_EXACT = "sc_value"
_AWKWARD = frozenset('"\\%') | {chr(n) for n in range(32)}


def stored(value: Any) -> Any:
    """A body's value as the expression of its path has it."""
    kind = kind_of(value)
    if kind == 0:
        return ABSENT
    if kind == 3:
        return TRUE if value else FALSE
    return REST if kind == 4 else value


@lru_cache(4096)
def expression(path: Path) -> str:
    """The SQL of what lies at a path."""
    if not can_be_indexed(path):
        return exact(path)
    kind, value = _either("json_type", path), _either("json_extract", path)
    return (
        f"CASE {kind} WHEN 'text' THEN {value} WHEN 'integer' THEN {value} WHEN 'real' THEN {value} "
        "WHEN 'false' THEN x'00' WHEN 'true' THEN x'01' WHEN 'array' THEN x'02' WHEN 'object' THEN x'02' "
        "ELSE -9e999 END"
    )


def unique_expression(path: Path) -> str:
    """The SQL of what must be unique at a path: NULL, which equals nothing, where the path is lacking."""
    kind, value = _either("json_type", path), _either("json_extract", path)
    return (
        f"CASE {kind} WHEN 'text' THEN {value} WHEN 'integer' THEN {value} WHEN 'real' THEN {value} "
        "WHEN 'false' THEN x'00' WHEN 'true' THEN x'01' "
        f"WHEN 'array' THEN CAST({value} AS BLOB) WHEN 'object' THEN CAST({value} AS BLOB) END"
    )


def existence(path: Path) -> str:
    """The SQL of whether something lies at a path, be it null."""
    if not can_be_indexed(path):
        return f"sc_exists(body, {_named(path)})"
    return f"({_either('json_type', path)} IS NOT NULL)"


def exact(path: Path) -> str:
    """The same value, found by a function of ours: for the few paths and numbers that SQL cannot name exactly."""
    return f"{_EXACT}(body, {_named(path)})"


def can_be_indexed(path: Path) -> bool:
    """Whether SQLite's own functions reach the path: its names have nothing JSON escapes, and few are numbers."""
    return sum(map(_is_index, path)) <= MAX_NUMBERS and not any(_AWKWARD & set(part) for part in path)


def check_indexable(paths: tuple[Path, ...]) -> None:
    for path in paths:
        if not can_be_indexed(path):
            raise Unsupported(
                f"SQLite cannot index {'.'.join(path)!r}.",
                field="paths",
                hint=f"Index fields without quotes and backslashes in their names, at most {MAX_NUMBERS} of them numbers.",
            )


def _either(function: str, path: Path) -> str:
    """A JSON function at a path; a number in it may name a dictionary's field or a list's item, never both."""
    steps = [(f'."{part}"', f"[{part}]") if _is_index(part) else (f'."{part}"',) for part in path]
    calls = [f"{function}(body, {_literal('$' + ''.join(way))})" for way in product(*steps)]
    return calls[0] if len(calls) == 1 else f"COALESCE({', '.join(calls)})"


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") and len(part) < 10


def _named(path: Path) -> str:
    """A path for the functions of ours. SQLAlchemy takes ``%(`` for a place of its own, wherever it stands."""
    return _literal(json.dumps(path).replace("%", "\\u0025"))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Doubles:
    """SQLite reads numbers with code of its own, which may be off by the last bit; asked once per number."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._lock = threading.Lock()

    def read(self, number: float) -> float:
        with self._lock:
            return float(self._db.execute("SELECT json_extract(?, '$')", (repr(number),)).fetchone()[0])


_DOUBLES = _Doubles()


@lru_cache(4096)
def as_read(number: float) -> tuple[float, bool]:
    """A double as SQLite reads it from a body, and whether no other double next to it is read alike."""
    found = _DOUBLES.read(number)
    below, above = math.nextafter(number, -math.inf), math.nextafter(number, math.inf)
    near = [n for n in (below, above) if math.isfinite(n)]
    return found, found == number and all(_DOUBLES.read(n) != number for n in near)


def prepare(db: sqlite3.Connection) -> None:
    """Make a connection ready for collections; Unsupported where texts would not sort by code points."""
    if db.execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
        raise Unsupported(
            "Collections need a database that keeps text as UTF-8.",
            hint="Create another database and move the data there.",
        )
    db.create_function(_EXACT, 2, _value, deterministic=True)
    db.create_function("sc_exists", 2, _exists, deterministic=True)


_MISSING = object()


def _value(body: str, path: str) -> Any:
    return stored(value_at(orjson.loads(body), tuple(orjson.loads(path))))


def _exists(body: str, path: str) -> int:
    return value_at(orjson.loads(body), tuple(orjson.loads(path)), _MISSING) is not _MISSING
