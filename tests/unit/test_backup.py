"""What a proof compares, and what is known of a backup nobody works on."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_core.domain.backup import (
    Backup,
    BackupStatus,
    Compare,
    Difference,
    DifferenceKind,
    ManifestObject,
    Proof,
    build_manifest,
    compare,
    standing,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS = ManifestObject("orders", "table", 3, "aa")
BY_WORD = ManifestObject("by_word", "index", 0, "bb")
NUMBERS = ManifestObject("numbers", "sequence", 7, "", compare=Compare.AT_LEAST)
ALL = (ORDERS, BY_WORD, NUMBERS)


def found(*objects: ManifestObject) -> list[tuple[DifferenceKind, str, str]]:
    manifest = build_manifest("sqlite", "3", "1", ALL)
    return [(d.what, d.kind, d.object) for d in compare(manifest, objects)]


def test_the_same_in_any_order_is_proven() -> None:
    assert found(*ALL) == found(*reversed(ALL)) == []


@pytest.mark.parametrize(
    ("objects", "difference"),
    [
        ((BY_WORD, NUMBERS), (DifferenceKind.MISSING, "table", "orders")),
        ((*ALL, ManifestObject("x", "view", 0, "")), (DifferenceKind.UNEXPECTED, "view", "x")),
        ((replace(ORDERS, rows=4), BY_WORD, NUMBERS), (DifferenceKind.ROWS, "table", "orders")),
        ((replace(ORDERS, hash="ab"), BY_WORD, NUMBERS), (DifferenceKind.CONTENT, "table", "orders")),
        ((ORDERS, replace(BY_WORD, hash="x"), NUMBERS), (DifferenceKind.CONTENT, "index", "by_word")),
        ((ORDERS, BY_WORD, replace(NUMBERS, rows=6)), (DifferenceKind.ROWS, "sequence", "numbers")),
    ],
)
def test_each_difference_is_named(
    objects: tuple[ManifestObject, ...], difference: tuple[DifferenceKind, str, str]
) -> None:
    assert found(*objects) == [difference]


def test_a_sequence_may_be_further_on() -> None:
    assert found(ORDERS, BY_WORD, replace(NUMBERS, rows=99, hash="other")) == []


def test_the_same_name_as_another_kind_is_both_missing_and_unexpected() -> None:
    kinds = {d[0] for d in found(replace(ORDERS, kind="view"), BY_WORD, NUMBERS)}
    assert kinds == {DifferenceKind.MISSING, DifferenceKind.UNEXPECTED}


objects = st.builds(
    ManifestObject,
    st.text(max_size=4),
    st.sampled_from(["table", "view"]),
    st.integers(0, 3),
    st.text(max_size=3),
)
schemas = st.lists(objects, unique_by=lambda o: (o.kind, o.name), max_size=6).map(tuple)


@given(schemas, schemas)
def test_no_difference_means_the_same_objects(want: Any, have: Any) -> None:
    manifest = build_manifest("sqlite", "3", "1", want)
    same = set(want) == set(have)
    assert (compare(manifest, have) == ()) == same
    assert (build_manifest("sqlite", "3", "1", have).hash == manifest.hash) == same


GOOD = Proof(NOW, "p1", 3, 0.1)
BAD = replace(GOOD, differences=(Difference("orders", "table", DifferenceKind.ROWS, "3", "2"),))


@pytest.mark.parametrize(
    ("complete", "proof", "expected"),
    [
        (False, None, BackupStatus.FAILED),
        (True, None, BackupStatus.STORED),
        (True, GOOD, BackupStatus.PROVEN),
        (True, BAD, BackupStatus.FAILED),
    ],
)
def test_standing(complete: bool, proof: Proof | None, expected: BackupStatus) -> None:
    manifest = build_manifest("sqlite", "3", "1", ALL) if complete else None
    for status in BackupStatus:
        row = Backup("b1", "d1", "p1", NOW, NOW, status=status, manifest=manifest, proof=proof)
        assert standing(row) is expected
