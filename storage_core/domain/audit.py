"""The audit log: entries chained by hash, so that an edit, a deletion or a reorder shows."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from json.encoder import encode_basestring  # type: ignore[attr-defined]
from typing import Any, cast

GENESIS = "0" * 64
SYSTEM_CHAIN = "system"
#: The canonical form of entries written now. Form 1 had neither `changes` nor `version`.
VERSION = 2

#: A JSON string as RFC 8785 asks for it: only quotes, backslashes and controls are escaped.
_quoted = cast("Callable[[str], str]", encode_basestring)


class Phase(StrEnum):
    """An intent is written before the effect, an outcome after it; a refusal is an entry of its own."""

    INTENT = "intent"
    OUTCOME = "outcome"
    REFUSED = "refused"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Change:
    """One field: what it was and what it became, none for nothing. A secret's value is a keyed hash, `hmac:…`."""

    field: str
    before: str | None = None
    after: str | None = None


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
    changes: tuple[Change, ...] = ()
    version: int = VERSION
    previous: str = GENESIS
    hash: str = ""

    @property
    def id(self) -> str:
        return f"{self.chain}:{self.sequence}"

    @property
    def changed(self) -> str:
        """The changes in one line."""
        return "; ".join(f"{c.field}: {c.before or '—'} → {c.after or '—'}" for c in self.changes)


def changes_text(changes: Iterable[Change]) -> str:
    """Changes as RFC 8785 JSON."""
    return "[" + ",".join(_change(c) for c in changes) + "]"


def _change(change: Change) -> str:
    return (
        f'{{"after":{_nullable(change.after)},"before":{_nullable(change.before)},'
        f'"field":{_quoted(change.field)}}}'
    )


def _nullable(value: str | None) -> str:
    return "null" if value is None else _quoted(value)


#: The columns of a raw entry, in the order of the canonical form's keys; last its hash.
RAW = (
    "actor_id", "actor_name", "address", "at", "chain", "changes", "correlation_id", "detail", "digest", "door",
    "operation", "phase", "previous", "reason", "result", "role", "sequence", "target_id", "target_kind",
    "target_name", "tenant_id", "version", "hash",
)  # fmt: skip

#: An entry as it is stored: values in the order of RAW, `at` and `changes` as the text that is hashed.
RawEntry = tuple[Any, ...]


