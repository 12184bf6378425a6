"""The fallback logger: only where nobody logs, JSON and text, one correlation id, and no secret."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage_core import telemetry
from storage_core.telemetry import Redacting, configure, correlation, redact


@contextmanager
def fresh() -> Iterator[logging.Logger]:
    """The root logger as a fresh process has it; pytest's own handlers step aside."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    diagnostics = telemetry.diagnostics.level
    try:
        yield root
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
        telemetry.diagnostics.setLevel(diagnostics)


def test_json_on_the_console_and_detailed_text_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "logs" / "web.log"
    token = correlation.set("c-42")
    with fresh():
        configure("INFO", file)
        logging.getLogger("storage_core.x").info("hello %s", "there", extra={"rows": 3})
    correlation.reset(token)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["logger"]) == ("hello there", "info", "storage_core.x")
    assert (line["correlation_id"], line["rows"]) == ("c-42", 3)
    text = file.read_text()
    assert "hello there" in text
    assert "c-42" in text


def test_a_hosts_own_logging_stays_as_it_is(tmp_path: Path) -> None:
    own = logging.NullHandler()
    with fresh() as root:
        root.addHandler(own)
        root.setLevel(logging.ERROR)
        configure("DEBUG", tmp_path / "x.log", diagnosing=True)
        assert (root.handlers, root.level) == ([own], logging.ERROR)
    assert not (tmp_path / "x.log").exists()


@pytest.mark.parametrize("host", [False, True])
def test_diagnostics_are_off_until_switched_on(capsys: pytest.CaptureFixture[str], host: bool) -> None:
    with fresh() as root:
        if host:
            root.addHandler(logging.NullHandler())
            root.setLevel(logging.DEBUG)
        configure("INFO", None)
        assert not telemetry.diagnostics.isEnabledFor(logging.DEBUG)
        configure("INFO", None, diagnosing=True)
        assert telemetry.diagnostics.isEnabledFor(logging.DEBUG)
        telemetry.diagnostics.debug("tick")
    assert ("tick" in capsys.readouterr().err) == (not host)


@pytest.mark.parametrize(
    "text",
    [
        "password=S3CRET",
        "passwd: S3CRET",
        '{"password": "S3CRET"}',
        "{'token': 'S3CRET', 'x': 1}",
        '{"password": "a\\"S3CRET"}',
        '\\"password\\": \\"S3CRET\\"',
        "Authorization: Bearer S3CRET",
        '{"authorization": "Bearer S3CRET"}',
        "cookie: sc_session=S3CRET; other=1",
        "__Host-sc_session=S3CRET",
        "postgresql://ann:S3CRET@db.example/x",
        "the token sct_S3CRET0123456789 was used",
        "master_key=S3CRET",
        "POST /setup?token=S3CRET&error=x",
    ],
)
def test_what_looks_like_a_secret_is_blanked(text: str) -> None:
    clean = redact(text)
    assert "S3CRET" not in clean
    assert "***" in clean


@pytest.mark.parametrize(
    "text", ["16 tokens were listed", "http://127.0.0.1:8080/x@y", "password needs 12", ""]
)
def test_what_does_not_is_left(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_passes_in_message_arguments_extras_or_traces(form: str) -> None:
    try:
        raise ValueError("cannot sign in with password=S3CRET1")
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x",
            logging.ERROR,
            __file__,
            1,
            "token=%s",
            ("S3CRET2",),
            _raised(),
            extra={"password": "S3CRET3"},
        )
    shown = Redacting(form).format(record)  # type: ignore[arg-type]
    assert "S3CRET" not in shown
    assert "ValueError" in shown
    assert record.args == ("S3CRET2",), "a host's other handlers get the record unchanged"
    if form == "json":
        assert json.loads(shown)["password"] == "***"


def _raised() -> object:
    import sys

    return sys.exc_info()
