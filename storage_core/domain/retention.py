"""Which backups go and which stay: grandfather, father, son, plus count and age. Pure, so that a dry run is the run."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from .backup import SETTLED, Backup, BackupStatus, standing

#: How long a deleted backup can be taken back.
SOFT_FOR = timedelta(days=7)
#: How long a failed backup is shown before it goes with the others.
FAILED_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: a backup goes when none of these keeps it; all zero keeps everything.

    `last` backups whatever their age, everything younger than `days`, and one for each of the newest so many hours,
    days, weeks (Monday to Sunday), months and years that have any.
    """

    last: int = 0
    days: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    MOST: ClassVar[int] = 10_000

    @property
    def is_forever(self) -> bool:
        return not any(getattr(self, f.name) for f in fields(self))

    def keeps_less_than(self, other: "Retention") -> bool:
        """Whether something the other one keeps may go by this one."""
        if self.is_forever or other.is_forever:
            return not self.is_forever
        return any(getattr(self, f.name) < getattr(other, f.name) for f in fields(self))


FOREVER = Retention()


def may_lose(before: Retention, after: Retention, *, same_rhythm: bool) -> bool:
    """Whether something may go that stayed before: of another rhythm so many backups may reach less far back."""
    counted = replace(after, days=0) != FOREVER
    return after.keeps_less_than(before) or (counted and not same_rhythm)


@dataclass(frozen=True, slots=True)
class Judged:
    """A backup and why it stays; without a reason it goes."""

    backup: Backup
    reasons: tuple[str, ...]

    @property
    def goes(self) -> bool:
        return not self.reasons


def judge(
    retention: Retention,
    schedule_id: str,
    backups: Iterable[Backup],
    now: datetime,
    zone: ZoneInfo,
    needed: frozenset[str] = frozenset(),
) -> tuple[Judged, ...]:
    """Judge the backups one schedule made of one database, newest first.

    `backups` are all that database has: what its last proven one is does not depend on who made it. `needed` are the
    ids of those that somebody works with. Days, weeks, months and years are those of `zone`.
    """
    have = sorted((b for b in backups if b.deleted_at is None), key=_order, reverse=True)
    mine = [b for b in have if b.schedule_id == schedule_id]
    usable = [b for b in mine if _is_usable(b)]
    reasons: dict[str, list[str]] = {b.id: [] for b in mine}
    for backup in usable[: retention.last]:
        reasons[backup.id].append(f"one of the last {retention.last}")
    for name, kept in _by_period(retention, usable, zone):
        reasons[kept.id].append(name)
    last_proven = next((b.id for b in have if standing(b) is BackupStatus.PROVEN), None)
    for backup in mine:
        reasons[backup.id] += _own_reasons(retention, backup, now)
        if backup.id == last_proven:
            reasons[backup.id].append("the last proven one")
        if backup.id in needed:
            reasons[backup.id].append("needed by a running job")
    return tuple(Judged(b, tuple(reasons[b.id])) for b in mine)


def _own_reasons(retention: Retention, backup: Backup, now: datetime) -> list[str]:
    """What keeps a backup whatever others there are."""
    out = []
    if retention.is_forever:
        out.append("everything is kept")
    if backup.status not in SETTLED:
        out.append("its job is not over")
    if backup.pinned:
        out.append("pinned")
    if backup.hold is not None:
        out.append("on legal hold")
    if retention.days and taken_at(backup) > now - timedelta(days=retention.days):
        out.append(f"younger than {retention.days} days")
    if not _is_usable(backup) and taken_at(backup) > now - FAILED_FOR:
        out.append("failed lately")
    return out


def _by_period(retention: Retention, usable: list[Backup], zone: ZoneInfo) -> Iterable[tuple[str, Backup]]:
    """One for each of the newest periods that have any: the newest proven one, else the newest."""
    for name in ("hourly", "daily", "weekly", "monthly", "yearly"):
        kept: dict[Any, Backup] = {}
        for backup in usable:
            period = _period(name, taken_at(backup).astimezone(zone))
            if period not in kept:
                if len(kept) == getattr(retention, name):
                    break
                kept[period] = backup
            elif (
                standing(backup) is BackupStatus.PROVEN and standing(kept[period]) is not BackupStatus.PROVEN
            ):
                kept[period] = backup
        yield from ((name, backup) for backup in kept.values())


def _period(name: str, at: datetime) -> Any:
    match name:
        case "hourly":
            return at.date(), at.hour, at.utcoffset()
        case "daily":
            return at.date()
        case "weekly":
            return at.isocalendar()[:2]
        case "monthly":
            return at.year, at.month
        case _:
            return at.year


def taken_at(backup: Backup) -> datetime:
    """When it was due, for one that a schedule made; else when it was asked for."""
    return backup.due_at or backup.created_at


def _order(backup: Backup) -> tuple[datetime, str]:
    return taken_at(backup), backup.id


def _is_usable(backup: Backup) -> bool:
    return standing(backup) is not BackupStatus.FAILED
