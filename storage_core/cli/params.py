"""A request's fields as options, and options as a request."""

import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ..domain.sizes import MAX_DEPTH, json_too_deep
from ..services.request import Request
from ..wire import bare


def options(request: type[Request], prefix: str = "") -> Iterator[click.Option]:
    """One option a field; nested requests dotted. Required ones are checked by the request itself."""
    for name, info in request.model_fields.items():
        kind = bare(info.annotation)
        dotted = f"{prefix}{name}"
        if isinstance(kind, type) and issubclass(kind, Request):
            yield from options(kind, f"{dotted}.")
            continue
        yield _option(dotted, kind, info)


def _option(dotted: str, kind: Any, info: FieldInfo) -> click.Option:
    flag = "--" + dotted.replace("_", "-")
    destination = dotted.replace(".", "__")
    help = _help(info)
    if kind is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", destination], default=None, help=help)
    if choices := _choices(kind):
        return click.Option([flag, destination], type=click.Choice(choices), default=None, help=help)
    if kind is SecretStr:
        text = f"{help} `@FILE` reads a file, `@-` standard input."
        return click.Option([flag, destination], default=None, help=text, callback=_secret, metavar="SECRET")
    if get_origin(kind) in (list, tuple):
        return click.Option([flag, destination], multiple=True, help=help)
    if get_origin(kind) is dict:
        return click.Option(
            [flag, destination], default=None, help=f"{help} JSON.", callback=_json, metavar="JSON"
        )
    metavar = {int: "NUMBER", float: "NUMBER"}.get(kind, "TEXT")
    return click.Option([flag, destination], default=None, help=help, metavar=metavar)


def _help(info: FieldInfo) -> str:
    text = (info.description or "").strip()
    if info.is_required():
        return f"{text} [required]"
    default = info.get_default(call_default_factory=True)
    if default in (None, "", (), {}) or isinstance(default, Request):
        return text
    return f"{text} [default: {default.value if isinstance(default, Enum) else default}]"


def _choices(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return [str(v) for v in get_args(kind)] if get_origin(kind) is Literal else []


def _secret(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else given(value)


def given(value: str) -> str:
    """`@-` standard input, `@FILE` a file, `@@…` a text that begins with @; one line end is taken off."""
    if not value.startswith("@"):
        return value
    if value.startswith("@@"):
        return value[1:]
    try:
        text = sys.stdin.read() if value == "@-" else Path(value[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {value[1:]}: {error}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _json(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    if json_too_deep(value.encode("utf-8", "replace")):
        raise click.BadParameter(f"is nested deeper than {MAX_DEPTH} levels")
    try:
        return json.loads(value)
    except ValueError:
        raise click.BadParameter("is not JSON") from None


def read(request: type[Request], values: dict[str, Any]) -> Request:
    """Build the request from the options that were given; a wrong value is bad usage, naming its option."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or value == ():
            continue
        *parents, leaf = key.split("__")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    try:
        return request.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        flag = "--" + ".".join(str(p) for p in first["loc"]).replace("_", "-")
        raise click.UsageError(f"{flag}: {message}" if first["loc"] else message) from None
