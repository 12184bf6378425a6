"""A database as TinyDB keeps it: one JSON file, tables by name, in each of them documents by number.

A document of ours is its body with one field more, `sc_`, for what is not body; a field of the body that is called
so, with any number of underscores, gets one more. The table `_sc` says what else is ours: which tables are
collections, with which indexes, and which journal goes on from here.
"""

import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import tinydb

from ...domain.errors import NameTaken
from ...domain.naming import said
from ...domain.provider import EngineKind
from ...domain.value import Mode, encode
from ..files.errors import damaged
from ..files.form import Kept, Shape, Told, index_as_json, index_from_json, size_of
from ..files.names import PRIVATE
from ..files.place import private_file, settle
from ..files.stored import Change, Stored, stored_of

FORMAT = 1
OURS, META = "_sc", "sc_"
JOURNAL = "-journal"
_META_LIKE = re.compile(r"sc_+")
_RUN = 500
#: Larger files are taken for databases of TinyDB by their beginning alone.
_MAX_LOOK = 256 << 20


def _may_be(path: Path, _: os.stat_result) -> bool:
    return path.name.endswith(".json")


class TinyForm:
    """One file; written beside itself and renamed. TinyDB reads it whenever no journal is ahead of it."""

    kind = EngineKind.TINYDB
    version = tinydb.__version__
    shape = Shape("TinyDB", (JOURNAL,), _may_be, ending=".json")
    lags = True

    def journal(self, path: Path) -> Path:
        return path.with_name(path.name + JOURNAL)

    def stamp(self, path: Path) -> object:
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def base(self, path: Path) -> str:
        base: str = _about(path, _parsed(path, path.read_bytes()).get(OURS)).get("base", "")
        return base

    def read(self, path: Path, names: Collection[str], touched: Collection[tuple[str, str]]) -> Kept:
        with path.open("rb") as file:
            at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            text = file.read()
        tables = _parsed(path, text)
        about = _about(path, tables.pop(OURS, None))
        kept = Kept(about.get("base", ""), about.get("replaces", ""))
        for name, more in about.get("collections", {}).items():
            kept.tables[name] = _documents(path, name, tables.pop(name, {}), at)
            kept.indexes[name] = tuple(map(index_from_json, more["indexes"]))
        kept.foreign = tables
        return kept

    def spread(self, path: Path, changes: Sequence[Change]) -> None:
        """Nothing: a TinyDB file is written as a whole."""

    def settle(self, path: Path, touched: Iterable[tuple[str, str]]) -> None:
        """Nothing: see `spread`."""

    def write(self, path: Path, kept: Kept, touched: Iterable[tuple[str, str]], told: Told) -> None:
        made = path.with_name(f"{PRIVATE}{secrets.token_hex(8)}")
        try:
            self.make(made, kept)
            made.chmod(path.stat().st_mode & 0o777)
            made.replace(path)
        finally:
            made.unlink(missing_ok=True)
        settle(path.parent)

    def make(self, path: Path, kept: Kept) -> None:
        file = private_file(path)
        with os.fdopen(file, "wb") as out:
            for part in _text(kept):
                out.write(part)
            out.flush()
            os.fsync(out.fileno())

    def publish(self, made: Path, target: Path) -> None:
        if not os.path.lexists(target):
            self.journal(target).unlink(missing_ok=True)  # of a database that is gone: it fits no other
        try:
            os.link(made, target, follow_symlinks=False)
        except FileExistsError as error:
            raise NameTaken(f"{said(target.name, 200)} exists already.") from error
        made.unlink()
        settle(target.parent)

    def remove(self, path: Path) -> None:
        self.journal(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def size(self, path: Path) -> int:
        return size_of(path) + size_of(self.journal(path))

    def is_database(self, path: Path) -> bool:
        """Ours, or a file that TinyDB has written."""
        if self.journal(path).exists() or size_of(path) == 0:
            return True
        try:
            if size_of(path) > _MAX_LOOK:
                with path.open("rb") as file:
                    return file.read(2) == b'{"'
            return _is_tinydb(json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError):
            return False


def _is_tinydb(tables: Any) -> bool:
    return isinstance(tables, dict) and all(
        isinstance(table, dict) and all(k.isdigit() and isinstance(d, dict) for k, d in table.items())
        for table in tables.values()
    )


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    """The tables. By the standard library, which keeps every number that others put there as it is."""
    if not text.strip():
        return {}
    try:
        tables = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not JSON: {error}") from error
    if not _is_tinydb(tables):
        raise damaged(path, "it is not what TinyDB writes")
    return tables


def _about(path: Path, table: Any) -> dict[str, Any]:
    if table is None:
        return {}
    about = table.get("1", {})
    if about.get("format") != FORMAT:
        raise damaged(path, f"its table {OURS} is not one that this version knows")
    return about


def _documents(path: Path, name: str, table: dict[str, Any], at: datetime) -> list[Stored]:
    out: list[Stored] = []
    seen: set[str] = set()
    for number, document in table.items():
        try:
            stored = _document(number, document, at)
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(path, f"document {number} of {name} is none") from error
        if stored.id in seen:
            raise damaged(path, f"two documents of {name} have the id {stored.id!r}")
        seen.add(stored.id)
        out.append(stored)
    return out


def _document(number: str, document: dict[str, Any], at: datetime) -> Stored:
    meta = document.pop(META, None)
    if meta is None:  # TinyDB itself put it there
        found = encode(document, Mode.TAGGED)
        return Stored(number, 1, at, at, orjson.dumps(found.body), found.tagged)
    if any(_META_LIKE.fullmatch(key) for key in document):
        document = {key[:-1] if _META_LIKE.fullmatch(key) else key: v for key, v in document.items()}
    return stored_of(
        meta["id"], meta["version"], meta["created_at"], meta["updated_at"], "tagged" in meta, document
    )


def _text(kept: Kept) -> Iterator[bytes]:
    collections = {n: {"indexes": list(map(index_as_json, kept.indexes.get(n, ())))} for n in kept.tables}
    about = {"format": FORMAT, "base": kept.base, "replaces": kept.replaces, "collections": collections}
    yield b'{"%b": {"1": %b}' % (OURS.encode(), orjson.dumps(about))
    for name, table in kept.foreign.items():
        yield b", %b: %b" % (json.dumps(name).encode(), json.dumps(table).encode())
    for name, rows in kept.tables.items():
        yield b",\n%b: {" % orjson.dumps(name)
        for start in range(0, len(rows), _RUN):
            run = rows[start : start + _RUN]
            yield b",\n" if start else b"\n"
            yield b",\n".join([b'"%d": %b' % (n, _line(s)) for n, s in enumerate(run, start + 1)])
        yield b"}"
    yield b"}\n"


def _line(stored: Stored) -> bytes:
    raw = stored.raw
    if b'"sc_' in raw:
        raw = orjson.dumps({k + "_" if _META_LIKE.fullmatch(k) else k: v for k, v in stored.body.items()})
    meta: dict[str, Any] = {
        "id": stored.id,
        "version": stored.version,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }
    if stored.tagged:
        meta["tagged"] = True
    comma = b"" if raw == b"{}" else b", "
    return b'%b%b"%b": %b}' % (raw[:-1], comma, META.encode(), orjson.dumps(meta, option=orjson.OPT_UTC_Z))
