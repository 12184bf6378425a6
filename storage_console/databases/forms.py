"""The forms that create and configure a database."""

from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.databases import doings
from storage_console.parts.form import FormState, Option
from storage_console.session import Permission, Problem, asking, requires, toast
from storage_core.services.databases import ConfigureDatabase, CreateDatabase, GetDatabase

FIELDS = ("provider_id", "tenant_id", "name", "namespace", "isolation", "settings")


def at_its_field(found: Problem) -> dict[str, str]:
    """An error at the field it is about; the engine's settings share one field."""
    text = f"{found.detail} {found.hint}".strip()
    return {found.field if found.field in FIELDS else "settings": text}


class NewDatabase(FormState, rx.State):
    """The form that creates a database."""

    providers: list[Option] = []
    tenants: list[Option] = []

    @rx.event
    @requires(Permission.DATABASE_WRITE)
    async def begin(self):
        """Opens the form."""
        self.providers, self.tenants = await doings.choices(await asking(self))
        self._form_reset(shown=True)

    def _form_failed(self, found: Problem) -> None:
        if found.field:
            self.form_errors = at_its_field(found)
        else:
            self.form_problem = found

    async def _save(self, data: dict[str, Any]) -> Any:
        given = {k: str(data.get(k) or "").strip() for k in FIELDS}
        wanted = CreateDatabase(
            provider_id=given["provider_id"],
            tenant_id=given["tenant_id"] or None,
            name=given["name"],
            namespace=given["namespace"] or None,
            settings=doings.settings_of(given["settings"]),
            default=bool(data.get("default")),
            isolation="schema" if given["isolation"] == "schema" else "database",
        )
        row = await core().databases.create(await asking(self), wanted)
        return [toast("success", f"{row.name} is ready"), rx.redirect(f"/databases/{row.id}")]


class ConfigureForm(FormState, rx.State):
    """The form that changes a database's settings."""

    name: str = ""
    settings: str = ""
    owned: bool = False
    is_default: bool = False
    _id: str = ""

    @rx.event
    @requires(Permission.DATABASE_WRITE)
    async def edit(self, id: str):
        """Opens the form for one database."""
        row = await core().databases.get(await asking(self), GetDatabase(id=str(id)))
        self._form_reset(shown=True)
        self._id, self.name, self.owned, self.is_default = (
            row.id,
            row.name,
            row.tenant_id is not None,
            row.is_default,
        )
        self.settings = "\n".join(f"{k} = {v}" for k, v in row.settings)

    def _form_failed(self, found: Problem) -> None:
        if found.field:
            self.form_errors = at_its_field(found)
        else:
            self.form_problem = found

    async def _save(self, data: dict[str, Any]) -> Any:
        change = ConfigureDatabase(
            id=self._id,
            settings=doings.settings_of(str(data.get("settings") or "")),
            default=bool(data.get("default")) if self.owned else None,
        )
        row = await core().databases.configure(await asking(self), change)
        return toast("success", f"{row.name} is configured")
