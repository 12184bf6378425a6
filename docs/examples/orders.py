"""A small service of your own: each customer's orders in that customer's storage, and the REST API mounted beside.

    ORDERS_KEYS="key-of-acme=acme,key-of-globex=globex" uvicorn docs.examples.orders:app

The customers are tenants of the home that STORAGE_HOME names; each has a database (`storage-console databases create`).
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from storage_core import Document, StorageFactory
from storage_core.api import TenancyMiddleware, router
from storage_core.domain.errors import StorageError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with StorageFactory.open() as factory:
        app.state.storage = factory
        yield


async def customer(scope: Any) -> str | None:
    """Whose key the request carries: here the service says which tenant its caller belongs to."""
    keys = dict(pair.split("=", 1) for pair in os.environ.get("ORDERS_KEYS", "").split(",") if pair)
    given = dict(scope["headers"]).get(b"x-api-key", b"").decode("latin-1")
    return keys.get(given)


app = FastAPI(title="Orders", lifespan=lifespan)
app.include_router(router(lambda: app.state.storage.core), prefix="/console")
app.add_middleware(TenancyMiddleware, authority=customer)


@app.exception_handler(StorageError)
async def refused(_request: Request, error: StorageError) -> JSONResponse:
    return JSONResponse({"code": error.code, "detail": error.detail, "hint": error.hint}, error.status)


@app.post("/orders", status_code=201)
async def create(data: dict[str, Any]) -> Document:
    storage = await app.state.storage.get_storage()  # of the tenant in force; 403 where there is none
    return await storage.collection("orders").insert(data)


@app.get("/orders")
async def recent(status: str | None = None, after: str | None = None) -> dict[str, Any]:
    storage = await app.state.storage.get_storage()
    where = None if status is None else {"status": status}
    page = await storage.collection("orders").query(where, sort="-created_at", limit=20, after=after).page()
    return {"items": page.items, "next": page.next}


@app.get("/orders/{id}")
async def one(id: str) -> Document:
    storage = await app.state.storage.get_storage()
    order = await storage.collection("orders").get(id)
    if order is None:
        raise HTTPException(404, "There is no such order.")
    return order
