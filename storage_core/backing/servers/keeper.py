"""The keeper: a detached process that holds one server, and ends with it.

``python -m storage_core.backing.servers.keeper FOLDER SIGNAL COMMAND…`` runs the command under a guard that reads
a pipe of ours: when this process ends, however it ends, the guard sends SIGNAL to the server, and SIGKILL half a
minute later. The keeper, the guard and the server share one lock on ``keeper.lock``: while it is held, the data
belongs to somebody. Standard library only, and it never learns the password.
"""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from .files import KEEPER_FILE, KEEPER_LOCK, Kept, hold, write_kept
from .processes import await_end, identify, send

# Standard input is the pipe, standard output tells the server's pid, then everything goes to the log.
GUARD = """
exec 3<&0; s=$1; shift
"$@" </dev/null >&2 3<&- &
p=$!; echo $p; exec >&2
(read _ <&3; kill -$s $p; i=0
 while [ $i -lt 300 ] && kill -0 $p 2>/dev/null; do sleep 0.1; i=$((i+1)); done
 kill -9 $p) 2>/dev/null &
w=$!; wait $p; r=$?; kill $w 2>/dev/null; exit $r
"""
# The shell takes 3 for the pipe and 10 upwards for itself.
LOCK_FD = 64


def keep(place: Path, stop_signal: str, command: list[str], lock: int) -> int:
    """Run the server until it ends or a SIGTERM comes; answers its exit status."""
    fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    shared = fcntl.fcntl(lock, fcntl.F_DUPFD, LOCK_FD)
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "sh", stop_signal, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(shared,),
        start_new_session=True,
        cwd="/",
    )
    if guard.stdin is None or guard.stdout is None:
        return 1
    pipe = guard.stdin

    def end(*_: object) -> None:
        (place / KEEPER_FILE).unlink(missing_ok=True)  # from now on nobody takes the server for a running one
        pipe.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server, me = identify(int(guard.stdout.readline())), identify(os.getpid())
    if server is not None and me is not None:
        write_kept(place, Kept(me, server))
    status = guard.wait()
    (place / KEEPER_FILE).unlink(missing_ok=True)
    # only a guard that was killed leaves its server behind
    send(server, signal.SIGTERM)
    if not await_end(server, 10):
        send(server, signal.SIGKILL)
        await_end(server, 10)
    return status


def main(arguments: list[str]) -> int:
    place, stop_signal, command = Path(arguments[0]), arguments[1], arguments[2:]
    try:
        with hold(place / KEEPER_LOCK, seconds=5) as lock:
            return keep(place, stop_signal, command, lock)
    except TimeoutError as error:
        sys.stderr.write(f"keeper: {error}: another server is still alive here\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
