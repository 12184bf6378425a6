"""The REST door's error map: every failure as RFC 9457 problem details."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from ..domain.errors import (
    InvalidRequest,
    Malformed,
    NotFound,
    StorageError,
    TooLarge,
    TooManyRequests,
    WrongMethod,
)
from ..domain.sizes import MAX_DEPTH
from ..wire import problem
from .context import correlation_of

MEDIA = "application/problem+json"
DEEP = f"The body is nested deeper than {MAX_DEPTH} levels"

#: The OpenAPI responses every operation shares.
RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for code, text in (
        (400, "The request cannot be read"),
        (401, "Not signed in"),
        (403, "Not allowed"),
        (404, "Not found, or outside the caller's scope"),
        (409, "The current state does not allow it"),
        (422, "A value is wrong"),
        (413, "The body is too large"),
        (423, "Locked, suspended or protected"),
        (429, "Too many requests"),
        (503, "An engine or store is not available"),
    )
}

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "code", "title", "status", "detail", "hint", "correlation_id"],
    "properties": {
        "type": {"type": "string", "description": "Always about:blank; `code` tells the kind."},
        "code": {"type": "string", "description": "A stable code.", "examples": ["not_found"]},
        "title": {"type": "string", "description": "The kind in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What happened."},
        "hint": {"type": "string", "description": "What to do about it."},
        "field": {"type": ["string", "null"], "description": "The request's field at fault, dotted."},
        "correlation_id": {"type": "string", "description": "Finds this call in log and audit."},
    },
}


def from_validation(error: ValidationError | RequestValidationError) -> StorageError:
    """The first wrong field in words; never the value, which may be a secret."""
    first = error.errors()[0]
    # FastAPI puts the part of the request first; a request's own error begins with the field.
    where = [
        str(p) for p in (first["loc"][1:] if isinstance(error, RequestValidationError) else first["loc"])
    ]
    if first["type"] == "json_invalid":
        return Malformed("The body is not JSON.", hint="Send a JSON object.")
    name = ".".join(where)
    message = str(first["msg"]).removeprefix("Value error, ")
    return InvalidRequest(f"{name}: {message}." if name else f"{message}.", field=name or None)


def _of_status(error: HTTPException) -> StorageError:
    """What the framework itself refuses."""
    match error.status_code:
        case 404:
            return NotFound("There is nothing at this address.", hint="Look at /api/docs for the addresses.")
        case 405:
            return WrongMethod("The address exists, for another method.")
        case 413:
            return TooLarge("The body of the request is too large.")
        case 400 if error.detail == DEEP:
            return Malformed(f"{DEEP}.", hint="Send a flatter JSON object.")
        case _:
            return Malformed(f"The request cannot be read: {error.detail}.")


def answer(error: StorageError, correlation_id: str) -> JSONResponse:
    """The error as a response, with what its status promises besides."""
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(problem(error, correlation_id), error.status, headers, MEDIA)


async def _storage(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StorageError)  # noqa: S101 - registered for this class
    return answer(error, correlation_of(request))


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ValidationError | RequestValidationError)  # noqa: S101
    return answer(from_validation(error), correlation_of(request))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    return answer(_of_status(error), correlation_of(request))


Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]

#: The map: which handler answers which class of errors.
HANDLERS: Mapping[type[Exception], Handler] = {
    StorageError: _storage,
    ValidationError: _validation,
    RequestValidationError: _validation,
    HTTPException: _http,
}


def install(app: FastAPI) -> None:
    """Attach the map to an application."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
