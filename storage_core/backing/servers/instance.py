"""One private server: its folder, its state, its start and its end. Everything here blocks."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...domain.errors import Conflict, EngineFailure, Locked, NotFound, ToolMissing
from ...domain.server import PrivateServer
from .binaries import HOST, PrivateEngine
from .files import KEEPER_LOCK, Kept, hold, read_kept, write_private
from .processes import ProcessId, alive, await_end, identify, send

START_SECONDS, STOP_SECONDS = 90.0, 40.0
LOG_LIMIT = 8 << 20
# Below the range that outgoing connections take their ports from, so that a restart finds its port free.
PORTS = range(20_000, 32_000)
# Forgets the keeper at once, so that no caller stays its parent; tells its pid.
DETACH = '"$@" </dev/null >>"$0" 2>&1 & echo $!'


@dataclass(frozen=True, slots=True)
class State:
    """What we remember of a server. `ready` is the start of the keeper whose server was seen ready."""

    kind: str
    port: int
    provider_id: str | None = None
    ready: str = ""


class _Died(Exception):
    """The server ended before it was ready."""


class Instance:
    """A server's folder `place` and what can be done with it; `state` is none where none was ever started."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @property
    def state(self) -> State | None:
        try:
            return State(**json.loads((self.place / "state.json").read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise EngineFailure(
                f"The state of the private server {self.place.name} cannot be read."
            ) from error

    def known(self) -> State:
        if (state := self.state) is None:
            raise NotFound(
                f"There is no private server named {self.place.name}.",
                hint="`storage-console engines list` shows the servers; `engines start KIND` makes one.",
            )
        return state

    def running(self, state: State) -> Kept | None:
        """Its live keeper and server, once it was seen ready."""
        kept = read_kept(self.place)
        if kept is None or kept.keeper.started != state.ready:
            return None
        return kept if alive(kept.keeper) and alive(kept.server) else None

    def describe(self, state: State, user: str) -> PrivateServer:
        kept = self.running(state)
        return PrivateServer(
            name=self.place.name,
            kind=state.kind,
            running=kept is not None,
            host=HOST,
            port=state.port,
            user=user,
            data_dir=str(self.place / "data"),
            pid=kept.server.pid if kept else None,
            provider_id=state.provider_id,
        )

    def start(self, engine: PrivateEngine) -> State:
        """Bring it up, or answer the one that is up; only one process at a time gets to try."""
        engine.command(self.place, 0)  # refuses early when the programs are missing, before anything is made
        self.place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.place.mkdir(mode=0o700, exist_ok=True)
        with self._alone():
            state = self.state
            if state is not None and state.kind != engine.kind:
                raise Conflict(
                    f"The private server {self.place.name} is a {state.kind} server.",
                    hint="Choose another name.",
                )
            if state is not None and self.running(state):
                return state
            return self._bring_up(engine, state or State(engine.kind, 0))

    def stop(self) -> State:
        with self._alone():
            state = self.known()
            self._end()
            return state

    def bind(self, provider_id: str) -> None:
        with self._alone():
            self._write(replace(self.known(), provider_id=provider_id))

    def _alone(self) -> "_Alone":
        return _Alone(self.place)

    def _write(self, state: State) -> None:
        write_private(self.place / "state.json", json.dumps(asdict(state)))

    def _bring_up(self, engine: PrivateEngine, state: State) -> State:
        self._end()  # a keeper that never got ready, a server whose keeper was killed
        if not (self.place / "password").exists():
            if (self.place / "data").exists():
                raise EngineFailure(f"The password of the private server {self.place.name} is gone.")
            write_private(self.place / "password", secrets.token_urlsafe(24))
        self._write(replace(state, ready=""))
        engine.prepare(self.place)
        for _ in range(3):
            state = replace(state, port=_free_port(state.port), ready="")
            self._write(state)
            engine.clear(self.place)
            try:
                keeper = self._await_ready(engine, state.port, self._spawn(engine, state.port))
            except _Died:
                if not _is_free(state.port):
                    continue  # somebody else took the port in between
                raise self._failure() from None
            state = replace(state, ready=keeper.started)
            self._write(state)
            return state
        raise self._failure()

    def _spawn(self, engine: PrivateEngine, port: int) -> ProcessId | None:
        """Start the keeper, detached: a session of its own, nothing of ours open, init as its parent."""
        log = self.place / "server.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".old"))
        log.touch(mode=0o600)
        keeper = [sys.executable, "-P", "-m", f"{__package__}.keeper", str(self.place), engine.stop_signal]
        done = subprocess.run(
            ["/bin/sh", "-c", DETACH, str(log), *keeper, *engine.command(self.place, port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
            timeout=30,
            start_new_session=True,
            cwd="/",
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            },
        )
        return identify(int(done.stdout))

    def _await_ready(self, engine: PrivateEngine, port: int, keeper: ProcessId | None) -> ProcessId:
        deadline = time.monotonic() + START_SECONDS
        pause = 0.01
        while keeper is not None and alive(keeper):
            kept = read_kept(self.place)
            if kept is not None and kept.keeper == keeper and engine.ready(self.place, port, kept):
                return keeper
            if time.monotonic() > deadline:
                self._end()
                raise self._failure()
            time.sleep(pause)
            pause = min(pause * 1.3, 0.2)
        raise _Died

    def _end(self) -> None:
        """End keeper and server, if there are any; afterwards nobody holds the data."""
        kept = read_kept(self.place)
        if kept is not None:
            send(kept.keeper, signal.SIGTERM)
            if not (await_end(kept.keeper, STOP_SECONDS) and await_end(kept.server, STOP_SECONDS)):
                send(kept.server, signal.SIGKILL)
                send(kept.keeper, signal.SIGKILL)
        try:
            with hold(self.place / KEEPER_LOCK, seconds=STOP_SECONDS):
                return
        except TimeoutError as error:
            raise Locked(f"The private server {self.place.name} does not end.") from error

    def _failure(self) -> EngineFailure | ToolMissing:
        """Why the server did not start, from the end of its log."""
        try:
            log = (self.place / "server.log").read_text(errors="replace")
        except OSError:
            log = ""
        text = "\n".join(log.strip().splitlines()[-6:])[-1500:]
        if "error while loading shared libraries" in text:
            library = text.partition("loading shared libraries: ")[2].partition(":")[0]
            return ToolMissing(
                f"The private server {self.place.name} needs the system library {library}.",
                hint="Install it, on Debian and Ubuntu: sudo apt-get install libcurl4",
            )
        return EngineFailure(
            f"The private server {self.place.name} did not start. Its log ends with: {text}",
            hint=f"The whole log is {self.place / 'server.log'}.",
        )


class _Alone:
    """The right to start, stop or change one server, held by one process at a time."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._hold = hold(place / "start.lock", seconds=START_SECONDS + STOP_SECONDS)

    def __enter__(self) -> None:
        if not self._place.is_dir():
            raise NotFound(f"There is no private server named {self._place.name}.")
        try:
            self._hold.__enter__()
        except TimeoutError as error:
            raise Locked(f"Somebody else is busy with the private server {self._place.name}.") from error

    def __exit__(self, *failure: object) -> None:
        self._hold.__exit__(None, None, None)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port(wish: int) -> int:
    """The port it had, if nobody took it; another one otherwise."""
    if wish and _is_free(wish):
        return wish
    for _ in range(200):
        if _is_free(port := secrets.choice(PORTS)):
            return port
    raise EngineFailure("No free port was found for the private server.")
