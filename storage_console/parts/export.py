"""Downloads of filtered lists: ``GET /export/TOPIC.csv``, ``.json`` or ``.xlsx`` with the filters of the list's address.

Every ListState with an `_export` is served under its route's name (`/settings/users` as `settings-users`), for a
live session, authorised by the core. Rows stream page by page; cells cannot be read as formulas.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from storage_console.parts.filters import cleaned
from storage_console.parts.listing import ListState
from storage_console.session import Context, StorageError, context_of
from storage_core.sheets import Cell, Format, cell, write

PAGE = 500


async def _rows(state: type[ListState], ctx: Context, ask: dict[str, Any]) -> AsyncIterator[list[Cell]]:
    # By cursor: rows that come and go meanwhile make none appear twice and none be passed over.
    ask = {**ask, "limit": PAGE}
    while True:
        part = await state._list(ctx, ask)
        for item in part.items:
            yield [cell(item, path) for path in state._export]
        if part.next is None:
            return
        ask = {**ask, "cursor": part.next}


def _question(state: type[ListState], request: Request) -> dict[str, Any]:
    given = request.query_params
    filters = {f.key: cleaned(f, given[f.key]) for f in state._filters if f.key in given}
    sort = given.get("sort", "")
    ask = {
        "sort": sort if sort.removeprefix("-") in state._sorts else state._sort,
        "q": given.get("q", "")[:200],
    }
    return {k: v for k, v in {**ask, **filters}.items() if v}


def topic_of(state: type[ListState]) -> str:
    """The name a list's downloads have."""
    return state._route.strip("/").replace("/", "-")


async def _download(request: Request) -> Response:
    topic, kind = request.path_params["topic"], request.path_params["kind"]
    state = next((s for s in ListState.__subclasses__() if s._export and topic_of(s) == topic), None)
    if state is None or kind not in set(Format):
        return JSONResponse({"code": "not_found", "title": "Not found"}, 404)
    if (ctx := await context_of(request.cookies, request.client.host if request.client else None)) is None:
        return JSONResponse({"code": "unauthenticated", "title": "Sign in first"}, 401)
    if (tenant := request.query_params.get("tenant")) and ctx.tenant_id is None:
        ctx = replace(ctx, tenant_id=tenant)
    ask = _question(state, request)
    try:
        await state._list(ctx, {**ask, "limit": 1})  # a refusal must come before the stream begins
    except StorageError as error:
        return JSONResponse({"code": error.code, "title": error.title, "detail": error.detail}, error.status)
    form = Format(kind)
    headers = {"content-disposition": f'attachment; filename="{topic}.{kind}"', "cache-control": "no-store"}
    pieces = _closing(write(form, state._export, _rows(state, ctx, ask), topic[:31]))
    return StreamingResponse(pieces, media_type=form.media_type, headers=headers)


async def _closing(pieces: Any) -> AsyncIterator[bytes]:
    """The pieces; what stands behind them is tidied up even when the reader goes away."""
    async with aclosing(pieces) as stream:
        async for piece in stream:
            yield piece


def exports() -> Starlette:
    """The ASGI app behind /export."""
    return Starlette(routes=[Route("/export/{topic}.{kind}", _download)])
