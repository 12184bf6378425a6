"""Fields as options: names, kinds, secrets from files and standard input, and what bad usage says."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field, SecretStr

from storage_core.cli.params import options, read
from storage_core.services.request import Request


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(Request):
    """Nested."""

    host: str | None = Field(None, min_length=1)
    """Where."""
    password: SecretStr | None = None
    """Secret."""


class Example(Request):
    """An example."""

    name: str = Field(max_length=5)
    """Its name."""
    size: int = Field(3, ge=1)
    """How much."""
    colour: Colour | None = None
    """Which."""
    way: Literal["up", "down"] = "up"
    """Where to."""
    fast: bool | None = None
    """Hurry."""
    tags: tuple[str, ...] = ()
    """Labels."""
    extra: dict[str, str] = Field(default_factory=dict)
    """More."""
    inner: Inner | None = None
    """Inside."""


def run(*arguments: str, stdin: str | None = None) -> tuple[Example | None, Result]:
    out: list[Any] = []
    command = click.Command(
        "example", params=[*options(Example)], callback=lambda **values: out.append(read(Example, values))
    )
    result = CliRunner().invoke(command, arguments, input=stdin)
    return (out[0] if out else None), result


def test_every_kind_of_field_becomes_an_option_and_comes_back() -> None:
    made, result = run(
        *("--name", "a", "--size", "7", "--colour", "blue", "--way", "down", "--no-fast"),
        *("--tags", "x", "--tags", "y", "--extra", '{"k": "v"}', "--inner.host", "h"),
    )
    assert result.exit_code == 0, result.output
    assert made == Example(
        name="a",
        size=7,
        colour=Colour.BLUE,
        way="down",
        fast=False,
        tags=("x", "y"),
        extra={"k": "v"},
        inner=Inner(host="h"),
    )


def test_what_is_left_out_is_unset() -> None:
    made, _ = run("--name", "a")
    assert made is not None
    assert made.model_fields_set == {"name"}


def test_help_tells_the_description_what_is_required_and_the_default() -> None:
    _, result = run("--help")
    text = " ".join(result.output.split())
    assert "Its name. [required]" in text
    assert "How much. [default: 3]" in text
    assert "--fast / --no-fast" in text
    assert "[red|blue]" in text
    assert "--inner.password SECRET" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--name: Field required"),
        (("--name", "toolong"), "--name: "),
        (("--name", "a", "--size", "many"), "--size: "),
        (("--name", "a", "--colour", "green"), "'--colour'"),
        (("--name", "a", "--extra", "{"), "'--extra': is not JSON"),
        (("--name", "a", "--inner.host", ""), "--inner.host: "),
        (("--nmae", "a"), "--nmae"),
    ],
)
def test_bad_usage_exits_2_and_names_the_option(arguments: tuple[str, ...], said: str) -> None:
    made, result = run(*arguments)
    assert made is None
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("plain\n", "plain"),
        ("crlf\r\n", "crlf"),
        ("two\n\n", "two\n"),
        (" kept ", " kept "),
        ("none", "none"),
    ],
)
def test_a_secret_comes_from_standard_input_or_a_file_less_one_line_end(
    tmp_path: Path, text: str, secret: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(text.encode())
    for argument, stdin in (("@-", text), (f"@{file}", None)):
        made, result = run("--name", "a", "--inner.password", argument, stdin=stdin)
        assert made is not None, result.output
        assert made.inner is not None
        assert made.inner.password is not None
        assert made.inner.password.get_secret_value() == secret


def test_a_secret_may_begin_with_an_at_sign() -> None:
    made, _ = run("--name", "a", "--inner.password", "@@home")
    assert made is not None
    assert made.inner == Inner(password=SecretStr("@home"))


def test_a_secret_file_that_is_not_there_is_bad_usage() -> None:
    made, result = run("--name", "a", "--inner.password", "@/nowhere/at/all")
    assert (made, result.exit_code) == (None, 2)
    assert "cannot read /nowhere/at/all" in result.stderr


def test_a_wrong_secret_is_never_repeated() -> None:
    made, result = run("--name", "toolong", "--inner.password", "hunter2")
    assert made is None
    assert "hunter2" not in result.output
