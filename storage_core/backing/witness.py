"""Witnesses: a file, an object store, or a web hook that is told as well."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ..domain.errors import StorageError, StoreFailure, Unreachable
from ..ports.outbound import Web
from ..ports.witness import Witness

STORE_SECONDS = 10
#: Of so many looks at an object store one is at all that it should hold.
LIST_EVERY = 30
_HINT = "Check that the place of the audit's heads (STORAGE_AUDIT_HEADS_URL) can be read and written."


def _failure(place: str, error: Exception) -> StoreFailure:
    why = getattr(error, "strerror", None) or type(error).__name__
    return StoreFailure(f"The place of the audit's signed heads, {place}, cannot be used: {why}.", hint=_HINT)


def public_key(pem: bytes) -> bytes | None:
    """The raw key in PEM text, none for anything else."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw) if isinstance(key, Ed25519PublicKey) else None


def witness_from_url(url: str, home: Path, now: Callable[[], datetime], web: Web, owner: str = "") -> Witness:
    """The witness of an address: ``file://``, ``s3://``, or a web hook, whose lines are kept in the home as well.

    `owner` is the home's name: files of two machines may have the same path.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return FileWitness(Path(unquote(parts.path)), owner)
        case "http" | "https":
            return HookWitness(url, FileWitness(home / "audit" / "heads.jsonl", owner), web)
        case _:
            return ObjectWitness(url, now)


class FileWitness:
    """Lines in one file, 0600, on the disk before `append` returns; keys in files beside it, `NAME.KEYID.pem`."""

    def __init__(self, path: Path, owner: str = "") -> None:
        self._path, self._owner = path, owner
        self._last: tuple[int, bytes] | None = None
        """What was appended last, and where."""

    @property
    def key(self) -> str:
        return f"{self._owner}:{self._path}"

    @property
    def place(self) -> str:
        return str(self._path)

    async def append(self, line: bytes, *, whole: bool) -> None:
        await self._done(lambda: self._append(line))

    async def kept(self) -> bool:
        return await self._done(self._kept)

    def _kept(self) -> bool:
        if self._last is None:
            return True
        try:
            with self._path.open("rb") as file:
                return os.pread(file.fileno(), len(self._last[1]), self._last[0]) == self._last[1]
        except (FileNotFoundError, IsADirectoryError):
            return False

    async def publish(self, key_id: str, pem: str) -> None:
        await self._done(lambda: self._publish(self._path.with_suffix(f".{key_id}.pem"), pem))

    async def keys(self) -> Mapping[str, bytes]:
        return await self._done(self._keys)

    async def lines(self) -> AsyncIterator[bytes]:
        for line in await self._done(self._lines):
            yield line

    async def _done(self, work: Callable[[], Any]) -> Any:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise _failure(self.place, error) from error

    def _append(self, line: bytes) -> None:
        fresh = not self._path.exists()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", 0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                line = b"\n" + line  # a full disk once cut a line off
            if file.write(line) != len(line):
                raise OSError(None, "no space left")
            os.fsync(file.fileno())
            self._last = (end, line)
        if fresh:
            _sync_folder(self._path.parent)

    def _publish(self, path: Path, pem: str) -> None:
        if path.exists():
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)

    def _keys(self) -> dict[str, bytes]:
        if not self._path.parent.exists():
            return {}
        start = f"{self._path.stem}."
        found = [p for p in self._path.parent.iterdir() if p.name.startswith(start) and p.suffix == ".pem"]
        read = {p.name.removeprefix(start).removesuffix(".pem"): public_key(p.read_bytes()) for p in found}
        return {id: key for id, key in read.items() if key is not None}

    def _lines(self) -> list[bytes]:
        try:
            return [line for line in self._path.read_bytes().splitlines() if line]
        except FileNotFoundError:
            return []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ObjectWitness:
    """One object a line in an object store: `heads/MONTH/TIME-whole-….json`, keys as `keys/KEYID.pem`.

    Objects are written once and never again, so that a bucket with object lock can hold them.
    """

    def __init__(self, url: str, now: Callable[[], datetime]) -> None:
        self._url, self._now = url.rstrip("/"), now
        self._last: tuple[str, bytes] | None = None
        self._mine: set[str] = set()
        """What this process wrote that counts: its last whole line, and what followed."""
        self._looks = 0

    @property
    def place(self) -> str:
        return self._url

    @property
    def key(self) -> str:
        return self._url

    @cached_property
    def _store(self) -> Any:
        from obstore.store import from_url

        # A place that does not answer is an alert soon, not after minutes of trying.
        retry: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=STORE_SECONDS)}
        return from_url(self._url, retry_config=retry)

    async def append(self, line: bytes, *, whole: bool) -> None:
        now = self._now()
        kind = "whole" if whole else "part"
        key = f"heads/{now:%Y-%m}/{now:%d-%H%M%S.%f}-{kind}-{secrets.token_hex(4)}.json"
        await self._done(lambda: self._store.put_async(key, line, mode="overwrite"))
        self._last = key, line
        if whole:
            self._mine.clear()
        self._mine.add(key)

    async def kept(self) -> bool:
        from obstore.exceptions import NotFoundError

        if self._last is None:
            return True
        key, line = self._last

        async def there() -> bool:
            try:
                return bytes(await (await self._store.get_async(key)).bytes_async()) == line
            except (NotFoundError, FileNotFoundError):
                return False

        if not await self._done(there):
            return False
        # Listing a month costs many requests: older objects are looked for now and then.
        self._looks += 1
        return self._looks % LIST_EVERY != 1 or self._mine <= set(await self._counting())

    async def publish(self, key_id: str, pem: str) -> None:
        await self._done(lambda: self._store.put_async(f"keys/{key_id}.pem", pem.encode(), mode="overwrite"))

    async def keys(self) -> Mapping[str, bytes]:
        names = await self._listed("keys/")
        read = {n: public_key(await self._read(n)) for n in names}
        return {n.removeprefix("keys/").removesuffix(".pem"): k for n, k in read.items() if k is not None}

    async def lines(self) -> AsyncIterator[bytes]:
        for name in await self._counting():
            yield await self._read(name)

    async def _counting(self) -> list[str]:
        """The newest whole line and what follows it; a whole line carries everything that was exported before."""
        months = sorted({n.split("/")[1] for n in await self._listed("heads/", folders=True)})
        names: list[str] = []
        for month in reversed(months):
            names = sorted(await self._listed(f"heads/{month}/")) + names
            whole = [i for i, name in enumerate(names) if "-whole-" in name]
            if whole:
                return names[whole[-1] :]
        return names

    async def _listed(self, prefix: str, *, folders: bool = False) -> list[str]:
        if folders:
            found = await self._done(lambda: self._store.list_with_delimiter_async(prefix=prefix))
            return list(found["common_prefixes"])
        out: list[str] = []

        async def listed() -> None:
            async for batch in self._store.list(prefix=prefix):
                out.extend(item["path"] for item in batch)

        await self._done(listed)
        return out

    async def _read(self, name: str) -> bytes:
        got = await self._done(lambda: self._store.get_async(name))
        return bytes(await self._done(got.bytes_async))

    async def _done(self, work: Callable[[], Any]) -> Any:
        from obstore.exceptions import BaseError

        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await work()
        except (BaseError, OSError, ValueError) as error:
            raise _failure(self.place, error) from error


class HookWitness:
    """Posts each line to a web hook, and keeps what it can read again in a place of its own."""

    def __init__(self, url: str, kept: Witness, web: Web) -> None:
        self._url, self._kept, self._web = url, kept, web

    @property
    def place(self) -> str:
        """Without path and query, where people put tokens."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}"

    @property
    def key(self) -> str:
        return self._kept.key

    async def append(self, line: bytes, *, whole: bool) -> None:
        await self._kept.append(line, whole=whole)
        await self._post(line)

    async def kept(self) -> bool:
        return await self._kept.kept()

    async def publish(self, key_id: str, pem: str) -> None:
        await self._kept.publish(key_id, pem)

    async def keys(self) -> Mapping[str, bytes]:
        return await self._kept.keys()

    async def lines(self) -> AsyncIterator[bytes]:
        async for line in self._kept.lines():
            yield line

    async def _post(self, line: bytes) -> None:
        """Redirects are not followed: the address that was set is the one that is told."""
        headers = {"Content-Type": "application/json"}
        try:
            status, _ = await self._web.send("POST", self._url, body=line, headers=headers)
        except StorageError as error:
            raise Unreachable(
                f"The web hook for the audit's heads cannot be reached: {error.detail}", hint=_HINT
            ) from error
        if not 200 <= status < 300:
            raise Unreachable(f"The web hook for the audit's heads answered {status}.", hint=_HINT)
