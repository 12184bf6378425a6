"""A database as a tree of files: ``collection/xx/id.json`` below 256 folders, one document in each.

The folder `_sc` holds what else is ours: the journal, and `about.json`, which says which folders are collections, with
which indexes, and which journal goes on from here. A document's file carries the hash of its data, so that damage and
edits are told from what was written.
"""

import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import orjson
from blake3 import blake3

from ...domain.errors import EngineFailure, NameTaken
from ...domain.naming import said
from ...domain.provider import EngineKind
from ...domain.record import COLLECTION
from ..files.errors import damaged
from ..files.form import Kept, Shape, Told, index_as_json, index_from_json, size_of
from ..files.names import PRIVATE
from ..files.place import private_folder, settle
from ..files.stored import Change, Dropped, Gone, Put, Stored, stored_in

FORMAT = 1
OURS, ABOUT, JOURNAL = "_sc", "about.json", "journal"
#: Files that are made durable at the same time.
SYNCS = 8

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_SLUG = re.compile(r"[^a-z0-9_-]+")
#: What Windows takes for devices.
_DEVICES = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")


def file_of(id: str) -> str:
    """Where a document lies in its collection's folder: different for every id, on every file system."""
    raw = id.encode()
    folder = blake2b(raw, digest_size=1).hexdigest()
    if _PLAIN.fullmatch(id) and not _DEVICES.fullmatch(id):
        return f"{folder}/{id}.json"
    slug = _SLUG.sub("_", id.lower())[:40]
    return f"{folder}/{slug}~{blake2b(raw, digest_size=16).hexdigest()}.json"


def hash_of(raw: bytes) -> str:
    return blake3(raw).hexdigest(length=16)


def _may_be(path: Path, _: os.stat_result) -> bool:
    try:
        return S_ISDIR((path / OURS).lstat().st_mode) and S_ISREG((path / OURS / ABOUT).lstat().st_mode)
    except OSError:
        return False


class LocalForm:
    """A tree of files, each written beside itself and renamed as soon as the journal has it."""

    kind = EngineKind.LOCALFILE
    version = str(FORMAT)
    shape = Shape("local files", (), _may_be, folder=True)
    lags = False

    def journal(self, path: Path) -> Path:
        return path / OURS / JOURNAL

    def stamp(self, path: Path) -> object:
        found = (path / OURS / ABOUT).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def base(self, path: Path) -> str:
        base: str = _about(path)["base"]
        return base

    def read(self, path: Path, names: Collection[str], touched: Collection[tuple[str, str]]) -> Kept:
        about = _about(path)
        kept = Kept(about["base"], about["replaces"])
        for name, more in about["collections"].items():
            kept.tables[name] = []
            kept.indexes[name] = tuple(map(index_from_json, more["indexes"]))
        for entry in sorted(os.scandir(path), key=lambda e: e.name):
            if entry.name == OURS:
                continue
            if entry.name.startswith(PRIVATE) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(
                    entry.path
                )  # a collection that somebody dropped who was killed: we hold the lock
                continue
            if entry.name in kept.tables or entry.name in names:
                if not entry.is_dir(follow_symlinks=False):
                    raise damaged(path, f"{entry.name} is no folder; links are refused")
                loose = {file_of(id) for collection, id in touched if collection == entry.name}
                kept.tables[entry.name] = list(_documents(Path(entry.path), loose))
            else:
                kept.foreign[entry.name] = None
        return kept

    def spread(self, path: Path, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case Put(name, stored):
                    _put(path / name, stored)
                case Gone(name, id):
                    (path / name / file_of(id)).unlink(missing_ok=True)
                case Dropped(name):
                    _remove_folder(path / name)
                case _:
                    pass

    def settle(self, path: Path, touched: Iterable[tuple[str, str]]) -> None:
        files = [path / name / file_of(id) for name, id in touched]
        folders = {folder for file in files for folder in (file.parent, file.parent.parent)}
        with ThreadPoolExecutor(SYNCS) as pool:
            list(pool.map(_sync, files))
            list(pool.map(_sync, folders))

    def write(self, path: Path, kept: Kept, touched: Iterable[tuple[str, str]], told: Told) -> None:
        for (name, id), stored in told.items():
            _mend(path / name, id, stored)
        for name in {name for name, _ in told} | _about(path)["collections"].keys():
            if name not in kept.tables and name not in kept.foreign:
                _remove_folder(path / name)
        self.settle(path, touched)
        self._finish(path, kept)

    def _finish(self, path: Path, kept: Kept) -> None:
        settle(path)
        _replace(path / OURS / ABOUT, _about_text(kept))
        settle(path / OURS)

    def make(self, path: Path, kept: Kept) -> None:
        folder = private_folder(path)
        try:
            (path / OURS).mkdir(mode=0o700)
            self.spread(path, [Put(name, stored) for name, rows in kept.tables.items() for stored in rows])
            self.settle(path, [(name, s.id) for name, rows in kept.tables.items() for s in rows])
            self._finish(path, kept)
        finally:
            os.close(folder)

    def publish(self, made: Path, target: Path) -> None:
        try:
            target.mkdir(mode=0o700)  # takes the name; an empty folder may be renamed over
        except FileExistsError as error:
            raise NameTaken(f"{said(target.name, 200)} exists already.") from error
        made.rename(target)
        settle(target.parent)

    def remove(self, path: Path) -> None:
        self.journal(path).unlink(missing_ok=True)
        _remove_folder(path)

    def size(self, path: Path) -> int:
        return sum(size_of(Path(folder) / file) for folder, _, files in os.walk(path) for file in files)

    def is_database(self, path: Path) -> bool:
        try:
            _about(path)
        except (OSError, EngineFailure):
            return False
        return True


def _about(path: Path) -> dict[str, Any]:
    text = (path / OURS / ABOUT).read_bytes()
    try:
        about = orjson.loads(text)
        if about["format"] != FORMAT or not all(map(COLLECTION.fullmatch, about["collections"])):
            raise ValueError("another format")
        return {"base": about["base"], "replaces": about["replaces"], "collections": about["collections"]}
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"{OURS}/{ABOUT} is not one that this version knows") from error


