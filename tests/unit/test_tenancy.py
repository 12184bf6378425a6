"""The tenant in force: never defaulted, always put back, and read from headers that are believed only narrowly."""

import asyncio
import json
from typing import Any

import pytest

from storage_core.domain.errors import TenantRequired
from storage_core.tenancy import TenantScope, current_tenant, optional_tenant, tenant_scope
from storage_core.tenancy.middleware import TenancyMiddleware


def test_without_a_tenant_there_is_none() -> None:
    with pytest.raises(TenantRequired):
        current_tenant()
    assert optional_tenant() is None


def test_a_scope_holds_inside_its_block_and_the_one_before_comes_back() -> None:
    with tenant_scope("acme"):
        with tenant_scope("other", "eu"):
            assert current_tenant() == TenantScope("other", "eu")
        assert current_tenant() == TenantScope("acme")
    assert optional_tenant() is None


def test_an_error_takes_the_scope_with_it() -> None:
    with pytest.raises(ZeroDivisionError), tenant_scope("acme"):
        _ = 1 / 0
    assert optional_tenant() is None


def test_tasks_at_the_same_time_do_not_see_each_other() -> None:
    async def work(name: str, turn: asyncio.Barrier) -> str:
        with tenant_scope(name):
            await turn.wait()
            return current_tenant().tenant

    async def main() -> list[str]:
        turn = asyncio.Barrier(3)
        return await asyncio.gather(*(work(n, turn) for n in ("a", "b", "c")))

    assert asyncio.run(main()) == ["a", "b", "c"]


async def through(*headers: tuple[bytes, bytes], kind: str = "http") -> tuple[Any, list[dict[str, Any]]]:
    """One request through the middleware: the tenant the application saw (or none called), what was sent."""
    seen: list[Any] = []
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(optional_tenant())

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"type": kind, "headers": list(headers), "state": {"correlation_id": "c-1"}}
    await TenancyMiddleware(app)(scope, receive, send)
    return (seen[0] if seen else "not called"), sent


async def test_the_header_sets_the_tenant_for_the_request_only() -> None:
    assert (await through((b"x-tenant-id", b"acme")))[0] == TenantScope("acme")
    assert optional_tenant() is None
    assert (await through())[0] is None


async def test_a_namespace_stands_beside_its_tenant() -> None:
    seen, _ = await through((b"x-tenant-id", b"acme"), (b"x-namespace", b"eu"))
    assert seen == TenantScope("acme", "eu")


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        (((b"x-tenant-id", b"acme"), (b"x-tenant-id", b"acme")), "X-Tenant-ID"),
        (((b"x-tenant-id", b"acme"), (b"x-tenant-id", b"other")), "X-Tenant-ID"),
        (((b"x-tenant-id", b""),), "X-Tenant-ID"),
        (((b"x-tenant-id", b"Acme"),), "X-Tenant-ID"),
        (((b"x-tenant-id", b"acme, other"),), "X-Tenant-ID"),
        (((b"x-tenant-id", b"acme\n"),), None),
        (((b"x-tenant-id", b"../x"),), "X-Tenant-ID"),
        (((b"x-tenant-id", "\u00e4cme".encode()),), "X-Tenant-ID"),
        (((b"x-tenant-id", b"a" * 49),), "X-Tenant-ID"),
        (((b"x-namespace", b"eu"),), "X-Namespace"),
        (((b"x-tenant-id", b"acme"), (b"x-namespace", b"eu"), (b"x-namespace", b"us")), "X-Namespace"),
    ],
)
async def test_what_is_not_clear_is_refused(
    headers: tuple[tuple[bytes, bytes], ...], field: str | None
) -> None:
    seen, sent = await through(*headers)
    if field is None:  # white space around a header's value is no part of it
        assert seen == TenantScope("acme")
        return
    assert seen == "not called"
    start, body = sent
    assert start["status"] == 422
    assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
    problem = json.loads(body["body"])
    assert (problem["code"], problem["field"], problem["correlation_id"]) == ("invalid_request", field, "c-1")


async def test_a_websocket_is_closed_instead() -> None:
    seen, sent = await through((b"x-tenant-id", b"Bad"), kind="websocket")
    assert (seen, sent) == ("not called", [{"type": "websocket.close", "code": 1008}])


async def test_lifespan_passes() -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    await TenancyMiddleware(app)({"type": "lifespan"}, app, app)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
