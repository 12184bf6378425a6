"""Tokens of another identity provider: believed only when signed for us, and never further than their tenant."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from storage_core.backing.jwt import AT_MOST_EVERY, FRESH
from storage_core.bootstrap import open_core
from storage_core.domain.errors import InvalidRequest
from storage_core.domain.permission import Role
from storage_core.settings import Settings, SettingsError
from tests.integration.doors import Doors, doors_at
from tests.integration.homes import prepare

ISSUER, AUDIENCE = "https://login.example", "storage-console"
LIST = "/api/storage/tenants/list"
SIGNING = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)


def published(*keys: Key) -> str:
    return json.dumps(KeySet([*keys]).as_dict(private=False))


def signed(doors: Doors, key: Key = SIGNING, alg: str = "RS256", **changes: Any) -> str:
    """A good token, with some claims changed; `None` leaves one out."""
    now = int(doors.clock().timestamp())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann@example",
        "iat": now,
        "exp": now + 300,
        "tenant": "acme",
        "role": "Operator",
        **changes,
    }
    header = {"alg": alg, **({"kid": key.kid} if key.kid else {})}
    return jwt.encode(header, {k: v for k, v in claims.items() if v is not None}, key, algorithms=[alg])


@pytest.fixture(scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    home = tmp_path_factory.mktemp("jwt") / "home"
    settings = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": published(SIGNING)}
    async with doors_at(home, **settings) as opened:
        for name in ("acme", "other"):
            await opened.tenant(name)
        yield opened


async def ask(
    doors: Doors, token: str, path: str = LIST, method: str = "GET", **headers: str
) -> httpx.Response:
    sent = {"Authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    async with doors.rest(None) as http:
        return await http.request(method, path, headers=sent, json=None if method == "GET" else {})


async def test_the_claims_tenant_is_all_there_is(doors: Doors) -> None:
    told = (await ask(doors, signed(doors), "/api/auth/me")).json()
    acme, other = doors.tenants["acme"].id, doors.tenants["other"].id
    assert told["tenant_id"] == acme
    assert told["grants"] == [{"role": "Operator", "scope": "tenant", "scope_id": acme}]
    assert told["name"] == "ann@example"
    assert [t["name"] for t in (await ask(doors, signed(doors))).json()["items"]] == ["acme"]
    assert (await ask(doors, signed(doors), f"/api/storage/tenants/{acme}")).status_code == 200
    assert (await ask(doors, signed(doors), f"/api/storage/tenants/{other}")).status_code == 404
    assert (await ask(doors, signed(doors, tenant=acme))).status_code == 200, "the id is as good as the name"


@pytest.mark.parametrize(
    ("said", "role"),
    [("viewer", "Viewer"), ("Admin", "Admin"), (["x", "viewer", "operator"], "Operator"), (["SuperAdmin", "viewer"], "Viewer")],
)  # fmt: skip
async def test_roles_are_mapped_and_superadmin_never(doors: Doors, said: Any, role: str) -> None:
    told = (await ask(doors, signed(doors, role=said), "/api/auth/me")).json()
    assert [g["role"] for g in told["grants"]] == [role]


@pytest.mark.parametrize("said", ["SuperAdmin", None, "king", [], 7, {"a": 1}])
async def test_no_role_is_no_way_in(doors: Doors, said: Any) -> None:
    answer = await ask(doors, signed(doors, role=said))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_the_headers_must_agree(doors: Doors) -> None:
    for header in ("other", doors.tenants["other"].id, "nobody"):
        for path in (LIST, "/api/auth/me", "/health/live", "/nowhere"):
            answer = await ask(doors, signed(doors), path, X_Tenant_ID=header)
            assert (answer.status_code, answer.json()["code"]) == (403, "tenant_mismatch"), path
            assert answer.json()["field"] == "X-Tenant-ID"
    assert (await ask(doors, signed(doors), X_Tenant_ID="acme")).status_code == 200
    assert (await ask(doors, signed(doors), X_Namespace="eu")).status_code == 200
    assert (await ask(doors, signed(doors), X_Tenant_ID="acme", X_Namespace="eu")).status_code == 200


async def test_a_trusted_proxy_may_name_the_tenant_and_still_opens_no_other(doors: Doors) -> None:
    acme, other = doors.tenants["acme"].id, doors.tenants["other"].id

    async def from_proxy(scope: Any, receive: Any, send: Any) -> None:
        await doors.app({**scope, "storage.trusted_proxy": True}, receive, send)

    transport = httpx.ASGITransport(app=from_proxy)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
        http.headers["Authorization"] = f"Bearer {signed(doors)}"
        told = (await http.get("/api/auth/me", headers={"X-Tenant-ID": acme})).json()
        assert told["tenant_id"] == acme
        assert (await http.get(LIST, headers={"X-Tenant-ID": other})).status_code == 404


STRANGER = RSAKey.generate_key(2048, {"kid": "one"}, private=True)


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def unsigned(doors: Doors) -> str:
    claims = signed(doors).split(".")[1]
    return f"{part(json.dumps({'alg': 'none', 'kid': 'one'}).encode())}.{claims}."


def by_public_key(doors: Doors) -> str:
    """The old trick: the public key, which everybody has, as the secret of a symmetric signature."""
    head = part(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    text = f"{head}.{signed(doors).split('.')[1]}"
    return f"{text}.{part(hmac.new(SIGNING.as_pem(private=False), text.encode(), hashlib.sha256).digest())}"


def tampered(doors: Doors) -> str:
    head, _, tail = signed(doors).split(".")
    _, claims, _ = signed(doors, tenant="other").split(".")
    return f"{head}.{claims}.{tail}"


def headed(doors: Doors, **more: Any) -> str:
    """Signed by somebody else, with a header that should make us take their key, or stumble."""
    claims = signed(doors).split(".")[1]
    head = {"alg": "RS256", "typ": "JWT", "kid": "one", **more}
    text = f"{part(json.dumps({k: v for k, v in head.items() if v is not None}).encode())}.{claims}"
    signature = STRANGER.private_key.sign(text.encode(), PKCS1v15(), SHA256())
    return f"{text}.{part(signature)}"


FORGED = {
    "with its own key inside": lambda d: headed(d, jwk=STRANGER.as_dict(private=False)),
    "that says where its key is": lambda d: headed(
        d, kid="two", jku="http://127.0.0.1:9/keys", x5u="http://127.0.0.1:9/keys"
    ),
    "whose key is a file": lambda d: headed(d, kid="../../../../dev/null"),
    "whose key has no name": lambda d: headed(d, kid=None),
    "whose key's name is a list": lambda d: headed(d, kid=["one"]),
    "whose key's name is an object": lambda d: headed(d, kid={"one": 1}),
    "whose algorithm is a list": lambda d: headed(d, alg=["RS256"]),
    "with something critical": lambda d: headed(d, crit=["b64"], b64=False),
    "whose header is a list": lambda d: f"{part(b'[]')}.{signed(d).split('.', 1)[1]}",
    "whose header is deep": lambda d: f"{part(b'[' * 5000)}.{signed(d).split('.', 1)[1]}",
    "unsigned": unsigned,
    "by the public key": by_public_key,
    "changed": tampered,
    "by another key": lambda d: signed(d, RSAKey.generate_key(2048, {"kid": "one"}, private=True)),
    "by an unknown key": lambda d: signed(d, RSAKey.generate_key(2048, {"kid": "two"}, private=True)),
    "by a curve": lambda d: signed(d, ECKey.generate_key("P-256", {"kid": "one"}, private=True), "ES256"),
    "for another audience": lambda d: signed(d, aud="another-console"),
    "for nobody": lambda d: signed(d, aud=None),
    "of another issuer": lambda d: signed(d, iss=f"{ISSUER}/"),
    "of no issuer": lambda d: signed(d, iss=None),
    "expired": lambda d: signed(d, exp=int(d.clock().timestamp()) - 60),
    "without an end": lambda d: signed(d, exp=None),
    "not yet valid": lambda d: signed(d, nbf=int(d.clock().timestamp()) + 600),
    "of the future": lambda d: signed(d, iat=int(d.clock().timestamp()) + 600),
    "that lives too long": lambda d: signed(d, exp=int(d.clock().timestamp()) + 100_000),
    "without a subject": lambda d: signed(d, sub=None),
    "with a wrong tenant": lambda d: signed(d, tenant="No Tenant"),
    "with a list of tenants": lambda d: signed(d, tenant=["acme"]),
    "junk": lambda d: "a.b.c",
    "empty parts": lambda d: "..",
    "very long": lambda d: signed(d, x="y" * 9000),
}


@pytest.mark.parametrize("case", sorted(FORGED))
async def test_what_is_not_signed_for_us_is_nothing(doors: Doors, case: str) -> None:
    for path in (LIST, "/api/auth/me"):
        answer = await ask(doors, FORGED[case](doors), path)  # type: ignore[no-untyped-call]
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), case
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_tenant_or_an_unknown_one_is_no_way_in(doors: Doors) -> None:
    answer = await ask(doors, signed(doors, tenant=None))
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_required")
    answer = await ask(doors, signed(doors, tenant=None), X_Tenant_ID="acme")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_required")
    assert (await ask(doors, signed(doors, tenant="nobody"))).status_code == 404


async def test_nothing_made_with_it_outlives_it(doors: Doors) -> None:
    token = signed(doors, role="Admin")
    async with doors.rest(None, Authorization=f"Bearer {token}") as http:
        answer = await http.post("/api/storage/tenants/create", json={"name": "mine"})
        assert answer.status_code in (403, 404), "an Admin of one tenant makes no tenants"


async def test_api_tokens_go_on_beside_it(doors: Doors) -> None:
    async with doors.rest(Role.VIEWER) as http:
        assert (await http.get(LIST)).json()["total"] == 2


async def test_other_claims_and_other_signatures_can_be_configured(tmp_path: Path) -> None:
    curve, edwards = (
        ECKey.generate_key("P-256", {"kid": "e"}, private=True),
        OKPKey.generate_key("Ed25519", {"kid": "o"}, private=True),
    )
    (tmp_path / "keys.json").write_text(published(curve, edwards))
    settings = {
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "jwt_jwks_file": tmp_path / "keys.json",
        "jwt_tenant_claim": "https://example/tenant",
        "jwt_role_claim": "groups",
    }
    async with doors_at(tmp_path / "home", **settings) as doors:
        await doors.tenant("acme")
        claims = {
            "tenant": None,
            "role": None,
            "https://example/tenant": "acme",
            "groups": ["staff", "admin"],
        }
        for key, alg in ((curve, "ES256"), (edwards, "Ed25519")):
            answer = await ask(doors, signed(doors, key, alg, **claims), "/api/auth/me")
            assert [g["role"] for g in answer.json()["grants"]] == ["Admin"], alg


@dataclass
class Publisher:
    """A small issuer: a web server on this machine that publishes its keys."""

    keys: str = ""
    issuer: str = ""
    asked: list[str] = field(default_factory=list)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(path)
        told = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        body = self.keys if path == "/keys" else json.dumps(told)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        async with server:
            self.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self.issuer


async def test_keys_are_fetched_from_the_issuer_and_again_when_they_change(tmp_path: Path) -> None:
    publisher = Publisher(published(SIGNING))
    async with (
        publisher.running() as issuer,
        doors_at(tmp_path / "home", jwt_issuer=issuer, jwt_audience=AUDIENCE) as doors,
    ):
        verifier: Any = doors.core.verifier
        object.__setattr__(verifier, "_now", doors.clock)
        await doors.tenant("acme")
        for _ in range(3):
            assert (await ask(doors, signed(doors, iss=issuer))).status_code == 200
        assert publisher.asked == ["/.well-known/openid-configuration", "/keys"], "fetched once, then known"

        new = RSAKey.generate_key(2048, {"kid": "new"}, private=True)
        publisher.keys = published(new)
        assert (await ask(doors, signed(doors, new, iss=issuer))).status_code == 401
        assert len(publisher.asked) == 2, "a stranger's junk makes nobody ask the issuer each time"
        doors.clock.ahead += AT_MOST_EVERY + timedelta(seconds=1)
        assert (await ask(doors, signed(doors, new, iss=issuer))).status_code == 200
        doors.clock.ahead += FRESH + timedelta(seconds=1)
        assert (await ask(doors, signed(doors, iss=issuer))).status_code == 401, "the old key is gone"

        publisher.issuer = "http://127.0.0.1:1"
        doors.clock.ahead += FRESH + timedelta(seconds=1)
        answer = await ask(doors, signed(doors, new, iss=issuer))
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unreachable")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"STORAGE_JWT_ISSUER": ISSUER}, "needs STORAGE_JWT_AUDIENCE"),
        ({"STORAGE_JWT_AUDIENCE": AUDIENCE}, "STORAGE_JWT_ISSUER is missing"),
        ({"STORAGE_JWT_ISSUER": "login.example", "STORAGE_JWT_AUDIENCE": "x"}, "https address"),
    ],
)
def test_half_a_configuration_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    for name, value in {"STORAGE_HOME": str(tmp_path), **settings}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        Settings.load()


@pytest.mark.parametrize("keys", ["{}", "no json", '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'])
async def test_keys_that_are_none_stop_the_start(tmp_path: Path, keys: str) -> None:
    settings = Settings(home=tmp_path, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_jwks=keys)
    await prepare(settings)
    with pytest.raises(InvalidRequest, match="JWKS"):
        async with open_core(settings):
            pass
