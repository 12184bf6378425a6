"""A tree of files as the proof reads it: every document by itself."""

import json
from pathlib import Path

from ...domain.backup import ManifestObject
from ..files.measure import Found, measured


def measure(path: Path) -> tuple[ManifestObject, ...]:
    """Everything in the tree and its journal now."""
    return measured(path / "_sc" / "journal", lambda: _found(path))


def _found(path: Path) -> Found:
    about = json.loads((path / "_sc" / "about.json").read_bytes())
    found = Found(about["base"], about["replaces"])
    for name, more in about["collections"].items():
        rows = (json.loads(file.read_bytes()) for file in (path / name).glob("??/*.json"))
        found.documents[name] = {row["id"]: row for row in rows}
        found.indexes[name] = {one["name"]: (one["paths"], one["unique"]) for one in more["indexes"]}
    return found
