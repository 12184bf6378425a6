"""Verifies an exported audit log, alone: no console, no database, no secret, nothing but Python's own library.

    python -m storage_core.audit_verify FILE [--heads HEADS] [--key PUBLIC]

FILE is what `audit export` wrote (JSON lines), HEADS the signed heads that a console exports beside its catalog, PUBLIC
the public key beside them (PEM text in a file, or base64). Signatures are checked when a key is given; that alone needs
the package `cryptography`. Exit status: 0 everything holds, 1 something does not, 2 it cannot be checked.
The format is described in docs/audit-format.md.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT, END, HEADS = "storage-console-audit/1", "storage-console-audit-end/1", "storage-console-audit-heads/1"
GENESIS = "0" * 64
TEXTS = frozenset(
    (
        "actor_id", "actor_name", "at", "chain", "correlation_id", "detail", "digest", "door", "operation", "phase",
        "previous", "result", "role", "target_id", "target_kind", "target_name",
    )
)  # fmt: skip
NULLABLE = frozenset(("address", "reason", "tenant_id"))
#: The fields of each version of the form, without the hash.
FIELDS = {1: TEXTS | NULLABLE | {"sequence"}, 2: TEXTS | NULLABLE | {"sequence", "version", "changes"}}

Signed = Callable[[bytes, bytes], bool]
#: What heads say, chain by chain: of each number its hash, and when that was first signed.
Anchors = dict[str, dict[int, tuple[str, str]]]


class Bad(Exception):
    """What does not hold; `at` names the first bad entry, ``chain:sequence``, where it is known."""

    def __init__(self, why: str, at: str = "") -> None:
        super().__init__(why)
        self.at = at


class Unusable(Exception):
    """Why nothing can be said."""


@dataclass
class Report:
    """What was found to hold."""

    entries: int = 0
    chains: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    heads: int = 0
    signed: bool = False


def main(arguments: list[str] | None = None) -> int:
    """The command; answers the exit status."""
    parser = argparse.ArgumentParser(prog="audit_verify", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", metavar="FILE", type=Path, help="an exported audit log, JSON lines")
    parser.add_argument("--heads", metavar="HEADS", type=Path, help="signed heads that were exported")
    parser.add_argument("--key", metavar="PUBLIC", help="the public key: a PEM file, or base64")
    given = parser.parse_args(arguments)
    try:
        report = verify(given.file, given.heads, None if given.key is None else signature_check(given.key))
    except Bad as error:
        where = f"first bad entry: {_shown(error.at)}\n" if error.at else ""
        print(f"NOT OK: {error}\n{where}", end="")
        return 1
    except (Unusable, OSError) as error:
        print(f"cannot be checked: {error}", file=sys.stderr)
        return 2
    whole = "whole chains" if report.complete else "a part of the log: gaps are not visible"
    print(f"OK: {report.entries} entries in {len(report.chains)} chains ({whole})")
    for chain, last in sorted(report.chains.items()):
        print(f"  {_shown(chain)}: to #{last}")
    print(f"  exported heads compared: {report.heads}")
    print("  signatures hold" if report.signed else "  signatures not checked: give --key")
    return 0


def _shown(text: str) -> str:
    """A name from the file: one that would steer the terminal must not overwrite what is said of it."""
    return text if text.isprintable() else ascii(text)


def verify(file: Path, heads: Path | None = None, signed: Signed | None = None) -> Report:
    """Check a file; Bad when it does not hold, Unusable when it is none of ours."""
    anchors = {} if heads is None else _anchors(heads, signed)
    with file.open("rb") as stream:
        return _Log(anchors, signed).follow(stream)


def signature_check(key: str) -> Signed:
    """A check with a public key: a file's PEM text, or 32 bytes as base64."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise Unusable("checking signatures needs the package cryptography") from error
    try:
        path = Path(key)
        public: Any = (
            load_pem_public_key(path.read_bytes())
            if path.is_file()
            else Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        )
    except ValueError as error:
        raise Unusable(f"{key[:60]!r} is no public key") from error
    if not isinstance(public, Ed25519PublicKey):
        raise Unusable("the key is no Ed25519 key")

    def holds(signature: bytes, data: bytes) -> bool:
        try:
            public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return holds


