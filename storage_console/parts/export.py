"""Downloads of filtered lists: ``GET /export/TOPIC.csv`` or ``.json`` with the filters of the list's address.

Every ListState with an `_export` is served under its route's name, for a live session, authorised by the core.
Rows stream page by page; cells cannot be read as formulas.
"""

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from storage_console.parts.filters import cleaned
from storage_console.parts.listing import ListState
from storage_console.session import Context, StorageError, context_of

PAGE = 500
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe(value: str | float | bool | None) -> str | int | float | bool | None:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def cell(item: Any, path: str) -> str | int | float | bool | None:
    """The scalar at a dotted path of a domain object; points in time as ISO 8601."""
    for name in path.split("."):
        item = getattr(item, name, None)
    if isinstance(item, datetime):
        return item.isoformat()
    if isinstance(item, Enum):
        return str(item.value)
    return item if isinstance(item, (str, int, float, bool)) or item is None else str(item)


async def _items(state: type[ListState], ctx: Context, ask: dict[str, Any]) -> AsyncIterator[Any]:
    offset = 0
    while True:
        part = await state._list(ctx, {**ask, "limit": PAGE, "offset": offset})
        for item in part.items:
            yield item
        offset += len(part.items)
        if not part.items or offset >= part.total:
            return


async def _csv(state: type[ListState], items: AsyncIterator[Any]) -> AsyncIterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(state._export)
    async for item in items:
        writer.writerow([safe(cell(item, path)) for path in state._export])
        if buffer.tell() > 64_000:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


async def _json(state: type[ListState], items: AsyncIterator[Any]) -> AsyncIterator[str]:
    lead = "[\n"
    async for item in items:
        yield lead + json.dumps({path: cell(item, path) for path in state._export}, ensure_ascii=False)
        lead = ",\n"
    yield "[]\n" if lead == "[\n" else "\n]\n"


def _question(state: type[ListState], request: Request) -> dict[str, Any]:
    given = request.query_params
    filters = {f.key: cleaned(f, given[f.key]) for f in state._filters if f.key in given}
    sort = given.get("sort", "")
    ask = {
        "sort": sort if sort.removeprefix("-") in state._sorts else state._sort,
        "q": given.get("q", "")[:200],
    }
    return {k: v for k, v in {**ask, **filters}.items() if v}


async def _download(request: Request) -> Response:
    topic, kind = request.path_params["topic"], request.path_params["kind"]
    state = next((s for s in ListState.__subclasses__() if s._export and s._route == f"/{topic}"), None)
    if state is None or kind not in ("csv", "json"):
        return JSONResponse({"code": "not_found", "title": "Not found"}, 404)
    if (ctx := await context_of(request.cookies, request.client.host if request.client else None)) is None:
        return JSONResponse({"code": "unauthenticated", "title": "Sign in first"}, 401)
    if (tenant := request.query_params.get("tenant")) and ctx.tenant_id is None:
        ctx = replace(ctx, tenant_id=tenant)
    ask = _question(state, request)
    try:
        await state._list(
            ctx, {**ask, "limit": 1, "offset": 0}
        )  # a refusal must come before the stream begins
    except StorageError as error:
        return JSONResponse({"code": error.code, "title": error.title, "detail": error.detail}, error.status)
    write, media = (_csv, "text/csv; charset=utf-8") if kind == "csv" else (_json, "application/json")
    headers = {"content-disposition": f'attachment; filename="{topic}.{kind}"', "cache-control": "no-store"}
    return StreamingResponse(write(state, _items(state, ctx, ask)), media_type=media, headers=headers)


def exports() -> Starlette:
    """The ASGI app behind /export."""
    return Starlette(routes=[Route("/export/{topic}.{kind}", _download)])