def _about_text(kept: Kept) -> bytes:
    collections = {n: {"indexes": list(map(index_as_json, kept.indexes.get(n, ())))} for n in kept.tables}
    about = {"format": FORMAT, "base": kept.base, "replaces": kept.replaces, "collections": collections}
    return orjson.dumps(about, option=orjson.OPT_INDENT_2)


def _documents(folder: Path, loose: set[str]) -> Iterator[Stored]:
    """Every document of a collection; what is in `loose` may be anything, and is left out where it is none."""
    for below in sorted(os.scandir(folder), key=lambda e: e.name):
        if not below.is_dir(follow_symlinks=False):
            raise damaged(folder, f"{below.name} is no folder; links are refused")
        for entry in sorted(os.scandir(below.path), key=lambda e: e.name):
            if entry.name.startswith(PRIVATE):
                Path(entry.path).unlink(missing_ok=True)  # of a process that was killed: we hold the lock
            elif entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
                relative = f"{below.name}/{entry.name}"
                try:
                    yield _document(Path(entry.path), relative)
                except EngineFailure:
                    if relative not in loose:
                        raise


def _document(path: Path, relative: str) -> Stored:
    try:
        found = orjson.loads(path.read_bytes())
        stored = stored_in(found)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, "it is no document") from error
    if file_of(stored.id) != relative:
        raise damaged(path, f"the document in it is {stored.id!r}, which lies at {file_of(stored.id)}")
    if found.get("hash") not in (None, hash_of(stored.raw)):
        raise EngineFailure(
            f"{path.name} is not what was written: it was damaged, or edited.",
            hint="Put it back from a backup; or, to accept it as it is, remove its field `hash`.",
        )
    return stored


def text_of(stored: Stored) -> bytes:
    """The document as a line, with its hash."""
    return b'{"hash":"%b",%b' % (hash_of(stored.raw).encode(), stored.line()[1:])


def _put(folder: Path, stored: Stored) -> None:
    target = folder / file_of(stored.id)
    made = target.with_name(f"{PRIVATE}{secrets.token_hex(8)}")
    try:
        file = _create(made)
    except FileNotFoundError:
        for each in (folder, target.parent):
            each.mkdir(mode=0o700, exist_ok=True)
        file = _create(made)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(text_of(stored))
        made.replace(target)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _mend(folder: Path, id: str, stored: Stored | None) -> None:
    """Write a document as it must be, if its file is another, or remove it."""
    target = folder / file_of(id)
    if stored is None:
        target.unlink(missing_ok=True)
        return
    try:
        same = target.read_bytes() == text_of(stored)
    except FileNotFoundError:
        same = False
    if not same:
        _put(folder, stored)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _replace(path: Path, text: bytes) -> None:
    made = path.with_name(f"{PRIVATE}{secrets.token_hex(8)}")
    try:
        with os.fdopen(_create(made), "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with suppress(FileNotFoundError):  # removed meanwhile; the folder is synced, too
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _remove_folder(path: Path) -> None:
    """Out of sight at once, then gone."""
    doomed = path.with_name(f"{PRIVATE}{secrets.token_hex(8)}")
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)