class _Log:
    """One export, line by line."""

    def __init__(self, anchors: Anchors, signed: Signed | None) -> None:
        self._anchors, self._signed = anchors, signed
        self._digest = hashlib.sha256()
        self._report = Report()
        self._tips: dict[str, tuple[int, str]] = {}
        self._fitting: dict[str, int] = {}

    def follow(self, stream: Iterator[bytes]) -> Report:
        first = next(stream, b"")
        head = _values(first)
        if head is None or head.get("format") != FORMAT:
            raise Unusable("this is no audit export, or its first line was changed")
        self._report.complete = head.get("complete") is True
        expected = _places(head) if self._report.complete else None
        self._digest.update(first)
        for line in stream:
            values = _values(line)
            if values is not None and values.get("format") == END:
                self._end(values, head, next(expected, None) if expected else None)
                if next(stream, None) is not None:
                    raise Bad("there is something after the end of the export")
                return self._compared(head)
            self._entry(line, values, next(expected, None) if expected else None, whole=expected is not None)
        missing = next(expected, None) if expected else None
        raise Bad("the file is cut: its end is missing", _named(missing))

    def _entry(
        self, line: bytes, values: dict[str, Any] | None, place: tuple[str, int] | None, *, whole: bool
    ) -> None:
        if whole and place is None:
            raise Bad("there are more entries than the export has", _claimed(values))
        at = _named(place) or _claimed(values) or self._next()
        if values is None or not _well_formed(values):
            raise Bad("an entry is not as it was written", at)
        chain, sequence, hash = values["chain"], values["sequence"], values.pop("hash")
        if hash != hashlib.sha256(_canonical(values)).hexdigest() or not line.endswith(b"\n"):
            raise Bad("an entry does not fit its hash", at)
        if place is not None and (chain, sequence) != place:
            raise Bad("an entry is missing or out of order", at)
        before = self._tips.get(chain)
        if before is not None and sequence <= before[0]:
            raise Bad("an entry is out of order", at)
        known = GENESIS if before is None else before[1]
        adjacent = sequence == (1 if before is None else before[0] + 1)
        if adjacent and values["previous"] != known:
            raise Bad("an entry does not follow from the one before", at)
        self._anchored(chain, sequence, hash, whole=whole)
        self._tips[chain] = (sequence, hash)
        self._report.entries += 1
        self._digest.update(line)

    def _anchored(self, chain: str, sequence: int, hash: str, *, whole: bool) -> None:
        known = self._anchors.get(chain, {}).get(sequence)
        if known is None:
            return
        if known[0] != hash:
            first = self._fitting.get(chain, 0) + 1 if whole else sequence
            raise Bad("the chain was written anew since its head was exported", f"{chain}:{first}")
        self._fitting[chain] = sequence
        self._report.heads += 1

    def _next(self) -> str:
        """What would come next, where a line does not even say what it is."""
        if not self._tips:
            return ""
        chain = list(self._tips)[-1]
        return f"{chain}:{self._tips[chain][0] + 1}"

    def _end(self, end: dict[str, Any], head: dict[str, Any], missing: tuple[str, int] | None) -> None:
        if missing is not None:
            raise Bad("entries are missing at the end", _named(missing))
        if end.get("entries") != self._report.entries or end.get("digest") != self._digest.hexdigest():
            raise Bad("the export was changed: its end does not fit what is before it")
        if any(end.get(name) != head.get(name) for name in ("at", "heads", "complete", "everything")):
            raise Bad("the first line of the export was changed")
        if self._report.complete:
            for chain, sequence, hash in _heads(end):
                if self._tips.get(chain) != (sequence, hash):
                    raise Bad("a chain does not end with its head", f"{chain}:{sequence}")
        if self._signed is not None:
            _check(end, self._signed, "the export's end")
            self._report.signed = True

    def _compared(self, head: dict[str, Any]) -> Report:
        """Heads beyond a chain's end that were signed before: it was cut, or an older copy was put in its place."""
        self._report.chains = {chain: tip[0] for chain, tip in self._tips.items()}
        if not self._report.complete:
            return self._report
        mine = {chain for chain, _, _ in _heads(head)}
        for chain, known in sorted(self._anchors.items()):
            if chain in mine or head.get("everything") is True:
                last = self._tips.get(chain, (0, ""))[0]
                if any(number > last and at <= str(head.get("at")) for number, (_, at) in known.items()):
                    raise Bad("the chain ends before a head that was exported", f"{chain}:{last + 1}")
        return self._report


def _anchors(path: Path, signed: Signed | None) -> Anchors:
    """Hash by sequence by chain, of every line of a file of heads; the older line counts where two differ."""
    out: Anchors = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line:
            continue
        values = _values(line)
        if values is None or values.get("format") != HEADS:
            raise Unusable(f"line {number} of {path} is no line of heads")
        if signed is not None:
            _check(values, signed, f"line {number} of {path}")
        for chain, sequence, hash in _heads(values):
            out.setdefault(chain, {}).setdefault(sequence, (hash, str(values.get("at"))))
    return out


def _check(values: dict[str, Any], signed: Signed, what: str) -> None:
    rest = {name: value for name, value in values.items() if name != "signature"}
    try:
        signature = base64.b64decode(values.get("signature", ""), validate=True)
    except (ValueError, TypeError):
        signature = b""
    if not signed(signature, _canonical(rest)):
        raise Bad(f"the signature of {what} does not hold")


def _values(line: bytes) -> dict[str, Any] | None:
    """A line's JSON object, none when it is not exactly as it was written."""
    try:
        values = json.loads(line)
        exact = isinstance(values, dict) and _canonical(values) == line.rstrip(b"\n")
    except (ValueError, RecursionError):
        return None
    return values if exact else None


def _canonical(values: dict[str, Any]) -> bytes:
    """RFC 8785: our keys are ASCII; values are strings, integers, booleans, null, and lists and objects of such."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _well_formed(values: dict[str, Any]) -> bool:
    version = values.get("version", 1)
    names = FIELDS.get(version) if type(version) is int else None
    return (
        names is not None
        and values.keys() == names | {"hash"}
        and all(isinstance(values[n], str) for n in (*TEXTS, "hash"))
        and all(values[n] is None or isinstance(values[n], str) for n in NULLABLE)
        and type(values["sequence"]) is int
        and isinstance(values.get("changes", []), list)
    )


def _heads(values: dict[str, Any]) -> Iterator[tuple[str, int, str]]:
    try:
        for head in values["heads"]:
            yield str(head["chain"]), int(head["sequence"]), str(head["hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable("a list of heads cannot be read") from error


def _places(head: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Where each entry of a complete export belongs: chain by chain, from 1 to its head."""
    for chain, last, _ in _heads(head):
        for sequence in range(1, last + 1):
            yield chain, sequence


def _named(place: tuple[str, int] | None) -> str:
    return "" if place is None else f"{place[0]}:{place[1]}"


def _claimed(values: dict[str, Any] | None) -> str:
    return "" if values is None else f"{values.get('chain')}:{values.get('sequence')}"


if __name__ == "__main__":
    sys.exit(main())
