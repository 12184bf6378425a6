"""The REST API inside somebody else's application: a router that brings everything it needs along."""

import uuid
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.types import Receive, Scope, Send

from ..bootstrap import OPERATIONS, Core
from ..services.operation import Operation
from ..tenancy import optional_tenant
from ..tenancy.middleware import TenancyMiddleware
from . import auth, errors, live, oidc
from .app import operations_router, rates_of
from .context import Callers
from .edge import Edge


def router(core: Core | Callable[[], Core], operations: tuple[Operation, ...] = OPERATIONS) -> APIRouter:
    """The operations, the sign-in and the events, for ``app.include_router(…)`` of any FastAPI application.

    Its requests pass the same limits, tenancy and error map as on a console; the rest of the application keeps its own.
    Health checks, metrics and documentation are the application's.

    :param core: the open core, or what answers it once requests come: ``lambda: app.state.storage.core``.
    """
    late = core if callable(core) else lambda: core
    rates = rates_of(late)
    callers = Callers(late, rates)
    out = Mounted(late, lambda app: Edge(app, new_id=lambda: str(uuid.uuid4()), rates=rates))
    out.include_router(operations_router(late, operations, callers))
    out.include_router(auth.router(late, callers))
    out.include_router(oidc.router(late))
    out.include_router(live.events_router(late, callers))
    return out


class Mounted(APIRouter):
    """A router whose requests pass its own layers, whatever those of the application around it are."""

    def __init__(self, core: Callable[[], Core], edge: Callable[[Any], Edge]) -> None:
        super().__init__()
        self._inside = edge(self._with_tenant)
        self._tenancy = TenancyMiddleware(self._handled, verifier=lambda: core().verifier)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._inside(scope, receive, send)

    async def _with_tenant(self, scope: Scope, receive: Receive, send: Send) -> None:
        # An application with tenancy of its own may have set one already.
        known = optional_tenant() is not None
        await (self._handled if known else self._tenancy)(scope, receive, send)

    async def _handled(self, scope: Scope, receive: Receive, send: Send) -> None:
        by_status: dict[int, errors.Handler] = {}
        scope["starlette.exception_handlers"] = (dict(errors.HANDLERS), by_status)
        await super().handle(scope, receive, send)
