"""Settings a SQLite file keeps: an allow-list, checked as a whole before anything is changed."""

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ...domain.errors import InvalidRequest, Locked
from ...domain.naming import said
from .connect import Halt, writing

DEFAULTS: Mapping[str, str] = {"journal_mode": "wal"}

_INTEGER = re.compile(r"-?[0-9]{1,10}")
_WORDS: Mapping[str, tuple[str, ...]] = {
    "journal_mode": ("wal", "delete"),
    "auto_vacuum": ("none", "full", "incremental"),
    "page_size": tuple(str(512 << shift) for shift in range(8)),
}
_NUMBERS: Mapping[str, tuple[int, int]] = {
    "application_id": (-(1 << 31), (1 << 31) - 1),
    "user_version": (-(1 << 31), (1 << 31) - 1),
}


def checked(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings in SQLite's spelling; InvalidRequest naming the first that is unknown or has a wrong value."""
    out: dict[str, str] = {}
    for name, value in settings.items():
        field = f"settings.{name}"
        if name in _WORDS:
            if (word := value.lower()) not in _WORDS[name]:
                raise InvalidRequest(
                    f"{name} cannot be {said(value, 40)}.",
                    field=field,
                    hint=f"Use one of {', '.join(_WORDS[name])}.",
                )
            out[name] = word
        elif name in _NUMBERS:
            low, high = _NUMBERS[name]
            if not _INTEGER.fullmatch(value) or not low <= int(value) <= high:
                raise InvalidRequest(
                    f"{name} cannot be {said(value, 40)}.", field=field, hint="Use a 32-bit integer."
                )
            out[name] = value
        else:
            known = ", ".join(sorted((*_WORDS, *_NUMBERS)))
            raise InvalidRequest(
                f"SQLite keeps no setting {said(name, 40)}.", field=field, hint=f"Known: {known}."
            )
    return out


def configure(path: Path, settings: Mapping[str, str], halt: Halt) -> None:
    """Apply checked settings, all or none.

    What needs the file alone (journal mode, a rebuild for page size or auto-vacuum) comes first and is put back
    when it fails; the rest cannot fail halfway.
    """
    with writing(path, halt) as db:
        before = _journal(db)
        after = settings.get("journal_mode", before)
        rebuild = {name: settings[name] for name in ("page_size", "auto_vacuum") if name in settings}
        try:
            if rebuild:
                _switch(db, "delete")  # a page size cannot change in WAL mode
                for name, value in rebuild.items():
                    db.execute(f"PRAGMA {name}={value}")
                db.execute("VACUUM")
            _switch(db, after)
            _numbers(db, settings)
        except BaseException:
            db.set_progress_handler(None, 0)
            _switch(db, before)
            raise


def _numbers(db: sqlite3.Connection, settings: Mapping[str, str]) -> None:
    """Both numbers in one transaction, which also gives a new file its header."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for name in _NUMBERS:
            value = settings.get(name) or db.execute(f"PRAGMA {name}").fetchone()[0]
            db.execute(f"PRAGMA {name}={value}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _journal(db: sqlite3.Connection) -> str:
    return "wal" if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal" else "delete"


def _switch(db: sqlite3.Connection, mode: str) -> None:
    if _journal(db) != mode and db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0] != mode:
        raise Locked(
            "The journal mode cannot change while others use the file.", hint="Close them and try again."
        )
