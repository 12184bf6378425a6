"""The archive port: computing in a thread, overlapped with reading and writing, in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, TypeVar

from ...domain.errors import DamagedArtifact
from ...ports.archive import Sealing
from ...ports.backup import Piece
from .container import Packer, Unpacker
from .envelope import HEADER, SEALED_SEGMENT, Opener, Sealer

T = TypeVar("T")


class SealedArchive:
    """Archives as ``docs/format.md`` describes them."""

    def seal(self, pieces: AsyncIterator[Piece], key: bytes, label: bytes) -> Sealing:
        return _Sealing(pieces, key, label)

    async def open(self, sealed: AsyncIterator[bytes], key: bytes, label: bytes) -> AsyncGenerator[Piece]:
        unpacker = Unpacker()
        async with aclosing(_segments(sealed)) as segments:
            opener = Opener(await anext(segments, b""), key, label)
            async for segment, last in _marked(segments):
                await _compute(lambda segment=segment, last=last: opener.feed(segment, last))
                following = _compute(lambda: _next_pieces(opener, unpacker))
                try:
                    # the next block is unpacked while the caller is busy with this one
                    while (found := await following) is not None:
                        following = _compute(lambda: _next_pieces(opener, unpacker))
                        for piece in found:
                            yield piece
                finally:
                    following.cancel()
        opener.finish()
        unpacker.finish()

    async def verify(self, sealed: AsyncIterator[bytes], key: bytes, label: bytes) -> int:
        size = HEADER
        async with aclosing(_segments(sealed)) as segments:
            opener = Opener(await anext(segments, b""), key, label)
            running: asyncio.Future[bytes] | None = None
            async for segment, last in _marked(segments):
                if running is not None:
                    await running
                running = _compute(lambda segment=segment, last=last: opener.check(segment, last))
                size += len(segment)
            if running is None:
                raise DamagedArtifact("The backup is cut off after its header.")
            await running
        return size


class _Sealing:
    """A running seal: a block is sealed in a thread while the next one is read and the last one is written."""

    def __init__(self, pieces: AsyncIterator[Piece], key: bytes, label: bytes) -> None:
        self.raw = 0
        self._pieces = pieces
        self._sealer = Sealer(key, label)

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        sealer = self._sealer
        running: asyncio.Future[bytes] | None = None
        async with aclosing(self._blocks()) as blocks:
            try:
                async for block in blocks:
                    sealed = await running if running is not None else b""
                    running = _compute(lambda block=block: sealer.feed(block))
                    if sealed:
                        yield sealed
                if running is not None:
                    yield await running
                yield await _compute(sealer.finish)
            finally:
                if running is not None:
                    running.cancel()

    async def _blocks(self) -> AsyncGenerator[list[bytes | memoryview]]:
        packer = Packer()
        async with _closing(self._pieces) as pieces:
            async for piece in pieces:
                self.raw += len(piece.data)
                for block in packer.add(piece):
                    yield block
            for block in packer.finish():
                yield block


def _next_pieces(opener: Opener, unpacker: Unpacker) -> list[Piece] | None:
    block = opener.block()
    return None if block is None else unpacker.add(block)


async def _segments(sealed: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Cut a stream into the header, then segments; the last one is whatever is left."""
    held = bytearray()
    want = HEADER
    async with _closing(sealed) as chunks:
        async for chunk in chunks:
            held += chunk
            while len(held) >= want:
                yield bytes(memoryview(held)[:want])
                del held[:want]
                want = SEALED_SEGMENT
    if held:
        yield bytes(held)


async def _marked(segments: AsyncIterator[bytes]) -> AsyncGenerator[tuple[bytes, bool]]:
    """Each segment with whether it is the last."""
    held: bytes | None = None
    async for segment in segments:
        if held is not None:
            yield held, False
        held = segment
    if held is not None:
        yield held, True


def _compute(work: Callable[[], T]) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(None, work)


def _closing(source: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """Close a generator of the caller's when we leave early; other iterators have nothing to close."""
    closable: Any = source
    return aclosing(closable) if hasattr(source, "aclose") else nullcontext(source)
