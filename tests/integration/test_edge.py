"""The edge of the API: what every answer carries, and what is refused before anybody looks at it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from storage_core.api import create_app
from storage_core.bootstrap import OPERATIONS
from storage_core.domain.permission import Role
from storage_core.domain.sizes import MAX_BODY, MAX_DEPTH, MAX_HEADERS, MAX_QUERY, json_too_deep, too_deep
from storage_core.wire import route
from tests.integration.doors import Doors

CREATE = "/api/storage/tenants/create"
LIST = "/api/storage/tenants/list"
ODD = "00000000-0000-4000-8000-000000000000"


def is_dressed(answer: httpx.Response) -> None:
    """Every promise of the edge, on one answer."""
    where, headers = f"{answer.request.method} {answer.request.url}: {answer.status_code}", answer.headers
    assert headers["x-content-type-options"] == "nosniff", where
    assert headers["x-frame-options"] == "DENY", where
    assert headers["referrer-policy"] == "same-origin", where
    assert headers["cross-origin-opener-policy"] == "same-origin", where
    assert headers["cross-origin-resource-policy"] == "same-origin", where
    assert headers["cache-control"] == "no-store", where
    assert len(headers["x-correlation-id"]) == 36, where
    assert "access-control-allow-origin" not in headers, where
    assert "server" not in headers, where
    policy = headers.get_list("content-security-policy")
    assert len(policy) == 1, where
    assert "frame-ancestors 'none'" in policy[0], where
    assert policy[0].startswith("default-src 'none'") or policy[0].startswith("default-src 'self'"), where
    assert "unsafe-eval" not in policy[0], where
    scripts = [part for part in policy[0].split(";") if part.strip().startswith("script-src")]
    assert "unsafe-inline" not in "".join(scripts), where
    if headers.get("content-type", "").startswith("text/html"):
        assert policy[0].startswith("default-src 'self'"), where
    else:
        assert policy[0].startswith("default-src 'none'"), where


def routes(doors: Doors) -> set[tuple[str, str]]:
    """Every address the application answers at, with every method it knows there."""
    found: set[tuple[str, str]] = set()
    waiting = [*doors.app.routes]
    while waiting:
        one = waiting.pop()
        if inner := getattr(one, "original_router", None):
            waiting += inner.routes
            continue
        if isinstance(one, Mount):  # an application of its own, under our edge
            found.add(("GET", f"{one.path}/"))
            continue
        assert isinstance(one, Route), f"{one}: how is it walked?"
        found |= {(method, one.path.replace("{id}", ODD)) for method in one.methods or ()}
    found |= {("GET", "/nowhere"), ("PATCH", CREATE), ("OPTIONS", CREATE)}
    return {(m, p) for m, p in found if p != "/api/storage/events"}


async def test_every_answer_of_every_route_carries_the_headers(shared: Doors) -> None:
    walked = routes(shared)
    for op in OPERATIONS:
        assert (route(op).method, route(op).path.replace("{id}", ODD)) in walked, op.name
    assert {p for _, p in walked} >= {"/metrics", "/api/docs", "/api/auth/login", "/health/ready"}
    for role in (None, Role.VIEWER, Role.SUPER_ADMIN):
        async with shared.rest(role) as http:
            for method, path in sorted(walked):
                answer = await http.request(method, path, json=None if method in ("GET", "HEAD") else {})
                is_dressed(answer)
                if answer.is_error:
                    assert answer.headers["content-type"] == "application/problem+json", path


async def test_what_is_refused_carries_them_too(shared: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shared.rest() as http:
        for answer in (
            await http.get(f"{LIST}?q={'x' * MAX_QUERY}"),
            await http.get(LIST, headers={"X-Much": "x" * MAX_HEADERS}),
            await http.post(CREATE, content=b"x" * (MAX_BODY + 1)),
            await http.post(CREATE, content=b"[" * 100_000),
            await http.get(LIST, headers={"X-Tenant-ID": "No Such"}),
            await http.get(LIST, headers={"Authorization": "Bearer no"}),
        ):
            assert answer.is_client_error
            is_dressed(answer)

        async def broken() -> None:
            raise RuntimeError("nobody expected it")

        monkeypatch.setattr(shared.core.kernel.catalog, "ping", broken)
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]
        is_dressed(answer)


async def test_over_https_the_browser_is_told_to_stay_there(shared: Doors) -> None:
    async with httpx.AsyncClient(transport=shared.transport(), base_url="https://console.example") as http:
        answer = await http.get("/health/live")
        assert answer.headers["strict-transport-security"].startswith("max-age=")
    async with shared.rest(None) as http:
        assert "strict-transport-security" not in (await http.get("/health/live")).headers


async def test_too_long_and_too_large_heads_are_refused(shared: Doors) -> None:
    async with shared.rest() as http:
        answer = await http.get(f"{LIST}?q={'x' * MAX_QUERY}")
        assert (answer.status_code, answer.json()["code"]) == (414, "uri_too_long")
        answer = await http.get(LIST, headers={"X-Much": "x" * MAX_HEADERS})
        assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
        assert (await http.get(f"{LIST}?q={'x' * 200}")).status_code == 200
        assert (await http.get(f"{LIST}?q={'x' * 201}")).status_code == 422
        assert (await http.get(f"{LIST}?limit=501")).status_code == 422


def nested(levels: int, text: bytes = b"1") -> bytes:
    return b'{"a":' * levels + text + b"}" * levels


@pytest.mark.parametrize("path", [CREATE, "/api/auth/login"])
@pytest.mark.parametrize("kind", ["application/json", "application/vnd.x+json", None])
async def test_a_deep_body_is_refused_before_it_is_parsed(shared: Doors, path: str, kind: str | None) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    headers = {} if kind is None else {"Content-Type": kind}
    async with shared.rest() as http:
        for body in (
            nested(MAX_DEPTH + 1),
            b"[" * 100_000,
            nested(50_000),
            b'{"name":' + b"[" * 40 + b"]" * 40 + b"}",
        ):
            for content in (body, pieces(body)):
                answer = await http.post(path, content=content, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
        deep_in_text = b'{"name": "' + b"[" * 1000 + b'"}'
        answer = await http.post(CREATE, content=deep_in_text, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["field"]) == (422, "name")


def test_depth_is_counted_right() -> None:
    for levels in (0, 1, MAX_DEPTH, MAX_DEPTH + 1, 5000):
        deep = levels > MAX_DEPTH
        assert json_too_deep(nested(levels)) is deep
        assert json_too_deep(b"[" * levels + b"]" * levels) is deep
        assert json_too_deep(nested(levels, rb'"\"[{"')) is deep
        value: Any = 1
        for turn in range(levels):
            value = [value] if turn % 2 else {"a": value, "b": 2}
        assert too_deep(value) is deep
    assert not json_too_deep(b"[" + b"[{}]," * 1000 + b"1]"), "wide is not deep"


async def test_deep_values_are_refused_at_the_other_doors_too(shared: Doors) -> None:
    settings: Any = "x"
    for _ in range(40):
        settings = {"a": settings}
    op = next(o for o in OPERATIONS if o.name == "databases.configure")
    with pytest.raises(ValueError, match="nested deeper"):
        op.request(id="x", settings=settings)
    from click.testing import CliRunner

    from storage_core.cli import build

    for text in (json.dumps(settings), "[" * 100_000):
        given = ["databases", "configure", "--id", "x", "--settings", text]
        result = CliRunner().invoke(build(), given, prog_name="storage-console")
        assert result.exit_code == 2
        assert "nested deeper" in result.stderr


async def limited(doors: Doors, **limits: int) -> None:
    """The options set, and an application that has read no others."""
    for key, value in limits.items():
        await doors.call("settings.update", key=key, value=str(value), confirm=key)
    doors.app = create_app(lambda: doors.core, OPERATIONS)


async def test_one_credential_cannot_ask_for_ever(doors: Doors) -> None:
    await limited(doors, rate_caller=5)
    async with doors.rest(Role.VIEWER) as http, doors.rest(Role.SUPER_ADMIN) as other:
        codes = [(await http.get(LIST)).status_code for _ in range(7)]
        assert codes == [200] * 5 + [429] * 2
        answer = await http.get(LIST)
        assert answer.json()["code"] == "too_many_requests"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        is_dressed(answer)
        assert (await other.get(LIST)).status_code == 200, "somebody else is not disturbed"


async def test_one_address_cannot_ask_for_ever(doors: Doors) -> None:
    await limited(doors, rate_address=4)
    for client, others in (
        (("203.0.113.9", 1), ("203.0.113.10", 1)),
        (("2001:db8::1", 1), ("2001:db8:0:1::1", 1)),
    ):
        async with httpx.AsyncClient(transport=doors.transport(client), base_url="http://127.0.0.1") as http:
            codes = [
                (await http.get(path)).status_code for path in ("/api/docs", LIST, LIST, "/x", LIST, LIST)
            ]
            assert codes == [200, 401, 401, 404, 429, 429]
            assert (await http.get("/health/live")).status_code == 200, "probes go on"
        async with httpx.AsyncClient(transport=doors.transport(others), base_url="http://127.0.0.1") as http:
            assert (await http.get(LIST)).status_code == 401
    neighbour = ("2001:db8::ffff", 1)  # of the same /64: the same machine, for all we know
    async with httpx.AsyncClient(transport=doors.transport(neighbour), base_url="http://127.0.0.1") as http:
        assert (await http.get(LIST)).status_code == 429


async def test_signing_in_is_limited_apart(doors: Doors) -> None:
    await limited(doors, rate_sign_in=3)
    async with doors.rest(None) as http:
        for path in ("/api/auth/login", "/api/auth/setup", "/api/auth/login"):
            assert (await http.post(path, json={})).status_code == 422
        refused = await http.post("/api/auth/login", json={})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/api/auth/me")).status_code == 401


async def test_no_limit_is_a_choice(doors: Doors) -> None:
    await limited(doors, rate_caller=0, rate_address=0, rate_sign_in=0)
    async with doors.rest(Role.VIEWER) as http:
        assert {(await http.get(LIST)).status_code for _ in range(20)} == {200}
