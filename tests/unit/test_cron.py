"""Cron in time zones, against a model that looks at every minute."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_core.domain.cron import Cron, last_due, next_due, parsed, preview, upcoming, words
from storage_core.domain.errors import InvalidRequest

MINUTE = timedelta(minutes=1)

#: Moments at which clocks are put forward or back: by an hour or half of one, by night, at midnight, across it.
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Pacific/Chatham", "2026-04-04T14:00"),
    ("Pacific/Chatham", "2026-09-26T14:00"),
    ("America/Havana", "2026-03-08T05:00"),
    ("America/Havana", "2026-11-01T05:00"),
    ("Asia/Beirut", "2026-03-28T22:00"),
    ("Asia/Beirut", "2026-10-24T21:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Asia/Kathmandu", "2026-06-01T00:00"),
]

MINUTES = st.sampled_from(["0", "5", "30", "45", "0,30", "*/15", "*", "10-20/5", "59"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "0,2", "1-4", "23", "0-23/3"])
DAYS = st.sampled_from(
    [("*", "*"), ("*", "0"), ("*", "SAT,SUN"), ("1", "*"), ("L", "*"), ("8", "MON"), ("*", "7L")]
)


def model(expression: str, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """Debian cron's rule, minute by minute: by the wall for what is frequent, once per time on it for the rest."""
    fields = CronSim(expression, datetime(2026, 1, 1))

    def fits(wall: datetime) -> bool:
        return (
            wall.minute in fields.minutes
            and wall.hour in fields.hours
            and wall.month in fields.months
            and fields.match_day(wall.date())
        )

    first = after.replace(second=0, microsecond=0) + MINUTE
    if any(part.startswith("*") for part in expression.split()[:2]):
        moments = takewhile(lambda at: at <= until, (first + i * MINUTE for i in range(10**6)))
        return [at for at in moments if fits(at.astimezone(zone).replace(tzinfo=None))]
    due = set()
    wall = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) - timedelta(hours=3)
    for _ in range(int((until - after) / MINUTE) + 6 * 60):
        shown = wall
        if fits(wall):
            while (at := shown.replace(tzinfo=zone).astimezone(UTC)).astimezone(zone).replace(
                tzinfo=None
            ) != shown:
                shown += MINUTE  # in a gap: the first time there is again
            due.add(at)
        wall += MINUTE
    return sorted(at for at in due if after < at <= until)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CHANGES),
    MINUTES,
    HOURS,
    DAYS,
    st.integers(-60 * 26, 90),
    st.integers(0, 59),
    st.integers(0, 1),
)
def test_runs_are_those_of_a_model_that_looks_at_every_minute(
    change: tuple[str, str],
    minutes: str,
    hours: str,
    days: tuple[str, str],
    ahead: int,
    second: int,
    micro: int,
) -> None:
    zone, at = ZoneInfo(change[0]), datetime.fromisoformat(change[1]).replace(tzinfo=UTC)
    after = at + timedelta(minutes=ahead, seconds=second, microseconds=micro)
    until = after + timedelta(hours=36)
    expression = f"{minutes} {hours} {days[0]} * {days[1]}"
    found = list(takewhile(lambda due: due <= until, upcoming(parsed(expression, change[0]), after)))
    assert found == model(expression, zone, after, until)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHANGES), MINUTES, HOURS, st.integers(-3000, 3000), st.integers(0, 3000))
def test_the_last_run_between_two_moments_is_the_last_of_all(
    change: tuple[str, str], minutes: str, hours: str, ahead: int, length: int
) -> None:
    cron = parsed(f"{minutes} {hours} * * *", change[0])
    after = datetime.fromisoformat(change[1]).replace(tzinfo=UTC) + timedelta(minutes=ahead)
    until = after + timedelta(minutes=length)
    everything = list(takewhile(lambda due: due <= until, upcoming(cron, after)))
    assert last_due(cron, after, until) == (everything[-1] if everything else None)


def test_a_rare_run_is_found_years_away_and_years_back() -> None:
    leap = parsed("* * 29 2 *", "Europe/Berlin")
    first = datetime(2028, 2, 28, 23, 0, tzinfo=UTC)
    assert next_due(leap, datetime(2024, 3, 1, tzinfo=UTC)) == first
    assert last_due(
        parsed("0 0 29 2 *", "UTC"), datetime(2000, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    ) == (datetime(2024, 2, 29, tzinfo=UTC))


def test_a_nightly_run_comes_once_in_the_nights_clocks_change() -> None:
    nightly = Cron("30 2 * * *", "Europe/Berlin")
    spring = preview(nightly, datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert [str(due)[:16] for due in spring] == ["2026-03-29 01:00", "2026-03-30 00:30"]
    autumn = preview(nightly, datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert [str(due)[:16] for due in autumn] == ["2026-10-25 00:30", "2026-10-26 01:30"]


@pytest.mark.parametrize(
    ("expression", "zone", "field"),
    [
        ("", "UTC", "cron"),
        ("0 2 * *", "UTC", "cron"),
        ("0 0 2 * * *", "UTC", "cron"),
        ("60 * * * *", "UTC", "cron"),
        ("@reboot", "UTC", "cron"),
        ("0 0 30 2 *", "UTC", "cron"),
        ("* * */20 * 1L", "UTC", "cron"),
        ("0 2 * * *", "Mars/Olympus", "time_zone"),
        ("0 2 * * *", "../etc/passwd", "time_zone"),
        ("0 2 * * *", "", "time_zone"),
    ],
)
def test_what_cannot_be_read_is_refused_naming_the_field(expression: str, zone: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(expression, zone)
    assert caught.value.field == field
    assert caught.value.hint


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789*/-,#LWA @²", max_size=14))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parsed(text, "Europe/Berlin")
    except InvalidRequest:
        return
    assert words(cron)
    assert next_due(cron, datetime(2026, 1, 1, tzinfo=UTC))


def test_an_expression_is_told_in_words() -> None:
    assert words(Cron("@daily")) == "At 00:00 every day"
    assert words(Cron("30 1 * * MON-FRI")) == "At 01:30 on Monday through Friday"
