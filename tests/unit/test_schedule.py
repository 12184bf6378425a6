"""A scheduler that ticks when it can: nothing twice, nothing lost, what was missed once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from storage_core.domain.cron import upcoming
from storage_core.domain.database import Database, DatabaseStatus
from storage_core.domain.schedule import (
    Schedule,
    due_now,
    run_id,
    start_of,
    taken,
    waiting_anew,
    waits_wrongly,
)

BEGIN = datetime(2026, 3, 27, tzinfo=UTC)  # two days before clocks are put forward
CRONS = st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 */6 * * *", "15 0,2,3 * * *", "0 9 * * MON"])


def schedule(cron: str, **more: object) -> Schedule:
    made = Schedule("s", "nightly", cron, "Europe/Berlin", BEGIN, BEGIN)
    return waiting_anew(replace(made, **more), BEGIN)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(CRONS, st.lists(st.integers(1, 60 * 24 * 3), min_size=1, max_size=25))
def test_each_time_is_taken_once_or_caught_up_with_once(cron: str, pauses: list[int]) -> None:
    row, now, runs = schedule(cron), BEGIN, []
    for pause in pauses:
        before, now = now, now + timedelta(minutes=pause)
        meant = list(takewhile(now.__ge__, upcoming(row.when, before)))
        due = due_now(row, now)
        assert due == (meant[-1] if meant else None)
        if due is not None:
            runs.append(due)
            row = taken(row, due, now)
            assert due_now(row, now) is None
    assert runs == sorted(set(runs))


def test_a_paused_schedule_is_not_due_and_does_not_catch_up_with_its_pause() -> None:
    row = schedule("0 * * * *", paused=True)
    later = BEGIN + timedelta(days=2, minutes=30)
    assert due_now(row, later) is None
    resumed = waiting_anew(replace(row, paused=False), later)
    assert due_now(resumed, later) is None
    assert resumed.next_at == later + timedelta(minutes=30)


def test_a_clock_that_was_ahead_for_a_while_stops_nothing() -> None:
    row = schedule("0 * * * *")
    ahead = BEGIN + timedelta(days=400)
    row = taken(row, due_now(row, ahead) or ahead, ahead)
    back = BEGIN + timedelta(hours=5)
    assert waits_wrongly(row, back)
    row = waiting_anew(row, back)
    assert not waits_wrongly(row, back)
    assert row.next_at == back + timedelta(hours=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 720), st.sampled_from("abc"))
def test_jitter_delays_a_turn_by_less_than_its_length_and_always_the_same(
    minutes: int, database: str
) -> None:
    row = schedule("0 * * * *", jitter_minutes=minutes)
    start = start_of(row, database, BEGIN)
    assert BEGIN <= start <= BEGIN + timedelta(minutes=minutes)
    assert start == start_of(row, database, BEGIN)


def test_jitter_spreads_databases() -> None:
    row = schedule("0 * * * *", jitter_minutes=60)
    assert len({start_of(row, f"d{i}", BEGIN) for i in range(100)}) > 90
    assert len({run_id("s", f"d{i}", BEGIN) for i in range(100)}) == 100


def test_a_schedule_covers_what_fits_all_it_names() -> None:
    old = Database("d", "p", "orders", "x", BEGIN, BEGIN, "t", status=DatabaseStatus.READY, labels=("gold",))
    new = replace(old, id="e", tenant_id=None, labels=(), created_at=BEGIN + timedelta(days=1))

    def covered(**more: object) -> list[str]:
        return [d.id for d in (old, new) if schedule("0 * * * *", **more).covers(d)]

    assert covered() == ["d", "e"]
    assert covered(database_id="d") == ["d"]
    assert covered(tenant_id="t") == ["d"]
    assert covered(label="gold") == ["d"]
    assert covered(label="gold", tenant_id="other") == []
    assert covered(only_new=True) == ["e"]
    assert not schedule("0 * * * *").covers(replace(old, status=DatabaseStatus.DELETING))
