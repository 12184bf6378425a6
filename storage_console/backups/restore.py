"""The restore wizard's state: where to, what will happen, then the job."""

from datetime import UTC, datetime
from typing import Any

import reflex as rx

from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.form import FormState, Option
from storage_console.session import Permission, asking, attempt, requires, toast
from storage_core.domain.backup import Backup
from storage_core.domain.naming import checked_name
from storage_core.services.backups import GetBackup, RestoreBackup
from storage_core.services.databases import ListDatabases
from storage_core.services.providers import ListProviders


def outlook(b: Backup, name: str, provider: str, taken: bool) -> list[str]:
    """What a restore will do, line by line."""
    rows = b.manifest.rows if b.manifest else 0
    objects = len(b.manifest.objects) if b.manifest else 0
    proven = (
        f"This backup was proven on {b.proven_at:%Y-%m-%d %H:%M} UTC." if b.proven_at else "This backup is not proven: the restore may fail."
    )  # fmt: skip
    return [
        f"A new database {name} is made on {provider}"
        + (": the name is taken already, so this will be refused." if taken else "."),
        f"It gets {words.number(rows)} rows in {words.count(objects, 'object')}, {words.size(b.size_raw)} of data, as of {b.created_at:%Y-%m-%d %H:%M:%S} UTC.",
        f"{b.database_name} and all its backups stay as they are.",
        "What was restored is counted and compared before the new database is handed over.",
        proven,
    ]


class Restore(FormState, rx.State):
    """The wizard: fields, then a preview, then the job."""

    key: int = 0
    source: str = ""
    name: str = ""
    provider_id: str = ""
    providers: list[Option] = []
    preview: list[str] = []
    _id: str = ""

    @rx.event
    @requires(Permission.RESTORE_NEW)
    async def begin(self, id: str):
        """Opens the wizard for one backup."""
        ctx = await asking(self)
        b = await core().backups.get(ctx, GetBackup(id=str(id)))
        same = await core().providers.list(ctx, ListProviders(limit=500, sort="name", kind=b.engine))
        self._form_reset(shown=True)
        self.key += 1
        self._id, self.source, self.provider_id = b.id, b.database_name, b.provider_id
        self.preview.clear()
        self.providers = [Option(p.id, p.name) for p in same.items]
        self.name = f"{b.database_name[:31]}-{datetime.now(UTC):%Y%m%d-%H%M}"

    @rx.event
    @requires(Permission.SIGNED_IN)
    def back(self):
        """From the preview to the fields again."""
        self.preview = []

    @rx.event
    @requires(Permission.RESTORE_NEW)
    async def look_ahead(self, data: dict[str, Any]):
        """Shows what the restore will do."""
        if not isinstance(data, dict):
            return
        self._form_reset(shown=True)
        lines, failed = await attempt(self._outlook(data))
        if failed.code:
            self._form_failed(failed)
        self.preview = lines or []

    async def _outlook(self, data: dict[str, Any]) -> list[str]:
        ctx = await asking(self)
        self.name = checked_name(str(data.get("name") or "").strip(), "name")
        chosen = next((o for o in self.providers if o.value == str(data.get("provider_id") or "")), None)
        self.provider_id = chosen.value if chosen else self.provider_id
        b = await core().backups.get(ctx, GetBackup(id=self._id))
        found = await core().databases.list(ctx, ListDatabases(limit=100, q=self.name))
        taken = any(d.name == self.name and d.tenant_id == b.tenant_id for d in found.items)
        return outlook(b, self.name, chosen.label if chosen else "its provider", taken)

    @rx.event
    @requires(Permission.RESTORE_NEW)
    async def start(self):
        """Starts the restore that was previewed, and follows its job."""
        if self.form_busy or not self.preview:
            return
        self.form_busy = True
        yield
        wanted = RestoreBackup(id=self._id, name=self.name, provider_id=self.provider_id)
        ticket, failed = await attempt(core().backups.restore(await asking(self), wanted))
        self.form_busy = False
        if ticket is None:
            self.preview = [] if failed.field else self.preview
            self._form_failed(failed)
            return
        self._form_reset(shown=False)
        yield toast("success", "Restore started", description=f"Into {self.name}.")
        yield rx.redirect(f"/jobs/{ticket.job_id}")
