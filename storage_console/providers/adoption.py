"""What exists on a provider already, and taking it into the console's care."""

import re
from dataclasses import dataclass
from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.form import FormState, Option
from storage_console.session import NO_PROBLEM, Permission, Problem, asking, attempt, requires, toast
from storage_core.services.databases import AdoptDatabase, ExistingDatabases
from storage_core.services.providers import GetProvider
from storage_core.services.tenants import ListTenants


@dataclass(frozen=True, slots=True)
class Found:
    """A database on the engine; `known` is its id here, empty when it is nobody's."""

    name: str
    size: str
    known: str


def proposed(physical: str) -> str:
    """A name here for a database of that name there."""
    stem = physical.rsplit("/", 1)[-1].removesuffix(".sqlite3").removesuffix(".json").lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:48]


class Adoption(FormState, rx.State):
    """The dialog: what is there, then the form for the one that was picked."""

    provider: str = ""
    reading: bool = False
    found: list[Found] = []
    found_problem: Problem = NO_PROBLEM
    picked: str = ""
    name: str = ""
    tenants: list[Option] = []
    _provider_id: str = ""

    @rx.event
    @requires(Permission.DATABASE_ADOPT)
    async def look(self, id: str):
        """Opens the dialog and asks the engine what it holds."""
        self._form_reset(shown=True)
        self._provider_id, self.provider, self.picked = str(id), "", ""
        self.found.clear()
        self.found_problem, self.reading = NO_PROBLEM, True
        yield
        _, self.found_problem = await attempt(self._read())
        self.reading = False

    async def _read(self) -> None:
        ctx = await asking(self)
        self.provider = (await core().providers.get(ctx, GetProvider(id=self._provider_id))).name
        tenants = await core().tenants.list(ctx, ListTenants(limit=500, sort="name", status="active"))
        self.tenants = [
            Option("", "No tenant: the system's"),
            *[Option(t.id, t.title) for t in tenants.items],
        ]
        there = await core().databases.existing(ctx, ExistingDatabases(provider_id=self._provider_id))
        self.found = [Found(d.physical_name, words.size(d.size_bytes), d.adopted_as or "") for d in there]

    @rx.event
    @requires(Permission.DATABASE_ADOPT)
    def pick(self, physical: str):
        """Chooses the database to adopt."""
        if any(f.name == physical and not f.known for f in self.found):
            self._form_reset(shown=True)
            self.picked, self.name = physical, proposed(physical)

    async def _save(self, data: dict[str, Any]) -> Any:
        wanted = AdoptDatabase(
            provider_id=self._provider_id,
            physical_name=self.picked,
            name=str(data.get("name", "")).strip(),
            tenant_id=str(data.get("tenant_id") or "") or None,
        )
        row = await core().databases.adopt(await asking(self), wanted)
        return [
            toast("success", f"{row.name} adopted", description="Nothing in it changed."),
            rx.redirect(f"/databases/{row.id}"),
        ]
