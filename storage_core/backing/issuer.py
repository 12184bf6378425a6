"""OpenID Connect with Authlib and joserfc: discovery, code with PKCE, keys that rotate, ID tokens checked to the claim.

Every request goes through the outbound guard's web port: judged addresses, no redirects, bounded time and size.
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, RSAKey

from ..domain.errors import IdentityRefused, IssuerUnavailable, StorageError
from ..domain.federation import Flow, Identified
from ..domain.identity import SESSION_ABSOLUTE
from ..ports.outbound import Web

#: Signatures by a private key only: `none` proves nothing, and HS… would make the client's secret a signing key.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
RSA_BITS = 2048
LEEWAY_SECONDS = 60
METADATA_LIFE = timedelta(hours=1)
#: Keys are asked for again when a token names an unknown one, and not more often than this: anybody can name one.
KEYS_PAUSE = timedelta(seconds=10)

_REGISTRY = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Client:
    """How the console is known to the provider, and which claims it reads."""

    issuer: str
    id: str
    secret: str | None = field(repr=False)
    redirect: str
    """Where the browser comes back to after signing in …"""
    left: str
    """… and after signing out."""
    scopes: str
    username_claim: str
    groups_claim: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read from the provider, and when."""

    at: datetime
    data: dict[str, Any]


