"""Opening engines: from a registered provider to a live one."""

from collections.abc import Callable
from typing import Protocol

from ..domain.provider import Endpoint, EngineKind, Provider
from .engine import Engine


class Engines(Protocol):
    """Live engines by provider, pooled and bounded; wrapped with retry and circuit breaker."""

    def kinds(self) -> tuple[EngineKind, ...]: ...

    async def engine(self, provider: Provider, password: str | None) -> Engine:
        """The live engine of a provider's current revision; an older revision's is closed once unused."""
        ...

    def watch(self, engine: Engine, told: Callable[[], None]) -> None:
        """Call `told`, a method whose object is held weakly, when this engine is to be used no more: ask for another."""
        ...

    def trial(
        self, kind: EngineKind, endpoint: Endpoint, password: str | None, *, own: bool = False
    ) -> Engine:
        """An engine that is not kept: for testing a connection before it is saved. The caller closes it.

        `own`: it is a private server of this home.
        """
        ...

    async def retire(self, provider_id: str) -> None:
        """Use what is open for a provider no more: those who watch it are told, it is closed once unused. Idempotent."""
        ...

    async def drain(self, provider_id: str) -> int:
        """Close outdated engines of a provider that no call uses now; answers how many are still in use."""
        ...

    async def forget(self, provider_id: str) -> None:
        """Close what is open for a provider; idempotent."""
        ...
