"""The artifacts store in a bucket of an object store that speaks S3."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from ...domain.errors import NotFound, StorageError, StorageFull, StoreFailure
from ...ports.artifacts import Stored
from .keys import checked_parts

T = TypeVar("T")

#: Bytes of one part of an upload; 10 000 of them are the most an object may have (S3's limit), so 80 GiB.
PART = 8 << 20
#: Parts under way at once: what an upload holds in memory is so many parts.
AT_ONCE = 4
CHUNK = 2 << 20
#: How long an upload that was given up may take to take back what it sent.
TAKE_BACK_SECONDS = 10

_HINT = (
    "Check STORAGE_ARTIFACTS_URL and the AWS_… variables: address, region, key, and its rights on the bucket."
)
_FAILURES = (BaseError, OSError, ValueError)
#: What servers of S3 say when a quota or a disk is full.
_FULL = ("QuotaExceeded", "InsufficientStorage", "StorageFull", "EntityTooLarge")


class ObjectArtifacts:
    """Objects below ``s3://bucket/folder``, in parts that become an object by the last request of an upload.

    Credentials and endpoint come from the usual ``AWS_…`` variables. An upload that is cut off leaves parts that nobody
    lists and only the bucket's own rule can remove (AbortIncompleteMultipartUpload); one that fails takes them back.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store: Any = S3Store.from_url(
            self._url,
            retry_config={"max_retries": 6, "retry_timeout": timedelta(minutes=3)},
            # Requests last as long as an artifact is large; what stands still is given up.
            client_options={
                "timeout": "24h",
                "read_timeout": "120s",
                "connect_timeout": "10s",
                "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"),
            },
        )

    async def put(self, key: str, data: AsyncIterable[bytes]) -> Stored:
        place = _place(key)
        feed = _Feed(data)

        async def upload() -> None:
            await self._store.put_async(place, feed.parts(), chunk_size=PART, max_concurrency=AT_ONCE)

        uploading = asyncio.ensure_future(upload())
        try:
            await asyncio.shield(uploading)
        except asyncio.CancelledError:
            # Cancelling an upload leaves its parts in the bucket for ever: it must fail, and take them back itself.
            feed.halt()
            await asyncio.wait([uploading], timeout=TAKE_BACK_SECONDS)
            uploading.cancel()
            raise
        except _FAILURES as error:
            raise feed.error or _failure(error, key) from error
        finally:
            await feed.close()
        return await self.stat(key)

    async def get(self, key: str) -> AsyncGenerator[bytes]:
        place = _place(key)
        found = await self._done(lambda: self._store.get_async(place), key)
        chunks = aiter(found.stream(min_chunk_size=CHUNK))
        while True:
            try:
                chunk = await self._done(lambda: anext(chunks), key)
            except StopAsyncIteration:
                return
            yield bytes(chunk)

    async def stat(self, key: str) -> Stored:
        place = _place(key)
        return _stored(await self._done(lambda: self._store.head_async(place), key), key)

    async def delete(self, key: str) -> None:
        place = _place(key)
        with suppress(NotFound):
            await self._done(lambda: self._store.delete_async(place), key)

    async def list(self, prefix: str) -> tuple[Stored, ...]:
        # The store's own prefixes are whole folders.
        folder = prefix.rpartition("/")[0]
        found: list[Stored] = []

        async def listed() -> None:
            async for batch in self._store.list(prefix=folder or None):
                found.extend(_stored(item, item["path"]) for item in batch)

        await self._done(listed, prefix)
        return tuple(sorted((s for s in found if s.key.startswith(prefix)), key=lambda stored: stored.key))

    def location(self, key: str) -> str:
        return f"{self._url}/{_place(key)}"

    async def reap(self, older_than: datetime) -> int:
        """Nothing is there to see: parts of uploads that were cut off are the bucket's rule's."""
        return 0

    async def _done(self, work: Callable[[], Awaitable[T]], key: str) -> T:
        try:
            return await work()
        except _FAILURES as error:
            raise _failure(error, key) from error


class _Feed:
    """The caller's parts on their way into an upload, which `halt` ends with an error."""

    def __init__(self, data: AsyncIterable[bytes]) -> None:
        self._source: Any = aiter(data)
        self._halted = asyncio.Event()
        self.error: BaseException | None = None
        """What the source raised: it is the caller's, and no failure of the store."""

    def halt(self) -> None:
        self._halted.set()

    async def parts(self) -> AsyncGenerator[bytes]:
        halted = asyncio.ensure_future(self._halted.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(self._source, None))
                await asyncio.wait({coming, halted}, return_when=asyncio.FIRST_COMPLETED)
                if halted.done():
                    coming.cancel()
                    await asyncio.wait([coming])
                    raise StoreFailure("The upload was given up.")
                try:
                    part = coming.result()
                except BaseException as error:
                    self.error = error
                    raise
                if part is None:
                    return
                if part:
                    yield part
        finally:
            halted.cancel()

    async def close(self) -> None:
        if hasattr(self._source, "aclose"):
            await self._source.aclose()


def _place(key: str) -> str:
    return "/".join(checked_parts(key))


def _stored(meta: Any, key: str) -> Stored:
    return Stored(key, meta["size"], meta["last_modified"])


def _failure(error: Exception, key: str) -> StorageError:
    text = str(error)
    if "NoSuchBucket" in text:
        return StoreFailure("The bucket of the artifacts store is not there.", hint=_HINT)
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{key} is not in the artifacts store.")
    if any(word in text for word in _FULL):
        return StorageFull(f"There is no space left to store {key}.")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return StoreFailure(
            f"The artifacts store refuses the access key for {key or 'its root'}.", hint=_HINT
        )
    why = type(error).__name__
    if "error sending request" in text:
        why = "it does not answer"
    elif "builder error" in text:
        why = "its address is no https address, and AWS_ALLOW_HTTP is not true"
    return StoreFailure(f"The artifacts store failed at {key or 'its root'}: {why}.", hint=_HINT)
