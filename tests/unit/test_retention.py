"""The laws of retention: what may never go, and what raising a number may never do."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from storage_core.domain.backup import (
    SETTLED,
    Backup,
    BackupStatus,
    Difference,
    DifferenceKind,
    Proof,
    build_manifest,
    standing,
)
from storage_core.domain.retention import Retention, judge

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
MANIFEST = build_manifest("sqlite", "3", "1", ())
BAD = (Difference("t", "table", DifferenceKind.ROWS, "2", "1"),)

NUMBERS = st.sampled_from([0, 0, 0, 1, 2, 4])
RETENTIONS = st.builds(
    Retention, NUMBERS, st.sampled_from([0, 0, 20]), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS
)


@st.composite
def backup(draw: st.DrawFn) -> Backup:
    at = NOW - timedelta(minutes=draw(st.integers(0, 60 * 24 * 900)))
    status = draw(st.sampled_from([*BackupStatus, *[BackupStatus.PROVEN, BackupStatus.STORED] * 3]))
    proof = draw(st.sampled_from([None, Proof(at, "p", 1, 1.0), Proof(at, "p", 1, 1.0, BAD)]))
    return Backup(
        "", "d", "p", at, at,
        status=status,
        manifest=None if status in (BackupStatus.QUEUED, BackupStatus.FAILED) else MANIFEST,
        proof=proof if status in (BackupStatus.PROVING, BackupStatus.PROVEN) else None,
        schedule_id=draw(st.sampled_from(["s", "s", "s", "other", None])),
        due_at=draw(st.sampled_from([None, at - timedelta(minutes=20)])),
        pinned=draw(st.integers(0, 9)) == 0,
        hold="a case" if draw(st.integers(0, 9)) == 0 else None,
        deleted_at=at if draw(st.integers(0, 9)) == 0 else None,
    )  # fmt: skip


BACKUPS = st.lists(backup(), min_size=3, max_size=20).map(
    lambda rows: [replace(b, id=f"b{i}") for i, b in enumerate(rows)]
)


def gone(retention: Retention, rows: list[Backup], needed: frozenset[str] = frozenset()) -> set[str]:
    return {j.backup.id for j in judge(retention, "s", rows, NOW, BERLIN, needed) if j.goes}


@settings(max_examples=150, deadline=None)
@given(RETENTIONS, BACKUPS, st.sets(st.integers(0, 9)))
def test_what_must_stay_stays(retention: Retention, rows: list[Backup], needed: set[int]) -> None:
    ids = frozenset(f"b{i}" for i in needed)
    doomed = [b for b in rows if b.id in gone(retention, rows, ids)]
    assert all(b.schedule_id == "s" and b.deleted_at is None and b.status in SETTLED for b in doomed)
    assert not any(b.pinned or b.hold or b.id in ids for b in doomed)
    proven = [b for b in rows if b.deleted_at is None and standing(b) is BackupStatus.PROVEN]
    if proven:
        last = max(proven, key=lambda b: (b.due_at or b.created_at, b.id))
        assert last not in doomed
    if retention.is_forever:
        assert not doomed


@settings(max_examples=150, deadline=None)
@given(RETENTIONS, BACKUPS, st.sampled_from([f.name for f in fields(Retention)]), st.integers(1, 5))
def test_a_higher_number_never_keeps_less(
    retention: Retention, rows: list[Backup], name: str, more: int
) -> None:
    if retention.is_forever:
        return  # nothing keeps more than that
    higher = replace(retention, **{name: getattr(retention, name) + more})
    assert not higher.keeps_less_than(retention)
    assert retention.keeps_less_than(higher)
    assert gone(higher, rows) <= gone(retention, rows)


@settings(max_examples=100, deadline=None)
@given(RETENTIONS, RETENTIONS, BACKUPS)
def test_what_is_said_to_keep_no_less_keeps_no_less(
    one: Retention, two: Retention, rows: list[Backup]
) -> None:
    if not one.keeps_less_than(two):
        assert gone(one, rows) <= gone(two, rows)


@settings(max_examples=100, deadline=None)
@given(RETENTIONS, BACKUPS)
def test_a_second_run_finds_nothing_more(retention: Retention, rows: list[Backup]) -> None:
    doomed = gone(retention, rows)
    left = [replace(b, deleted_at=NOW) if b.id in doomed else b for b in rows]
    assert gone(retention, left) == set()


def made(at: datetime, *, proven: bool = True, schedule: str = "s") -> Backup:
    proof = Proof(at, "p", 1, 1.0) if proven else None
    status = BackupStatus.PROVEN if proven else BackupStatus.STORED
    id = f"{at:%Y-%m-%d %H:%M}"
    return Backup(id, "d", "p", at, at, status=status, manifest=MANIFEST, proof=proof, schedule_id=schedule)


def test_grandfather_father_and_son_keep_the_newest_of_each_period() -> None:
    nightly = [made(datetime(2026, 1, 1, 2, tzinfo=UTC) + timedelta(days=i)) for i in range(329)]
    judged = judge(Retention(daily=3, weekly=2, monthly=3), "s", nightly, NOW, BERLIN)
    kept = {j.backup.id[5:10]: j.reasons for j in judged if not j.goes}
    assert kept == {
        "11-25": ("daily", "weekly", "monthly", "the last proven one"),
        "11-24": ("daily",),
        "11-23": ("daily",),
        "11-22": ("weekly",),
        "10-31": ("monthly",),
        "09-30": ("monthly",),
    }


def test_days_are_those_of_the_schedules_zone() -> None:
    late = made(datetime(2026, 11, 20, 22, 30, tzinfo=UTC))  # 23:30 in Berlin
    later = made(datetime(2026, 11, 20, 23, 30, tzinfo=UTC))  # the next day in Berlin
    assert gone(Retention(daily=2), [late, later]) == set()
    judged = judge(Retention(daily=2), "s", [late, later, made(NOW)], NOW, ZoneInfo("UTC"))
    assert [j.backup.id for j in judged if j.goes] == [late.id]


def test_a_proven_backup_stands_for_its_period_rather_than_a_later_unproven_one() -> None:
    proven = made(datetime(2026, 11, 20, 2, tzinfo=UTC))
    rows = [proven, made(datetime(2026, 11, 20, 8, tzinfo=UTC), proven=False), made(NOW)]
    assert gone(Retention(daily=2), rows) == {rows[1].id}


def test_somebody_elses_newer_proof_does_not_make_a_schedules_backup_safe() -> None:
    old = made(NOW - timedelta(days=400))
    assert gone(Retention(days=1), [old]) == set()
    assert gone(Retention(days=1), [old, made(NOW, schedule="other")]) == {old.id}
