"""The admin pages in this process: signed-in visitors of every role in two tenants, and something of each to look at."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx

from storage_core.admin import install
from storage_core.admin.site import Site
from storage_core.domain.audit import AuditEntry
from storage_core.domain.page import Clause, Page, Query, Test
from storage_core.domain.permission import Role
from tests.integration.doors import ADDRESS, PASSWORD, Doors, doors_at

TENANTS = ("acme", "globex")


@dataclass
class AdminSite:
    """The doors with the admin pages among them. `rows` are ids by view and tenant ("" is the system's)."""

    doors: Doors
    site: Site
    files: Path
    rows: dict[tuple[str, str], str] = field(default_factory=dict)
    cookies: dict[tuple[Role, str], dict[str, str]] = field(default_factory=dict)

    @asynccontextmanager
    async def visitor(self, role: Role | None, scope: str = "global") -> AsyncIterator[httpx.AsyncClient]:
        """A browser of somebody with this role there, on the console's own pages; nobody without a role."""
        own = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
        async with httpx.AsyncClient(
            transport=self.doors.transport(), base_url=ADDRESS, headers=own
        ) as client:
            if role is not None:
                client.cookies.update(await self._cookie(client, role, scope))
            yield client

    async def _cookie(self, client: httpx.AsyncClient, role: Role, scope: str) -> dict[str, str]:
        if (role, scope) not in self.cookies:
            name = f"visitor-{role.lower()}-{scope.replace(':', '-')}"
            await self.doors.user(name, role, scope)
            answer = await client.post("/api/auth/login", json={"username": name, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            self.cookies[role, scope] = dict(answer.cookies)
        return self.cookies[role, scope]

    async def entries(self, **where: str) -> list[AuditEntry]:
        """Audit entries with these values, newest first."""
        return [*(await self._found(where)).items]

    async def count(self, **where: str) -> int:
        """How many there are."""
        return (await self._found(where)).total

    async def _found(self, where: dict[str, str]) -> Page[AuditEntry]:
        clauses = tuple(Clause(name, Test.ANY_OF, (value,)) for name, value in where.items())
        async with self.doors.core.kernel.catalog.read() as uow:
            return await uow.audit.find(Query(clauses, sort="-at", limit=500))


@asynccontextmanager
async def admin_at(folder: Path, **settings: Any) -> AsyncIterator[AdminSite]:
    """An open core with two tenants, a provider, and a database and a queued backup in each."""
    files = folder / "files"
    files.mkdir()
    async with doors_at(folder / "home", **settings) as doors:
        site = install(doors.app, lambda: doors.core)
        opened = AdminSite(doors, site, files)
        provider = await doors.call(
            "providers.create", name="files", kind="sqlite", connection={"path": str(files)}
        )
        opened.rows["provider", ""] = provider.id
        for name in TENANTS:
            await _furnish(opened, name, provider.id)
        yield opened


async def _furnish(opened: AdminSite, name: str, provider_id: str) -> None:
    doors = opened.doors
    tenant = await doors.tenant(name)
    database: Any = await doors.call(
        "databases.create", provider_id=provider_id, name=f"{name}-orders", tenant_id=tenant.id
    )
    backup: Any = await doors.call("backups.create", database_id=database.id, note=f"=note of {name}")
    opened.rows |= {
        ("tenant", name): tenant.id,
        ("database", name): database.id,
        ("backup", name): backup.id,
        ("audit", name): f"{tenant.id}:1",
    }


def alerts(page: httpx.Response) -> str:
    """What the page says went wrong, in its head or beside its fields."""
    found = re.findall(
        r'class="(?:alert alert-danger|invalid-feedback) d-block"[^>]*>(.*?)</div>', page.text, re.DOTALL
    )
    return unescape(re.sub(r"<[^>]+>|\s+", " ", " ".join(found)))
