"""The FastAPI application: operations, sign-in, events, health."""

import uuid
from collections.abc import Callable
from html import escape
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from ..bootstrap import Core
from ..domain.option import Options
from ..services.kernel import options_in
from ..services.operation import Operation
from ..tenancy.middleware import TenancyMiddleware
from ..wire import route
from . import auth, errors, live, oidc
from .context import Callers
from .derive import add
from .edge import Edge
from .rates import Rates

TITLE = "Storage Console"


def create_app(core: Callable[[], Core], operations: tuple[Operation, ...]) -> FastAPI:
    """Build the API over a core that opens later (`core` answers it then)."""
    app = FastAPI(
        title=TITLE,
        version=_version(),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        separate_input_output_schemas=False,
    )

    app.state.rates = rates = rates_of(core)  # for what is asked by websocket
    app.state.callers = callers = Callers(core, rates)  # for what is mounted beside
    app.include_router(operations_router(core, operations, callers))
    app.include_router(auth.router(core, callers))
    app.include_router(oidc.router(core))
    app.include_router(live.router(core, callers))
    errors.install(app)
    app.add_middleware(TenancyMiddleware, verifier=lambda: core().verifier)
    app.add_middleware(Edge, new_id=lambda: str(uuid.uuid4()), rates=rates)
    _describe(app)
    _docs(app)
    return app


def rates_of(core: Callable[[], Core]) -> Rates:
    """How often one may ask, as the options say."""

    async def options() -> Options:
        async with core().kernel.catalog.read() as uow:
            return await options_in(uow)

    return Rates(options)


def operations_router(
    core: Callable[[], Core], operations: tuple[Operation, ...], callers: Callers
) -> APIRouter:
    """A route for every operation."""
    out = APIRouter()
    # Fixed paths first: GET /tenants/{id} would take /tenants/list for a tenant.
    for op in sorted(operations, key=lambda o: (route(o).by_id, o.name)):
        add(out, op, core, callers)
    return out


def _describe(app: FastAPI) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=TITLE, version=app.version, routes=app.routes)
            parts: dict[str, Any] = schema.setdefault("components", {})
            schemas: dict[str, Any] = parts.setdefault("schemas", {})
            schemas["Problem"] = errors.PROBLEM_SCHEMA
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            scopes: list[str] = []
            schema["security"] = [{"token": scopes}]
            _share_problems(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _share_problems(schema: dict[str, Any]) -> None:
    """Say each problem once: every operation answers the same ones, by reference."""
    shared: dict[str, Any] = schema["components"].setdefault("responses", {})
    for verbs in schema["paths"].values():
        for told in verbs.values():
            for status, response in told["responses"].items():
                if errors.MEDIA in response.get("content", {}):
                    name = f"Problem{status}"
                    shared.setdefault(name, response)
                    told["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _docs(app: FastAPI) -> None:
    """A plain, script-free reference: the usual viewers load their code from other hosts."""

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_reference(app.openapi()))


def _reference(schema: dict[str, Any]) -> str:
    rows = []
    for path, verbs in sorted(schema["paths"].items()):
        for verb, op in verbs.items():
            text = escape(op.get("description") or op.get("summary") or "").replace("\n\n", "<br>")
            rows.append(f"<tr><td><code>{verb.upper()} {escape(path)}</code></td><td>{text}</td></tr>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>REST API</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
        "td{padding:.4rem .8rem;border-top:1px solid #8884;vertical-align:top}code{white-space:nowrap}</style></head>"
        f"<body><main><h1>{escape(schema['info']['title'])} REST API</h1>"
        '<p>The full description: <a href="/api/openapi.json">openapi.json</a>. '
        "Send <code>Authorization: Bearer TOKEN</code>.</p>"
        f"<table><tbody>{''.join(rows)}</tbody></table></main></body></html>"
    )


def _version() -> str:
    return version("storage-console")
