"""Audit entries as displayed."""

from dataclasses import dataclass

from storage_console.parts import words
from storage_core.domain.audit import AuditEntry, Phase


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry in a list. `status` is a word for its pill, `code` the error's, empty when all went well."""

    id: str
    number: str
    at: float
    actor: str
    role: str
    action: str
    kind: str
    target: str
    tenant: str
    status: str
    code: str
    address: str
    correlation: str
    reason: str
    changed: str


def entry_row(entry: AuditEntry, tenants: dict[str, str]) -> EntryRow:
    """An entry with its tenant's name."""
    status = standing(entry)
    return EntryRow(
        entry.id,
        f"#{entry.sequence}",
        words.epoch(entry.at),
        entry.actor_name or "nobody",
        entry.role,
        entry.operation,
        entry.target_kind,
        entry.target_name or entry.target_id[:8],
        tenants.get(entry.tenant_id or "", entry.tenant_id or ""),
        status,
        entry.result if status in ("failed", "refused") else "",
        entry.address or entry.door,
        entry.correlation_id,
        entry.reason or "",
        entry.changed,
    )


def standing(entry: AuditEntry) -> str:
    """How it ended, in a word."""
    if entry.phase is Phase.INTENT:
        return "begun"
    if entry.phase is Phase.REFUSED:
        return "refused"
    return "succeeded" if entry.result == "ok" else "failed"
