"""Signed heads: what every chain of the audit log ended with at one moment, kept outside the catalog."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .audit import instant

FORMAT = "storage-console-audit-heads/1"
#: Lines that a reader keeps: the newest, an even sample of all, and each chain's highest.
NEWEST, SAMPLE = 1000, 2000


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain."""

    chain: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class ExportedHead:
    """A chain's last exported head, as the catalog remembers it.

    `since` is when the place had it again after it had lost it; none where it never did.
    """

    head: Head
    since: datetime | None = None


def missing_from(reached: Mapping[str, int], exported: Iterable[Head]) -> list[Head]:
    """The exported heads that a place which reaches so far does not hold any more."""
    return [head for head in exported if head.sequence > reached.get(head.chain, 0)]


@dataclass(frozen=True, slots=True)
class SignedHeads:
    """One exported line: heads, when they were read, and whose signature covers `signed`."""

    at: datetime
    key_id: str
    heads: tuple[Head, ...]
    signed: bytes
    signature: bytes


def key_id(public: bytes) -> str:
    """A public key's name: the beginning of its hash."""
    return hashlib.sha256(public).hexdigest()[:16]


def unsigned(form: str, at: datetime, public: bytes, heads: Iterable[Head], **more: Any) -> dict[str, Any]:
    """What is signed, as JSON values."""
    listed = [{"chain": h.chain, "hash": h.hash, "sequence": h.sequence} for h in heads]
    key = base64.b64encode(public).decode()
    return {
        "format": form,
        "at": instant(at),
        "key_id": key_id(public),
        "public_key": key,
        "heads": listed,
        **more,
    }


def encoded(values: Mapping[str, Any]) -> bytes:
    """RFC 8785 JSON: our keys are ASCII, our values strings, integers, booleans, null and lists of such."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed_line(values: Mapping[str, Any], signature: bytes) -> bytes:
    """One line of JSON with its signature."""
    return encoded({**values, "signature": base64.b64encode(signature).decode()}) + b"\n"


def read_line(line: bytes) -> SignedHeads | None:
    """A line as it was exported, none for one that is none of ours or not in one piece."""
    try:
        values = json.loads(line)
        signature = base64.b64decode(values.pop("signature"), validate=True)
        heads = tuple(Head(str(h["chain"]), int(h["sequence"]), str(h["hash"])) for h in values["heads"])
        at = datetime.strptime(values["at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        if values["format"] != FORMAT:
            return None
        return SignedHeads(at, str(values["key_id"]), heads, encoded(values), signature)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None


class Evidence:
    """Lines of a place, read once in order, kept within bounds however many there are."""

    def __init__(self) -> None:
        self._newest: list[SignedHeads] = []
        self._sample: list[SignedHeads] = []
        self._highest: dict[str, tuple[int, SignedHeads]] = {}
        self._every, self._count = 1, 0

    def add(self, line: SignedHeads) -> None:
        if self._count % self._every == 0:
            self._sample.append(line)
            if len(self._sample) > SAMPLE:
                self._sample, self._every = self._sample[::2], self._every * 2
        self._count += 1
        self._newest.append(line)
        if len(self._newest) > 2 * NEWEST:
            del self._newest[:NEWEST]
        for head in line.heads:
            if head.sequence > self._highest.get(head.chain, (0, line))[0]:
                self._highest[head.chain] = (head.sequence, line)

    def lines(self) -> list[SignedHeads]:
        """What was kept, each line once."""
        kept = [*self._sample, *self._newest, *(line for _, line in self._highest.values())]
        return list({line.signed + line.signature: line for line in kept}.values())


@dataclass(frozen=True, slots=True)
class Exported:
    """How far the heads are exported: where to, signed by which key, when last; `problem` is empty when all is well.

    `public_key` is the PEM text that verifies them.
    """

    place: str
    key_id: str
    public_key: str
    at: datetime | None
    entries: int
    problem: str = ""


def anchors_of(lines: Iterable[SignedHeads]) -> dict[str, dict[int, str]]:
    """Hash by sequence by chain. Where two lines differ about one number the older one counts: it was first."""
    out: dict[str, dict[int, str]] = {}
    for line in sorted(lines, key=lambda one: one.at):
        for head in line.heads:
            out.setdefault(head.chain, {}).setdefault(head.sequence, head.hash)
    return out
