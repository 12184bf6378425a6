"""JSON Web Tokens, verified against an issuer's keys: given, or fetched from where the issuer publishes them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ..domain.claims import Claims, role_of
from ..domain.errors import StorageError, Unauthenticated, Unreachable
from ..domain.naming import NAME
from ..ports.outbound import Web

#: Signatures by a private key only: whoever can check a token must not be able to make one.
ALGORITHMS = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
LEEWAY_SECONDS = 30
#: Nobody can revoke such a token, so that it must end by itself soon.
LONGEST = timedelta(hours=24)
MAX_TOKEN = 8192
#: Keys are fetched anew after so long, or for a key nobody knows; the latter not more often than that.
FRESH, AT_MOST_EVERY = timedelta(hours=1), timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs, for whom, and in which claims tenant and role stand. `keys`: a JWKS, else the issuer is asked."""

    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    role_claim: str = "role"
    keys: str | None = None


class JwtVerifier:
    """The token verifier port."""

    def __init__(self, issuer: Issuer, web: Web, now: Callable[[], datetime]) -> None:
        self._issuer, self._web, self._now = issuer, web, now
        self._keys: KeySet | None = None if issuer.keys is None else _key_set(issuer.keys)
        self._fetched: datetime | None = None
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN:
            raise _refused()
        try:
            claims = self._decoded(token, await self._known())
        except (JoseError, ValueError):
            # Perhaps the issuer has signed with a new key.
            try:
                claims = self._decoded(token, await self._known(anew=True))
            except (JoseError, ValueError):
                raise _refused() from None
        return self._read(claims)

    def _decoded(self, token: str, keys: KeySet) -> dict[str, Any]:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        registry = jwt.JWTClaimsRegistry(
            now=int(self._now().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer.issuer},
            aud={"essential": True, "value": self._issuer.audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        registry.validate(claims)
        return dict(claims)

    def _read(self, claims: dict[str, Any]) -> Claims:
        expires = datetime.fromtimestamp(claims["exp"], UTC)
        tenant, subject = claims.get(self._issuer.tenant_claim), claims["sub"]
        if expires - self._now() > LONGEST:
            raise Unauthenticated(
                "The token lives too long.",
                hint=f"Issue tokens for at most {LONGEST.total_seconds() / 3600:g} hours.",
            )
        if not isinstance(subject, str) or not subject.isprintable():
            raise _refused()
        if tenant is not None and not (isinstance(tenant, str) and NAME.fullmatch(tenant)):
            raise Unauthenticated("The token's tenant is no tenant's name or id.")
        role = role_of(claims.get(self._issuer.role_claim))
        return Claims(self._issuer.issuer, subject, expires, tenant, role)

    async def _known(self, *, anew: bool = False) -> KeySet:
        if self._issuer.keys is not None and self._keys is not None:
            return self._keys
        async with self._fetching:
            age = None if self._fetched is None else self._now() - self._fetched
            if self._keys is None or age is None or age > (AT_MOST_EVERY if anew else FRESH):
                self._keys = await self._fetch()
                self._fetched = self._now()
            return self._keys

    async def _fetch(self) -> KeySet:
        base = self._issuer.issuer.rstrip("/")
        told = await self._get(f"{base}/.well-known/openid-configuration")
        address = told.get("jwks_uri")
        # The issuer's own word on who it is, so that no other one's keys are taken for its.
        if told.get("issuer") != self._issuer.issuer or not isinstance(address, str):
            raise Unreachable("The token issuer's description does not fit STORAGE_JWT_ISSUER.")
        return _key_set(json.dumps(await self._get(address)))

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            status, body = await self._web.send("GET", url)
            found = json.loads(body)
        except (StorageError, ValueError, RecursionError) as error:
            raise Unreachable("The token issuer's keys cannot be fetched.") from error
        if status != 200 or not isinstance(found, dict):
            raise Unreachable("The token issuer's keys cannot be fetched.")
        return found


def _key_set(text: str) -> KeySet:
    """The public keys of a JWKS that we can use; ValueError when there is none."""
    listed = json.loads(text)
    keys = listed.get("keys") if isinstance(listed, dict) else None
    usable = [
        key
        for key in (keys if isinstance(keys, list) else ())
        if isinstance(key, dict) and key.get("kty") in KEY_TYPES and key.get("use", "sig") == "sig"
    ]
    if not usable:
        raise ValueError("there is no public signing key in it")
    return KeySet.import_key_set({"keys": usable})


def _refused() -> Unauthenticated:
    return Unauthenticated("The Authorization header carries no valid token.")
