"""What the bus carries: something changed."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Event:
    """`topic` is a noun (``jobs``, ``backups``), `id` the row that changed, `verb` what happened to it.

    `sequence` orders the events of one catalog. Listeners read the row again: an event carries no data.
    """

    sequence: int
    topic: str
    verb: str
    id: str
    tenant_id: str | None
    at: datetime
