"""The tenant in force: never defaulted, always put back, and read from headers that are believed only narrowly."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from storage_core.domain.claims import Claims
from storage_core.domain.errors import TenantRequired, Unauthenticated
from storage_core.tenancy import TenantScope, current_tenant, optional_tenant, tenant_scope
from storage_core.tenancy.middleware import CLAIMS, TRUSTED_PROXY, TenancyMiddleware


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


# whatever happens to a request, its tenant goes with it


def scope_of(tenant: str, kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "headers": [(b"x-tenant-id", tenant.encode())], "state": {}}


async def nothing(*_: Any) -> Any:
    return {"type": "http.request"}


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, asyncio.CancelledError])
async def test_it_is_reset_when_the_application_fails(kind: str, error: type[BaseException]) -> None:
    async def app(*_: Any) -> None:
        assert current_tenant().tenant == "acme"
        raise error

    with pytest.raises(error):
        await TenancyMiddleware(app)(scope_of("acme", kind), nothing, nothing)
    assert optional_tenant() is None


async def test_it_is_reset_when_the_caller_goes_away() -> None:
    inside, seen = asyncio.Event(), list[Any]()

    async def app(*_: Any) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(optional_tenant())

    async def request() -> None:
        try:
            await TenancyMiddleware(app)(scope_of("acme"), nothing, nothing)
        finally:
            seen.append(optional_tenant())

    task = asyncio.create_task(request())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [TenantScope("acme"), None], "clean-up still belongs to the tenant, what follows does not"


async def test_work_left_behind_keeps_its_own_tenant_and_gives_it_to_nobody() -> None:
    go, seen = asyncio.Event(), list[Any]()
    left: list[asyncio.Task[None]] = []

    async def later() -> None:
        await go.wait()
        seen.append(optional_tenant())

    async def app(*_: Any) -> None:
        left.append(asyncio.create_task(later()))

    await TenancyMiddleware(app)(scope_of("acme"), nothing, nothing)
    assert optional_tenant() is None
    await TenancyMiddleware(app)(scope_of("other"), nothing, nothing)
    go.set()
    await asyncio.gather(*left)
    assert seen == [TenantScope("acme"), TenantScope("other")]


async def test_a_hundred_requests_at_once_do_not_see_each_other() -> None:
    """Through a real application: what is awaited, sent to a thread, streamed and done in the background."""
    together = asyncio.Barrier(100)
    afterwards: dict[str, str] = {}

    async def endpoint(request: Request) -> StreamingResponse:
        name = current_tenant().tenant
        await together.wait()

        async def body() -> AsyncIterator[str]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield f"{current_tenant().tenant} "
            yield await asyncio.to_thread(lambda: current_tenant().tenant)

        async def background() -> None:
            await asyncio.sleep(0)
            afterwards[name] = current_tenant().tenant

        return StreamingResponse(body(), background=BackgroundTask(background))

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(TenancyMiddleware)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        names = [f"tenant-{n}" for n in range(100)]
        answers = await asyncio.gather(*(http.get("/", headers={"X-Tenant-ID": n}) for n in names))
    assert [a.text for a in answers] == [f"{n} {n} {n} {n}" for n in names]
    assert afterwards == {n: n for n in names}
    assert optional_tenant() is None


async def test_lifespan_has_no_tenant_and_leaves_none() -> None:
    seen: list[Any] = []

    async def app(*_: Any) -> None:
        seen.append(optional_tenant())

    await TenancyMiddleware(app)(scope_of("acme", "lifespan"), nothing, nothing)
    assert seen == [None]
    assert optional_tenant() is None


# a token's word


@dataclass
class Knows:
    """A verifier that knows one token."""

    claims: Claims

    async def verify(self, token: str) -> Claims:
        if token != "a.good.one":
            raise Unauthenticated("no")
        return self.claims


async def with_token(
    *headers: tuple[bytes, bytes], tenant: str | None = "acme", kind: str = "http", **scope: Any
) -> tuple[Any, list[dict[str, Any]]]:
    seen: list[Any] = []
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append((optional_tenant(), scope["state"][CLAIMS]))

    async def send(message: Any) -> None:
        sent.append(dict(message))

    claims = Claims("https://login.example", "ann", datetime(2030, 1, 1, tzinfo=UTC), tenant)
    asked = {"type": kind, "headers": [*headers], "state": {}, **scope}
    await TenancyMiddleware(app, lambda: Knows(claims))(asked, nothing, send)
    assert optional_tenant() is None
    return (seen[0] if seen else "not called"), sent


GOOD = (b"authorization", b"Bearer a.good.one")


async def test_the_token_names_the_tenant_and_headers_must_agree() -> None:
    (tenant, claims), _ = await with_token(GOOD)
    assert (tenant, claims.subject) == (TenantScope("acme"), "ann")
    (tenant, _), _ = await with_token(GOOD, (b"x-tenant-id", b"acme"), (b"x-namespace", b"eu"))
    assert tenant == TenantScope("acme", "eu")
    (tenant, _), _ = await with_token(GOOD, (b"x-namespace", b"eu"))
    assert tenant == TenantScope("acme", "eu")
    seen, sent = await with_token(GOOD, (b"x-tenant-id", b"other"))
    assert (seen, sent[0]["status"]) == ("not called", 403)
    assert json.loads(sent[1]["body"])["code"] == "tenant_mismatch"
    seen, sent = await with_token(GOOD, (b"x-tenant-id", b"other"), kind="websocket")
    assert (seen, sent) == ("not called", [{"type": "websocket.close", "code": 1008}])


async def test_a_trusted_proxys_header_counts_beside_a_token() -> None:
    (tenant, _), _ = await with_token(GOOD, (b"x-tenant-id", b"other"), **{TRUSTED_PROXY: True})
    assert tenant == TenantScope("other")


async def test_a_token_without_a_tenant_sets_none() -> None:
    (tenant, claims), _ = await with_token(GOOD, tenant=None)
    assert tenant is None
    assert claims.subject == "ann"


async def test_a_bad_token_is_refused_and_other_credentials_pass_by() -> None:
    for headers in (
        ((b"authorization", b"Bearer a.bad.one"),),
        (GOOD, GOOD),
        (GOOD, (b"authorization", b"x")),
    ):
        seen, sent = await with_token(*headers)
        assert (seen, sent[0]["status"]) == ("not called", 401)
        assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
    for value in (b"Bearer sct_x", b"Basic a.good.one", b"", b"Bearer"):
        (tenant, claims), _ = await with_token((b"authorization", value))
        assert (tenant, claims) == (None, None)
