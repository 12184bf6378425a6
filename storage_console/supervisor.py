"""Keeps the web and worker processes running: none outlives the supervisor, none is given up lightly."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

MARK = "SUPERVISED_BY_STORAGE_CONSOLE"  # set for children, who watch their standard input because of it
QUICK = 30.0  # seconds; who dies sooner never really started
GIVE_UP = 5  # quick deaths in a row
PATIENCE = 15.0  # seconds a child has to finish once it is told to stop


class GaveUp(Exception):
    """A child died too often, too soon."""


def die_with_parent(grace: float = 10.0) -> bool:
    """Ends this process, gently and then at once, when the supervisor's end of standard input closes.

    Answers whether there is a supervisor.
    """
    if os.environ.pop(MARK, None) is None:  # popped, so that grandchildren do not inherit it
        return False

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(grace)
        os._exit(1)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()
    return True


def say(text: str) -> None:
    """Tells the operator something on standard error."""
    print(f"storage-console: {text}", file=sys.stderr, flush=True)


async def supervise(
    commands: Mapping[str, Sequence[str]], stop: asyncio.Event, environment: Mapping[str, str]
) -> None:
    """Keeps every named command running until `stop` is set; when one is given up, stops all and raises GaveUp."""

    async def one(name: str, command: Sequence[str]) -> None:
        try:
            await keep(name, command, stop, environment)
        finally:
            stop.set()

    ends = await asyncio.gather(*(one(*item) for item in commands.items()), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


async def keep(
    name: str, command: Sequence[str], stop: asyncio.Event, environment: Mapping[str, str]
) -> None:
    """Runs a command until `stop` is set and restarts it when it dies; raises GaveUp."""
    fails = 0
    while not stop.is_set():
        begun = time.monotonic()
        # a session of its own: Ctrl-C in the terminal reaches the supervisor alone
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, start_new_session=True, env={**environment, MARK: "1"}
        )
        try:
            await _first(process.wait(), stop.wait())
            if stop.is_set():
                await _end(process)
                return
        finally:
            _kill_group(process.pid)  # what a dead child left behind, or the child when we are cancelled
        fails = fails + 1 if time.monotonic() - begun < QUICK else 1
        if fails >= GIVE_UP:
            raise GaveUp(f"{name} died {fails} times in a row (status {process.returncode}), giving up")
        say(f"{name} ended unexpectedly (status {process.returncode}), starting it again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1 * 2**fails):
                await stop.wait()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await process.wait()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
