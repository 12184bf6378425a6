"""The example application: its own routes on tenants' storage, the REST API mounted beside, neither in the other's way."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from docs.examples.orders import app
from storage_core.domain.tenant import Tenant
from storage_core.services.tokens import CreateToken
from storage_core.services.users import CreateUser
from tests.integration.homes import somebody
from tests.integration.storage_homes import Ground

REST = "/console/api/storage"


class Running:
    """The application as a server runs it, without a network."""

    def __init__(
        self, http: httpx.AsyncClient, ground: Ground, token: str, tenants: dict[str, Tenant]
    ) -> None:
        self.http, self.ground, self.tenants = http, ground, tenants
        self.token = {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    home: Path = tmp_path_factory.mktemp("mounted")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_HOME", str(home / "home"))
        environment.setenv("ORDERS_KEYS", "k1=acme,k2=globex,k3=nobody")
        async with app.router.lifespan_context(app):
            factory = app.state.storage
            ground = Ground(factory.core, factory, home / "files")
            tenants = {name: await ground.tenant(name) for name in ("acme", "globex")}
            for tenant in tenants.values():
                await ground.database(tenant)
            user = CreateUser(username="ann", password="correct horse battery", role="Admin")
            await factory.core.users.create(somebody(), user)
            token = await factory.core.tokens.create(somebody(), CreateToken(name="t", user="ann"))
            transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
                yield Running(http, ground, token.token, tenants)


async def test_rest_answers_below_the_prefix_as_on_a_console(running: Running) -> None:
    answer = await running.http.get(f"{REST}/tenants/list", headers=running.token)
    assert [t["name"] for t in answer.json()["items"]] == ["globex", "acme"]
    assert answer.headers["x-correlation-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    refused = await running.http.get(f"{REST}/tenants/list")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert refused.headers["content-type"] == "application/problem+json"
    wrong = await running.http.post(f"{REST}/tenants/create", headers=running.token, json={"name": 7})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "name")
    missing = await running.http.get(f"{REST}/tenants/nobody", headers=running.token)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_rest_narrows_to_the_tenant_of_the_header(running: Running) -> None:
    headers = {**running.token, "X-Tenant-ID": "acme"}
    listed = (await running.http.get(f"{REST}/databases/list", headers=headers)).json()["items"]
    assert {d["tenant_id"] for d in listed} == {running.tenants["acme"].id}


async def test_rest_keeps_its_limits(running: Running) -> None:
    long = await running.http.get(f"{REST}/tenants/list?q={'x' * 20_000}", headers=running.token)
    assert (long.status_code, long.json()["code"]) == (414, "uri_too_long")


async def test_signing_in_works_and_guesses_are_counted_below_the_prefix(running: Running) -> None:
    good = {"username": "ann", "password": "correct horse battery"}
    assert (await running.http.post("/console/api/auth/login", json=good)).status_code == 200
    running.http.cookies.clear()
    statuses = set()
    for _ in range(60):
        answer = await running.http.post("/console/api/auth/login", json={"username": "x", "password": "y"})
        statuses.add(answer.status_code)
        if answer.status_code == 429:
            break
    assert 429 in statuses


async def test_the_applications_own_routes_keep_their_own_answers(running: Running) -> None:
    nobody = await running.http.get("/orders")
    assert (nobody.status_code, nobody.json()["code"]) == (403, "tenant_required")
    assert nobody.headers["content-type"] == "application/json"
    lied = await running.http.get("/orders", headers={"X-Tenant-ID": "acme"})
    assert lied.status_code == 403
    other = await running.http.get("/orders", headers={"X-Api-Key": "k1", "X-Tenant-ID": "globex"})
    assert (other.status_code, other.json()["code"]) == (403, "tenant_mismatch")
    unknown = await running.http.get("/orders", headers={"X-Api-Key": "k3"})
    assert unknown.status_code == 404


async def test_both_are_in_one_description(running: Running) -> None:
    schema = (await running.http.get("/openapi.json")).json()
    assert {"/orders", f"{REST}/tenants/list", "/console/api/auth/login"} <= schema["paths"].keys()
