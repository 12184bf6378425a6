"""What people and programs read: JSON exactly as REST, tables and lines otherwise."""

import json
import re
import sys
from typing import Any

import click

from ..domain.errors import StorageError

#: Long or technical fields that a table leaves out; `get` and `--json` show them.
_LEFT_OUT = frozenset(
    [
        "manifest",
        "proof",
        "endpoint",
        "log",
        "result",
        "progress",
        "artifacts",
        "settings",
        "revision",
        "updated_at",
        "digest",
    ]
)
#: What people look for first; the rest follows in the answer's own order.
_FIRST = [
    "id",
    "at",
    "name",
    "username",
    "title",
    "database_name",
    "operation",
    "target_name",
    "kind",
    "status",
    "phase",
    "actor_name",
    "role",
    "tenant_id",
    "provider_id",
    "size_stored",
    "created_at",
]
_COLUMNS = 8
#: What steers a terminal or turns text around; whoever named a thing, or a record in it, must not write the answer.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def show(value: Any, *, as_json: bool) -> None:
    """Print an answer's JSON values on standard output; counts go to stderr."""
    if as_json:
        # JSON has another spelling of every character, which programs read as the same.
        click.echo(_STEERING.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(value, ensure_ascii=False)))
    elif isinstance(value, dict) and set(value) == {"items", "next", "total"}:
        _table(value["items"])
        click.echo(f"{len(value['items'])} of {value['total']}", err=True)
    elif isinstance(value, list):
        _table(value)
    elif isinstance(value, dict):
        _lines(value)
    else:
        click.echo(plain(str(value)))


def plain(text: str) -> str:
    """A text for people: what would steer the terminal is spelt out instead."""
    return _STEERING.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """The fields a table shows: those that say something in some row, the best known first."""
    said = [n for n in rows[0] if n not in _LEFT_OUT and any(r.get(n) not in (None, "", []) for r in rows)]
    first = [n for n in _FIRST if n in said]
    return [*first, *(n for n in said if n not in first)][:_COLUMNS]


def _table(rows: list[Any]) -> None:
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = columns(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(plain(name), no_wrap=name == "id" or name.endswith("_id"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(_cell(row.get(n)))) for n in names))
    width = None if sys.stdout.isatty() else 2000  # into a pipe nothing is cut
    Console(width=width).print(table)


def _lines(value: dict[str, Any], indent: str = "") -> None:
    for name, item in value.items():
        if isinstance(item, dict):
            click.echo(plain(f"{indent}{name}:"))
            _lines(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            click.echo(plain(f"{indent}{name}: {len(item)}"))
            for one in item[:50]:
                said = ", ".join(f"{k}={_cell(v)}" for k, v in one.items() if v not in ("", None))
                click.echo(plain(f"{indent}  - {said}"))
        elif item not in (None, ""):
            click.echo(plain(f"{indent}{name}: {_cell(item)}"))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def fail(error: StorageError) -> None:
    """Say what went wrong and the way out on stderr."""
    field = f" ({_option(error.field)})" if error.field else ""
    click.echo(plain(f"{error.title}{field}: {error.detail}"), err=True)
    if error.hint:
        click.echo(plain(f"  {error.hint}"), err=True)
    click.echo(f"  code: {error.code}", err=True)


def _option(field: str) -> str:
    """The running command's option for a request's field, with what lies inside its value; else the field itself."""
    context = click.get_current_context(silent=True)
    known = {flag for param in context.command.params for flag in param.opts} if context else set[str]()
    parts = field.split(".")
    for end in range(len(parts), 0, -1):
        flag = "--" + ".".join(parts[:end]).replace("_", "-")
        if flag in known:
            return " ".join([flag, *filter(None, [".".join(parts[end:])])])
    return field
