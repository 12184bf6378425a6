"""Engines that stand still at a place of a test's choosing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from storage_core.bootstrap import Core


class Held:
    """An engine's backup that stands still in the middle of a dump or a restore until it is let go."""

    def __init__(self, core: Core) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.where = ""
        self._engines = core.kernel.engines
        object.__setattr__(core.kernel, "engines", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engines, name)

    async def engine(self, *args: Any) -> Any:
        held, inner = self, await self._engines.engine(*args)

        class Engine:
            backup = HeldBackup(inner.backup, held)

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

        return Engine()

    async def wait(self, where: str) -> None:
        if self.where == where:
            self.reached.set()
            await self.go.wait()


class HeldBackup:
    def __init__(self, inner: Any, held: Held) -> None:
        self._inner, self._held = inner, held

    def dump(self, name: str, on_progress: Any) -> Any:
        context, held = self._inner.dump(name, on_progress), self._held

        class Dump:
            async def __aenter__(self) -> Any:
                self.inner = await context.__aenter__()
                return self

            async def __aexit__(self, *error: object) -> Any:
                return await context.__aexit__(*error)

            async def pieces(self) -> AsyncIterator[Any]:
                async for piece in self.inner.pieces():
                    yield piece
                    await held.wait("dump")

            @property
            def manifest(self) -> Any:
                return self.inner.manifest

        return Dump()

    async def restore(self, pieces: Any, name: str, manifest: Any, on_progress: Any) -> Any:
        async def slowly() -> AsyncIterator[Any]:
            async for piece in pieces:
                yield piece
                await self._held.wait("restore")

        return await self._inner.restore(slowly(), name, manifest, on_progress)

    async def measure(self, name: str, like: Any) -> Any:
        await self._held.wait("measure")
        return await self._inner.measure(name, like)

    async def finish(self, name: str) -> tuple[str, ...]:
        return await self._inner.finish(name)
