"""Processes by pid and start time, so that a reused pid is never taken for ours. Standard library only."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
EXITING = 0x4  # PF_EXITING in linux/sched.h
KILL_PENDING = 1 << (signal.SIGKILL - 1)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: `started` is its start in clock ticks since boot, and the boot's id."""

    pid: int
    started: str


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; none when there is none, or when it is dying or a zombie already."""
    try:
        # the command's name stands in parentheses and may hold anything, so count from the last one
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        status = (PROC / str(pid) / "status").read_text(errors="replace")
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    pending = int(status.partition("\nSigPnd:")[2].split(maxsplit=1)[0], 16)
    if fields[0] in "ZX" or int(fields[6]) & EXITING or pending & KILL_PENDING:
        return None
    return ProcessId(pid, f"{fields[19]}@{boot}")


def alive(process: ProcessId | None) -> bool:
    return process is not None and identify(process.pid) == process


def send(process: ProcessId | None, signal_number: int) -> None:
    """Send a signal to that very process; nothing happens when it is gone."""
    if process is not None and alive(process):
        try:
            os.kill(process.pid, signal_number)
        except ProcessLookupError:
            return


def await_end(process: ProcessId | None, seconds: float) -> bool:
    """Wait for the process to end; false when it lives on."""
    deadline = time.monotonic() + seconds
    while alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
