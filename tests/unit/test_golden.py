"""The contract as files: a change to the API or to a command's help shows as a diff.

When the change is meant: ``make golden``, and read the diff before committing it.
"""

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from storage_console.cli import desktop, up, web
from storage_core.api import create_app
from storage_core.cli import build
from storage_core.services.declared import OPERATIONS
from storage_core.wire import route

GOLDEN = Path(__file__).parents[1] / "golden"


def document() -> dict[str, Any]:
    def closed() -> Any:
        raise AssertionError("no core is needed")

    return create_app(closed, OPERATIONS).openapi()


def openapi() -> str:
    shown = document()
    shown["info"]["version"] = "0"  # a release changes no contract
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def helps() -> str:
    root = build()
    for command in (up, web, desktop):
        root.add_command(command)
    with click.Context(root, info_name="storage-console", max_content_width=100, terminal_width=100) as top:
        return "\n".join(_helps(root, top))


def _helps(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f"$ {ctx.command_path} --help\n{command.get_help(ctx)}\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            sub = command.get_command(ctx, name)
            assert sub is not None
            with click.Context(sub, ctx, name, max_content_width=100, terminal_width=100) as below:
                yield from _helps(sub, below)


@pytest.mark.parametrize(("name", "made"), [("openapi.json", openapi), ("help.txt", helps)])
def test_the_contract_is_as_written_down(name: str, made: Any) -> None:
    file, now = GOLDEN / name, made()
    if os.environ.get("GOLDEN") == "refresh":
        file.write_text(now, "utf-8")
    before = file.read_text("utf-8")
    diff = list(
        difflib.unified_diff(before.splitlines(), now.splitlines(), f"golden/{name}", "now", lineterm="", n=2)
    )
    shown = "\n".join(diff[:200])
    assert not diff, f"the contract changed; if that is meant: make golden\n{shown}"


def test_everything_in_the_document_is_described() -> None:
    shown = document()
    for name, schema in shown["components"]["schemas"].items():
        text = schema.get("description", "")
        assert text and not text.startswith(f"{name}("), f"{name} needs a docstring"
    requests = {op.request.__name__ for op in OPERATIONS}
    for name, schema in shown["components"]["schemas"].items():
        if name in requests or name.removesuffix("Body") in requests or name == "Connection":
            for field, info in schema.get("properties", {}).items():
                assert info.get("description"), f"{name}.{field} needs a docstring"
    assert "HTTPValidationError" not in shown["components"]["schemas"], "errors are problems here"


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_every_operation_is_described_with_an_example_and_its_problems(op: Any) -> None:
    where = route(op)
    told = document_once()["paths"][where.path][where.method.lower()]
    assert told["operationId"] == op.name
    assert f"`{op.needs}`" in told["description"]
    for parameter in told.get("parameters", ()):
        assert parameter.get("description"), parameter["name"]
    for status in ("400", "401", "403", "404", "409", "413", "422", "423", "429", "503"):
        assert told["responses"][status] == {"$ref": f"#/components/responses/Problem{status}"}
        content = document_once()["components"]["responses"][f"Problem{status}"]["content"]
        assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert str(where.status) in told["responses"]
    fields = op.request.model_fields.keys() - ({"id"} if where.by_id else set())
    if where.method in ("POST", "PUT") and fields:
        example = told["requestBody"]["content"]["application/json"]["examples"]["example"]["value"]
        assert example, "an example that shows nothing"
        ids = {"id": "x"} if where.by_id else {}
        op.request.model_validate({**example, **ids})


_documents: list[dict[str, Any]] = []


def document_once() -> dict[str, Any]:
    if not _documents:
        _documents.append(document())
    return _documents[0]
