"""Who watches single calls sees spans and sizes, and never a value; who does not pays one look."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from storage_core.domain.errors import NotFound
from storage_core.domain.provider import EngineKind
from storage_core.domain.record import Find
from storage_core.providers.breaker import Breaker
from storage_core.providers.gate import Gate
from storage_core.providers.guarded_collections import GuardedCollections
from storage_core.providers.patience import Patience
from storage_core.telemetry import diagnostics
from storage_core.telemetry.watch import TRACER, WATCH
from tests.unit.memory_port import MemoryCollections

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def collections() -> GuardedCollections:
    gate = Gate(Breaker(lambda: 0.0, 5, 10.0), Patience(), EngineKind.SQLITE)
    return GuardedCollections(MemoryCollections(), gate)


@pytest.fixture
def diagnosing() -> Iterator[None]:
    level = diagnostics.level
    diagnostics.setLevel(logging.DEBUG)
    WATCH.refresh()
    yield
    diagnostics.setLevel(level)
    WATCH.refresh()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    WATCH.trace(provider.get_tracer(TRACER))
    yield kept
    WATCH.trace(None)


async def test_diagnostics_tell_sizes_and_hashes_and_no_values(
    collections: GuardedCollections, diagnosing: None, caplog: pytest.LogCaptureFixture
) -> None:
    orders = collections.collection("acme_db", "orders")
    with caplog.at_level(logging.DEBUG, diagnostics.name):
        await orders.insert("o-secret", {"card": "4111-1111"}, AT)
        await orders.find(Find())
        with pytest.raises(NotFound):
            await orders.delete("nobody-here")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" in ")[0].rpartition(": ")[2] for line in lines] == ["None", "1 items", "not_found"]
    assert all(line.startswith("sqlite ") and "acme_db.orders" in line for line in lines)
    told = "".join(lines)
    assert not any(value in told for value in ("o-secret", "4111", "nobody-here"))
    assert "dict:20:" in lines[0]


async def test_every_call_has_a_span_of_opentelemetrys_names(
    collections: GuardedCollections, spans: InMemorySpanExporter
) -> None:
    orders = collections.collection("acme_db", "orders")
    await orders.get("a")
    with pytest.raises(NotFound):
        await orders.delete("a")
    first, second = spans.get_finished_spans()
    assert first.name == "get orders"
    assert dict(first.attributes or {}) == {
        "db.system.name": "sqlite",
        "db.operation.name": "get",
        "db.namespace": "acme_db",
        "db.collection.name": "orders",
    }
    assert not second.status.is_ok
    assert (second.attributes or {})["error.type"] == "not_found"


def test_nobody_watches_unless_asked() -> None:
    WATCH.refresh()
    assert not WATCH.on
