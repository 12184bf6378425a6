"""One audit entry's state: everything it says, and what else the same request did."""

from dataclasses import dataclass

import reflex as rx

from storage_console.audit.rows import EntryRow, entry_row
from storage_console.audit.state import tenant_names
from storage_console.core import core
from storage_console.parts.live import LiveState
from storage_console.session import asking
from storage_core.services.audits import GetAudit, ListAudit

RELATED = 50


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One field: what it was and what it became."""

    field: str
    before: str
    after: str


NO_ENTRY = EntryRow("", "", 0, "", "", "", "", "", "", "", "", "", "", "", "")
#: Where the thing lives that an entry is about.
PLACES = {"database": "/databases", "backup": "/backups", "job": "/jobs"}


class AuditPage(LiveState, rx.State):
    """One entry."""

    entry: EntryRow = NO_ENTRY
    heading: str = "Audit entry"
    detail: str = ""
    phase_word: str = ""
    door: str = ""
    actor_id: str = ""
    target_id: str = ""
    digest: str = ""
    hash: str = ""
    previous: str = ""
    chain: str = ""
    link: str = ""
    changes: list[ChangeRow] = []
    sealed: bool = False
    related: list[EntryRow] = []

    def _clear(self) -> None:
        self.heading, self.entry, self.link = "Audit entry", NO_ENTRY, ""

    async def _read(self) -> None:
        ctx = await asking(self)
        found = await core().audit.get(ctx, GetAudit(id=self.entry_id))  # pyrefly: ignore
        same = await core().audit.list(
            ctx,
            ListAudit(correlation_id=found.correlation_id.replace(",", " ") or "-", sort="at", limit=RELATED),
        )
        names = await tenant_names(ctx, {e.tenant_id for e in (found, *same.items) if e.tenant_id})
        self.entry = entry_row(found, names)
        self.heading = f"{found.operation} {self.entry.number}"
        self.detail, self.phase_word, self.door = found.detail, found.phase.value, found.door
        self.actor_id, self.target_id, self.chain = found.actor_id, found.target_id, found.chain
        self.digest, self.hash, self.previous = found.digest, found.hash, found.previous
        self.changes = [ChangeRow(c.field, c.before or "", c.after or "") for c in found.changes]
        self.sealed = any((c.after or c.before or "").startswith("hmac:") for c in found.changes)
        self.related = [entry_row(e, names) for e in same.items if e.id != found.id]
        place = PLACES.get(found.target_kind)
        self.link = f"{place}/{found.target_id}" if place and found.target_id else ""
