"""Where tenants' storage comes from: the home beside the program, or a console elsewhere."""

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import MetaData

from ..domain.errors import TenantMismatch
from ..domain.event import Event
from ..domain.naming import said
from ..domain.tenant import Tenant
from ..ports.collection import Collection, Session
from ..services.programs import OpenDatabase
from ..services.request import Request
from .door import Standing

if TYPE_CHECKING:
    from .link import Link


class News(Protocol):
    """What happens to tenants, databases and providers."""

    def events(self) -> AsyncGenerator[Event]:
        """Numbered one by one; a number that is left out says that something may have been missed."""
        ...

    async def row(self, event: Event) -> Any:
        """What changed, as it is now; none where that cannot be said."""
        ...

    async def ping(self) -> None:
        """Unavailable while news may be missed."""
        ...


class Source(Protocol):
    """Opens databases and follows them. What it refuses, it refuses as opening does."""

    @property
    def news(self) -> News: ...

    @property
    def models(self) -> list[MetaData]:
        """What the program declares of tables."""
        ...

    @property
    def now(self) -> Callable[[], datetime]: ...

    async def open(self, request: OpenDatabase, agrees: str | None) -> Standing:
        """The database that is meant, as it stands. `agrees` is another word for the tenant: both must mean one."""
        ...

    async def standing(self, before: Standing) -> Standing:
        """How a database stands that was opened before."""
        ...

    async def collection(self, at: Standing, name: str, session: Session | None = None) -> Collection:
        """A collection as the tenant's policy has it, in a transaction if there is one."""
        ...

    def watch(self, link: "Link") -> None:
        """Tell it when the engine of its standing is to be used no more."""
        ...

    async def call(self, operation: str, request: Request, tenant_id: str) -> Any:
        """Run one of the console's operations for a tenant."""
        ...

    async def create_tables(self, at: Standing) -> None: ...


def check_agrees(tenant: Tenant, agrees: str | None) -> None:
    if agrees not in (None, tenant.id, tenant.name):
        raise TenantMismatch(
            f"tenant_id says {said(agrees or '')}, and the tenant in force is {said(tenant.name)}.",
            field="tenant_id",
            hint="Leave tenant_id out, or open it inside tenant_scope(…) of that tenant.",
        )
