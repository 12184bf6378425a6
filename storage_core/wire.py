"""From an operation's name and types to verb, path and JSON: the one rule all derived doors follow."""

from dataclasses import dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import quote

from pydantic import SecretStr, TypeAdapter

from .domain.errors import StorageError
from .domain.job import Ticket
from .services.operation import Effect, Operation
from .services.request import Request

BASE = "/api/storage"

_FIXED = {"list": "GET", "create": "POST", "get": "GET", "delete": "DELETE"}
_PUT = frozenset({"configure", "update", "credentials"})


@dataclass(frozen=True, slots=True)
class Route:
    """Where an operation lives in REST. `by_id`: the path carries the request's `id`."""

    method: str
    path: str
    by_id: bool
    status: int


def route(op: Operation) -> Route:
    """list -> GET /NOUN/list; create -> POST /NOUN/create; get, delete -> /NOUN/{id}; others -> /NOUN[/{id}]/VERB."""
    id_field = op.request.model_fields.get("id")
    by_id = id_field is not None and id_field.is_required()
    if op.verb in ("get", "delete"):
        tail = "/{id}"
    elif op.verb in ("list", "create") or not by_id:
        tail, by_id = f"/{op.verb}", False
    else:
        tail = f"/{{id}}/{op.verb}"
    method = _FIXED.get(op.verb) or _method(op)
    return Route(method, f"{BASE}/{op.noun}{tail}", by_id, 202 if immediate(op) is Ticket else 200)


def _method(op: Operation) -> str:
    if op.effect is Effect.READ:
        return "GET"
    return "PUT" if op.verb in _PUT else "POST"


def immediate(op: Operation) -> Any:
    """The type a call answers at once: a ticket for long work."""
    return Ticket if op.effect is Effect.LONG else op.answer


def bare(annotation: Any) -> Any:
    """The annotation without ``| None``."""
    if get_origin(annotation) in (Union, UnionType):
        rest = [a for a in get_args(annotation) if a is not NoneType]
        return rest[0] if len(rest) == 1 else str
    return annotation


@lru_cache(maxsize=512)
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(op: Operation, answer: Any) -> Any:
    """An answer as JSON values, exactly as REST returns it."""
    return adapter(immediate(op)).dump_python(answer, mode="json")


def from_json(op: Operation, value: Any) -> Any:
    return adapter(immediate(op)).validate_python(value)


def problem(error: StorageError, correlation_id: str) -> dict[str, Any]:
    """RFC 9457 problem details."""
    return {
        "type": "about:blank",
        "code": error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "hint": error.hint,
        "field": error.field,
        "correlation_id": correlation_id,
    }


def parts(op: Operation, request: Request) -> tuple[str, dict[str, Any] | None, dict[str, Any] | None]:
    """A request as path, query and body: the client's side of `route`."""
    where = route(op)
    data = revealed(request)
    path = where.path.format(id=quote(data.pop("id"), safe="")) if where.by_id else where.path
    data = {k: v for k, v in data.items() if v is not None}
    return (path, data, None) if where.method in ("GET", "DELETE") else (path, None, data)


def revealed(request: Request) -> dict[str, Any]:
    """The fields that were given, as JSON values with secrets in clear: for the wire to the server only."""

    def plain(value: Any) -> Any:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, Request):
            return {n: plain(getattr(value, n)) for n in value.model_fields_set}
        return adapter(type(value)).dump_python(value, mode="json") if value is not None else None

    return {n: plain(getattr(request, n)) for n in request.model_fields_set}
