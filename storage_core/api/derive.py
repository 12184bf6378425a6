"""REST routes from operations."""

import hashlib
import hmac
import inspect
import json
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query
from fastapi import Request as HttpRequest
from fastapi.responses import StreamingResponse
from pydantic import ValidationError, create_model

from ..bootstrap import Core
from ..services.download import Download
from ..services.operation import Operation
from ..services.request import Request
from ..wire import immediate, revealed, route
from .context import Callers
from .errors import RESPONSES
from .examples import ID, example
from .idempotency import replayed

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def add(router: APIRouter, op: Operation, core: Callable[[], Core], callers: Callers) -> None:
    """Give an operation its route: the endpoint's signature is made from the request's fields."""
    where = route(op)

    async def call(http: HttpRequest, request: Request | None = None, **given: Any) -> Any:
        ids = {"id": given["id"]} if where.by_id else {}
        if request is None or where.by_id:
            fields = {} if request is None else {n: getattr(request, n) for n in request.model_fields_set}
            request = op.request(**ids, **fields)
        ctx, method = http.state.ctx, core().operations[op.name][1]
        if op.stream:
            return _streamed(await method(ctx, request))
        key = given.get("idempotency_key")
        if key is None:
            return await method(ctx, request)
        return await replayed(core(), ctx, op, key, _digest(key, request), lambda: method(ctx, request))

    async def known(http: HttpRequest) -> None:
        # Before the body is looked at: a stranger learns nothing about what a request needs.
        http.state.ctx = await callers(http)

    call.__signature__ = inspect.Signature(_parameters(op))  # type: ignore[attr-defined]
    call.__annotations__ = {}
    call.__name__ = op.name.replace(".", "_")
    router.add_api_route(
        where.path,
        call,
        methods=[where.method],
        operation_id=op.name,
        response_model=None if op.stream else immediate(op),
        status_code=where.status,
        summary=op.summary.splitlines()[0],
        description=f"{op.summary}\n\nNeeds the permission `{op.needs}`.",
        tags=[op.noun],
        responses={**RESPONSES, 200: _FILE} if op.stream else RESPONSES,
        dependencies=[Depends(known)],
    )


#: What a stream's success looks like in OpenAPI.
_FILE: dict[str, Any] = {
    "description": "The file, in pieces",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


def _streamed(file: Download) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return StreamingResponse(file.pieces, media_type=file.media_type, headers=headers)


def _parameters(op: Operation) -> list[inspect.Parameter]:
    """The endpoint's parameters: the HTTP request, the id in the path, query or body, the idempotency key."""
    where = route(op)
    out = [inspect.Parameter("http", _KEYWORD, annotation=HttpRequest)]
    if where.by_id:
        info = op.request.model_fields["id"]
        place = Path(description=info.description, min_length=1, max_length=64, examples=[ID])
        out.append(inspect.Parameter("id", _KEYWORD, annotation=Annotated[str, place]))
    body = _without_id(op.request) if where.by_id else op.request
    if where.method in ("GET", "DELETE"):
        # Also without fields: then a parameter nobody knows is refused instead of ignored.
        out.append(inspect.Parameter("request", _KEYWORD, annotation=Annotated[body, Query()]))
    elif body.model_fields:
        source = Body(openapi_examples={"example": {"summary": op.summary, "value": example(body)}})
        out.append(
            inspect.Parameter("request", _KEYWORD, default=_default(body), annotation=Annotated[body, source])
        )
    if where.method == "POST":
        text = "Repeat a call safely: the same key and body answer the same, and nothing is done twice."
        header = Header(alias="Idempotency-Key", description=text, min_length=1, max_length=200)
        out.append(
            inspect.Parameter(
                "idempotency_key", _KEYWORD, default=None, annotation=Annotated[str | None, header]
            )
        )
    return out


def _default(body: type[Request]) -> Any:
    """What stands for a body that was left out: the defaults, if they make a request."""
    try:
        return body()
    except ValidationError:
        return inspect.Parameter.empty


@cache
def _without_id(request: type[Request]) -> type[Request]:
    rest = {n: (f.annotation, f) for n, f in request.model_fields.items() if n != "id"}
    return create_model(f"{request.__name__}Body", __base__=Request, __doc__=request.__doc__, **rest)  # type: ignore[call-overload]


def _digest(key: str, request: Request) -> str:
    """What tells two bodies apart, secrets included; without the key, which is not kept, it says nothing."""
    body = json.dumps(revealed(request), sort_keys=True)
    return hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()
