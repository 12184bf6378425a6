"""What stays open or is asked all the time: events, health, metrics."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ..bootstrap import Core
from ..domain.context import Context
from ..domain.errors import StorageError
from ..domain.event import Event
from ..domain.permission import Permission, reach
from ..telemetry.meters import METERS
from .context import Callers

PING_SECONDS = 15


def events_router(core: Callable[[], Core], callers: Callers) -> APIRouter:
    """Server-sent events."""
    out = APIRouter(tags=["live"])

    @out.get(
        "/api/storage/events", operation_id="events", summary="Changes as they happen (server-sent events)"
    )
    async def events(request: Request) -> StreamingResponse:
        async def who() -> Context:
            # A suspended tenant hears nothing, like everywhere else.
            return await core().auth.active(await callers(request))

        await who()
        return StreamingResponse(
            _stream(core().bus.subscribe(), who),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return out


def router(core: Callable[[], Core], callers: Callers) -> APIRouter:
    """Server-sent events, liveness, readiness, Prometheus metrics."""
    out = events_router(core, callers)
    METERS.expose()

    @out.get("/health/live", operation_id="health.live", summary="The process answers")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @out.get("/health/ready", operation_id="health.ready", summary="The catalog answers")
    async def ready() -> JSONResponse:
        try:
            await core().kernel.catalog.ping()
        except StorageError as error:
            return JSONResponse({"status": "not ready", "problem": error.code}, 503)
        return JSONResponse({"status": "ready"})

    @out.get("/metrics", operation_id="metrics", summary="Prometheus metrics")
    async def metrics(request: Request) -> Response:
        await core().auth.active(await callers(request))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return out


async def _stream(source: AsyncGenerator[Event], who: Callable[[], Awaitable[Context]]) -> AsyncIterator[str]:
    """Events inside the caller's reach; the sign-in is looked up again before each one and at each ping.

    A comment comes first: what changes after it has come is heard.
    """
    pending: asyncio.Task[Event] | None = asyncio.create_task(anext(source))
    try:
        await asyncio.sleep(0)  # the task begins to listen
        yield ": listening\n\n"
        while True:
            pending = pending or asyncio.create_task(anext(source))
            done, _ = await asyncio.wait({pending}, timeout=PING_SECONDS)
            try:
                ctx = await who()
            except StorageError:
                return
            if not done:
                yield ": ping\n\n"
                continue
            event, pending = pending.result(), None
            if _visible(ctx, event):
                data = {"verb": event.verb, "id": event.id, "tenant_id": event.tenant_id}
                yield f"id: {event.sequence}\nevent: {event.topic}\ndata: {json.dumps(data)}\n\n"
    finally:
        if pending is not None:
            pending.cancel()
            with suppress(asyncio.CancelledError):
                await pending
        await source.aclose()


def _visible(ctx: Context, event: Event) -> bool:
    seen = reach(Permission.INVENTORY_READ, ctx.grants, ctx.tenant_id)
    if event.topic == "providers":
        return not seen.nothing  # everybody may list them
    return seen.everything or (event.tenant_id is not None and event.tenant_id in seen.tenants)
