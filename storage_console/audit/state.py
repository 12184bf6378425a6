"""The audit page's state: the list, and how far the log is verified."""

from typing import Any, ClassVar

import reflex as rx

from storage_console.audit.rows import EntryRow, entry_row
from storage_console.core import core
from storage_console.parts import words
from storage_console.parts.listing import Filter, ListState
from storage_console.session import Context, Permission, asking, attempt, requires, toast
from storage_core.domain.audit import AuditEntry, Verification
from storage_core.domain.page import Page
from storage_core.services.audits import AuditHeads, ListAudit, VerifyAudit
from storage_core.services.tenants import ListTenants

#: A log of up to so many entries is verified whenever the page is opened; a longer one when somebody asks.
AT_ONCE = 20_000


async def tenant_names(ctx: Context, ids: set[str]) -> dict[str, str]:
    """Names of the tenants the caller may see."""
    if not ids:
        return {}
    found, _ = await attempt(core().tenants.list(ctx, ListTenants(limit=500)))
    return {t.id: t.name for t in found.items if t.id in ids} if found else {}


class Audit(ListState, rx.State):
    """The list, newest first, without the intents unless somebody asks for them."""

    rows: list[EntryRow] = []
    checking: bool = False
    verdict: str = ""  # "", ok, lost, bad
    verified: str = ""
    anchored: str = ""
    place: str = ""
    place_problem: str = ""

    _route: ClassVar[str] = "/audit"
    _noun: ClassVar[str] = "entry"
    _plural: ClassVar[str] = "entries"
    _sort: ClassVar[str] = "-at"
    _sorts: ClassVar[tuple[str, ...]] = (
        "at", "actor_name", "role", "operation", "target_name", "tenant_id", "result", "address", "correlation_id",
    )  # fmt: skip
    _filters: ClassVar[tuple[Filter, ...]] = (
        Filter("phase", "Phase", ("intent", "outcome", "refused", "read"), default="!intent"),
        Filter("result", "Result", (
            "ok=Succeeded", "begun", "forbidden", "not_found", "confirmation_required", "conflict", "name_taken",
            "invalid_request", "unavailable", "cancelled", "interrupted", "internal", "refused=Sign-in refused",
        )),
        Filter("role", "Role", ("SuperAdmin=SuperAdmin", "Admin", "Operator", "Viewer")),
        Filter("target_kind", "Resource kind", (
            "tenant", "provider", "database", "backup", "job", "user", "grant", "session", "token", "secret", "audit",
        )),
        Filter("door", "Door", ("console", "rest=REST", "cli=Command line", "worker", "sdk=SDK", "system")),
        Filter("operation", "Action", kind="text"),
        Filter("actor_name", "Actor", kind="text"),
        Filter("target_name", "Resource", kind="text"),
        Filter("target_id", "Resource id", kind="text"),
        Filter("tenant_id", "Tenant id", kind="text"),
        Filter("address", "Address", kind="text"),
        Filter("correlation_id", "Correlation id", kind="text"),
        Filter("since", "From", kind="time"),
        Filter("until", "Until", kind="time"),
    )  # fmt: skip
    _export: ClassVar[tuple[str, ...]] = (
        "id", "at", "phase", "operation", "actor_name", "actor_id", "role", "target_kind", "target_name", "target_id",
        "tenant_id", "result", "detail", "address", "door", "correlation_id", "reason", "changed", "hash",
    )  # fmt: skip

    @staticmethod
    async def _list(ctx: Context, ask: dict[str, Any]) -> Page[AuditEntry]:
        return await core().audit.list(ctx, ListAudit(**ask))

    @staticmethod
    async def _rows(ctx: Context, items: tuple[AuditEntry, ...]) -> list[EntryRow]:
        names = await tenant_names(ctx, {e.tenant_id for e in items if e.tenant_id})
        return [entry_row(entry, names) for entry in items]

    def _open(self, id: str) -> Any:
        return rx.redirect(f"/audit/{id}")

    @rx.event(background=True)
    @requires(Permission.AUDIT_READ)
    async def standing(self):
        """Looks where the signed heads go, and verifies a log that is not long."""
        async with self:
            ctx = await asking(self)
            self.verdict, self.verified = "", ""
        heads, _ = await attempt(core().audit.heads(ctx, AuditHeads()))
        found, _ = await attempt(core().audit.list(ctx, ListAudit(limit=1)))
        async with self:
            self.place = heads.place if heads else ""
            self.place_problem = heads.problem if heads else ""
        if found is not None and found.total <= AT_ONCE:
            yield Audit.verify

    @rx.event(background=True)
    @requires(Permission.AUDIT_READ)
    async def verify(self):
        """Hashes every entry again and compares with the exported heads."""
        async with self:
            if self.checking:
                return
            self.checking = True
            ctx = await asking(self)
        found, failed = await attempt(core().audit.verify(ctx, VerifyAudit()))
        async with self:
            self.checking = False
            if found is not None:
                self._judge(found)
        if found is None:
            yield toast("error", failed.title, description=failed.detail)

    def _judge(self, found: Verification) -> None:
        if found.problem:  # said once, beside the verdict
            self.place_problem = self.place_problem.replace(found.problem, "").strip()
        if found.first_bad is not None:
            self.verdict, self.verified = "bad", f"Not as it was written from {found.first_bad} on"
        elif found.lost:
            fits = f"Fits together to #{words.number(found.entries)}"
            self.verdict, self.verified = "lost", f"{fits}, signed heads missing"
        else:
            self.verdict, self.verified = "ok", f"Verified to #{words.number(found.entries)}"
        self.anchored = (
            f"Compared with {words.count(found.anchors, 'head')} signed outside the catalog. {found.problem}".strip()
            if found.anchors
            else f"Not compared with anything outside the catalog: {found.problem}"
        )
