"""Answers kept for callers who ask the same thing twice."""

from dataclasses import dataclass
from datetime import datetime, timedelta

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A POST under an Idempotency-Key. `id` hashes actor, key and path; `digest` the body; status 0: still running."""

    id: str
    digest: str
    created_at: datetime
    status: int = 0
    body: str = ""
