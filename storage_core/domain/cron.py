"""When something is due: cron expressions read in a time zone, exact where clocks are put forward and back.

The rule is Debian cron's. What runs at fixed times runs once for each of them: right after a gap that swallowed its
time, and at the first of two equal times. What runs every so often (its minute or hour begins with a star) goes by
the clock on the wall: it does not run in a gap, and runs in both of two equal hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from .errors import InvalidRequest

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}

#: Two changes of a zone's offset are further apart than this.
_STRIDE = timedelta(hours=12)
#: No gap is longer: whole days were skipped where the date line moved.
_LONGEST_GAP = timedelta(hours=26)
_SECOND = timedelta(seconds=1)
#: How far back a missed run is looked for, shortest first: what is due often is found in the first.
_WINDOWS = tuple(timedelta(days=days) for days in (1 / 24, 1, 32, 367, 30 * 366))

_HINT = "Write five fields: minute hour day month weekday, such as 0 2 * * *, or @daily."


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression and the IANA time zone it is read in. `parsed` makes one that is known to be right."""

    expression: str
    time_zone: str = "UTC"

    @property
    def fields(self) -> str:
        return MACROS.get(self.expression.lower(), self.expression)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def is_frequent(self) -> bool:
        minute, hour, *_ = self.fields.split()
        return minute.startswith("*") or hour.startswith("*")


def parsed(expression: str, time_zone: str) -> Cron:
    """The expression, checked; InvalidRequest names the field that is wrong."""
    if time_zone not in available_timezones():
        raise InvalidRequest(
            f"{time_zone[:64]!r} is no time zone.", field="time_zone", hint="Write one like Europe/Berlin."
        )
    cron = Cron(" ".join(expression.split()), time_zone)
    if len(cron.fields.split()) != 5:
        raise InvalidRequest(f"{expression[:64]!r} has not five fields.", field="cron", hint=_HINT)
    try:
        first = next(CronSim(cron.fields, datetime(2000, 1, 1)), None)
    except CronSimError as error:
        raise InvalidRequest(f"{expression[:64]!r}: {error}.", field="cron", hint=_HINT) from None
    if first is None:
        raise InvalidRequest(f"{expression[:64]!r} never comes.", field="cron", hint=_HINT)
    return cron


def words(cron: Cron) -> str:
    """The expression in words, without its zone."""
    told: str = CronSim(cron.fields, datetime(2000, 1, 1)).explain()
    return told


def upcoming(cron: Cron, after: datetime) -> Iterator[datetime]:
    """The times it is due after a moment, in order, as UTC."""
    return _frequent(cron, after) if cron.is_frequent else _fixed(cron, after)


def next_due(cron: Cron, after: datetime) -> datetime | None:
    return next(upcoming(cron, after), None)


def last_due(cron: Cron, after: datetime, until: datetime) -> datetime | None:
    """The last time it was due after one moment and not after another; none where it was not."""
    for window in _WINDOWS:
        since = max(after, until - window)
        last = None
        for due in upcoming(cron, since):
            if due > until:
                break
            last = due
        if last is not None or since == after:
            return last
    return None


def _frequent(cron: Cron, after: datetime) -> Iterator[datetime]:
    """By the wall's clock: from one change of the zone's offset to the next it runs as in any other zone."""
    zone, since = cron.zone, after.astimezone(UTC)
    offset = _offset(zone, since)
    wall = _naive(since) + offset
    for _ in iter(int, 1):
        found = next(CronSim(cron.fields, wall), None)
        if found is None:
            return
        due = (found - offset).replace(tzinfo=UTC)
        change = _change(zone, since, due)
        if change is None:
            yield due
            wall, since = found, due
        else:
            offset, since = _offset(zone, change), change
            wall = _naive(change) + offset - _SECOND


def _fixed(cron: Cron, after: datetime) -> Iterator[datetime]:
    """Each time on the wall once: what a gap swallowed comes right after it, the second of two equal times is none."""
    zone, last = cron.zone, after.astimezone(UTC)
    for wall in CronSim(cron.fields, _naive(last) + _offset(zone, last) - _LONGEST_GAP):
        due = _landed(wall, zone)
        if due > last:
            yield due
            last = due


def _landed(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a time on the wall: the first of two, the end of the gap for one that never was."""
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    if _naive(first) + _offset(zone, first) == wall:
        return first
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change(zone, before, first) or first


def _change(zone: ZoneInfo, since: datetime, until: datetime) -> datetime | None:
    """The first moment after `since`, not after `until`, from which the zone has another offset."""
    low = since
    while low < until:
        high = min(low + _STRIDE, until)
        offset = _offset(zone, low)
        if _offset(zone, high) != offset:
            while high - low > _SECOND:
                middle = low + (high - low) // 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high.replace(microsecond=0)
        low = high
    return None


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def preview(cron: Cron, after: datetime, count: int) -> tuple[datetime, ...]:
    """The next so many times it is due."""
    return tuple(islice(upcoming(cron, after), count))
