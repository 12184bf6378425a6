"""Processes that rotate every key of a home once and, at the point they are told, kill themselves as ``kill -9`` does.

Points are counted: each statement to the catalog, and each call that changes files. Run with HOME; reads lines
``POINT KEY-ID`` and starts a process for each (point 0 is never reached), then says ``STATUS POINTS``: how that
process ended, by signal or exit status, and, of one that came to its end, how many points there were.
"""

import asyncio
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from storage_core.bootstrap import open_core
from storage_core.domain.secret import SYSTEM_OWNER
from storage_core.services import keys
from storage_core.settings import Settings

FILES = frozenset({"os.rename", "os.link", "os.remove"})
POINTS = 0


def _point(deadly: int) -> None:
    global POINTS
    POINTS += 1
    if POINTS == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(deadly: int) -> None:
    def statement(*_: Any) -> None:
        _point(deadly)

    def audited(name: str, _: Any) -> None:
        if name in FILES:
            _point(deadly)

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "after_cursor_execute", statement)
    event.listen(Engine, "commit", statement)
    sys.addaudithook(audited)


async def _rotate(home: Path, deadly: int, key_id: str) -> None:
    catalog = os.environ.get("CATALOG")
    async with open_core(Settings(home=home, catalog_url=catalog)) as core:
        _watch(deadly)
        keys.BATCH = 50
        rotating = keys.Keys(core.kernel)
        await rotating.rotate("t1", f"{key_id}-t", lambda *_: None)
        await rotating.rotate(SYSTEM_OWNER, f"{key_id}-s", lambda *_: None)
        await rotating.rotate_master(await core.kernel.masters.successor(), lambda *_: None)


def _child(deadly: int, key_id: str, told: int) -> None:
    asyncio.run(_rotate(Path(sys.argv[1]), deadly, key_id))
    os.write(told, str(POINTS).encode())


def _run(deadly: int, key_id: str) -> str:
    heard, told = os.pipe()
    pid = os.fork()  # nothing is open and no thread runs yet: only what takes long, importing, is shared
    if not pid:
        status = 1
        try:
            _child(deadly, key_id, told)
            status = 0
        except Exception:  # noqa: BLE001 - told on the error stream, and by the exit status
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(told)
    _, how = os.waitpid(pid, 0)
    with os.fdopen(heard) as words:
        return f"{os.waitstatus_to_exitcode(how)} {words.read() or 0}"


if __name__ == "__main__":
    for line in sys.stdin:
        point, name = line.split()
        print(_run(int(point), name), flush=True)
