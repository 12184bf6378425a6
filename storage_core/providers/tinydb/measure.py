"""A TinyDB file as the proof reads it: plain JSON, looked at once."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...domain.backup import ManifestObject
from ...domain.value import Mode, encode
from ..files.measure import Found, measured


def measure(path: Path) -> tuple[ManifestObject, ...]:
    """Everything in the file and its journal now."""
    return measured(path.with_name(f"{path.name}-journal"), lambda: _found(path))


def _found(path: Path) -> Found:
    text = path.read_text("utf-8")
    tables = json.loads(text) if text.strip() else {}
    about = tables.pop("_sc", {}).get("1", {})
    found = Found(about.get("base", ""), about.get("replaces", ""))
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    for name, more in about.get("collections", {}).items():
        rows = [_row(number, document, changed) for number, document in tables.pop(name, {}).items()]
        found.documents[name] = dict(rows)
        found.indexes[name] = {one["name"]: (one["paths"], one["unique"]) for one in more["indexes"]}
    found.tables = tables
    return found


def _row(number: str, document: dict[str, Any], changed: str) -> tuple[str, dict[str, Any]]:
    if "sc_" not in document:
        encoded = encode(document, Mode.TAGGED)
        row = {"version": 1, "created_at": changed, "updated_at": changed, "tagged": encoded.tagged}
        return number, {**row, "data": encoded.body}
    meta = document.pop("sc_")
    data = {_own(key): value for key, value in document.items()}
    return meta["id"], {**meta, "data": data}


def _own(key: str) -> str:
    """A body's field that is called like ours lies under one underscore more."""
    return key[:-1] if key.startswith("sc_") and not key[3:].strip("_") else key
