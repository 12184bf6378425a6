"""What a canary secret is, and who watches for it: over every process, and at every start of PostgreSQL's programs."""

import base64
import shlex
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from storage_core.providers.postgresql.tools import search

#: The same in every secret, and in every spelling of it that text formats know.
MARK = f"Canary{uuid.uuid4().hex}"


def secret(door: str) -> str:
    """A door's own secret: what is found tells where it leaked."""
    return f"{MARK}-{door}'\"&"


def spellings() -> tuple[bytes, ...]:
    """The mark in clear, and in base64 wherever it begins."""
    encoded = {base64.b64encode(b"x" * shift + MARK.encode())[4:-4] for shift in (0, 1, 2)}
    return (MARK.encode(), *encoded)


@dataclass
class Watch:
    """Every process of the machine, looked at over and over: what anybody could see of its start."""

    seen: set[str] = field(default_factory=set)
    leaks: set[str] = field(default_factory=set)
    looks: int = 0
    caught: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,))
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        said = (process / name).read_bytes()
                    except OSError:
                        continue
                    if name == "cmdline":
                        self.seen.add(said.partition(b"\0")[0].decode(errors="replace").rpartition("/")[2])
                    if MARK.encode() in said:
                        self.leaks.add(f"{name} of {said[:300]!r}")
                        self.caught.set()
            stop.wait(0.01)


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs behind wrappers, each of which notes how it was started and becomes the real one.

    Nobody who only looks now and then sees every start of a program that lives for some milliseconds.
    """

    folder: Path

    NAMES = ("pg_dump", "pg_restore")

    @classmethod
    def wrapped(cls, folder: Path) -> "Programs":
        made = cls(folder)
        made.bin.mkdir(parents=True)
        made.starts.mkdir()
        real = max(search(None), key=lambda tools: tools.major)
        for name in cls.NAMES:
            note = f"{shlex.quote(str(made.starts))}/{name}.$$"
            made.bin.joinpath(name).write_text(
                "#!/bin/sh\n"
                # As the kernel keeps it: neither the shell's own variables nor its idea of the arguments.
                f"/bin/cat /proc/$$/cmdline > {note}.cmdline || exit 1\n"
                f"/bin/cat /proc/$$/environ > {note}.environ || exit 1\n"
                f'exec {shlex.quote(real.path(name))} "$@"\n'
            )
            made.bin.joinpath(name).chmod(0o700)
        return made

    @property
    def bin(self) -> Path:
        """For STORAGE_PG_BIN."""
        return self.folder / "bin"

    @property
    def starts(self) -> Path:
        return self.folder / "starts"

    def said(self, name: str) -> list[bytes]:
        """The arguments and environment of each start of a program that worked on a database."""
        commands = [path for path in self.starts.glob(f"{name}.*.cmdline")]
        at_work = [path for path in commands if b"\0--format=custom\0" in path.read_bytes()]
        return [path.read_bytes() + path.with_suffix(".environ").read_bytes() for path in at_work]

    def leaks(self) -> list[str]:
        notes = {path.name: path.read_bytes() for path in self.starts.iterdir()}
        return [f"{name}: {said!r}" for name, said in notes.items() if any(s in said for s in spellings())]