class OidcIssuer:
    """The issuer port for one provider, found by its discovery document."""

    def __init__(self, client: Client, web: Web) -> None:
        self._client, self._web = client, web
        self._lock = asyncio.Lock()
        self._metadata: _Known | None = None
        self._keys: _Known | None = None

    async def address(self, flow: Flow, now: datetime) -> str:
        metadata = await self._discovered(now)
        # With `max_age` the provider must say when it last saw the person: that decides what counts as fresh.
        renewing = flow.session_id is not None
        return prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._client.id,
            "code",
            self._client.redirect,
            self._client.scopes,
            flow.state,
            nonce=flow.nonce,
            code_challenge=create_s256_code_challenge(flow.verifier),
            code_challenge_method="S256",
            max_age="0" if renewing else str(int(SESSION_ABSOLUTE.total_seconds())),
            prompt="login" if renewing else None,
        )

    async def identify(self, flow: Flow, code: str, told: str | None, now: datetime) -> Identified:
        metadata = await self._discovered(now)
        required = metadata.get("authorization_response_iss_parameter_supported") is True
        if told != self._client.issuer and (told is not None or required):
            raise IdentityRefused("The answer comes from another provider than asked.")
        tokens = await self._redeem(metadata, flow, code)
        claims = await self._verified(tokens, flow, now)
        return await self._identified(metadata, tokens, claims)

    async def leaving(self, now: datetime) -> str | None:
        end = (await self._discovered(now)).get("end_session_endpoint")
        if not isinstance(end, str) or not _is_address(end, self._client.issuer):
            return None
        # Without a hint (no ID token is kept) the provider may ask first: it must, so that no other site signs out.
        told = [("client_id", self._client.id), ("post_logout_redirect_uri", self._client.left)]
        return str(add_params_to_uri(end, told))

    async def _redeem(self, metadata: dict[str, Any], flow: Flow, code: str) -> dict[str, Any]:
        """Exchange the code for tokens, with the proof that it is we who asked."""
        body = prepare_token_request(
            "authorization_code", "", self._client.redirect, code=code, code_verifier=flow.verifier
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if self._client.secret is None or "client_secret_basic" not in methods:
            body += f"&client_id={quote_plus(self._client.id)}"
            if self._client.secret is not None:
                body += f"&client_secret={quote_plus(self._client.secret)}"
        else:
            pair = f"{quote_plus(self._client.id)}:{quote_plus(self._client.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, answer = await self._ask("POST", metadata["token_endpoint"], body.encode(), headers)
        if status >= 500:
            raise IssuerUnavailable(f"The identity provider answered {status}.")
        if status != 200:
            raise IdentityRefused("The identity provider did not accept the code.")
        return _object(answer)

    async def _verified(self, tokens: dict[str, Any], flow: Flow, now: datetime) -> CodeIDToken:
        """The ID token's claims: signed by the provider, for us, for this very attempt, and still valid."""
        text = tokens.get("id_token")
        if not isinstance(text, str):
            raise IdentityRefused("The identity provider sent no ID token.")
        try:
            header = jws.extract_compact(text.encode(), registry=_REGISTRY).headers()
            key = await self._key(header, now)
            token = jwt.decode(text, key, registry=_REGISTRY)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self._client.issuer},
                    "aud": {"essential": True, "value": self._client.id},
                    "nonce": {"essential": True, "value": flow.nonce},
                },
                {
                    "nonce": flow.nonce,
                    "client_id": self._client.id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise IdentityRefused(f"The ID token does not hold: {type(error).__name__}: {error}.") from error
        return claims

    async def _identified(
        self, metadata: dict[str, Any], tokens: dict[str, Any], claims: CodeIDToken
    ) -> Identified:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
            raise IdentityRefused("The ID token names nobody.")
        wanted = (self._client.username_claim, self._client.groups_claim)
        more: dict[str, Any] = {}
        if not all(name in claims for name in wanted) and "userinfo_endpoint" in metadata:
            more = await self._user_info(metadata, tokens, subject)
        said = {name: claims.get(name, more.get(name)) for name in wanted}
        username, groups = said[wanted[0]], said[wanted[1]]
        proved = claims.get("auth_time")
        return Identified(
            self._client.issuer,
            subject,
            username if isinstance(username, str) and username.strip() else subject,
            tuple(g for g in groups if isinstance(g, str)) if isinstance(groups, list) else (),
            datetime.fromtimestamp(proved, UTC) if isinstance(proved, int | float) else None,
        )

    async def _user_info(
        self, metadata: dict[str, Any], tokens: dict[str, Any], subject: str
    ) -> dict[str, Any]:
        """What the provider says of the person beside the ID token; of nobody else, whatever it sends."""
        headers = {"Authorization": f"Bearer {tokens.get('access_token', '')}"}
        status, answer = await self._ask("GET", metadata["userinfo_endpoint"], b"", headers)
        if status != 200:
            raise IssuerUnavailable(f"The identity provider's userinfo answered {status}.")
        info = _object(answer)
        if info.get("sub") != subject:
            raise IdentityRefused("The identity provider's userinfo speaks of somebody else.")
        return info

    async def _key(self, header: dict[str, Any], now: datetime) -> Any:
        """The key a token names; asked for anew when it is unknown, since providers change theirs."""
        found = _chosen(await self._key_set(now, fresher_than=METADATA_LIFE), header)
        if found is None:
            found = _chosen(await self._key_set(now, fresher_than=KEYS_PAUSE), header)
        if found is None:
            raise IdentityRefused("The ID token is signed by a key that the identity provider does not show.")
        return found

    async def _key_set(self, now: datetime, fresher_than: timedelta) -> dict[str, Any]:
        metadata = await self._discovered(now)
        async with self._lock:
            if self._keys is None or now - self._keys.at >= fresher_than:
                self._keys = _Known(now, await self._read(metadata["jwks_uri"]))
            return self._keys.data

    async def _discovered(self, now: datetime) -> dict[str, Any]:
        """The provider's own description; it must name itself exactly as it is configured here."""
        async with self._lock:
            if self._metadata is None or now - self._metadata.at >= METADATA_LIFE:
                data = await self._read(get_well_known_url(self._client.issuer, external=True))
                if data.get("issuer") != self._client.issuer:
                    raise IssuerUnavailable("The identity provider calls itself otherwise than configured.")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    if not _is_address(data.get(name), self._client.issuer):
                        raise IssuerUnavailable(f"The identity provider's {name} is not an https address.")
                self._metadata = _Known(now, data)
            return self._metadata.data

    async def _read(self, url: str) -> dict[str, Any]:
        status, answer = await self._ask("GET", url, b"", {})
        if status != 200:
            raise IssuerUnavailable(f"The identity provider answered {status}.")
        return _object(answer)

    async def _ask(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        plain = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        try:
            return await self._web.send(method, url, body=body, headers=plain)
        except IssuerUnavailable:
            raise
        except StorageError as error:
            raise IssuerUnavailable(f"The identity provider: {error.detail}", hint=error.hint) from error


def _chosen(keys: dict[str, Any], header: dict[str, Any]) -> Any:
    """The one public key of the set that the token names; without a name only where there is no choice."""
    listed = keys.get("keys")
    usable = [
        k
        for k in (listed if isinstance(listed, list) else ())
        if isinstance(k, dict) and k.get("kty") in KEY_TYPES and k.get("use", "sig") == "sig"
    ]
    name = header.get("kid")
    named = usable if name is None else [k for k in usable if k.get("kid") == name]
    if len(named) != 1:
        return None
    key = JWKRegistry.import_key(named[0])
    if isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS:
        raise IdentityRefused("The identity provider signs with too short a key.")
    return key


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise IssuerUnavailable("The identity provider's answer is not JSON.")
    return value


def _is_address(value: object, issuer: str) -> bool:
    """https, or http where the provider itself is on this machine."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    split = urlsplit(value)
    return bool(split.hostname) and split.scheme in ("https", urlsplit(issuer).scheme)
