"""The canonical form: exactly RFC 8785, so that anybody can compute an entry's hash."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.audit_verify import _canonical as alone
from storage_core.domain.audit import AuditEntry, Change, Phase, canonical, changes_text, entry_hash, instant
from storage_core.domain.heads import SAMPLE, Evidence, Head, SignedHeads, anchors_of, read_line

_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def rfc8785(value: Any) -> str:
    """The scheme, written down from the RFC's own words (sections 3.2.2 and 3.2.3); no floats, we have none."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise UnicodeError("a lone surrogate ends the process with an error")
        shown = (_SHORT.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 else c) for c in value)
        return '"' + "".join(shown) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(rfc8785(v) for v in value) + "]"
    keys = sorted(value, key=lambda k: k.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(f"{rfc8785(k)}:{rfc8785(value[k])}" for k in keys) + "}"


def reference(entry: AuditEntry) -> bytes:
    values = asdict(entry)
    del values["hash"]
    values["at"] = instant(entry.at)
    if entry.version == 1:
        del values["version"], values["changes"]
    return rfc8785(values).encode()


#: Every character there is, the awkward ones often: controls, quotes, line separators, beyond the basic plane.
TEXT = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from('\x00\x08\x1f\x7f\x80"\\/\u2028\u2029\ud7ff\ue000\uffff💾'),
    )
)
MAYBE = st.none() | TEXT
CHANGES = st.lists(st.builds(Change, TEXT, MAYBE, MAYBE), max_size=3).map(tuple)
ENTRIES = st.builds(
    AuditEntry,
    chain=TEXT, sequence=st.integers(-(2**63), 2**63 - 1), at=st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)),
    phase=st.sampled_from(Phase), operation=TEXT, actor_id=TEXT, actor_name=TEXT, role=TEXT, door=TEXT,
    correlation_id=TEXT, result=TEXT, target_kind=TEXT, target_id=TEXT, target_name=TEXT, tenant_id=MAYBE,
    address=MAYBE, reason=MAYBE, detail=TEXT, digest=TEXT, changes=CHANGES, version=st.just(2), previous=TEXT,
    hash=TEXT,
)  # fmt: skip


@given(ENTRIES)
def test_the_canonical_form_is_rfc_8785(entry: AuditEntry) -> None:
    assert canonical(entry) == reference(entry)
    assert alone(json.loads(canonical(entry))) == canonical(entry)


@given(ENTRIES)
def test_the_first_form_was_the_same_without_what_came_later(entry: AuditEntry) -> None:
    old = replace(entry, version=1, changes=())
    assert canonical(old) == reference(old)


@given(CHANGES)
def test_changes_are_rfc_8785(changes: tuple[Change, ...]) -> None:
    assert changes_text(changes) == rfc8785([asdict(c) for c in changes])


@pytest.mark.parametrize("field", ["detail", "actor_name", "reason", "changes"])
@pytest.mark.parametrize("bad", ["\ud800", "x\udfff", "\udc00\ud800"])
def test_lone_surrogates_have_no_canonical_form(field: str, bad: str) -> None:
    entry = _entry(**{field: (Change("f", bad),) if field == "changes" else bad})
    with pytest.raises(UnicodeError):
        canonical(entry)
    with pytest.raises(UnicodeError):
        reference(entry)


def test_two_fields_never_flow_into_each_other() -> None:
    """Text that looks like the form itself is text."""
    sly = '","detail":"x'
    assert entry_hash(_entry(correlation_id=sly)) != entry_hash(_entry(correlation_id="", detail="x"))


def _entry(**fields: Any) -> AuditEntry:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    known = {"chain": "system", "sequence": 1, "at": at, "phase": Phase.INTENT, "operation": "o", "actor_id": "a",
             "actor_name": "a", "role": "r", "door": "d", "correlation_id": "c", "result": "ok"}  # fmt: skip
    return AuditEntry(**{**known, **fields})


# heads


def _line(n: int, *heads: Head) -> SignedHeads:
    return SignedHeads(
        datetime.fromtimestamp(n, UTC), "k", heads or (Head("system", n, f"h{n}"),), b"%d" % n, b"s"
    )


def test_of_however_many_lines_the_ends_the_highest_and_a_sample_are_kept() -> None:
    evidence = Evidence()
    evidence.add(_line(0, Head("quiet", 7, "q")))
    for n in range(1, 30_000):
        evidence.add(_line(n))
    kept = evidence.lines()
    assert len(kept) <= SAMPLE + 2000 + 2
    found = anchors_of(kept)
    assert found["quiet"] == {7: "q"}
    numbers = sorted(found["system"])
    assert numbers[-1000:] == list(range(29_000, 30_000))
    assert max(b - a for a, b in pairwise(numbers)) <= 32


def test_the_older_of_two_lines_about_one_entry_counts() -> None:
    lines = [_line(2, Head("system", 5, "new")), _line(1, Head("system", 5, "old"))]
    assert anchors_of(lines) == {"system": {5: "old"}}


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b"{}", b'{"signature":"x"}', b'{"signature":"","heads":[{}]}', b"\xff"],
)
def test_a_line_that_is_none_is_seen_as_such(line: bytes) -> None:
    assert read_line(line) is None
