"""What every artifacts store promises; a store's tests inherit this class and hand in a `store` fixture."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from storage_core.domain.errors import InvalidRequest, NotFound
from storage_core.ports.artifacts import Artifacts

MIB = 1 << 20


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


async def whole(store: Artifacts, key: str) -> bytes:
    return b"".join([part async for part in store.get(key)])


class ArtifactsContract:
    """The contract of ports/artifacts.py."""

    async def test_what_is_put_is_there(self, store: Artifacts) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        stored = await store.put("artifacts/t/d/b.scb", parts(b"one", b"", b"two"))
        assert (stored.key, stored.size) == ("artifacts/t/d/b.scb", 6)
        assert before <= stored.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
        assert await whole(store, stored.key) == b"onetwo"
        assert await store.stat(stored.key) == stored
        assert await store.list("artifacts/") == (stored,)

    async def test_large_objects_stream(self, store: Artifacts) -> None:
        blocks = [random.Random(i).randbytes(700_001) for i in range(20)]
        stored = await store.put("large", parts(*blocks))
        assert stored.size == 20 * 700_001
        chunks = [chunk async for chunk in store.get("large")]
        assert b"".join(chunks) == b"".join(blocks)
        assert len(chunks) > 1 and max(map(len, chunks)) <= 16 * MIB

    async def test_empty_objects_exist(self, store: Artifacts) -> None:
        assert (await store.put("empty", parts())).size == 0
        assert await whole(store, "empty") == b""
        assert len(await store.list("")) == 1

    async def test_a_put_replaces_at_the_very_end(self, store: Artifacts) -> None:
        await store.put("k", parts(b"old"))
        seen: list[bytes] = []

        async def looking() -> AsyncIterator[bytes]:
            yield b"new" * MIB
            seen.append(await whole(store, "k"))
            seen.append(str([(s.key, s.size) for s in await store.list("")]).encode())
            yield b"!"

        await store.put("k", looking())
        assert seen == [b"old", b"[('k', 3)]"]
        assert await whole(store, "k") == b"new" * MIB + b"!"

    async def test_a_failing_source_leaves_nothing(self, store: Artifacts) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 3 * MIB
            raise RuntimeError("the source broke")

        await store.put("kept", parts(b"old"))
        for key in ("fresh/key", "kept"):
            with pytest.raises(RuntimeError, match="the source broke"):
                await store.put(key, broken())
        assert [stored.key for stored in await store.list("")] == ["kept"]
        assert await whole(store, "kept") == b"old"
        await self.no_leftovers(store)

    @pytest.mark.parametrize("moment", range(6))
    async def test_cancelling_leaves_nothing(self, store: Artifacts, moment: int) -> None:
        reached = asyncio.Event()
        closed = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            try:
                for count in range(10_000):
                    if count == moment:
                        reached.set()
                    yield bytes(MIB)
            finally:
                closed.set()

        task = asyncio.create_task(store.put("k", endless()))
        await reached.wait()
        await asyncio.sleep(0.001 * moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed.is_set()
        assert await store.list("") == ()
        await self.no_leftovers(store)

    async def test_a_reader_may_leave_early(self, store: Artifacts) -> None:
        await store.put("k", parts(bytes(9 * MIB)))
        for _ in range(3):
            chunks = aiter(store.get("k"))
            assert await anext(chunks)
            await chunks.aclose()  # type: ignore[attr-defined]
        assert len(await whole(store, "k")) == 9 * MIB

    async def test_what_is_missing_is_not_found(self, store: Artifacts) -> None:
        await store.put("folder/k", parts(b"x"))
        for key in ("k", "folder", "folder/k/deeper", "folder/other"):
            with pytest.raises(NotFound):
                await store.stat(key)
            with pytest.raises(NotFound):
                await whole(store, key)

    async def test_delete_is_idempotent(self, store: Artifacts) -> None:
        await store.put("a/b", parts(b"x"))
        await store.put("a/c", parts(b"y"))
        for _ in range(2):
            await store.delete("a/b")
        await store.delete("never/was")
        assert [stored.key for stored in await store.list("")] == ["a/c"]

    async def test_list_keeps_to_its_prefix(self, store: Artifacts) -> None:
        for key in ("artifacts/a/1", "artifacts/ab/2", "artifacts/b/3", "other"):
            await store.put(key, parts(key.encode()))
        assert [s.key for s in await store.list("artifacts/a/")] == ["artifacts/a/1"]
        assert [s.key for s in await store.list("artifacts/a")] == ["artifacts/a/1", "artifacts/ab/2"]
        assert len(await store.list("")) == 4
        assert await store.list("none") == ()

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\x00b",
            "a\nb",
            "k" * 2000,
        ],
    )
    async def test_strange_keys_are_refused(self, store: Artifacts, key: str) -> None:
        with pytest.raises(InvalidRequest):
            await store.put(key, parts(b"x"))
        with pytest.raises(InvalidRequest):
            await whole(store, key)
        for call in (store.stat, store.delete):
            with pytest.raises(InvalidRequest):
                await call(key)
        with pytest.raises(InvalidRequest):
            store.location(key)
        assert await store.list("") == ()

    async def test_writers_of_one_key_do_not_mix(self, store: Artifacts) -> None:
        async def slow(letter: bytes) -> AsyncIterator[bytes]:
            for _ in range(4):
                yield letter * MIB
                await asyncio.sleep(0)

        await asyncio.gather(*(store.put("k", slow(bytes([65 + n]))) for n in range(6)))
        found = await whole(store, "k")
        assert len(found) == 4 * MIB and len(set(found)) == 1

    async def test_writing_and_deleting_side_by_side(self, store: Artifacts) -> None:
        async def churn(n: int) -> None:
            for _ in range(15):
                await store.put(f"shared/folder/{n}", parts(b"x"))
                await store.delete(f"shared/folder/{n}")

        await asyncio.gather(*(churn(n) for n in range(5)))
        assert await store.list("") == ()

    async def no_leftovers(self, store: Artifacts) -> None:
        """Nothing is there to reap; a store with a view of its own looks closer."""
        assert await store.reap(datetime.now(UTC) + timedelta(hours=1)) == 0
