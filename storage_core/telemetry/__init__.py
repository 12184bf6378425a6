"""The fallback logger and the diagnostics logger.

Another service owns logging where the product is embedded; these configure themselves only where nobody has.
"""

import contextvars
import logging
import logging.handlers
import re
from collections.abc import MutableMapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

DIAGNOSTICS = "storage_core.diagnostics"

log = logging.getLogger("storage_core")
diagnostics = logging.getLogger(DIAGNOSTICS)

#: One id from door to driver; set at the door and by the worker.
correlation: contextvars.ContextVar[str] = contextvars.ContextVar("correlation", default="-")

_SECRETS = (
    re.compile(
        r"""(?ix) (password|passwd|secret|token|cookie|authorization|master_key|sc_session)
            (\\?["']?\s*[=:]\s*\\?["']?) (?:(?:bearer|basic)\s+)? (?:\\.|[^\s"',;&}\\])+"""
    ),
    re.compile(r"(://[^\s:/@]+)(:)[^\s@/]+(?=@)"),
    re.compile(r"()\b(sct_)[A-Za-z0-9_-]{8,}"),
)


def redact(text: str) -> str:
    """Blank out what looks like a secret's value; the name before it stays."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1\2***", text)
    return text


class Redacting(logging.Formatter):
    """Renders a record as JSON or as detailed text, and takes secrets out of the result, traces included.

    structlog is loaded with the first record: most commands log nothing.
    """

    def __init__(self, form: Literal["json", "text"]) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record))

    @cached_property
    def _inner(self) -> logging.Formatter:
        import structlog

        pre: list[Any] = [
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_correlation,
            structlog.stdlib.ExtraAdder(),
        ]
        last: Any = (
            structlog.processors.JSONRenderer()
            if self._form == "json"
            else structlog.dev.ConsoleRenderer(colors=False)
        )
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=pre,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
        )


def _add_correlation(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event["correlation_id"] = correlation.get()
    return event


def configure(level: str, file: Path | None, diagnosing: bool = False) -> None:
    """JSON on the console, detailed text in the file; leaves a host's own logging as it is.

    `diagnosing` switches the diagnostics logger on, wherever its records then go.
    """
    diagnostics.setLevel(logging.DEBUG if diagnosing else logging.CRITICAL)
    root = logging.getLogger()
    if root.handlers:
        return
    console = logging.StreamHandler()
    console.setFormatter(Redacting("json"))
    root.addHandler(console)
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        detailed = logging.handlers.RotatingFileHandler(file, maxBytes=16 << 20, backupCount=5, delay=True)
        detailed.setFormatter(Redacting("text"))
        root.addHandler(detailed)
    root.setLevel(level)
    # Drivers tell whole statements and their values, clients whole requests: none of that is for a log.
    for noisy in (
        "httpx",
        "httpcore",
        "asyncio",
        "alembic",
        "aiosqlite",
        "pymongo",
        "sqlalchemy",
        "uvicorn.access",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
