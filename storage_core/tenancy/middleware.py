"""The edge: from a request's headers and token to the tenant in force, as pure ASGI."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from ..domain.claims import Claims
from ..domain.errors import InvalidRequest, StorageError, TenantMismatch, Unauthenticated
from ..domain.naming import NAME, NAME_RULE
from ..ports.verifier import TokenVerifier
from . import tenant_scope

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
#: Which tenant the caller of a request belongs to.
Authority = Callable[[Scope], Awaitable[str | None]]

TENANT_HEADER = b"x-tenant-id"
NAMESPACE_HEADER = b"x-namespace"
#: In a scope's state: what a verified token says.
CLAIMS = "claims"
#: In a scope: set by the outermost layer where a trusted proxy handed the request on.
TRUSTED_PROXY = "storage.trusted_proxy"


class TenancyMiddleware:
    """Sets the tenant for the length of one request.

    A token of the configured issuer is verified here, and its tenant is the authority: headers must say the same, or
    come from a trusted proxy. Without one the headers only narrow: whoever authorises later must find the tenant
    inside the caller's grants. A tenant may be given by id or by name; a header sent twice, or a namespace without
    any tenant, is refused. `verifier` is asked late, and answers none where no issuer is configured.

    An application that signs people in itself gives its `authority`: which tenant a request's caller belongs to, by
    id or name; none for nobody. It takes the place of the token's tenant, and without it headers count for nothing:
    nobody else would look whether they are true.
    """

    def __init__(
        self,
        app: App,
        verifier: Callable[[], TokenVerifier | None] = lambda: None,
        authority: Authority | None = None,
    ) -> None:
        self.app, self.verifier, self.authority = app, verifier, authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        try:
            claims = await self._claims(scope)
            sure = None if claims is None else claims.tenant
            if self.authority is not None and sure is None:
                sure = await self.authority(scope)
            believed = self.authority is None or sure is not None
            tenant, namespace = _tenant(scope, sure) if believed else (None, None)
        except StorageError as error:
            return await _refuse(scope, send, error)
        scope["state"] = {**scope.get("state", {}), CLAIMS: claims}
        with tenant_scope(tenant, namespace) if tenant is not None else nullcontext():
            await self.app(scope, receive, send)

    async def _claims(self, scope: Scope) -> Claims | None:
        """What the request's token says; none when it carries no such token, or nobody here knows an issuer."""
        verifier = self.verifier()
        given = [v.decode("latin-1") for k, v in scope["headers"] if k == b"authorization"]
        if verifier is None or not given:
            return None
        scheme, _, token = given[0].partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or token.count(".") != 2:
            return None
        if len(given) > 1:
            raise Unauthenticated("There is more than one Authorization header.")
        return await verifier.verify(token)


def _tenant(scope: Scope, sure: str | None) -> tuple[str | None, str | None]:
    """The tenant and the namespace in force."""
    said = _single(scope, TENANT_HEADER, "X-Tenant-ID")
    namespace = _single(scope, NAMESPACE_HEADER, "X-Namespace")
    if sure is not None and said not in (None, sure) and not scope.get(TRUSTED_PROXY, False):
        raise TenantMismatch("X-Tenant-ID names another tenant than the caller's.", field="X-Tenant-ID")
    tenant = said or sure
    if namespace is not None and tenant is None:
        raise InvalidRequest("X-Namespace needs X-Tenant-ID.", field="X-Namespace")
    return tenant, namespace


def _single(scope: Scope, name: bytes, shown: str) -> str | None:
    values = [v for k, v in scope["headers"] if k == name]
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not NAME.fullmatch(text):
        raise InvalidRequest(
            f"{shown} is not a tenant's name or id.", field=shown, hint=f"Send it once: {NAME_RULE}."
        )
    return text


async def _refuse(scope: Scope, send: Send, error: StorageError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps(
        {
            "type": "about:blank",
            "code": error.code,
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "hint": error.hint,
            "field": error.field,
            "correlation_id": scope.get("state", {}).get("correlation_id", "-"),
        }
    ).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
