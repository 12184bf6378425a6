"""Changing a body by paths: what every engine's patch leaves behind."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from .errors import InvalidRequest
from .query import Path

MAX_INDEX_DIGITS = 9


def patched(
    body: Mapping[str, Any], changes: Mapping[Path, Any], unset: Iterable[Path] = ()
) -> dict[str, Any]:
    """The body with values set, then removed, by path; the one given stays as it is.

    Dictionaries on the way are made; a list's items are reached by their number and cannot be removed. What is to be
    removed and not there changes nothing. InvalidRequest, naming the path, where something else is in the way.
    """
    out: Any = dict(body)
    for path, value in changes.items():
        out = _set(out, path, 0, value)
    for path in unset:
        out = _removed(out, path, 0)
    return out


def _set(node: Any, path: Path, at: int, value: Any) -> Any:
    """A copy of a node with the value set below it; only what changes is copied."""
    if at == len(path):
        return value
    part = path[at]
    if isinstance(node, dict):
        return {**node, part: _set(node.get(part, {}), path, at + 1, value)}
    if isinstance(node, list):
        index = _index(node, path, at)
        return [*node[:index], _set(node[index], path, at + 1, value), *node[index + 1 :]]
    _blocked(path, at, node)


def _removed(node: Any, path: Path, at: int) -> Any:
    part = path[at]
    if isinstance(node, list):
        if at + 1 == len(path):
            _refuse(
                path, "is an item of a list, which cannot be removed by itself", "Replace the whole list."
            )
        if not part.isdigit() or len(part) > MAX_INDEX_DIGITS or int(part) >= len(node):
            return node
        index = int(part)
        return [*node[:index], _removed(node[index], path, at + 1), *node[index + 1 :]]
    if not isinstance(node, dict) or part not in node:
        return node
    if at + 1 == len(path):
        return {key: item for key, item in node.items() if key != part}
    return {**node, part: _removed(node[part], path, at + 1)}


def _index(node: list[Any], path: Path, at: int) -> int:
    part = path[at]
    if part.isascii() and part.isdigit() and len(part) <= MAX_INDEX_DIGITS and int(part) < len(node):
        return int(part)
    _refuse(path, f"asks for the item {part[:20]!r} of a list of {len(node)}", "Replace the whole list.")


def _blocked(path: Path, at: int, node: Any) -> NoReturn:
    there = "null" if node is None else type(node).__name__
    _refuse(
        path, f"leads through {'.'.join(path[:at])}, which is {there}", "Set that one to a dictionary first."
    )


def _refuse(path: Path, why: str, hint: str) -> NoReturn:
    raise InvalidRequest(f"{'.'.join(path)} {why}.", field=".".join(path), hint=hint)
