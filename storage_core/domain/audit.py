"""The audit log: entries chained by hash, so that an edit, a deletion or a reorder shows."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

GENESIS = "0" * 64
SYSTEM_CHAIN = "system"


class Phase(StrEnum):
    """An intent is written before the effect, an outcome after it; a refusal is an entry of its own."""

    INTENT = "intent"
    OUTCOME = "outcome"
    REFUSED = "refused"
    READ = "read"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link of a chain (a tenant's, or the system's). `at` is UTC; `digest` is the request's hash.

    `hash` covers every other field and `previous`, the hash of the entry before.
    """

    chain: str
    sequence: int
    at: datetime
    phase: Phase
    operation: str
    actor_id: str
    actor_name: str
    role: str
    door: str
    correlation_id: str
    result: str
    target_kind: str = ""
    target_id: str = ""
    target_name: str = ""
    tenant_id: str | None = None
    address: str | None = None
    reason: str | None = None
    detail: str = ""
    digest: str = ""
    previous: str = GENESIS
    hash: str = ""

    @property
    def id(self) -> str:
        return f"{self.chain}:{self.sequence}"


def canonical(entry: AuditEntry) -> bytes:
    """The entry without its hash as RFC 8785 JSON.

    Keys are ASCII and values are strings, integers or null, where sorted keys, no blanks and raw UTF-8 are
    exactly what the RFC asks for.
    """
    fields = asdict(entry)
    del fields["hash"]
    fields["at"] = entry.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def entry_hash(entry: AuditEntry) -> str:
    return hashlib.sha256(canonical(entry)).hexdigest()


def first_broken(entries: tuple[AuditEntry, ...], previous: str = GENESIS, sequence: int = 1) -> int | None:
    """The first sequence number that does not follow from the one before; none when the run is whole."""
    for entry in entries:
        if entry.sequence != sequence or entry.previous != previous or entry.hash != entry_hash(entry):
            return sequence
        previous, sequence = entry.hash, sequence + 1
    return None


@dataclass(frozen=True, slots=True)
class Verification:
    """`first_bad` is ``chain:sequence`` of the first entry that does not hold, none when all do."""

    ok: bool
    entries: int
    first_bad: str | None = None
