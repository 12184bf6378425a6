"""What stands between an application and an engine, by itself: calls through it to a port that does nothing."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

from storage_core import tenant_scope
from storage_core.bootstrap import utc_now
from storage_core.domain.provider import EngineKind
from storage_core.domain.record import Row
from storage_core.domain.value import Mode
from storage_core.providers.breaker import Breaker
from storage_core.providers.gate import Gate
from storage_core.providers.guarded_collections import GuardedCollections
from storage_core.providers.patience import Patience
from storage_core.storage.collection import Collection

from .measure import ROUNDS, document

CALLS = 20_000
AT = datetime(2026, 1, 2, tzinfo=UTC)
BODY = document(1)


class Nothing:
    """A collection whose calls cost nothing."""

    async def insert(self, id: str, body: Any, at: Any, *, tagged: bool = False) -> None: ...

    async def get(self, id: str) -> Row:
        return Row(id, 1, AT, AT, BODY)

    async def patch(self, id: str, changes: Any, at: Any, **_: Any) -> Row:
        return Row(id, 2, AT, AT, BODY)

    async def delete(self, id: str, *, version: int | None = None) -> None: ...

    async def find(self, find: Any) -> list[Row]:
        return [Row("a", 1, AT, AT, BODY) for _ in range(20)]


class Nothings:
    abilities: frozenset[Any] = frozenset()

    def collection(self, database: str, name: str, quota: Any = None) -> Any:
        return Nothing()


class Tie:
    stamp: object | None = object()

    def __init__(self, port: Any) -> None:
        self._port = port

    async def bind(self, name: str) -> Any:
        return self._port, self.stamp

    def check(self, scope: Any) -> None: ...


async def wrappers() -> dict[str, float | str]:
    """Microseconds per call, less what the port that does nothing costs: the guard alone, and with the SDK on it."""
    bare: Any = Nothing()
    gate = Gate(Breaker(time.monotonic, 5, 10.0), Patience(), EngineKind.SQLITE)
    guarded: Any = GuardedCollections(Nothings(), gate).collection("d", "orders")
    sdk = Collection("orders", Mode.STRICT, Tie(guarded), utc_now)
    changes = {("qty",): 4}

    async def query() -> None:
        _ = [d async for d in sdk.query({"user_id": 1, "status": "new"}, limit=20)]

    calls: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = {
        "get": (lambda: bare.get("a"), lambda: guarded.get("a"), lambda: sdk.get("a")),
        "insert": (
            lambda: bare.insert("a", BODY, AT),
            lambda: guarded.insert("a", BODY, AT),
            lambda: sdk.insert(BODY),
        ),
        "update": (
            lambda: bare.patch("a", changes, AT),
            lambda: guarded.patch("a", changes, AT),
            lambda: sdk.update("a", {"qty": 4}),
        ),
        "delete": (lambda: bare.delete("a"), lambda: guarded.delete("a"), lambda: sdk.delete("a")),
        "find_20": (lambda: bare.find(None), lambda: guarded.find(None), query),
    }
    out: dict[str, float | str] = {}
    with tenant_scope("acme"):
        for name, (nothing, guard, whole) in calls.items():
            rounds = [(await _us(nothing), await _us(guard), await _us(whole)) for _ in range(ROUNDS)]
            out[f"wrappers_{name}_us"] = median(g - n for n, g, _ in rounds)
            out[f"wrappers_and_sdk_{name}_us"] = median(w - n for n, _, w in rounds)
    return out


async def _us(call: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - began) / CALLS * 1e6