def instant(at: datetime) -> str:
    """A UTC time as the canonical form has it, always with microseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def raw(entry: AuditEntry) -> RawEntry:
    changes = None if entry.version == 1 else changes_text(entry.changes)
    given = {"at": instant(entry.at), "changes": changes, "phase": entry.phase.value}
    return tuple(given[n] if n in given else getattr(entry, n) for n in RAW)


def canonical(entry: AuditEntry) -> bytes:
    """The entry without its hash as RFC 8785 JSON."""
    return canonical_raw(raw(entry))


def canonical_raw(row: RawEntry) -> bytes:
    """The canonical bytes of a stored entry; ValueError or TypeError for one that nobody can have written.

    Keys are ASCII and values are strings, integers or null, where sorted keys, no blanks and raw UTF-8 are
    exactly what the RFC asks for. Spelt out, because verification does this a million times.
    """
    (actor_id, actor_name, address, at, chain, changes, correlation_id, detail, digest, door, operation, phase,
     previous, reason, result, role, sequence, target_id, target_kind, target_name, tenant_id, version, _) = row  # fmt: skip
    q = _quoted
    if type(sequence) is not int:
        raise TypeError("sequence")
    if version == 2 and type(changes) is str:
        # As it is: what we wrote has no key of an entry outside of a string, so no other entry has the same bytes.
        middle, end = f'"changes":{changes},', ',"version":2}'
    elif version == 1 and changes is None:
        middle, end = "", "}"
    else:
        raise ValueError("version")
    return (
        f'{{"actor_id":{q(actor_id)},"actor_name":{q(actor_name)},'
        f'"address":{"null" if address is None else q(address)},"at":{q(at)},"chain":{q(chain)},{middle}'
        f'"correlation_id":{q(correlation_id)},"detail":{q(detail)},"digest":{q(digest)},"door":{q(door)},'
        f'"operation":{q(operation)},"phase":{q(phase)},"previous":{q(previous)},'
        f'"reason":{"null" if reason is None else q(reason)},"result":{q(result)},"role":{q(role)},'
        f'"sequence":{sequence},"target_id":{q(target_id)},"target_kind":{q(target_kind)},'
        f'"target_name":{q(target_name)},"tenant_id":{"null" if tenant_id is None else q(tenant_id)}{end}'
    ).encode()


def entry_hash(entry: AuditEntry) -> str:
    return hashlib.sha256(canonical(entry)).hexdigest()


_CHAIN, _PREVIOUS, _SEQUENCE, _HASH = (RAW.index(n) for n in ("chain", "previous", "sequence", "hash"))


class ChainCheck:
    """Follows one chain's stored entries in order of their numbers, and stops at the first that does not hold.

    `anchors` are heads of this chain that were exported: hash by sequence. Entries that fit each other but not an
    anchor were written anew; the first bad one is the one after the last anchor that fits.
    """

    def __init__(self, chain: str, anchors: Mapping[int, str] | None = None) -> None:
        self.chain, self.sequence, self.previous = chain, 0, GENESIS
        self.first_bad: int | None = None
        self._anchors, self._anchored = anchors or {}, 0

    def feed(self, rows: Iterable[RawEntry]) -> bool:
        """Take the next entries; false as soon as one is bad."""
        if self.first_bad is not None:
            return False
        expected, previous = self.sequence + 1, self.previous
        anchors = self._anchors
        for row in rows:
            hash = row[_HASH]
            try:
                holds = (
                    row[_SEQUENCE] == expected
                    and row[_PREVIOUS] == previous
                    and row[_CHAIN] == self.chain
                    and hash == hashlib.sha256(canonical_raw(row)).hexdigest()
                )
            except (TypeError, ValueError, RecursionError):
                holds = False
            if not holds:
                self.first_bad = _lower(row[_SEQUENCE], expected)
                break
            if expected in anchors:
                if anchors[expected] != hash:
                    self.first_bad = self._anchored + 1
                    break
                self._anchored = expected
            expected, previous = expected + 1, hash
        self.sequence, self.previous = expected - 1, previous
        return self.first_bad is None

    def close(self, head: tuple[int, str]) -> int | None:
        """Compare with the remembered head and the anchors beyond it; answers the first bad number, if any."""
        if self.first_bad is None and (
            head != (self.sequence, self.previous) or any(n > self.sequence for n in self._anchors)
        ):
            self.first_bad = self.sequence + 1
        return self.first_bad


def _lower(sequence: Any, expected: int) -> int:
    """An entry put in before its place is itself the first bad one."""
    return min(sequence, expected) if type(sequence) is int else expected


def first_broken(entries: Iterable[AuditEntry], chain: str = SYSTEM_CHAIN) -> int | None:
    """The first sequence number that does not follow from the one before; none when the run is whole."""
    check = ChainCheck(chain)
    check.feed(raw(e) for e in entries)
    return check.first_bad


@dataclass(frozen=True, slots=True)
class Verification:
    """`first_bad` is ``chain:sequence`` of the first entry that does not hold, none when all do.

    `anchors` counts the exported heads it was compared with, `anchored_at` is when the newest of them was signed;
    `problem` says why there was nothing to compare with, or what the comparison cannot show; empty when all is well.
    `lost`: what was exported is not to be found at its place, so that `ok` speaks of the chains alone.
    """

    ok: bool
    entries: int
    first_bad: str | None = None
    anchors: int = 0
    anchored_at: datetime | None = None
    problem: str = ""
    lost: bool = False
