"""The test of a directory, step by step, for every engine whose databases lie in one."""

import asyncio
import os
import time
from pathlib import Path

from ...domain.errors import MissingPrivilege, StorageError
from ...domain.provider import CheckStep, StepStatus
from ..probe import since
from .place import Place

_NO_SERVER = "Skipped: not a server."


async def checked(place: Place) -> tuple[CheckStep, ...]:
    """name and privileges; what is between them is for servers."""
    name = await asyncio.to_thread(_check_name, place)
    skipped = tuple(CheckStep(step, StepStatus.SKIPPED, _NO_SERVER) for step in ("tcp", "tls", "sign_in"))
    if name.status is StepStatus.FAILED:
        last = CheckStep("privileges", StepStatus.SKIPPED, "Skipped: there is no directory to look at.")
    else:
        last = await asyncio.to_thread(_check_privileges, place)
    return (name, *skipped, last)


def _check_name(place: Place) -> CheckStep:
    started = time.perf_counter()
    try:
        root = place.root()
    except StorageError as error:
        return _failed("name", error, started)
    return CheckStep("name", StepStatus.PASSED, f"{root} is a directory.", milliseconds=since(started))


def _check_privileges(place: Place) -> CheckStep:
    started = time.perf_counter()
    try:
        _write_probe(place)
    except StorageError as error:
        return _failed("privileges", error, started)
    detail = "Files can be made and removed there."
    return CheckStep("privileges", StepStatus.PASSED, detail, milliseconds=since(started))


def _write_probe(place: Place) -> None:
    root = place.root()
    probe: Path = place.scratch(root / "probe")
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        probe.unlink()
    except OSError as error:
        raise MissingPrivilege(
            f"{root} cannot be written: {error.strerror}.",
            hint="Give the account that runs this write access.",
        ) from error


def _failed(step: str, error: StorageError, started: float) -> CheckStep:
    return CheckStep(step, StepStatus.FAILED, error.detail, error.hint, error.code, since(started))
