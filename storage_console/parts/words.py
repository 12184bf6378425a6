"""Figures in words, for rows that a state prepares: bytes, durations, points in time.

words.size(1_536)        # "1.5 kB"
words.span(94)           # "1 min 34 s"
words.epoch(backup.created_at)   # seconds since 1970, what `ago()` displays; 0.0 for none
"""

from datetime import datetime

#: The engines, as people know them.
KINDS = {
    "postgresql": "PostgreSQL",
    "mongodb": "MongoDB",
    "sqlite": "SQLite",
    "tinydb": "TinyDB",
    "localfile": "Local files",
}
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: int | None) -> str:
    """Bytes with three significant figures, a dash for unknown."""
    if count is None:
        return "—"
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or abs(value) >= 99.95 else 1
    return f"{value:.{digits}f} {UNITS[unit]}"


def span(seconds: float | None) -> str:
    """A duration in at most two units, a dash for unknown."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def number(value: int) -> str:
    """A whole number with narrow spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 backup``, ``1 204 backups``; the plural adds an s unless given."""
    text = f"{number:,}".replace(",", "\u202f")
    return f"{text} {noun if number == 1 else plural or noun + 's'}"


def epoch(at: datetime | None) -> float:
    """Seconds since 1970, what the browser's clock counts from; 0.0 for none."""
    return at.timestamp() if at else 0.0


BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)  # fmt: skip


def browser(agent: str) -> str:
    """A browser's own long name in words: ``Firefox on Linux``; the name itself where it is no browser's."""
    what = next((name for sign, name in BROWSERS if sign in agent), "")
    system = next((name for sign, name in SYSTEMS if sign in agent), "")
    return " on ".join(part for part in (what, system) if part) or agent.partition(" ")[0][:40] or "unknown"
