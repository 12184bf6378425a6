"""The edge: from a request's headers to the tenant in force, as pure ASGI."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from ..domain.errors import InvalidRequest
from ..domain.naming import NAME, NAME_RULE
from . import tenant_scope

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TENANT_HEADER = b"x-tenant-id"
NAMESPACE_HEADER = b"x-namespace"


class TenancyMiddleware:
    """Sets the tenant for the length of one request.

    The headers only narrow: whoever authorises later must find the tenant inside the caller's grants. A tenant may
    be given by id or by name; a header sent twice, or a namespace without a tenant, is refused.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        try:
            tenant = _single(scope, TENANT_HEADER, "X-Tenant-ID")
            namespace = _single(scope, NAMESPACE_HEADER, "X-Namespace")
            if namespace is not None and tenant is None:
                raise InvalidRequest("X-Namespace needs X-Tenant-ID.", field="X-Namespace")
        except InvalidRequest as error:
            return await _refuse(scope, send, error)
        with tenant_scope(tenant, namespace) if tenant is not None else nullcontext():
            await self.app(scope, receive, send)


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


async def _refuse(scope: Scope, send: Send, error: InvalidRequest) -> None:
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
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
